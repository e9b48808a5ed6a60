"""From a rollout's text to its reward: read it by its route, have it graded, weigh the terms.

Model output is untrusted: a text that does not parse is a scored outcome with reward 0, also where
a response could be picked out of a broken chain; otherwise a policy could drop the chain and keep
the response's share. Whoever grades may decline (:class:`Unscored`); that is never a reward of 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cogaudio_rl.config import RewardConfig
from cogaudio_rl.eips import ParseFailure, parse, parse_direct
from cogaudio_rl.rewards.terms import EXPLICIT_TERMS, direct_reward, empathy01, explicit_reward
from cogaudio_rl.types import (
    EipsResponse,
    Group,
    Prompt,
    Rollout,
    Route,
    Score,
    StopReason,
    Unscored,
    Utterance,
)

Answer = EipsResponse | str
"""What parsed: a whole chain on the explicit route, the response alone on the direct one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a judge says of one answer: empathy on the rubric 1–4, chain steps in [0, 1]."""

    empathy: int
    intent: float = 0.0
    psychology: float = 0.0
    strategy: float = 0.0


class Grader(Protocol):
    """Grades answers to one utterance without waiting for anything."""

    def grade(self, utterance: Utterance, answers: Sequence[Answer]) -> list[Verdict | Unscored]:
        """One verdict for each answer, in order."""
        ...


def read_answer(prompt: Prompt, rollout: Rollout) -> Answer | ParseFailure | Unscored:
    """Parse a rollout by its prompt's route; an aborted one is nobody's answer."""
    if rollout.stop is StopReason.ABORTED:
        return Unscored(reason="aborted")
    return (parse if prompt.route is Route.EXPLICIT else parse_direct)(rollout.text)


def failed(route: Route) -> Score:
    """The score of a text that does not parse: every term of its route is 0."""
    names = EXPLICIT_TERMS if route is Route.EXPLICIT else ("empathy",)
    return Score(reward=0.0, terms=dict.fromkeys(names, 0.0))


def settle(prompt: Prompt, answer: Answer, verdict: Verdict, weights: RewardConfig) -> Score:
    """Weigh a verdict by the rule of the answer's route."""
    if isinstance(answer, str):
        terms = {"empathy": empathy01(verdict.empathy)}
        return Score(reward=direct_reward(terms, weights), terms=terms)
    terms = {
        "format": 1.0,
        "emotion": float(answer.emotion == prompt.utterance.emotion),
        "intent": verdict.intent,
        "psychology": verdict.psychology,
        "strategy": verdict.strategy,
        "empathy": empathy01(verdict.empathy),
    }
    return Score(reward=explicit_reward(terms, weights), terms=terms)


def score_group(group: Group, judge: Grader, weights: RewardConfig) -> list[Score | Unscored]:
    """One score for each rollout of the group, in order."""
    prompt = group.prompt
    read = [read_answer(prompt, rollout) for rollout in group.rollouts]
    answers = [a for a in read if not isinstance(a, ParseFailure | Unscored)]
    verdicts = iter(judge.grade(prompt.utterance, answers))
    scores: list[Score | Unscored] = []
    for answer in read:
        if isinstance(answer, Unscored):
            scores.append(answer)
        elif isinstance(answer, ParseFailure):
            scores.append(failed(prompt.route))
        else:
            verdict = next(verdicts)
            scored = not isinstance(verdict, Unscored)
            scores.append(settle(prompt, answer, verdict, weights) if scored else verdict)
    return scores


def score_rollout(
    prompt: Prompt, rollout: Rollout, judge: Grader, weights: RewardConfig
) -> Score | Unscored:
    """The score of one rollout."""
    return score_group(Group(prompt=prompt, rollouts=(rollout,)), judge, weights)[0]
