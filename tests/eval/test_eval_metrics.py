"""The evaluation's numbers: against scipy's bootstrap, by hand, and by what must always hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from cogaudio_rl.eval.metrics import (
    confusion_matrix,
    mean_by,
    mean_estimate,
    paired_difference,
    reply_distance,
    response_divergence,
)


def test_interval_agrees_with_scipy_percentile_bootstrap():
    values = np.random.default_rng(3).exponential(size=80)
    ours = mean_estimate(values, samples=20_000, seed=1)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert ours.value == pytest.approx(values.mean())
    assert (ours.lo, ours.hi) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_interval_covers_the_true_mean_about_95_times_in_100():
    rng = np.random.default_rng(0)
    estimates = [
        mean_estimate(rng.normal(2.0, 1.0, size=60), samples=400, seed=i) for i in range(300)
    ]
    assert 0.90 <= np.mean([e.lo <= 2.0 <= e.hi for e in estimates]) <= 0.98


def test_same_seed_same_interval_to_the_last_digit_and_other_seeds_differ():
    values = np.random.default_rng(0).normal(size=50)
    one = mean_estimate(values, samples=500, seed=7)
    assert one == mean_estimate(values, samples=500, seed=7)
    assert one != mean_estimate(values, samples=500, seed=8)


def test_large_inputs_are_resampled_in_blocks_without_changing_the_count():
    estimate = mean_estimate(np.tile([0.0, 1.0], 300_000), samples=20, seed=0)
    assert estimate.n == 600_000
    assert estimate.lo < 0.5 < estimate.hi
    assert estimate.hi - estimate.lo < 0.01


def test_nothing_to_average_is_nan_not_zero():
    estimate = mean_estimate([], samples=10, seed=0)
    assert estimate.n == 0
    assert math.isnan(estimate.value)
    assert not estimate.excludes_zero


def test_pairing_sees_a_small_gain_that_unpaired_intervals_hide():
    hard = np.random.default_rng(0).normal(0, 5, size=100)
    gain = np.random.default_rng(1).normal(0.3, 0.2, size=100)
    paired = paired_difference((hard + gain).tolist(), hard.tolist(), samples=1_000, seed=0)
    ours = mean_estimate(hard + gain, samples=1_000, seed=0)
    theirs = mean_estimate(hard, samples=1_000, seed=0)
    assert paired.excludes_zero
    assert paired.value == pytest.approx(gain.mean())
    assert ours.lo < theirs.hi


def test_pairs_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="2 and 1"):
        paired_difference([1, 2], [1], samples=10, seed=0)


def test_confusion_counts_truth_down_and_answer_across():
    counts = confusion_matrix(["sad", "sad", "fear"], ["fear", "sad", "fear"], ["sad", "fear"])
    assert counts.tolist() == [[1, 1], [0, 1]]


def test_confusion_names_an_unknown_label():
    with pytest.raises(ValueError, match="'bored' is not one of sad, fear"):
        confusion_matrix(["sad"], ["bored"], ["sad", "fear"])


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [
        # ^a ab b$ against ^a ac c$: one of five in common.
        ("a b", "a c", 0.8),
        ("A b!", "a, b", 0.0),
        ("", "", 0.0),
        ("", "a", 1.0),
        ("one two", "three four", 1.0),
        ("你好", "你们", 0.8),
    ],
)
def test_reply_distance_by_hand(a: str, b: str, distance: float):
    assert reply_distance(a, b) == pytest.approx(distance)


@given(st.text(max_size=40), st.text(max_size=40))
def test_reply_distance_is_a_symmetric_share(a: str, b: str):
    assert 0 <= reply_distance(a, b) <= 1
    assert reply_distance(a, b) == reply_distance(b, a)
    assert reply_distance(a, a) == 0


def test_divergence_is_zero_for_one_reply_to_all_and_ignores_pairs_of_one_emotion():
    texts, emotions = ["t", "t", "t"], ["sad", "happy", "happy"]
    same = response_divergence(texts, emotions, ["x y"] * 3, samples=50, seed=0)
    assert (same.value, same.lo, same.hi, same.n) == (0, 0, 0, 1)
    # The two happy replies differ wholly; only sad–happy pairs count: (0 + 1) / 2.
    mixed = response_divergence(texts, emotions, ["x y", "x y", "p q"], samples=50, seed=0)
    assert mixed.value == pytest.approx(0.5)


def test_divergence_weighs_families_equally_and_skips_those_of_one_emotion():
    estimate = response_divergence(
        ["a", "a", "b", "b", "b", "c"],
        ["sad", "happy", "sad", "happy", "fear", "sad"],
        ["same", "same", "p", "q", "r", "alone"],
        samples=50,
        seed=0,
    )
    assert (estimate.value, estimate.n) == (0.5, 2)


def test_mean_by_key_is_sorted_and_counts():
    assert list(mean_by(["b", "a", "b"], [1, 5, 2]).items()) == [("a", (5, 1)), ("b", (1.5, 2))]
