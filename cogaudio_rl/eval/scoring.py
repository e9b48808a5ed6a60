"""Who scores replies in the test: never the judge that the reward came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cogaudio_rl import eips
from cogaudio_rl.errors import DataError
from cogaudio_rl.eval.scorer import TestScorer
from cogaudio_rl.ports import Judge
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


class EmbeddedScorer:
    """The test scorer that comes with the package; it leaves what it never learnt unscored."""

    def __init__(self) -> None:
        self._scorer = TestScorer()

    async def score(self, asked: Asked) -> list[float | None]:
        """See :class:`Scorer`."""
        return [self._one(utterance, reply) for utterance, reply in asked]

    def emotion_of(self, utterance: Utterance, reply: str) -> str | None:
        """See :class:`Scorer`."""
        return None if utterance.language == "zh" else self._scorer.emotion_of(utterance, reply)

    def _one(self, utterance: Utterance, reply: str) -> float | None:
        try:
            return float(self._scorer.score(utterance, reply))
        except DataError:
            return None


class JudgeScorer:
    """Any judge as the scorer of the test, asked as in training through the direct route."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    async def score(self, asked: Asked) -> list[float | None]:
        """See :class:`Scorer`."""
        rows = await self._judge.score([_group(utterance, reply) for utterance, reply in asked])
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
