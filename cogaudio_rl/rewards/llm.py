"""A judge that is a language model: behind an endpoint, or in an engine of our own.

An outage must never become a training signal: what still fails after every attempt is
:class:`Unscored` with its reason, never a score of 0. A verdict that was paid for is not asked again:
it is kept in memory, and in a folder that outlives the run where the recipe or the run names one.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import openai

from cogaudio_rl.answer_cache import AnswerCache
from cogaudio_rl.config import JudgeConfig, RewardConfig
from cogaudio_rl.eips import ParseFailure
from cogaudio_rl.endpoint import MalformedAnswerError, NoAnswer
from cogaudio_rl.errors import DataError, JudgeUnreachable
from cogaudio_rl.rewards import rubric
from cogaudio_rl.rewards.hearing import Clip, clip_of, silence
from cogaudio_rl.rewards.route import Answer, Verdict, failed, read_answer, settle
from cogaudio_rl.types import AudioRef, Group, Prompt, Rollout, Score, Unscored, Utterance

T = TypeVar("T")

CACHED_VERDICTS = 100_000
"""In memory; about 30 MB; the oldest go first."""
AT_HAND = 4
"""Questions put together for each request at a time. All of a step's at once would hold up the first,
and keep every recording in memory."""
TEMPERATURE = 0.0


class Asker(Protocol):
    """A language model that answers in JSON: :class:`cogaudio_rl.endpoint.ChatEndpoint` is one."""

    async def ask(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        response_format: Mapping[str, Any],
        read: Callable[[str], T],
        temperature: float = 0.0,
        max_tokens: int = 400,
    ) -> T:
        """What ``read`` makes of the answer; it raises MalformedAnswerError for what is none.

        Raises NoAnswer with the reason.
        """
        ...

    def metrics(self) -> dict[str, float]:
        """Requests, retries and tokens since it was opened, and US dollars where prices are known."""
        ...

    async def close(self) -> None:
        """Ask nothing more."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One verdict to be had: what is asked, what it is about, and the key of its answer."""

    answer: Answer
    messages: list[dict[str, Any]]
    key: str


class LlmJudge:
    """Implements the Judge port over whoever can be asked, with cache and single flight."""

    def __init__(self, config: JudgeConfig, weights: RewardConfig, asker: Asker) -> None:
        self._config, self._weights, self._asker = config, weights, asker
        self._kept = None if config.cache is None else AnswerCache(config.cache)
        self._at_hand = asyncio.Semaphore(AT_HAND * config.concurrency)
        self._flights: dict[str, asyncio.Task[Verdict]] = {}
        self._known: OrderedDict[str, Verdict] = OrderedDict()
        self._told: Mapping[str, float] = {}

    async def score(self, groups_P: Sequence[Group]) -> list[list[Score | Unscored]]:
        """One verdict for each rollout of each group, in order; see ports.Judge."""
        rows = [
            asyncio.gather(*(self._score(group.prompt, rollout) for rollout in group.rollouts))
            for group in groups_P
        ]
        return [list(row) for row in await asyncio.gather(*rows)]

    async def spent(self) -> dict[str, float]:
        """See ports.Judge."""
        now = self._asker.metrics()
        spent = {f"judge/{name}": count - self._told.get(name, 0.0) for name, count in now.items()}
        self._told = now
        return spent

    async def probe(self) -> None:
        """One small question. Raises JudgeUnreachable naming the endpoint and the reason."""
        clip = silence() if self._config.hears else None
        try:
            await self._ask(self._question(_PROBE, "I hear you.", clip))
        except NoAnswer as error:
            if isinstance(error.__cause__, openai.RateLimitError):
                return  # It is there, and busy.
            raise JudgeUnreachable(
                f"judge at {self._config.base_url} (model {self._config.model!r}) does not answer: "
                f"{error}; start it or set judge.base_url and judge.model"
            ) from None

    async def close(self) -> None:
        """Close what it asks."""
        await self._asker.close()

    async def _score(self, prompt: Prompt, rollout: Rollout) -> Score | Unscored:
        answer = read_answer(prompt, rollout)
        if isinstance(answer, Unscored):
            return answer
        if isinstance(answer, ParseFailure):
            return failed(prompt.route)
        try:
            async with self._at_hand:
                clip = await self._clip(prompt.utterance)
                verdict = await self._verdict(self._question(prompt.utterance, answer, clip))
        except (NoAnswer, DataError) as error:
            return Unscored(reason=f"judge: {error}")
        return settle(prompt, answer, verdict, self._weights)

    async def _clip(self, utterance: Utterance) -> Clip | None:
        if not self._config.hears:
            return None
        return await asyncio.to_thread(clip_of, utterance)

    def _question(self, utterance: Utterance, answer: Answer, clip: Clip | None) -> Question:
        words = rubric.messages(utterance, answer, max_chars=self._config.max_reply_chars)
        judge = [self._config.model, self._config.revision, rubric.rubric_digest()]
        sampling = [TEMPERATURE, self._config.max_tokens]
        asked = json.dumps([judge, sampling, words, clip and clip.digest])
        return Question(
            answer=answer,
            messages=words if clip is None else rubric.with_clip(words, clip),
            key=hashlib.sha256(asked.encode()).hexdigest(),
        )

    async def _verdict(self, question: Question) -> Verdict:
        """From memory, from a request already under way, from the folder, or from a new request."""
        key = question.key
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        if key not in self._flights:
            self._flights[key] = asyncio.create_task(self._fly(question))
        # Shielded: whoever is cancelled must not take the answer from the others.
        return await asyncio.shield(self._flights[key])

    async def _fly(self, question: Question) -> Verdict:
        try:
            verdict = await self._recall(question) or await self._ask(question)
            self._known[question.key] = verdict
        finally:
            del self._flights[question.key]
        if len(self._known) > CACHED_VERDICTS:
            self._known.popitem(last=False)
        return verdict

    async def _recall(self, question: Question) -> Verdict | None:
        if self._kept is None:
            return None
        # In a thread: the folder may lie on another machine.
        content = await asyncio.to_thread(self._kept.get, question.key)
        try:
            return None if content is None else rubric.read_verdict(content, question.answer)
        except MalformedAnswerError:
            return None  # A damaged file is worth another request.

    async def _ask(self, question: Question) -> Verdict:
        verdict, content = await self._asker.ask(
            question.messages,
            response_format=rubric.response_format(question.answer),
            read=lambda content: (rubric.read_verdict(content, question.answer), content),
            temperature=TEMPERATURE,
            max_tokens=self._config.max_tokens,
        )
        if self._kept is not None:
            await asyncio.to_thread(self._kept.put, question.key, content)
        return verdict


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
