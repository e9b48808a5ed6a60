"""Metrics of distributions: scipy and scikit-learn to 1e-9, cases by hand, what must always hold."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.spatial.distance
import scipy.stats
import sklearn.calibration
import sklearn.metrics
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cogaudio_rl.eval.distribution import (
    CALIBRATION_BINS,
    METRICS,
    bhattacharyya,
    brier,
    calibration_error,
    checked,
    correlation2,
    distribution_estimates,
    jensen_shannon,
    mean_over,
    r2,
    top_accuracy,
)
from cogaudio_rl.eval.metrics import mean_estimate

Floats = npt.NDArray[np.float64]


def rows_of(shape: tuple[int, int]) -> Any:
    """Shares of small counts, as votes are: with zeros and ties."""
    counts = hnp.arrays(np.int64, shape, elements=st.integers(0, 6))
    return counts.map(lambda c: (c + (c.sum(1, keepdims=True) == 0)) * 1.0).map(
        lambda c: c / c.sum(1, keepdims=True)
    )


PAIRS = st.tuples(st.integers(1, 6), st.integers(2, 7)).flatmap(
    lambda shape: st.tuples(rows_of(shape), rows_of(shape))
)


def drawn(seed: int, n: int = 200, k: int = 6) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(10, rng.dirichlet(np.ones(k), size=1)[0], size=n)
    return counts / 10, rng.dirichlet(np.full(k, 0.7), size=n)


# -- other libraries -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_jensen_shannon_is_the_square_of_scipys_distance(seed: int) -> None:
    p, q = drawn(seed)
    distance = scipy.spatial.distance.jensenshannon
    theirs = [distance(a, b, base=2) ** 2 for a, b in zip(p, q, strict=True)]
    np.testing.assert_allclose(jensen_shannon(p, q), theirs, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_jensen_shannon_is_entropy_of_the_mean_less_the_mean_entropy(seed: int) -> None:
    p, q = drawn(seed)
    entropy = [scipy.stats.entropy(of, base=2, axis=1) for of in ((p + q) / 2, p, q)]
    theirs = entropy[0] - (entropy[1] + entropy[2]) / 2
    np.testing.assert_allclose(jensen_shannon(p, q), theirs, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_bhattacharyya_is_one_less_half_the_squared_distance_of_roots(seed: int) -> None:
    """1 − H², with Hellinger's distance by scipy's Euclidean one."""
    p, q = drawn(seed)
    roots = zip(np.sqrt(p), np.sqrt(q), strict=True)
    theirs = [1 - scipy.spatial.distance.sqeuclidean(a, b) / 2 for a, b in roots]
    np.testing.assert_allclose(bhattacharyya(p, q), theirs, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_r2_correlation_and_brier_are_scikit_learns(seed: int) -> None:
    p, q = drawn(seed)
    assert r2(p, q) == pytest.approx(sklearn.metrics.r2_score(p.ravel(), q.ravel()), abs=1e-9)
    pearson = np.corrcoef(p.ravel(), q.ravel())[0, 1]
    assert correlation2(p, q) == pytest.approx(pearson**2, abs=1e-9)
    assert brier(p, q).mean() == pytest.approx(sklearn.metrics.mean_squared_error(p, q), abs=1e-9)


@pytest.mark.parametrize("k", [2, 4, 6])
def test_brier_of_one_hot_votes_is_scikit_learns_sum_over_k(k: int) -> None:
    rng = np.random.default_rng(k)
    truth, q = rng.integers(k, size=80), rng.dirichlet(np.ones(k), size=80)
    if k == 2:
        theirs = 2 * sklearn.metrics.brier_score_loss(truth, q[:, 1])
    else:
        theirs = float(
            np.mean([np.square(np.eye(k)[t] - row).sum() for t, row in zip(truth, q, strict=True)])
        )
    assert brier(np.eye(k)[truth], q).mean() * k == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_calibration_error_of_one_hot_votes_is_that_of_scikit_learns_curve(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, q = rng.integers(4, size=300), rng.dirichlet(np.full(4, 0.5), size=300)
    confidence, hit = q.max(1), q.argmax(1) == truth
    share, predicted = sklearn.calibration.calibration_curve(
        hit, confidence, n_bins=CALIBRATION_BINS, strategy="uniform"
    )
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    counts = np.histogram(confidence, edges)[0]
    theirs = (counts[counts > 0] * np.abs(share - predicted)).sum() / 300
    assert calibration_error(np.eye(4)[truth], q) == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("k", [1, 2])
def test_accuracy_of_one_hot_votes_is_scikit_learns(k: int) -> None:
    rng = np.random.default_rng(k)
    truth, q = rng.integers(5, size=300), rng.dirichlet(np.ones(5), size=300)
    theirs = sklearn.metrics.top_k_accuracy_score(truth, q, k=k, labels=range(5))
    assert top_accuracy(np.eye(5)[truth], q, k=k).mean() == pytest.approx(theirs, abs=1e-9)


# -- by hand -------------------------------------------------------------------------------------

HALF = [[0.5, 0.5, 0.0]]
SURE = [[1.0, 0.0, 0.0]]


def test_a_case_by_hand() -> None:
    """p = (½, ½, 0), q = (1, 0, 0), m = (¾, ¼, 0).

    JS = ½[½·log₂(2/3) + ½·log₂ 2 + log₂(4/3)] = ½[½(1 − log₂ 3) + ½ + 2 − log₂ 3] = 3/2 − ¾·log₂ 3;
    BC = √½; Brier = (¼ + ¼)/3; R² = 1 − ½/(2·(1/6)² + (1/3)²) = 1 − ½·6 = −2.
    """
    assert jensen_shannon(HALF, SURE)[0] == pytest.approx(1.5 - 0.75 * math.log2(3), abs=1e-12)
    assert bhattacharyya(HALF, SURE)[0] == pytest.approx(math.sqrt(0.5), abs=1e-12)
    assert brier(HALF, SURE)[0] == pytest.approx(1 / 6, abs=1e-12)
    assert r2(HALF, SURE) == pytest.approx(-2, abs=1e-12)
    # Half of the listeners hear what is predicted with certainty.
    assert calibration_error(HALF, SURE) == pytest.approx(0.5, abs=1e-12)


TOP = {
    # votes, predicted → top-1, top-2
    "the majority": ([0.6, 0.4, 0.0], [0.5, 0.3, 0.2], 1, 1),
    "any of a tied majority": ([0.4, 0.4, 0.2], [0.1, 0.7, 0.2], 1, 1),
    "second place": ([0.6, 0.4, 0.0], [0.3, 0.5, 0.2], 0, 1),
    "third place": ([0.6, 0.4, 0.0], [0.1, 0.5, 0.4], 0, 0),
    "uniform": ([0.6, 0.4, 0.0], [1 / 3, 1 / 3, 1 / 3], 1 / 3, 2 / 3),
    "uniform, two right": ([0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3], 2 / 3, 1),
    "tied for second": ([0.6, 0.4, 0.0], [0.2, 0.6, 0.2], 0, 1 / 2),
    "tied for first": ([0.6, 0.4, 0.0], [0.4, 0.4, 0.2], 1 / 2, 1),
    "all votes tied": ([1 / 3, 1 / 3, 1 / 3], [0.1, 0.2, 0.7], 1, 1),
}


@pytest.mark.parametrize(("votes", "predicted", "top1", "top2"), TOP.values(), ids=TOP)
def test_ties(votes: list[float], predicted: list[float], top1: float, top2: float) -> None:
    assert top_accuracy([votes], [predicted], k=1)[0] == pytest.approx(top1, abs=1e-12)
    assert top_accuracy([votes], [predicted], k=2)[0] == pytest.approx(top2, abs=1e-12)


def test_calibration_is_by_bin() -> None:
    """Two in the bin of .6: too sure and not sure enough make up for one another; .9 stands alone."""
    votes = [[0.5, 0.5, 0.0], [0.7, 0.3, 0.0], [0.7, 0.3, 0.0]]
    predicted = [[0.6, 0.4, 0.0], [0.6, 0.4, 0.0], [0.9, 0.1, 0.0]]
    assert calibration_error(votes, predicted) == pytest.approx(0.2 / 3, abs=1e-12)


def test_the_prior_explains_nothing() -> None:
    votes, _ = drawn(0)
    uniform = np.full_like(votes, 1 / votes.shape[1])
    assert r2(votes, uniform) == pytest.approx(0, abs=1e-12)
    assert math.isnan(correlation2(votes, uniform))
    assert math.isnan(r2(uniform, votes))


# -- what must always hold -----------------------------------------------------------------------


@given(PAIRS)
def test_bounds(pair: tuple[Floats, Floats]) -> None:
    p, q = pair
    k = p.shape[1]
    for value in (jensen_shannon(p, q), bhattacharyya(p, q)):
        assert ((value >= 0) & (value <= 1)).all()
    assert (brier(p, q) <= 2 / k + 1e-12).all()
    assert 0 <= calibration_error(p, q) <= 1
    ones, twos = top_accuracy(p, q, k=1), top_accuracy(p, q, k=2)
    assert ((ones >= 0) & (ones <= twos) & (twos <= 1)).all()
    np.testing.assert_allclose(top_accuracy(p, q, k=k), 1)


@given(PAIRS)
def test_symmetry(pair: tuple[Floats, Floats]) -> None:
    p, q = pair
    for metric in (jensen_shannon, bhattacharyya, brier):
        np.testing.assert_allclose(metric(p, q), metric(q, p), atol=1e-12)


@given(PAIRS)
def test_equal_distributions(pair: tuple[Floats, Floats]) -> None:
    p, _ = pair
    np.testing.assert_allclose(jensen_shannon(p, p), 0, atol=1e-12)
    np.testing.assert_allclose(bhattacharyya(p, p), 1, atol=1e-12)
    np.testing.assert_array_equal(brier(p, p), 0)
    np.testing.assert_allclose(top_accuracy(p, p, k=2), 1, atol=1e-12)
    assert calibration_error(p, p) == pytest.approx(0, abs=1e-12)
    assume(np.ptp(p) > 0)
    assert r2(p, p) == 1
    assert correlation2(p, p) == pytest.approx(1)


def test_nothing_in_common() -> None:
    p, q = np.array([[0.5, 0.5, 0, 0]]), np.array([[0, 0, 0.3, 0.7]])
    assert jensen_shannon(p, q)[0] == pytest.approx(1)
    assert bhattacharyya(p, q)[0] == 0
    assert top_accuracy(p, q, k=2)[0] == 0


@given(PAIRS, st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_the_order_of_labels_does_not_matter(pair: tuple[Floats, Floats], random: Any) -> None:
    p, q = pair
    order = list(range(p.shape[1]))
    random.shuffle(order)
    one = distribution_estimates(p, q, samples=4, seed=0)
    two = distribution_estimates(p[:, order], q[:, order], samples=4, seed=0)
    for name in METRICS:
        assert two[name].value == pytest.approx(one[name].value, abs=1e-9, nan_ok=True)


@given(PAIRS)
def test_why_the_papers_js_is_in_bits(pair: tuple[Floats, Floats]) -> None:
    """ln 2·(1 − BC) ≤ JS in nats ≤ 1 − BC, of every pair and so of every mean.

    The paper's JS exceeds 1 − BC each time, and is within 1 to 1/ln 2 times it: that is bits.
    """
    p, q = pair
    js, apart = jensen_shannon(p, q), 1 - bhattacharyya(p, q)
    assert (js >= apart - 1e-9).all()
    assert (js * math.log(2) <= apart + 1e-9).all()


@pytest.mark.parametrize(("js", "bc"), [(0.40, 0.64), (0.20, 0.82), (0.25, 0.78), (0.17, 0.86)])
def test_the_papers_pairs_are_pairs_in_bits(js: float, bc: float) -> None:
    assert js > 1 - bc  # no divergence in nats
    assert 1 - bc <= js <= (1 - bc) / math.log(2)


# -- estimates -----------------------------------------------------------------------------------


def test_estimates_hold_every_metric_with_its_interval() -> None:
    p, q = drawn(1)
    found = distribution_estimates(p, q, samples=200, seed=0)
    assert tuple(found) == METRICS
    assert {e.n for e in found.values()} == {200}
    for name, estimate in found.items():
        assert estimate.lo <= estimate.value <= estimate.hi or name == "calibration_error"
        assert estimate.lo < estimate.hi
    assert found["js"] == mean_estimate(jensen_shannon(p, q), samples=200, seed=0)
    assert found["r2"].value == r2(p, q)
    assert found["correlation2"].value == correlation2(p, q)
    assert found["calibration_error"].value == calibration_error(p, q)
    assert found == distribution_estimates(p, q, samples=200, seed=0)


def test_intervals_are_those_of_whole_draws() -> None:
    """A statistic of the draws is the metric of the utterances drawn."""
    p, q = drawn(2, n=30)
    rng = np.random.default_rng(0)
    for metric, name in (
        (r2, "_r2"),
        (correlation2, "_correlation2"),
        (calibration_error, "_calibration"),
    ):
        from cogaudio_rl.eval import distribution

        draws = rng.integers(30, size=(5, 30))
        found = getattr(distribution, name)(p, q, draws)
        np.testing.assert_allclose(found, [metric(p[d], q[d]) for d in draws], atol=1e-12)


BAD = {
    "sum": ([[0.5, 0.4]], "row 0 of votes is no distribution"),
    "second row": ([[0.5, 0.5], [1.0, 1.0]], r"row 1 of votes is no distribution: .* sums to 2"),
    "negative": ([[-0.5, 1.5]], "row 0 of votes"),
    "nan": ([[math.nan, 1.0]], "row 0 of votes"),
    "infinite": ([[math.inf, 0.0]], "row 0 of votes"),
    "one label": ([[1.0]], r"\[N, K\] with N >= 1 and K >= 2, got \[1, 1\]"),
    "nothing": (np.zeros((0, 3)), r"got \[0, 3\]"),
    "one row": ([0.5, 0.5], r"got \[2\]"),
}


@pytest.mark.parametrize(("votes", "told"), BAD.values(), ids=BAD)
def test_what_is_no_distribution_is_refused_not_normalised(votes: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        checked(votes, votes)


def test_other_shapes_and_places_are_refused() -> None:
    with pytest.raises(ValueError, match=r"votes are \[1, 3\] and predicted are \[1, 2\]"):
        checked(HALF, [[0.5, 0.5]])
    for k, (metric, other) in itertools.product((0, 4), [(HALF, SURE)]):
        with pytest.raises(ValueError, match=f"k must be 1 to 3, got {k}"):
            top_accuracy(metric, other, k=k)


def test_clips_of_one_voice_are_drawn_together() -> None:
    """Voices that differ and clips that do not: what is uncertain is which voices there were."""
    rng = np.random.default_rng(0)
    level = rng.normal(size=12)
    values = np.repeat(level, 20)
    voices = [f"v{i}" for i in range(12) for _ in range(20)]
    found = mean_over(values, voices, samples=2000, seed=0)
    assert found.value == pytest.approx(level.mean())
    assert found.n == 240
    alike = mean_estimate(level, samples=2000, seed=0)  # one number of each voice
    assert found.hi - found.lo == pytest.approx(alike.hi - alike.lo, rel=0.1)
    apart = mean_over(values, [str(i) for i in range(240)], samples=2000, seed=0)
    assert found.hi - found.lo > 3 * (apart.hi - apart.lo)
    one = mean_over(values, ["v"] * 240, samples=200, seed=0)
    assert one == mean_estimate(values, samples=200, seed=0)


def test_all_metrics_have_intervals_over_voices() -> None:
    p, q = drawn(3, n=60)
    voices = [str(i % 6) for i in range(60)]
    found = distribution_estimates(p, q, samples=100, seed=0, voices=voices)
    clips = distribution_estimates(p, q, samples=100, seed=0)
    assert {name: e.value for name, e in found.items()} == pytest.approx(
        {name: e.value for name, e in clips.items()}
    )
    assert all(e.lo < e.hi for e in found.values())
