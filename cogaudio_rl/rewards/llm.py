"""A judge behind any endpoint that speaks the OpenAI chat protocol.

An outage must never become a training signal: what still fails after every attempt is
:class:`Unscored` with its reason, never a score of 0.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence

import openai

from cogaudio_rl.config import JudgeConfig, RewardConfig
from cogaudio_rl.eips import ParseFailure
from cogaudio_rl.endpoint import ChatEndpoint, NoAnswer
from cogaudio_rl.errors import JudgeUnreachable
from cogaudio_rl.rewards import rubric
from cogaudio_rl.rewards.route import Answer, Verdict, failed, read_answer, settle
from cogaudio_rl.types import AudioRef, Group, Prompt, Rollout, Score, Unscored, Utterance

CACHED_VERDICTS = 100_000
"""About 30 MB; the oldest go first."""


class LlmJudge:
    """Implements the Judge port over HTTP, with cache and single flight."""

    def __init__(self, config: JudgeConfig, weights: RewardConfig) -> None:
        self._config, self._weights = config, weights
        self._endpoint = ChatEndpoint(config)
        self._flights: dict[str, asyncio.Task[Verdict]] = {}
        self._known: OrderedDict[str, Verdict] = OrderedDict()

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
            await self._ask(_PROBE, "I hear you.", attempts=1)
        except NoAnswer as error:
            if isinstance(error.__cause__, openai.RateLimitError):
                return  # It is there, and busy.
            raise JudgeUnreachable(
                f"judge at {self._config.base_url} (model {self._config.model!r}) does not answer: "
                f"{error}; start it or set judge.base_url and judge.model"
            ) from None

    async def close(self) -> None:
        """Close the connections."""
        await self._endpoint.close()

    async def _score(self, prompt: Prompt, rollout: Rollout) -> Score | Unscored:
        answer = read_answer(prompt, rollout)
        if isinstance(answer, Unscored):
            return answer
        if isinstance(answer, ParseFailure):
            return failed(prompt.route)
        try:
            verdict = await self._verdict(prompt.utterance, answer)
        except NoAnswer as error:
            return Unscored(reason=f"judge: {error}")
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
            verdict = self._known[key] = await self._ask(utterance, answer)
        finally:
            del self._flights[key]
        if len(self._known) > CACHED_VERDICTS:
            self._known.popitem(last=False)
        return verdict

    async def _ask(
        self, utterance: Utterance, answer: Answer, *, attempts: int | None = None
    ) -> Verdict:
        return await self._endpoint.ask(
            rubric.messages(utterance, answer),
            response_format=rubric.response_format(answer),
            read=lambda content: rubric.read_verdict(content, answer),
            attempts=attempts,
        )

    def _digest(self, utterance: Utterance, answer: Answer) -> str:
        asked = rubric.messages(utterance, answer)
        whole = json.dumps([self._config.model, rubric.rubric_digest(), asked])
        return hashlib.sha256(whole.encode()).hexdigest()


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
