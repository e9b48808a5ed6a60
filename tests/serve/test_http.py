"""The API over a fake engine: what a client gets, and what it is refused."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serve.chatting import (
    DIRECT,
    FakeEngine,
    client_of,
    events_of,
    heard,
    make_app,
    read,
)

from cogaudio_rl.types import Route

CHAT = "/v1/chat/completions"
CHAIN = "Emotion: sad\nIntent: be held\nPsychology: feels a loss\nStrategy: stay near"
EMOTION = {"label": "sad", "probabilities": {"sad": 0.75, "happy": 0.25}}
STEPS = {
    "emotion": "sad",
    "intent": "be held",
    "psychology": "feels a loss",
    "strategy": "stay near",
}


async def ask(engine: FakeEngine, body: Any, **settings: Any) -> httpx.Response:
    async with client_of(make_app(engine, **settings)) as client:
        return await client.post(CHAT, json=body)


def error_of(answer: httpx.Response) -> dict[str, Any]:
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "Traceback" not in answer.text
    return error


async def test_direct_answer() -> None:
    engine = FakeEngine()
    answer = (await ask(engine, heard())).json()
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "D"
    [choice] = answer["choices"]
    assert choice["finish_reason"] == "stop"
    assert choice["message"] == {
        "role": "assistant",
        "content": "I am here.",
        "reasoning_content": None,
        "cogaudio": {"emotion": None, "steps": None, "parse": "ok"},
    }
    tokens = len(DIRECT) // 3 + 1 + 1
    assert answer["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": tokens,
        "total_tokens": 7 + tokens,
    }
    [asked] = engine.asked
    assert asked.sound is not None
    assert len(asked.sound) == 8_000
    assert (asked.adapter, asked.route, asked.temperature) == ("D", Route.DIRECT, 0.0)


async def test_explicit_answer() -> None:
    answer = (await ask(FakeEngine(), heard("D-think"))).json()
    assert answer["choices"][0]["message"] == {
        "role": "assistant",
        "content": "I am here.",
        "reasoning_content": CHAIN,
        "cogaudio": {"emotion": EMOTION, "steps": STEPS, "parse": "ok"},
    }


@pytest.mark.parametrize("chunks_per_s", [1, 100_000])
async def test_a_stream_says_what_the_whole_answer_says(chunks_per_s: int) -> None:
    body = heard("D-think", stream=True, stream_options={"include_usage": True})
    got = await ask(FakeEngine(), body, max_chunks_per_s=chunks_per_s)
    assert got.headers["content-type"].startswith("text/event-stream")
    *chunks, usage = events_of(got.text)
    assert usage["choices"] == []
    assert usage["usage"]["prompt_tokens"] == 7
    assert len({chunk["id"] for chunk in chunks}) == 1
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0]["role"] == "assistant"
    assert "".join(d.get("reasoning_content", "") for d in deltas) == CHAIN
    assert "".join(d.get("content", "") for d in deltas) == "I am here."
    told = [d["cogaudio"] for d in deltas if "cogaudio" in d]
    assert told == [{"emotion": EMOTION}, {"steps": STEPS, "parse": "ok"}]
    finish = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert finish == [None] * (len(chunks) - 1) + ["stop"]
    # With a slow pace several pieces come in one chunk; with a fast one each comes alone.
    assert (len(chunks) < 10) == (chunks_per_s == 1)


async def test_the_emotion_comes_before_the_end() -> None:
    deltas = [
        chunk["choices"][0]["delta"]
        for chunk in events_of((await ask(FakeEngine(), heard("D-think", stream=True))).text)
    ]
    place = next(i for i, d in enumerate(deltas) if "emotion" in d.get("cogaudio", {}))
    assert any("content" in d for d in deltas[place:])


async def test_the_official_client() -> None:
    transport = httpx.ASGITransport(make_app(FakeEngine(), keys=("secret-of-16-or-more",)))
    http: Any  # openai's own copy of httpx's types is another
    async with httpx.AsyncClient(transport=transport) as http:
        client = openai.AsyncOpenAI(
            api_key="secret-of-16-or-more", base_url="http://127.0.0.1/v1", http_client=http
        )
        assert [m.id async for m in client.models.list()] == ["D", "D-think", "base", "base-think"]
        assert (await client.models.retrieve("D-think")).id == "D-think"
        with pytest.raises(openai.NotFoundError, match="there is no model 'X'"):
            await client.models.retrieve("X")
        whole = await client.chat.completions.create(**heard("D-think"))
        assert whole.choices[0].message.content == "I am here."
        said = ""
        async for chunk in await client.chat.completions.create(**heard("D", stream=True)):
            said += chunk.choices[0].delta.content or ""
        assert said == "I am here."
        with pytest.raises(openai.NotFoundError, match="there is no model 'X'"):
            await client.chat.completions.create(**heard("X"))


async def test_words_are_read_and_a_question_stands_beside_a_clip() -> None:
    engine = FakeEngine()
    await ask(engine, read(text="I lost my job."))
    await ask(engine, heard(question="Who is speaking?"))
    words, question = engine.asked
    assert (words.sound, words.text) == (None, "I lost my job.")
    assert question.sound is not None
    assert question.text == "Who is speaking?"


async def test_sampling_is_the_request_s_or_the_configuration_s() -> None:
    engine = FakeEngine()
    body = read(temperature=0.5, top_p=0.9, seed=4, max_tokens=5, max_completion_tokens=6)
    await ask(engine, body)
    await ask(engine, read(), temperature=0.3)
    own, default = engine.asked
    assert (own.temperature, own.top_p, own.seed, own.max_tokens) == (0.5, 0.9, 4, 6)
    assert (default.temperature, default.max_tokens) == (0.3, None)


SYSTEM = {"role": "system", "content": "Be rude."}
CLIP = heard()["messages"][0]["content"][0]


@pytest.mark.parametrize(
    ("change", "status", "says", "param"),
    [
        ({"model": "E"}, 404, "there are D, D-think, base, base-think", "model"),
        ({"n": 2}, 400, "n must be 1", "n"),
        ({"tools": [{"type": "function"}]}, 400, "tools is not supported", "tools"),
        ({"stop": ["x"]}, 400, "stop is not supported", "stop"),
        ({"temperature": 3}, 400, "temperature: ", "temperature"),
        ({"max_tokens": 0}, 400, "max_tokens: ", "max_tokens"),
        ({"messages": []}, 400, "messages: ", "messages"),
        ({"messages": [SYSTEM, {"role": "user", "content": "x"}]}, 400, "one user", "messages"),
        ({"messages": [{"role": "user", "content": " "}]}, 400, "empty", "messages.0.content"),
        (
            {"messages": [{"role": "user", "content": [CLIP, CLIP]}]},
            400,
            "one input_audio part, got 2",
            "messages.0.content",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            400,
            "image_url",
            "messages.0.content.0",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            400,
            "Field required",
            "messages.0.content.0.input_audio.input_audio",
        ),
    ],
)
async def test_what_is_wrong_is_named(
    change: dict[str, Any], status: int, says: str, param: str
) -> None:
    engine = FakeEngine()
    answer = await ask(engine, read() | change)
    assert answer.status_code == status
    error = error_of(answer)
    assert says in error["message"]
    assert error["param"] == param
    assert engine.asked == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"model": "D"}', b"\xff\xfe", b"1" * 9]
)
async def test_a_body_that_is_no_request(body: bytes) -> None:
    async with client_of(make_app(FakeEngine())) as client:
        answer = await client.post(CHAT, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    error_of(answer)


@settings(max_examples=60)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.sampled_from(["model", "messages", "stream", "seed", "tools", "stream_options", "n"]),
)
def test_no_body_breaks_it(value: Any, field: str) -> None:
    import json

    async def post() -> httpx.Response:
        async with client_of(make_app(FakeEngine())) as client:
            content = json.dumps(read() | {field: value})
            return await client.post(
                CHAT, content=content, headers={"content-type": "application/json"}
            )

    answer = asyncio.run(post())
    assert answer.status_code in (200, 400, 404), answer.text


async def test_a_body_that_is_too_large_is_not_read() -> None:
    async with client_of(make_app(FakeEngine(), max_body_bytes=1_000)) as client:
        told = await client.post(CHAT, json=read(text="x" * 1_000))

        async def endless() -> AsyncGenerator[bytes]:
            yield b'{"model": "'
            while True:
                yield b"x" * 500

        found = await client.post(
            CHAT, content=endless(), headers={"content-type": "application/json"}
        )
    for answer in (told, found):
        assert answer.status_code == 413
        assert "1000 bytes" in error_of(answer)["message"]


async def test_keys() -> None:
    app = make_app(FakeEngine(), keys=("number-one-is-long", "number-two-is-long"))
    async with client_of(app) as client:
        for path in ("/v1/models", "/metrics", "/openapi.json"):
            answer = await client.get(path)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert error_of(answer)["code"] == "invalid_api_key"
        assert (await client.get("/health")).status_code == 200
        for header, status in {
            "Bearer number-two-is-long": 200,
            "bearer number-one-is-long": 200,
            "Bearer three": 401,
            "Basic number-two-is-long": 401,
            "Bearer ": 401,
        }.items():
            answer = await client.get("/v1/models", headers={"authorization": header})
            assert answer.status_code == status


@pytest.mark.parametrize("beside_a_clip", [False, True])
async def test_a_text_that_no_model_has_room_for_is_not_tokenised(beside_a_clip: bool) -> None:
    """Tokenising is the engine's, on the loop that all requests share."""
    engine, long = FakeEngine(), "<|im_end|>" * 800
    body = heard(question=long) if beside_a_clip else read(text=long)
    answer = await ask(engine, body, max_model_len=999)
    assert answer.status_code == 400
    assert error_of(answer)["code"] == "context_length_exceeded"
    assert engine.asked == []
    assert (await ask(engine, body, max_model_len=1_000)).status_code == 200


async def test_too_many_requests() -> None:
    engine = FakeEngine()
    engine.may_end.clear()
    app = make_app(engine, max_ongoing_requests=2, max_queued_requests=1, retry_after_s=3)
    async with client_of(app) as client:
        waiting = [asyncio.create_task(client.post(CHAT, json=read())) for _ in range(3)]
        while len(engine.asked) < 3:
            await asyncio.sleep(0.01)
        refused = await client.post(CHAT, json=read())
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "3"
        assert error_of(refused)["code"] == "rate_limit_exceeded"
        engine.may_end.set()
        assert [(await task).status_code for task in waiting] == [200] * 3
        assert (await client.post(CHAT, json=read())).status_code == 200


async def test_an_engine_that_has_ended() -> None:
    engine = FakeEngine()
    engine.dead = True
    async with client_of(make_app(engine)) as client:
        for answer in (await client.get("/health"), await client.post(CHAT, json=read())):
            assert answer.status_code == 503
            assert "retry-after" in answer.headers
            error_of(answer)


async def test_a_stream_that_breaks_off_says_so() -> None:
    engine = FakeEngine()
    engine.fails_after = 20
    answer = await ask(engine, heard("D-think", stream=True))
    assert answer.status_code == 200
    assert "[DONE]" not in answer.text
    last = answer.text.rstrip().rpartition("data: ")[2]
    assert '"code":"unavailable"' in last


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_has_its_request_dropped(stream: bool) -> None:
    engine = FakeEngine()
    engine.may_end.clear()
    app = make_app(engine)
    body = httpx.Request("POST", "http://x", json=read(stream=stream)).content
    incoming = [
        {"type": "http.request", "body": body, "more_body": False},
    ]
    left = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if incoming:
            return incoming.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        pass

    scope = {
        "type": "http",
        "method": "POST",
        "path": CHAT,
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "scheme": "http",
        "http_version": "1.1",
        "root_path": "",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
    }
    task = asyncio.create_task(app(scope, receive, send))  # type: ignore[arg-type]
    while not engine.asked:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    left.set()
    with contextlib.suppress(Exception):
        await asyncio.wait_for(task, 5)
    assert engine.dropped == 1


async def test_metrics_count() -> None:
    async with client_of(make_app(FakeEngine())) as client:
        await client.post(CHAT, json=read())
        await client.post(CHAT, json=read("X"))
        text = (await client.get("/metrics")).text
    assert 'cogaudio_requests_total{status="200"} 1.0' in text
    assert 'cogaudio_requests_total{status="404"} 1.0' in text
    assert 'cogaudio_tokens_total{kind="prompt"} 7.0' in text
    assert "cogaudio_requests_under_way 0.0" in text


async def test_security_headers_and_closed_cors() -> None:
    async with client_of(make_app(FakeEngine()), origin="http://evil.example") as client:
        answer = await client.get("/v1/models")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "access-control-allow-origin" not in answer.headers
    app = make_app(FakeEngine(), cors_origins=("http://good.example",))
    async with client_of(app, origin="http://good.example") as client:
        answer = await client.get("/v1/models")
    assert answer.headers["access-control-allow-origin"] == "http://good.example"


async def test_unknown_paths_and_methods_are_json() -> None:
    async with client_of(make_app(FakeEngine())) as client:
        for answer, status in (
            (await client.get("/nothing"), 404),
            (await client.get(CHAT), 405),
        ):
            assert answer.status_code == status
            error_of(answer)
