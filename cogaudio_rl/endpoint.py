"""Any endpoint that speaks the OpenAI chat protocol, asked for JSON of a stated form.

Who judges, writes or annotates asks through here, so that all of them fail alike: what a second try
may mend is tried again with full jitter under one deadline, and what still fails is NoAnswer with a
reason in one line. The key comes from the environment alone and is struck out of every reason.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

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

T = TypeVar("T")
Message = Mapping[str, str]

RETRIED_STATUS = frozenset({408, 429})
"""Besides every 5xx: what a second try may mend."""
OUTAGE_STATUS = frozenset({401, 403, 404})
"""No second try mends these, nor does another question: the key or the model is wrong."""
MAX_CONNECT_S = 10.0
FIRST_WAIT_S = 0.5
MAX_WAIT_S = 20.0


class MalformedAnswerError(ValueError):
    """The model did not answer in the form it was asked for; takes one message."""


class NoAnswer(CogAudioError):
    """The endpoint gave no usable answer, after all its attempts."""


class Outage(NoAnswer):
    """Nothing about the question: the endpoint cannot be reached, is overloaded, or knows no such key
    or model."""


class ChatEndpoint:
    """One model behind one address, with so many requests at a time."""

    def __init__(self, config: EndpointConfig) -> None:
        self._config = config
        # A local server wants no key, but the client insists on one.
        self._key = os.environ.get(config.api_key_env) or "none"
        self._slots = asyncio.Semaphore(config.concurrency)
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
        """Longest that one answer may take, with all its attempts and waits."""
        return self._config.timeout_s * self._config.max_attempts

    async def ask(
        self,
        messages: Sequence[Message],
        *,
        response_format: Mapping[str, Any],
        read: Callable[[str], T],
        temperature: float = 0.0,
        max_tokens: int = 400,
        attempts: int | None = None,
    ) -> T:
        """What ``read`` makes of the answer; it raises MalformedAnswerError to be asked again.

        Raises NoAnswer with the reason.
        """
        tries = AsyncRetrying(
            stop=stop_after_attempt(attempts or self._config.max_attempts),
            wait=_wait,
            retry=retry_if_exception(_may_mend),
            reraise=True,
        )

        async def once() -> T:
            return read(await self._content(messages, response_format, temperature, max_tokens))

        try:
            # The slot is kept while waiting to try again, so that a busy endpoint gets fewer
            # requests; the deadline starts inside it, so that a long queue costs no answers.
            async with self._slots, asyncio.timeout(self.deadline_s):
                return await tries(once)
        except (openai.OpenAIError, MalformedAnswerError, TimeoutError) as error:
            kind = Outage if _is_outage(error) else NoAnswer
            raise kind(self._reason(error)) from error

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _content(
        self,
        messages: Sequence[Message],
        response_format: Mapping[str, Any],
        temperature: float,
        max_tokens: int,
    ) -> str:
        # The client's own way in would walk through its types twice for every request: three
        # milliseconds of a core that hundreds of requests a second wait for.
        said = await self._client.post(
            "/chat/completions",
            cast_to=httpx.Response,
            body={
                "model": self._config.model,
                "messages": [dict(message) for message in messages],
                "response_format": dict(response_format),
                "temperature": temperature,
                "max_tokens": max_tokens,
            },
        )
        try:
            return said.json()["choices"][0]["message"]["content"] or ""
        except ValueError as error:  # not JSON, or not even text
            raise MalformedAnswerError(f"not JSON: {error}") from None
        except (KeyError, IndexError, TypeError):
            # An endpoint that is something else may answer 200 with whatever it has.
            raise MalformedAnswerError("no choices in it") from None

    def _reason(self, error: BaseException) -> str:
        """One short line that says what went wrong, without the key."""
        if isinstance(error, openai.APIStatusError):
            text = f"HTTP {error.status_code}: {error.message}"
        elif isinstance(root := _root(error), ConnectionError | socket.gaierror):
            text = f"no connection ({root})"  # aiohttp's transport calls it a time-out
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


def _is_outage(error: BaseException) -> bool:
    if isinstance(error, openai.APIStatusError):
        return _may_mend(error) or error.status_code in OUTAGE_STATUS
    return isinstance(error, openai.APIConnectionError | TimeoutError)


def _may_mend(error: BaseException) -> bool:
    if isinstance(error, openai.APIStatusError):
        return error.status_code in RETRIED_STATUS or error.status_code >= 500
    return isinstance(error, openai.APIConnectionError | MalformedAnswerError)


_jitter = wait_random_exponential(multiplier=FIRST_WAIT_S, max=MAX_WAIT_S)


def _wait(state: RetryCallState) -> float:
    """Full jitter, but never sooner than the server asked for."""
    error = state.outcome.exception() if state.outcome else None
    asked = 0.0
    if isinstance(error, openai.APIStatusError):
        try:
            asked = float(error.response.headers.get("retry-after", 0))
        except ValueError:  # An HTTP date: rare, and the jitter will do.
            asked = 0.0
    return asked + _jitter(state)
