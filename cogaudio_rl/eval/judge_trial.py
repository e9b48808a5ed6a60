"""A judge before it is trusted: what it says of replies that people have labelled."""

from __future__ import annotations

from collections.abc import Sequence

from cogaudio_rl import eips
from cogaudio_rl.config import TrialConfig
from cogaudio_rl.errors import RunError
from cogaudio_rl.eval.labels import (
    JudgeCalibration,
    LabelledReply,
    calibrate_labels,
    read_labels,
)
from cogaudio_rl.ports import Judge
from cogaudio_rl.rewards.canaries import rubric_level
from cogaudio_rl.types import Group, Prompt, Rollout, Route, Score, StopReason, Unscored, Utterance


async def judge_labelled(judge: Judge, items: Sequence[LabelledReply]) -> list[int | Unscored]:
    """The rubric's level for each reply, in order; of an ensemble's mean the nearest.

    The judge is asked as in training, through the direct route.
    """
    groups = [_group(item, number) for number, item in enumerate(items)]
    return [_level(row[0]) for row in await judge.score(groups)]


async def stand_trial(
    judge: Judge, trial: TrialConfig, *, samples: int, seed: int
) -> JudgeCalibration:
    """Raises RunError for a judge that agrees with people less than the recipe demands."""
    items = read_labels(trial.labels)
    scores = await judge_labelled(judge, items)
    found = calibrate_labels(items, scores, samples=samples, seed=seed)
    kappa = found.judge.kappa
    # Not a number: judge or people gave every reply one level, which is no agreement either.
    if not kappa.value >= trial.min_kappa:
        raise RunError(
            f"the judge agrees with the people of {str(trial.labels)!r} at a weighted kappa of "
            f"{kappa.value:.2f} ({found.n} replies), less than judge.trial.min_kappa="
            f"{trial.min_kappa:g}; take another judge, or mend its prompt"
        )
    return found


def _group(item: LabelledReply, number: int) -> Group:
    utterance = Utterance(
        id=f"labelled-{number}",
        text_id=f"labelled-{number}",
        audio=None,
        transcript=item.words,
        emotion=item.emotion,
        intensity="mid",
        speaker="unknown",
        language=item.language,
    )
    rollout = Rollout(
        token_ids=(),
        logprobs=(),
        text=eips.render_direct(item.reply),
        stop=StopReason.EOS,
        policy_version=0,
    )
    return Group(prompt=Prompt(utterance=utterance, route=Route.DIRECT), rollouts=(rollout,))


def _level(score: Score | Unscored) -> int | Unscored:
    """A reply that is empty is the lowest level, as the rubric says."""
    return score if isinstance(score, Unscored) else round(rubric_level(score))
