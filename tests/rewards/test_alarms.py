"""Alarms ring for what a policy that games its judge would show, and are silent otherwise."""

from __future__ import annotations

import pytest
from judging import SENTENCE
from replies import direct, group_of, said

from cogaudio_rl import eips
from cogaudio_rl.config import AlarmConfig
from cogaudio_rl.data.lime import author
from cogaudio_rl.rewards.alarms import alarm_metrics, alarms, distinct_n, held_out_gap
from cogaudio_rl.types import Group, Rollout, Route, Score, StopReason, Unscored

SAD, HAPPY, ANGRY = (said(SENTENCE, emotion) for emotion in ("sad", "happy", "angry"))


def scored(*rewards: float | None) -> list[Score | Unscored]:
    return [
        Unscored(reason="?") if r is None else Score(reward=r, terms={"empathy": r})
        for r in rewards
    ]


def of_lengths(*lengths: int) -> Group:
    """Direct answers of so many tokens."""
    rollouts = tuple(
        Rollout(
            token_ids=(0,) * n,
            logprobs=(0.0,) * n,
            text=eips.render_direct("word " * n),
            stop=StopReason.EOS,
            policy_version=0,
        )
        for n in lengths
    )
    return Group(prompt=direct(SAD, "").prompt, rollouts=rollouts)


def test_rank_correlation_by_hand() -> None:
    """Spearman without ties: 1 - 6 Σd² / (n (n² - 1)); here Σd² = 2 + 2 = 4, n = 8."""
    group = of_lengths(10, 20, 30, 40, 50, 60, 70, 80)
    rewards = [0.2, 0.1, 0.3, 0.4, 0.5, 0.6, 0.8, 0.7]
    found = alarm_metrics([group], [scored(*rewards)])
    assert found["alarm/length_correlation_direct"] == pytest.approx(1 - 24 / (8 * 63))
    assert "alarm/length_correlation_explicit" not in found


def test_ranks_are_over_all_groups_of_a_route_and_leave_out_the_unscored() -> None:
    groups = [of_lengths(1, 2, 3, 4, 99), of_lengths(5, 6, 7, 8)]
    scores_PG = [scored(8, 7, 6, 5, None), scored(4, 3, 2, 1)]
    found = alarm_metrics(groups, scores_PG)
    assert found["alarm/length_correlation_direct"] == pytest.approx(-1)


@pytest.mark.parametrize(
    ("lengths", "rewards"),
    [((1, 2, 3), (1, 2, 3)), ((5,) * 8, range(8)), (range(1, 9), (1,) * 8)],
)
def test_where_there_is_no_rank_there_is_no_figure(
    lengths: tuple[int, ...], rewards: tuple[int, ...]
) -> None:
    found = alarm_metrics([of_lengths(*lengths)], [scored(*rewards)])
    assert not any("length" in name for name in found)


def test_distinct_pairs_by_hand() -> None:
    # a b, b c, a b, b a: three of four are distinct
    assert distinct_n([("a", "b", "c"), ("a", "b", "a"), ("a",)], 2) == pytest.approx(3 / 4)
    assert distinct_n([("a",)], 2) is None


def test_one_template_for_all_is_seen() -> None:
    groups = [direct(u, *["I am here for you always."] * 8) for u in (SAD, HAPPY)]
    found = alarm_metrics(groups, [scored(*[0.5] * 8)] * 2)
    # five distinct pairs among 16 times five
    assert found["alarm/distinct_2"] == pytest.approx(5 / 80)
    assert found["alarm/self_similarity"] == 1.0


def test_likeness_is_across_emotions_of_one_text_and_route() -> None:
    # {a b c} and {b c d}: two of four words shared, in two of two pairs
    groups = [direct(SAD, "a b c", "c b a"), direct(HAPPY, "b c d")]
    found = alarm_metrics(groups, [scored(0, 0), scored(0)])
    assert found["alarm/self_similarity"] == pytest.approx(0.5)
    elsewhere = said(author.sentences("en")[-1], "happy")
    alone = [direct(SAD, "a b c", "a b c"), direct(elsewhere, "a b c")]
    assert "alarm/self_similarity" not in alarm_metrics(alone, [scored(0, 0), scored(0)])


def test_chinese_is_told_apart_by_its_characters() -> None:
    sad, happy = (said(author.sentences("zh")[0], e) for e in ("sad", "happy"))
    found = alarm_metrics([direct(sad, "我懂"), direct(happy, "我在")], [scored(0), scored(0)])
    assert found["alarm/self_similarity"] == pytest.approx(1 / 3)


def test_text_that_does_not_parse_says_nothing() -> None:
    found = alarm_metrics([group_of(SAD, Route.EXPLICIT, "no tags")], [scored(0.0)])
    assert found == {}


def test_the_gap_to_a_held_out_judge_is_over_what_both_scored() -> None:
    own, other = [scored(1.0, 0.8, None)], [scored(0.5, 0.5, 0.0)]
    assert held_out_gap(own, other) == pytest.approx(0.4)
    assert held_out_gap(own, [scored(None, None, 0.0)]) is None


def test_a_sentence_for_each_figure_past_its_threshold() -> None:
    metrics = {
        "alarm/length_correlation_direct": -0.7,
        "alarm/length_correlation_explicit": 0.1,
        "alarm/distinct_2": 0.01,
        "alarm/self_similarity": 0.99,
        "alarm/held_out_gap": 0.3,
        "reward/direct/mean": 0.2,
    }
    found = alarms(metrics, AlarmConfig(max_length_correlation=0.6))
    assert set(found) == set(metrics) - {"alarm/length_correlation_explicit", "reward/direct/mean"}
    assert "0.70 (rl.alarms.max_length_correlation=0.6)" in found["alarm/length_correlation_direct"]
    assert "0.01 (rl.alarms.min_distinct_2=" in found["alarm/distinct_2"]
    assert not any("\n" in sentence for sentence in found.values())


def test_what_is_not_measured_or_not_wanted_rings_nothing() -> None:
    assert alarms({}, AlarmConfig()) == {}
    loud = {"alarm/distinct_2": 0.0, "alarm/self_similarity": 1.0, "alarm/held_out_gap": 1.0}
    deaf = AlarmConfig(min_distinct_2=None, max_self_similarity=None, max_held_out_gap=None)
    assert alarms(loud, deaf) == {}
