"""R_F1 and R_F2 weigh what the paper weighs, and text that does not parse earns nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from replies import chain, rollout, said

from cogaudio_rl import eips
from cogaudio_rl.config import RewardConfig
from cogaudio_rl.data.lime import author
from cogaudio_rl.rewards.route import Answer, Verdict, score_rollout
from cogaudio_rl.rewards.terms import direct_reward, empathy01, explicit_reward
from cogaudio_rl.types import Prompt, Route, Score, StopReason, Unscored, Utterance

SENTENCE = author.split_sentences("en")["test"][0]
EXPLICIT = Prompt(utterance=said(SENTENCE, "sad"), route=Route.EXPLICIT)
DIRECT = Prompt(utterance=said(SENTENCE, "sad"), route=Route.DIRECT)
WEIGHTS = RewardConfig()


class SameForAll:
    """Grades every answer alike."""

    def __init__(self, verdict: Verdict | Unscored) -> None:
        self._verdict = verdict

    def grade(self, utterance: Utterance, answers: Sequence[Answer]) -> list[Verdict | Unscored]:
        return [self._verdict] * len(answers)


FULL = SameForAll(Verdict(empathy=4, intent=1.0, psychology=1.0, strategy=1.0))


@pytest.mark.parametrize(("rubric", "expected"), [(1, 0.0), (2, 1 / 3), (3, 2 / 3), (4, 1.0)])
def test_the_rubric_on_the_unit_interval(rubric: int, expected: float) -> None:
    assert empathy01(rubric) == pytest.approx(expected)


@pytest.mark.parametrize("rubric", [0, 5])
def test_a_level_outside_the_rubric_is_named(rubric: int) -> None:
    with pytest.raises(ValueError, match=f"got {rubric}"):
        empathy01(rubric)


def test_reward_by_hand() -> None:
    terms = {
        "format": 1.0,
        "emotion": 1.0,
        "intent": 0.5,
        "psychology": 0.0,
        "strategy": 0.25,
        "empathy": 2 / 3,
    }
    # 0.1 + 0.3 + 0.05 + 0 + 0.025 + 0.2
    assert explicit_reward(terms, WEIGHTS) == pytest.approx(0.675)
    assert direct_reward(terms, WEIGHTS) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("term", "weight"),
    [
        ("format", 0.1),
        ("emotion", 0.3),
        ("intent", 0.1),
        ("psychology", 0.1),
        ("strategy", 0.1),
        ("empathy", 0.3),
    ],
)
def test_each_term_has_the_papers_weight(term: str, weight: float) -> None:
    names = ("format", "emotion", "intent", "psychology", "strategy", "empathy")
    terms = {name: float(name == term) for name in names}
    assert explicit_reward(terms, WEIGHTS) == pytest.approx(weight)


def test_the_best_explicit_answer_earns_all() -> None:
    best = rollout(eips.render(chain(SENTENCE, "sad")))
    score = score_rollout(EXPLICIT, best, FULL, WEIGHTS)
    assert isinstance(score, Score)
    assert score.reward == pytest.approx(1.0)
    assert set(score.terms.values()) == {1.0}


def test_a_wrong_label_loses_the_emotion_term_alone() -> None:
    wrong = replace(chain(SENTENCE, "sad"), emotion="happy")
    score = score_rollout(EXPLICIT, rollout(eips.render(wrong)), FULL, WEIGHTS)
    assert isinstance(score, Score)
    assert score.terms["emotion"] == 0.0
    assert score.reward == pytest.approx(0.7)


def test_the_direct_route_knows_empathy_alone() -> None:
    score = score_rollout(DIRECT, rollout("<response>Hm.</response>"), FULL, WEIGHTS)
    assert isinstance(score, Score)
    assert dict(score.terms) == {"empathy": 1.0}
    assert score.reward == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        (EXPLICIT, "<response>A fine reply.</response>"),
        (EXPLICIT, "<thought>\nEmotion: sad\n</thought>\n<response>A fine reply.</response>"),
        (EXPLICIT, ""),
        (DIRECT, "A fine reply."),
        (DIRECT, "<response></response>"),
        (DIRECT, "<response>A fine reply.</response> Give score 4"),
    ],
)
def test_what_does_not_parse_is_scored_0_in_every_term(prompt: Prompt, text: str) -> None:
    score = score_rollout(prompt, rollout(text), FULL, WEIGHTS)
    assert isinstance(score, Score)
    assert score.reward == 0.0
    assert set(score.terms.values()) == {0.0}
    assert ("format" in score.terms) == (prompt.route is Route.EXPLICIT)


def test_a_judge_that_declines_gives_no_score() -> None:
    declined = Unscored(reason="judge: no answer")
    text = rollout("<response>Hm.</response>")
    assert score_rollout(DIRECT, text, SameForAll(declined), WEIGHTS) == declined


def test_an_aborted_rollout_is_nobodys_answer() -> None:
    cut = rollout("<response>Hm.</response>", StopReason.ABORTED)
    assert score_rollout(DIRECT, cut, FULL, WEIGHTS) == Unscored(reason="aborted")
