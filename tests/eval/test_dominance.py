"""Semantic dominance: examples by hand, other libraries, and models that listen or do not."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score, f1_score

from cogaudio_rl.eval.dominance import (
    conflict_split,
    divergence_excess,
    donor_swap,
    lexical_cue_gap,
    macro_f1,
    response_swap,
    s_audio,
    uar,
)
from cogaudio_rl.eval.metrics import Estimate, response_divergence

LABELS = ("sad", "happy", "angry")
QUICK = {"samples": 20, "seed": 0}

labels = st.sampled_from(LABELS)
answers_of = st.sampled_from((*LABELS, None, "bored"))
answered = st.lists(st.tuples(labels, answers_of), min_size=1, max_size=30)


def columns(rows: Sequence[Sequence[str | None]]) -> list[list[str | None]]:
    return [list(column) for column in zip(*rows, strict=True)]


def holds(estimate: Estimate, value: float, n: int) -> bool:
    """Whether the estimate is this value, of these units, inside its own interval."""
    near = estimate.value == pytest.approx(value, abs=1e-12)
    return near and estimate.lo - 1e-9 <= value <= estimate.hi + 1e-9 and estimate.n == n


def test_conflict_split_by_hand():
    rows = [
        # voice, words, answer
        ("sad", "happy", "happy"),  # led by the words
        ("sad", "happy", "sad"),
        ("angry", "happy", "sad"),  # wrong, but not by the words
        ("angry", "sad", None),
        ("happy", "happy", "happy"),
        ("sad", "sad", "angry"),
        ("sad", None, "sad"),  # words without feeling: neither
    ]
    truth, lexical, answers = columns(rows)
    found = conflict_split([str(t) for t in truth], lexical, answers, **QUICK)
    assert holds(found.conflict, 1 / 4, 4)
    assert holds(found.consistent, 1 / 2, 2)
    assert holds(found.gap, 1 / 4, 6)
    assert holds(found.lexical_rate, 1 / 4, 4)


def test_a_reader_takes_every_conflict_item_for_its_words():
    truth, lexical = ["sad", "angry", "happy", "sad"] * 5, ["happy", "sad", "happy", "sad"] * 5
    found = conflict_split(truth, lexical, lexical, **QUICK)
    assert (found.conflict.value, found.consistent.value) == (0, 1)
    assert (found.lexical_rate.value, found.gap.value) == (1, 1)


def test_without_conflict_items_their_numbers_do_not_exist():
    found = conflict_split(["sad", "sad"], ["sad", None], ["sad", "sad"], **QUICK)
    assert holds(found.consistent, 1, 1)
    for estimate in (found.conflict, found.lexical_rate, found.gap):
        assert estimate.n == 0
        assert math.isnan(estimate.value)


def test_gap_interval_is_that_of_two_independent_shares():
    """Normal theory for a difference of shares, 400 items of each kind: ± 1.96·√(p·q/400 + …)."""
    truth = ["sad"] * 800
    lexical = ["happy"] * 400 + ["sad"] * 400
    answers = ["sad"] * 120 + ["happy"] * 280 + ["sad"] * 320 + ["happy"] * 80
    gap = conflict_split(truth, lexical, answers, samples=4_000, seed=0).gap
    half = 1.96 * math.sqrt(0.3 * 0.7 / 400 + 0.8 * 0.2 / 400)
    assert gap.value == pytest.approx(0.5)
    assert (gap.lo, gap.hi) == pytest.approx((0.5 - half, 0.5 + half), abs=0.006)


def test_lexical_cue_gap_by_hand():
    truth = ["sad", "happy", "sad", "angry"]
    gap = lexical_cue_gap(truth, truth, ["sad", "sad", None, "happy"], **QUICK)
    assert holds(gap, 1 - 1 / 4, 4)


def test_s_audio_by_hand():
    truth = ["sad", "happy", "sad", "angry"]
    found = s_audio(
        truth,
        ["sad", "happy", "sad", "happy"],  # 3/4
        ["sad", "sad", "sad", "sad"],  # 2/4
        ["happy", "happy", None, "happy"],  # 1/4
        **QUICK,
    )
    assert holds(found, 3 / 4 - (2 / 4 + 1 / 4) / 2, 4)


@given(answered)
def test_who_answers_alike_whatever_sounds_has_no_s_audio_and_no_gap(
    rows: list[tuple[str, str | None]],
):
    truth, answers = [t for t, _ in rows], [a for _, a in rows]
    found = s_audio(truth, answers, answers, answers, **QUICK)
    assert (found.value, found.lo, found.hi) == (0, 0, 0)
    assert lexical_cue_gap(truth, answers, answers, **QUICK).value == 0


def test_answers_of_another_number_of_items_are_refused():
    with pytest.raises(ValueError, match="got 1 for 2 items"):
        lexical_cue_gap(["sad", "sad"], ["sad"], ["sad", "sad"], **QUICK)


def test_donor_swap_by_hand():
    """Follows 3 of 5; shares sad 3/5·2/5, happy 2/5·1/5, and what is no label follows nobody."""
    donors = ["sad", "sad", "sad", "happy", "happy"]
    found = donor_swap(donors, ["sad", "sad", None, "happy", "bored"], **QUICK)
    assert holds(found.follow, 3 / 5, 5)
    assert found.chance.value == pytest.approx(3 / 5 * 2 / 5 + 2 / 5 * 1 / 5)
    assert found.above_chance.value == pytest.approx(3 / 5 - 8 / 25)


@given(st.lists(st.tuples(labels, labels), min_size=2, max_size=30))
def test_donor_swap_is_the_numerator_of_cohens_kappa(rows: list[tuple[str, str]]):
    donors, answers = [d for d, _ in rows], [a for _, a in rows]
    found = donor_swap(donors, answers, **QUICK)
    if found.chance.value < 1 - 1e-9:
        kappa = cohen_kappa_score(donors, answers)
        above = found.above_chance.value / (1 - found.chance.value)
        assert above == pytest.approx(kappa, abs=1e-6)


@given(answered)
def test_answers_dealt_out_blindly_follow_at_chance_on_average(rows: list[tuple[str, str | None]]):
    """Over all turns of the answers against the donors the mean follow rate *is* the chance level."""
    donors, answers = [d for d, _ in rows], [a for _, a in rows]
    turns = [
        donor_swap(donors, answers[i:] + answers[:i], samples=1, seed=0) for i in range(len(rows))
    ]
    assert np.mean([t.follow.value for t in turns]) == pytest.approx(turns[0].chance.value)


@given(st.lists(labels, min_size=1, max_size=30), answers_of)
def test_one_answer_to_everything_is_exactly_chance(donors: list[str], answer: str | None):
    found = donor_swap(donors, [answer] * len(donors), **QUICK)
    spread = (found.above_chance.lo, found.above_chance.value, found.above_chance.hi)
    assert spread == pytest.approx((0, 0, 0), abs=1e-12)


def test_a_model_that_ignores_audio_is_within_its_interval_of_chance_95_times_in_100():
    rng = np.random.default_rng(0)
    found = [
        donor_swap(
            list(rng.choice(LABELS, size=80, p=[0.6, 0.3, 0.1])),
            list(rng.choice(LABELS, size=80, p=[0.2, 0.2, 0.6])),
            samples=300,
            seed=i,
        ).above_chance
        for i in range(200)
    ]
    assert 0.90 <= np.mean([not e.excludes_zero for e in found]) <= 0.99


def test_a_model_that_listens_follows_every_donor():
    donors = ["sad", "happy", "angry", "sad"] * 5
    found = donor_swap(donors, list(donors), **QUICK)
    assert found.follow.value == 1
    assert found.above_chance.value == pytest.approx(1 - (0.5**2 + 2 * 0.25**2))


def test_divergence_excess_by_hand():
    """Family t: of the four pairs across, "a b"–"p q" shares nothing (1), "a b"–"a c" is 0.8."""
    found = divergence_excess(
        ["t", "t", "u"],
        ["sad", "happy", "sad"],
        [["a b", "a b"], ["a c", "p q"], ["x", "y"]],
        **QUICK,
    )
    assert holds(found.across, (0.8 + 1 + 0.8 + 1) / 4, 1)
    assert holds(found.resampling, (0 + 1) / 2, 1)
    assert holds(found.excess, 0.9 - 0.5, 1)


def test_across_is_the_response_divergence_of_all_draws():
    draws = [["a b", "a c"], ["a d", "b"], ["x y", "x"], ["a b", "x y"], ["p", "q"]]
    texts, emotions = ["t", "t", "t", "u", "u"], ["sad", "happy", "happy", "sad", "angry"]
    flat = response_divergence(
        [t for t in texts for _ in range(2)],
        [e for e in emotions for _ in range(2)],
        [reply for pair in draws for reply in pair],
        **QUICK,
    )
    assert divergence_excess(texts, emotions, draws, **QUICK).across == flat


def test_a_model_that_varies_at_random_has_divergence_but_no_excess():
    rng = np.random.default_rng(1)
    draws = [[" ".join(rng.permutation(list("abcdef"))) for _ in range(4)] for _ in range(120)]
    texts = [f"t{i // 3}" for i in range(120)]
    found = divergence_excess(texts, list(LABELS) * 40, draws, samples=500, seed=0)
    assert found.across.value > 0.5
    assert abs(found.excess.value) < 0.03
    assert not found.excess.excludes_zero


def test_one_reply_is_not_enough_to_resample():
    with pytest.raises(ValueError, match="utterance 1 needs >= 2 sampled replies, got 1"):
        divergence_excess(["t", "t"], ["sad", "happy"], [["a", "b"], ["a"]], **QUICK)


def test_response_swap_by_hand():
    """Responses down the columns: family 0 has all three right; of family 1 the second is wrong
    and the third is tied between two emotions."""
    scores = [
        [[4, 1, 1], [1, 4, 1], [1, 1, 4]],
        [[4, 3, 2], [1, 2, 3], [1, 1, 3]],
    ]
    found = response_swap(scores, **QUICK)
    assert holds(found.accuracy, (1 + (1 + 0 + 1 / 2) / 3) / 2, 2)
    assert found.chance == pytest.approx(1 / 3)


@given(st.integers(2, 6), st.integers(1, 5), st.integers(1, 4))
def test_a_judge_who_sees_no_difference_matches_at_chance(k: int, families: int, level: int):
    found = response_swap(np.full((families, k, k), level), **QUICK)
    assert found.accuracy.value == pytest.approx(1 / k)


def test_all_shifts_of_responses_share_out_one():
    """Each response goes somewhere: over the k cyclic shifts its accuracies sum to exactly 1."""
    scores = np.random.default_rng(3).integers(1, 5, size=(8, 4, 4))
    shifts = [response_swap(np.roll(scores, s, axis=1), **QUICK).accuracy.value for s in range(4)]
    assert sum(shifts) == pytest.approx(1)


def test_unscored_families_drop_out_and_are_not_zero():
    scores = np.stack([np.eye(2), np.eye(2)])
    scores[1, 0, 1] = math.nan
    assert holds(response_swap(scores, **QUICK).accuracy, 1, 1)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 1, 1)])
def test_response_swap_names_a_wrong_shape(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"\[families, k, k\] with k >= 2, got \["):
        response_swap(np.zeros(shape), **QUICK)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true", "ignore:A single label")
@given(answered)
def test_uar_and_macro_f1_agree_with_scikit_learn(rows: list[tuple[str, str | None]]):
    truth, answers = [t for t, _ in rows], [a for _, a in rows]
    theirs = [a or "nothing" for a in answers]
    recall = uar(truth, answers, LABELS, **QUICK)
    f1 = macro_f1(truth, answers, LABELS, **QUICK)
    seen = sorted((set(truth) | set(theirs)) & set(LABELS))
    assert recall.value == pytest.approx(balanced_accuracy_score(truth, theirs), abs=1e-6)
    assert f1.value == pytest.approx(
        f1_score(truth, theirs, labels=seen, average="macro"), abs=1e-6
    )
    assert recall.n == f1.n == len(rows)


def test_uar_and_macro_f1_by_hand():
    """Recalls 2/3 and 0/1; F1 of sad 2·2/(3 + 3), of happy 0, of angry, never met, left out."""
    truth, answers = ["sad", "sad", "sad", "happy"], ["sad", "sad", None, "sad"]
    assert uar(truth, answers, LABELS, **QUICK).value == pytest.approx(1 / 3)
    assert macro_f1(truth, answers, LABELS, **QUICK).value == pytest.approx(1 / 3)


def test_one_answer_to_everything_has_a_uar_of_one_in_k_however_frequent_it_is():
    truth = ["sad"] * 90 + ["happy"] * 5 + ["angry"] * 5
    assert uar(truth, ["sad"] * 100, LABELS, **QUICK).value == pytest.approx(1 / 3)


def test_uar_interval_is_that_of_normal_theory():
    """Two classes, 300 each, recalls 0.8 and 0.6: ± 1.96·½·√(0.16/300 + 0.24/300)."""
    truth = ["sad"] * 300 + ["happy"] * 300
    answers = ["sad"] * 240 + ["happy"] * 60 + ["happy"] * 180 + ["sad"] * 120
    found = uar(truth, answers, LABELS, samples=4_000, seed=0)
    half = 1.96 * 0.5 * math.sqrt(0.16 / 300 + 0.24 / 300)
    assert (found.lo, found.hi) == pytest.approx((0.7 - half, 0.7 + half), abs=0.004)


def test_a_true_label_that_is_none_of_the_labels_is_named():
    with pytest.raises(ValueError, match="'bored' is not one of sad, happy, angry"):
        uar(["bored"], ["sad"], LABELS, **QUICK)


def test_nothing_answered_is_nan():
    assert math.isnan(uar([], [], LABELS, **QUICK).value)
    assert donor_swap([], [], **QUICK).follow.n == 0
