"""What a recipe demands of its judge before anything is trained on its word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from cogaudio_rl.config import TrialConfig
from cogaudio_rl.errors import DataError, RunError
from cogaudio_rl.eval.judge_trial import judge_labelled, stand_trial
from cogaudio_rl.eval.labels import LabelledReply, read_labels
from cogaudio_rl.types import Group, Route, Score, Unscored

LABELS = Path(__file__).parents[1] / "golden" / "judge_labels.jsonl"
ITEMS = read_labels(LABELS)


class FakeJudge:
    """Gives each labelled reply what a function of it says; sees no label itself."""

    def __init__(self, level_of: Callable[[LabelledReply], float | None]) -> None:
        self._level_of = level_of
        self.seen: list[Group] = []

    async def score(self, groups_P: Sequence[Group]) -> list[list[Score | Unscored]]:
        self.seen += groups_P
        found: list[list[Score | Unscored]] = []
        for item, _group in zip(ITEMS, groups_P, strict=True):
            level = self._level_of(item)
            score = Unscored(reason="busy")
            if level is not None:
                score = Score(reward=0.0, terms={"empathy": (level - 1) / 3})
            found.append([score])
        return found

    async def spent(self) -> dict[str, float]:
        return {}


async def test_the_judge_is_asked_as_in_training_and_sees_no_label() -> None:
    judge = FakeJudge(lambda item: item.median)
    assert await judge_labelled(judge, ITEMS) == [item.median for item in ITEMS]
    for item, group in zip(ITEMS, judge.seen, strict=True):
        assert group.prompt.route is Route.DIRECT
        assert group.prompt.utterance.transcript == item.words
        assert group.prompt.utterance.emotion == item.emotion
        assert item.reply in group.rollouts[0].text


async def test_the_mean_of_an_ensemble_counts_as_the_nearest_level() -> None:
    assert set(await judge_labelled(FakeJudge(lambda _: 2 + 2 / 3), ITEMS)) == {3}


async def test_a_judge_that_agrees_passes() -> None:
    trial = TrialConfig(labels=LABELS, min_kappa=0.9)
    found = await stand_trial(FakeJudge(lambda i: i.median), trial, samples=50, seed=0)
    assert found.judge.kappa.value == pytest.approx(1.0)
    assert found.n == len(ITEMS)


@pytest.mark.parametrize("level", [lambda i: 5 - i.median, lambda _: 4])
async def test_a_judge_that_does_not_agree_is_refused(
    level: Callable[[LabelledReply], float | None],
) -> None:
    trial = TrialConfig(labels=LABELS, min_kappa=0.1)
    with pytest.raises(RunError, match=r"weighted kappa of .*less than judge.trial.min_kappa=0.1"):
        await stand_trial(FakeJudge(level), trial, samples=50, seed=0)


async def test_a_judge_that_cannot_score_is_no_judge() -> None:
    with pytest.raises(DataError, match="the judge scored 0 of 60 labelled replies"):
        await stand_trial(FakeJudge(lambda _: None), TrialConfig(labels=LABELS), samples=50, seed=0)
