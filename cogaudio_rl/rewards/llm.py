"""A judge behind any endpoint that speaks the OpenAI chat protocol.

An outage must never become a training signal: what fails is tried again with full jitter under
one deadline, and what still fails is :class:`Unscored` with its reason, never a score of 0. The
key comes from the environment alone and is struck out of every reason.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, cast

import openai
from openai import AsyncOpenAI
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from cogaudio_rl.config import JudgeConfig, RewardConfig
from cogaudio_rl.eips import ParseFailure
from cogaudio_rl.errors import JudgeUnreachable
from cogaudio_rl.rewards import rubric
from cogaudio_rl.rewards.route import Answer, Verdict, failed, read_answer, settle
from cogaudio_rl.types import AudioRef, Group, Prompt, Rollout, Score, Unscored, Utterance

RETRIED_STATUS = frozenset({408, 429})
"""Besides every 5xx: what a second try may mend."""
MAX_ANSWER_TOKENS = 400
MAX_CONNECT_S = 10.0
FIRST_WAIT_S = 0.5
MAX_WAIT_S = 20.0
CACHED_VERDICTS = 100_000
"""About 30 MB; the oldest go first."""


class LlmJudge:
    """Implements the Judge port over HTTP, with concurrency, retries, cache and single flight."""

    def __init__(self, config: JudgeConfig, weights: RewardConfig) -> None:
        self._config, self._weights = config, weights
        # A local server wants no key, but the client insists on one.
        self._key = os.environ.get(config.api_key_env) or "none"
        self._slots = asyncio.Semaphore(config.concurrency)
        self._flights: dict[str, asyncio.Task[Verdict]] = {}
        self._known: OrderedDict[str, Verdict] = OrderedDict()
        self._client = AsyncOpenAI(
            base_url=config.base_url,
            api_key=self._key,
            max_retries=0,
            timeout=openai.Timeout(config.timeout_s, connect=min(config.timeout_s, MAX_CONNECT_S)),
        )

    @property
    def deadline_s(self) -> float:
        """Longest that one verdict may take, with all its attempts and waits."""
        return self._config.timeout_s * self._config.max_attempts

    async def score(self, groups_P: Sequence[Group]) -> list[list[Score | Unscored]]:
        """One verdict for each rollout of each group, in order; see ports.Judge."""
        rows = [
            asyncio.gather(*(self._score(group.prompt, rollout) for rollout in group.rollouts))
            for group in groups_P
        ]
        return [list(row) for row in await asyncio.gather(*rows)]

    async def probe(self) -> None:
        """One small request, once. Raises JudgeUnreachable naming the endpoint and the reason."""
        try:
            await self._ask(_PROBE, "I hear you.")
        except openai.RateLimitError:
            return  # It is there, and busy.
        except (openai.OpenAIError, rubric.MalformedAnswerError, TimeoutError) as error:
            raise JudgeUnreachable(
                f"judge at {self._config.base_url} (model {self._config.model!r}) does not answer: "
                f"{self._reason(error)}; start it or set judge.base_url and judge.model"
            ) from None

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _score(self, prompt: Prompt, rollout: Rollout) -> Score | Unscored:
        answer = read_answer(prompt, rollout)
        if isinstance(answer, Unscored):
            return answer
        if isinstance(answer, ParseFailure):
            return failed(prompt.route)
        try:
            verdict = await self._verdict(prompt.utterance, answer)
        except (openai.OpenAIError, rubric.MalformedAnswerError, TimeoutError) as error:
            return Unscored(reason=f"judge: {self._reason(error)}")
        return settle(prompt, answer, verdict, self._weights)

    async def _verdict(self, utterance: Utterance, answer: Answer) -> Verdict:
        """From the cache, from a request already under way, or from a new one."""
        key = self._digest(utterance, answer)
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        if key not in self._flights:
            self._flights[key] = asyncio.create_task(self._fly(key, utterance, answer))
        # Shielded: whoever is cancelled must not take the answer from the others.
        return await asyncio.shield(self._flights[key])

    async def _fly(self, key: str, utterance: Utterance, answer: Answer) -> Verdict:
        try:
            verdict = self._known[key] = await self._ask_again(utterance, answer)
        finally:
            del self._flights[key]
        if len(self._known) > CACHED_VERDICTS:
            self._known.popitem(last=False)
        return verdict

    async def _ask_again(self, utterance: Utterance, answer: Answer) -> Verdict:
        attempts = AsyncRetrying(
            stop=stop_after_attempt(self._config.max_attempts),
            wait=_wait,
            retry=retry_if_exception(_may_mend),
            reraise=True,
        )
        # The slot is kept while waiting to try again, so that a busy endpoint gets fewer requests;
        # the deadline starts inside it, so that a long queue costs no verdicts.
        async with self._slots, asyncio.timeout(self.deadline_s):
            return await attempts(self._ask, utterance, answer)

    async def _ask(self, utterance: Utterance, answer: Answer) -> Verdict:
        try:
            said = await self._client.chat.completions.create(
                model=self._config.model,
                messages=cast(Any, rubric.messages(utterance, answer)),
                response_format=cast(Any, rubric.response_format(answer)),
                temperature=0.0,
                max_tokens=MAX_ANSWER_TOKENS,
            )
        except json.JSONDecodeError as error:  # The client lets it through as it is.
            raise rubric.MalformedAnswerError(f"not JSON: {error}") from None
        # An endpoint that is something else may answer 200 with a page of HTML.
        if not getattr(said, "choices", None):
            raise rubric.MalformedAnswerError("no choices in it")
        return rubric.read_verdict(said.choices[0].message.content or "", answer)

    def _digest(self, utterance: Utterance, answer: Answer) -> str:
        asked = rubric.messages(utterance, answer)
        whole = json.dumps([self._config.model, rubric.rubric_digest(), asked])
        return hashlib.sha256(whole.encode()).hexdigest()

    def _reason(self, error: BaseException) -> str:
        """One short line that says what went wrong, without the key."""
        if isinstance(error, openai.APIStatusError):
            text = f"HTTP {error.status_code}: {error.message}"
        elif isinstance(error, openai.APITimeoutError):
            text = f"no answer within {self._config.timeout_s:g} s"
        elif isinstance(error, openai.APIConnectionError):
            text = f"no connection ({error.__cause__ or error})"
        elif isinstance(error, rubric.MalformedAnswerError):
            text = f"malformed answer ({error})"
        else:
            text = f"no verdict within {self.deadline_s:g} s"
        line = " ".join(text.split())[:200]
        return line if self._key == "none" else line.replace(self._key, "***")


def _may_mend(error: BaseException) -> bool:
    if isinstance(error, openai.APIStatusError):
        return error.status_code in RETRIED_STATUS or error.status_code >= 500
    return isinstance(error, openai.APIConnectionError | rubric.MalformedAnswerError)


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


_PROBE = Utterance(
    id="probe",
    text_id="probe",
    audio=AudioRef(path="", sample_rate_hz=1, num_samples=0),
    transcript="The meeting was moved again.",
    emotion="sad",
    intensity="mid",
    speaker="",
    language="en",
)
