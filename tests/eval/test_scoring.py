"""Scorers of the test: what cannot be scored is None, and a judge's scale is the rubric's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from cogaudio_rl.data.lime import author
from cogaudio_rl.eval.calibrate import utterance_of
from cogaudio_rl.eval.scoring import EmbeddedScorer, JudgeScorer
from cogaudio_rl.types import Group, Route, Score, Unscored


class Strict:
    """Half of the rubric for every second reply, no word about the others."""

    def __init__(self) -> None:
        self.asked: list[Group] = []

    async def score(self, groups_P: Sequence[Group]) -> list[list[Score | Unscored]]:
        self.asked += groups_P
        given: list[Score | Unscored] = [
            Score(reward=0.3, terms={"empathy": 2 / 3}),
            Unscored(reason="busy"),
        ]
        return [[given[i % 2]] for i in range(len(groups_P))]

    async def spent(self) -> dict[str, float]:
        return {}


ENGLISH = utterance_of(author.split_sentences("en")["test"][0], "sad")
CHINESE = utterance_of(author.split_sentences("zh")["test"][0], "sad")


def test_the_embedded_scorer_leaves_chinese_unscored_and_scores_the_rest():
    scorer = EmbeddedScorer()
    deep = author.annotate(author.split_sentences("en")["test"][0], "sad", depth=4, variant=0)
    found = asyncio.run(scorer.score([(ENGLISH, deep.eips.response), (CHINESE, "别难过。")]))
    assert found[0] is not None
    assert found[0] >= 3
    assert found[1] is None
    assert scorer.emotion_of(CHINESE, "别难过。") is None
    assert scorer.emotion_of(ENGLISH, deep.eips.response) == "sad"


def test_a_judges_score_comes_back_on_the_rubric_and_through_the_direct_route():
    judge = Strict()
    found = asyncio.run(JudgeScorer(judge).score([(ENGLISH, "I am sorry."), (ENGLISH, "Oh.")]))
    assert found == [3.0, None]
    assert {group.prompt.route for group in judge.asked} == {Route.DIRECT}
