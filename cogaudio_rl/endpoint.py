"""Any endpoint that speaks the OpenAI chat protocol, asked for JSON of a stated form, or for words.

Who judges, writes or annotates asks through here, so that all of them fail alike: what a second try
may mend is tried again with full jitter under one deadline, and what still fails is NoAnswer with a
reason in one line. The key comes from the environment alone and is struck out of every reason.
An endpoint that refuses the schema is asked in words from then on (:mod:`cogaudio_rl.prose`).
"""

from __future__ import annotations

import asyncio
import email.utils
import logging
import math
import os
import socket
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
import httpx
import openai
from openai import AsyncOpenAI, DefaultAioHttpClient
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from cogaudio_rl.config import EndpointConfig
from cogaudio_rl.errors import CogAudioError
from cogaudio_rl.pace import Pace
from cogaudio_rl.prose import MalformedAnswerError, asked_in_words, only_object
from cogaudio_rl.usage import Usage

T = TypeVar("T")
Message = Mapping[str, Any]

RETRIED_STATUS = frozenset({408, 429})
"""Besides every 5xx: what a second try may mend."""
OUTAGE_STATUS = frozenset({401, 403, 404})
"""No second try mends these, nor does another question: the key or the model is wrong."""
MAX_CONNECT_S = 10.0
FIRST_WAIT_S = 0.5
MAX_WAIT_S = 20.0
UNDER_WAY = 2
"""Questions under way for each request at a time: while one waits to try again, another may ask. Not
more, so that an endpoint that is down uses up the attempts of few."""
BYTES_PER_TOKEN = 4
"""For the rate limit before an answer says better: English and Chinese come near it."""

_log = logging.getLogger(__name__)


class NoAnswer(CogAudioError):
    """The endpoint gave no usable answer, after all its attempts."""


class Outage(NoAnswer):
    """Nothing about the question: the endpoint cannot be reached, is overloaded, or knows no such key
    or model."""


class ChatEndpoint:
    """One model behind one address: so many requests at a time, and so many a minute."""

    def __init__(self, config: EndpointConfig) -> None:
        self._config = config
        # A local server wants no key, but the client insists on one.
        self._key = os.environ.get(config.api_key_env) or "none"
        self._under_way = asyncio.Semaphore(UNDER_WAY * config.concurrency)
        self._slots = asyncio.Semaphore(config.concurrency)
        self._quiet_until_s = 0.0
        self._pace = Pace(
            requests_per_minute=config.requests_per_minute,
            tokens_per_minute=config.tokens_per_minute,
        )
        self._usage = Usage()
        self._takes_schema = True
        self._client = AsyncOpenAI(
            base_url=config.base_url,
            api_key=self._key,
            max_retries=0,
            timeout=openai.Timeout(config.timeout_s, connect=min(config.timeout_s, MAX_CONNECT_S)),
            # Half the work of the client's own transport for each of many requests at a time.
            http_client=DefaultAioHttpClient(),
        )

    @property
    def deadline_s(self) -> float:
        """Longest that one answer may take, with all its attempts, and the waits between them."""
        return self._config.timeout_s * self._config.max_attempts

    def metrics(self) -> dict[str, float]:
        """Requests, retries and tokens since it was opened, and US dollars where prices are known."""
        return self._usage.metrics(self._config)

    async def ask(
        self,
        messages: Sequence[Message],
        *,
        response_format: Mapping[str, Any] | None,
        read: Callable[[str], T],
        temperature: float = 0.0,
        max_tokens: int = 400,
    ) -> T:
        """What ``read`` makes of the answer; it raises MalformedAnswerError to be asked again.

        Without a ``response_format`` the answer may be anything. Raises NoAnswer with the reason.
        """
        tries = AsyncRetrying(
            stop=stop_after_attempt(self._config.max_attempts),
            wait=_wait,
            retry=retry_if_exception(_may_mend),
            before_sleep=self._count_retry,
            reraise=True,
        )
        body: dict[str, Any] = {
            "model": self._config.model,
            "messages": [dict(message) for message in messages],
            "temperature": temperature,
            "max_tokens": max_tokens,
        }
        if response_format is not None:
            body["response_format"] = dict(response_format)
        try:
            async with self._under_way, asyncio.timeout(self.deadline_s) as deadline:
                return await tries(self._once, body, read, deadline)
        except (openai.OpenAIError, MalformedAnswerError, TimeoutError) as error:
            kind = Outage if _is_outage(error) else NoAnswer
            raise kind(self._reason(error)) from error

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _once(
        self, body: Mapping[str, Any], read: Callable[[str], T], deadline: asyncio.Timeout
    ) -> T:
        if "response_format" not in body:
            return read(await self._content(body, deadline))
        if self._takes_schema:
            try:
                return read(await self._content(body, deadline))
            except openai.APIStatusError as error:
                if not _refuses_schema(error):
                    raise
                self._fall_back(error)
        return read(only_object(await self._content(asked_in_words(body), deadline)))

    async def _content(self, body: Mapping[str, Any], deadline: asyncio.Timeout) -> str:
        tokens = _about_tokens(body)
        async with self._turn(tokens, deadline):
            said = await self._post(body)
        try:
            answer = said.json()
        except (ValueError, RecursionError) as error:  # not JSON, not text, or no end of brackets
            raise MalformedAnswerError(f"not JSON: {error}") from None
        try:
            # Before the content is looked at: a useless answer has its price too.
            if used := self._usage.add(answer.get("usage")):
                self._pace.give_back(tokens - used)
            content = answer["choices"][0]["message"]["content"] or ""
        except (KeyError, IndexError, TypeError, AttributeError):
            # An endpoint that is something else may answer 200 with whatever it has.
            raise MalformedAnswerError("no choices in it") from None
        if not isinstance(content, str):
            raise MalformedAnswerError(f"content must be text, got {type(content).__name__}")
        return content

    @asynccontextmanager
    async def _turn(self, tokens: float, deadline: asyncio.Timeout) -> AsyncGenerator[None]:
        """A request's slot, when its rate allows and the endpoint did not ask for quiet."""
        loop = asyncio.get_running_loop()
        left_s = (deadline.when() or loop.time()) - loop.time()
        # Standing in line is not the endpoint's delay: a long line costs no answers.
        deadline.reschedule(None)
        async with self._slots:
            if (waiting_s := self._pace.reserve(tokens)) > 0:  # 0 would let all others go first
                await asyncio.sleep(waiting_s)
            deadline.reschedule(loop.time() + left_s)
            while (quiet_s := self._quiet_until_s - loop.time()) > 0:
                await asyncio.sleep(quiet_s)
            yield

    async def _post(self, body: Mapping[str, Any]) -> httpx.Response:
        self._usage.requests += 1
        try:
            # The client's own way in would walk through its types twice for every request: three
            # milliseconds of a core that hundreds of requests a second wait for.
            return await self._client.post(
                "/chat/completions", cast_to=httpx.Response, body=dict(body)
            )
        except openai.APIStatusError as error:
            # What one request was told holds for all: the others would only be refused too.
            until_s = asyncio.get_running_loop().time() + _asked_s(error)
            self._quiet_until_s = max(self._quiet_until_s, until_s)
            raise

    def _count_retry(self, _: RetryCallState) -> None:
        self._usage.retries += 1

    def _fall_back(self, error: openai.APIStatusError) -> None:
        if self._takes_schema:  # Many may be refused at a time; it is said once.
            _log.warning(
                "%s (model %r) takes no JSON schema (%s); it is asked for JSON in words, and what is "
                "not one JSON object counts as malformed",
                *(self._config.base_url, self._config.model, self._reason(error)),
            )
        self._takes_schema = False

    def _reason(self, error: BaseException) -> str:
        """One short line that says what went wrong, without the key."""
        if isinstance(error, openai.APIStatusError):
            text = f"HTTP {error.status_code}: {error.message}"
        elif (root := _root(error)) and _is_cut(root):
            text = f"no connection ({root})"  # openai calls it a time-out
        elif isinstance(error, openai.APITimeoutError):
            text = f"no answer within {self._config.timeout_s:g} s"
        elif isinstance(error, openai.APIConnectionError):
            text = f"no connection ({error.__cause__ or error})"
        elif isinstance(error, MalformedAnswerError):
            text = f"malformed answer ({error})"
        else:
            text = f"no answer within {self.deadline_s:g} s, with all attempts"
        line = " ".join(text.split())[:200]
        return line if self._key == "none" else line.replace(self._key, "***")


def _root(error: BaseException) -> BaseException:
    """What it began with."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


def _is_cut(root: BaseException) -> bool:
    cut = isinstance(root, ConnectionError | socket.gaierror | aiohttp.ClientConnectionError)
    return cut and not isinstance(root, TimeoutError)


def _is_outage(error: BaseException) -> bool:
    if isinstance(error, openai.APIStatusError):
        return _may_mend(error) or error.status_code in OUTAGE_STATUS
    return isinstance(error, openai.APIConnectionError | TimeoutError)


def _may_mend(error: BaseException) -> bool:
    if isinstance(error, openai.APIStatusError):
        return error.status_code in RETRIED_STATUS or error.status_code >= 500
    return isinstance(error, openai.APIConnectionError | MalformedAnswerError)


def _refuses_schema(error: openai.APIStatusError) -> bool:
    said = f"{error.message} {error.body}"
    return error.status_code in (400, 422) and ("response_format" in said or "json_schema" in said)


def _about_tokens(body: Mapping[str, Any]) -> float:
    """What a request will take of a token limit, as far as its words tell."""
    texts = [
        part.get("text", "") if isinstance(part, dict) else part
        for message in body["messages"]
        for part in (
            message["content"] if isinstance(message["content"], list) else [message["content"]]
        )
    ]
    return (
        sum(len(text.encode("utf-8", "replace")) for text in texts) / BYTES_PER_TOKEN
        + body["max_tokens"]
    )


_jitter = wait_random_exponential(multiplier=FIRST_WAIT_S, max=MAX_WAIT_S)


def _wait(state: RetryCallState) -> float:
    """Full jitter, but never sooner than the server asked for."""
    error = state.outcome.exception() if state.outcome else None
    asked_s = _asked_s(error) if isinstance(error, openai.APIStatusError) else 0.0
    return asked_s + _jitter(state)


def _asked_s(error: openai.APIStatusError) -> float:
    """How long the endpoint asked to be left alone."""
    return retry_after_s(error.response.headers.get("retry-after", ""), now_s=time.time())


def retry_after_s(header: str, *, now_s: float) -> float:
    """Seconds that a Retry-After header asks for, as a number or an HTTP date (RFC 9110, 10.2.3)."""
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - now_s
        except ValueError:  # Neither: the jitter will do.
            return 0.0
    return max(seconds, 0.0) if math.isfinite(seconds) else 0.0
