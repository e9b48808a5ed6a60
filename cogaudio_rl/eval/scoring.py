"""Who scores replies in the test: never the judge that the reward came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from cogaudio_rl import eips
from cogaudio_rl.config import EvalConfig, RewardConfig
from cogaudio_rl.errors import DataError
from cogaudio_rl.eval.scorer import TestScorer
from cogaudio_rl.ports import Judge
from cogaudio_rl.rewards.judge import make_judge
from cogaudio_rl.types import Group, Prompt, Rollout, Route, Score, StopReason, Unscored, Utterance

Asked = Sequence[tuple[Utterance, str]]
"""Replies, each with the utterance it answers."""


class Scorer(Protocol):
    """Empathy of replies, by other references, features or a model other than the reward's."""

    async def score(self, asked: Asked) -> list[float | None]:
        """Empathy 1–4 by the rubric for each reply, in order; None where it cannot be had."""
        ...

    def emotion_of(self, utterance: Utterance, reply: str) -> str | None:
        """The emotion of this sentence that the reply fits best; None where nobody can tell."""
        ...

    @property
    def unscored(self) -> Mapping[str, int]:
        """Why replies were not scored, and how many so far."""
        ...


class EmbeddedScorer:
    """The test scorer that comes with the package; it leaves what it never learnt unscored."""

    def __init__(self) -> None:
        self._scorer = TestScorer()
        self.unscored: Counter[str] = Counter()

    async def score(self, asked: Asked) -> list[float | None]:
        """See :class:`Scorer`."""
        return [self._one(utterance, reply) for utterance, reply in asked]

    def emotion_of(self, utterance: Utterance, reply: str) -> str | None:
        """See :class:`Scorer`."""
        return None if utterance.language == "zh" else self._scorer.emotion_of(utterance, reply)

    def _one(self, utterance: Utterance, reply: str) -> float | None:
        try:
            return float(self._scorer.score(utterance, reply))
        except DataError as error:
            self.unscored[str(error).partition(" for ")[0]] += 1
            return None


@asynccontextmanager
async def opened_scorer(config: EvalConfig, cache: Path) -> AsyncGenerator[Scorer]:
    """The scorer that a recipe asks for; a judge's verdicts are kept in ``cache``."""
    if config.judge is None:
        yield EmbeddedScorer()
        return
    judge = make_judge(config.judge.kept_in(cache), RewardConfig())
    try:
        yield JudgeScorer(judge)
    finally:
        await judge.close()


def scorer_name(config: EvalConfig) -> str:
    """What a report calls it."""
    return "the test scorer of the package" if config.judge is None else config.judge.name


class JudgeScorer:
    """Any judge as the scorer of the test, asked as in training through the direct route."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self.unscored: Counter[str] = Counter()

    async def score(self, asked: Asked) -> list[float | None]:
        """See :class:`Scorer`."""
        rows = await self._judge.score([_group(utterance, reply) for utterance, reply in asked])
        self.unscored.update(row[0].reason for row in rows if isinstance(row[0], Unscored))
        return [_rubric(row[0]) for row in rows]

    def emotion_of(self, utterance: Utterance, reply: str) -> str | None:
        """A judge of empathy names no emotions."""
        return None


def _group(utterance: Utterance, reply: str) -> Group:
    rollout = Rollout(
        token_ids=(),
        logprobs=(),
        text=eips.render_direct(reply),
        stop=StopReason.EOS,
        policy_version=0,
    )
    return Group(prompt=Prompt(utterance=utterance, route=Route.DIRECT), rollouts=(rollout,))


def _rubric(score: Score | Unscored) -> float | None:
    return None if isinstance(score, Unscored) else 1 + 3 * score.terms["empathy"]
