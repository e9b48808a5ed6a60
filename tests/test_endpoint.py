"""What the endpoint counts, how it keeps to a rate, and how it reads Retry-After."""

from __future__ import annotations

import asyncio
import email.utils
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from chat_server import Endpoint, Reply, completion
from judging import trouble

from cogaudio_rl.config import EndpointConfig
from cogaudio_rl.endpoint import ChatEndpoint, MalformedAnswerError, NoAnswer, retry_after_s

NOW_S = 1_800_000_000.0
FORM = {"type": "json_schema", "json_schema": {"name": "any", "schema": {"type": "object"}}}


@pytest.fixture
def server() -> Iterator[Endpoint]:
    served = Endpoint()
    yield served
    served.close()


@asynccontextmanager
async def opened(server: Endpoint, **settings: Any) -> AsyncIterator[ChatEndpoint]:
    values = {"base_url": server.url, "model": "m", "timeout_s": 5.0, **settings}
    endpoint = ChatEndpoint(EndpointConfig(**values))
    try:
        yield endpoint
    finally:
        await endpoint.close()


async def ask(
    endpoint: ChatEndpoint, *, content: Any = "?", max_tokens: int = 10
) -> dict[str, Any]:
    def read(text: str) -> dict[str, Any]:
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise MalformedAnswerError(str(error)) from None

    messages = [{"role": "user", "content": content}]
    return await endpoint.ask(messages, response_format=FORM, read=read, max_tokens=max_tokens)


def using(content: str, usage: Any) -> Reply:
    status, headers, body = completion(content)
    return status, headers, json.dumps(json.loads(body) | {"usage": usage}).encode()


async def test_requests_retries_tokens_and_dollars_are_counted(server: Endpoint) -> None:
    replies = [
        trouble(500),
        using("not JSON, and paid for", {"prompt_tokens": 100, "completion_tokens": 7}),
        using("{}", {"prompt_tokens": 100, "completion_tokens": 3, "total_tokens": 103}),
        using("{}", {"prompt_tokens": 50, "completion_tokens": 2}),
    ]
    server.script = replies.__getitem__
    prices = {"usd_per_million_prompt_tokens": 2.0, "usd_per_million_completion_tokens": 10.0}
    async with opened(server, **prices) as endpoint:
        await ask(endpoint)
        await ask(endpoint)
        # 250 * 2 $ + 12 * 10 $, per million
        assert endpoint.metrics() == pytest.approx(
            {
                "requests": 4,
                "retries": 2,
                "prompt_tokens": 250,
                "completion_tokens": 12,
                "usd": 620e-6,
            }
        )


@pytest.mark.parametrize("usage", [None, 5, [], {}, {"prompt_tokens": "9"}, {"prompt_tokens": -1}])
async def test_an_endpoint_that_tells_no_usage_is_counted_by_requests(
    server: Endpoint, usage: Any
) -> None:
    server.script = lambda _: using("{}", usage)
    async with opened(server) as endpoint:
        await ask(endpoint)
        assert endpoint.metrics() == {
            "requests": 1,
            "retries": 0,
            "prompt_tokens": 0,
            "completion_tokens": 0,
        }


async def test_requests_per_minute_are_kept(server: Endpoint) -> None:
    arrived: list[float] = []

    def note(_: int) -> Reply:
        arrived.append(time.monotonic())
        return completion("{}")

    server.script = note
    async with opened(server, requests_per_minute=600) as endpoint:
        await ask(endpoint)
        await asyncio.gather(*(ask(endpoint) for _ in range(5)))
    assert len(arrived) == 6
    assert arrived[-1] - arrived[0] >= 0.45, "five tenths of a second, less what a loop may round"


async def test_tokens_per_minute_learn_from_what_was_used(server: Endpoint) -> None:
    """About 1,000 tokens are reserved for each, ten times what is used; only those wait."""
    server.script = lambda _: using("{}", {"prompt_tokens": 50, "completion_tokens": 50})
    async with opened(server, tokens_per_minute=60_000) as endpoint:
        started = time.monotonic()
        for _ in range(4):
            await ask(endpoint, max_tokens=1_000)
        took = time.monotonic() - started
    assert 0.28 <= took <= 1.5, "three times a tenth of a second, not three seconds"


async def test_waiting_for_the_rate_costs_no_answers(server: Endpoint) -> None:
    """The deadline is 0.3 s and the third request's turn comes after 0.6 s."""
    server.script = lambda _: completion("{}")
    limits = {"requests_per_minute": 200, "timeout_s": 0.3, "max_attempts": 1}
    async with opened(server, **limits) as endpoint:
        assert await asyncio.gather(*(ask(endpoint) for _ in range(3))) == [{}, {}, {}]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        (email.utils.formatdate(NOW_S + 30, usegmt=True), 30.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 0.0),
        ("-5", 0.0),
        ("inf", 0.0),
        ("nan", 0.0),
        ("soon", 0.0),
        ("", 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str, seconds: float) -> None:
    assert retry_after_s(header, now_s=NOW_S) == seconds


async def test_a_retry_after_date_is_waited_for(server: Endpoint) -> None:
    # A date has whole seconds: two of them are more than one.
    until = email.utils.formatdate(time.time() + 2, usegmt=True)
    server.script = lambda i: trouble(503, retry_after=until) if i == 0 else completion("{}")
    started = time.monotonic()
    async with opened(server) as endpoint:
        await ask(endpoint)
    assert time.monotonic() - started >= 1.0


async def test_what_one_request_was_told_holds_for_all(server: Endpoint) -> None:
    """Without it, each of the others would be refused too, and lose an attempt."""
    started = time.monotonic()
    arrived: list[float] = []

    def refuse_for_a_second(i: int) -> Reply:
        arrived.append(time.monotonic() - started)
        return trouble(429, retry_after="1") if i == 0 else completion("{}")

    server.script = refuse_for_a_second
    async with opened(server, concurrency=1, max_attempts=2) as endpoint:
        assert await asyncio.gather(*(ask(endpoint) for _ in range(4))) == [{}] * 4
        assert endpoint.metrics()["retries"] == 1
    assert len(arrived) == 5
    assert arrived[1] - arrived[0] >= 0.95


async def test_while_one_waits_to_try_again_another_uses_its_slot(server: Endpoint) -> None:
    def one_question_fails(i: int) -> Reply:
        asked = server.requests[i]["messages"][0]["content"]
        return trouble(500) if asked == "fails" else completion("{}")

    server.script = one_question_fails
    async with opened(server, concurrency=1, max_attempts=50) as endpoint:
        failing = asyncio.create_task(ask(endpoint, content="fails"))
        while not server.requests:
            await asyncio.sleep(0.01)
        assert await asyncio.gather(*(ask(endpoint) for _ in range(5))) == [{}] * 5
        assert not failing.done()
        failing.cancel()
        await asyncio.gather(failing, return_exceptions=True)
    assert server.most_busy == 1


async def test_an_endpoint_that_is_down_uses_up_the_attempts_of_few(server: Endpoint) -> None:
    """Of ten questions, two for the one slot are under way; the others have asked nothing yet."""
    texts: set[str] = set()

    def down(i: int) -> Reply:
        texts.add(server.requests[i]["messages"][0]["content"])
        return trouble(500)

    server.script = down
    async with opened(server, concurrency=1, max_attempts=50) as endpoint:
        asking = [asyncio.create_task(ask(endpoint, content=str(n))) for n in range(10)]
        await asyncio.sleep(1.0)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    assert texts == {"0", "1"}


async def test_the_deadline_is_over_all_attempts_and_waits(server: Endpoint) -> None:
    server.script = lambda _: trouble(429, retry_after="60")
    async with opened(server, timeout_s=0.2, max_attempts=2) as endpoint:
        started = time.monotonic()
        with pytest.raises(NoAnswer, match=r"0\.4 s, with all attempts"):
            await ask(endpoint)
    assert time.monotonic() - started < 2.0
