"""Agreement: the published worked example, tables by hand, identities, and what must always hold."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from cogaudio_rl.eval.agreement import (
    Agreement,
    Weights,
    agreement,
    bootstrap,
    drawn_counts,
    icc_2_1,
    weighted_kappa,
)
from cogaudio_rl.eval.metrics import mean_estimate

SHROUT_FLEISS = [
    [9, 2, 5, 8],
    [6, 1, 3, 2],
    [8, 4, 6, 8],
    [7, 1, 2, 6],
    [10, 5, 6, 9],
    [6, 2, 4, 7],
]
"""Table 2 of Shrout & Fleiss (1979): six targets, four judges."""

LEVELS = (1, 2, 3, 4)

ratings_of = st.integers(2, 4).flatmap(
    lambda k: st.lists(
        st.lists(st.sampled_from(LEVELS), min_size=k, max_size=k), min_size=2, max_size=12
    )
)


def icc_by_regression(ratings: npt.ArrayLike) -> float:
    """ICC(2,1) from the residuals of least-squares models with dummies, one factor at a time."""
    y = np.asarray(ratings, dtype=np.float64)
    n, k = y.shape
    subject, rater = np.repeat(np.arange(n), k), np.tile(np.arange(k), n)
    one = np.ones((n * k, 1))
    subjects, raters = np.eye(n)[subject], np.eye(k)[rater]

    def residual(*blocks: npt.NDArray[np.float64]) -> float:
        design = np.hstack([one, *blocks])
        fitted = design @ np.linalg.lstsq(design, y.ravel(), rcond=None)[0]
        return float(np.square(y.ravel() - fitted).sum())

    both = residual(subjects, raters)
    bms = (residual(raters) - both) / (n - 1)
    jms = (residual(subjects) - both) / (k - 1)
    ems = both / ((n - 1) * (k - 1))
    return (bms - ems) / (bms + (k - 1) * ems + k * (jms - ems) / n)


def test_icc_of_shrout_and_fleiss():
    """Their table 3: BMS 11.24, JMS 32.49, EMS 1.02; their table 4: .29.

    Times 9 the mean squares are whole: BMS − EMS = 92/9, and the sum below it is 317.5/9.
    """
    published = (11.24 - 1.02) / (11.24 + 3 * 1.02 + 4 * (32.49 - 1.02) / 6)
    assert icc_2_1(SHROUT_FLEISS) == pytest.approx(published, abs=2e-4)
    assert icc_2_1(SHROUT_FLEISS) == pytest.approx(92 / 317.5, abs=1e-12)
    assert icc_2_1(SHROUT_FLEISS) == pytest.approx(icc_by_regression(SHROUT_FLEISS), abs=1e-6)
    assert round(icc_2_1(SHROUT_FLEISS), 4) == 0.2898


@given(ratings_of)
def test_icc_agrees_with_least_squares(ratings: list[list[int]]):
    ours = icc_2_1(ratings)
    assume(not math.isnan(ours))
    assert ours == pytest.approx(icc_by_regression(ratings), abs=1e-6)


@given(ratings_of, st.randoms(use_true_random=False))
def test_who_is_called_first_does_not_matter(ratings: list[list[int]], random):
    order = list(range(len(ratings[0])))
    random.shuffle(order)
    shuffled = [[row[rater] for rater in order] for row in ratings]
    assert icc_2_1(shuffled) == pytest.approx(icc_2_1(ratings), abs=1e-12, nan_ok=True)


@given(st.lists(st.sampled_from(LEVELS), min_size=2, max_size=20), st.integers(2, 5))
def test_raters_of_one_mind_agree_perfectly(levels: list[int], raters: int):
    assume(len(set(levels)) > 1)
    found = agreement(np.tile(levels, (raters, 1)).T, samples=20, seed=0)
    assert found.icc.value == pytest.approx(1)
    assert found.kappa.value == pytest.approx(1)


@given(ratings_of, st.integers(1, 3))
def test_a_rater_who_is_always_milder_costs_agreement(ratings: list[list[int]], offset: int):
    table = np.array(ratings, dtype=np.float64)
    assume(icc_2_1(table) > 1e-9)
    milder = table.copy()
    # The mildest moves further from the rest; another might come nearer to them.
    milder[:, table.mean(0).argmax()] += offset
    assert icc_2_1(milder) < icc_2_1(table)


@pytest.mark.parametrize("value", [3, 0.1, 1e9])
def test_icc_of_ratings_that_never_vary_does_not_exist(value: float):
    assert math.isnan(icc_2_1(np.full((7, 3), value)))


@pytest.mark.parametrize(
    ("ratings", "told"),
    [
        ([[1, 2]], r"at least 2 of each, got shape \[1, 2\]"),
        ([[1], [2]], r"got shape \[2, 1\]"),
        ([], r"got shape \[0\]"),
        ([[1, 2], [3, math.nan]], "subject 1 by rater 1 is nan"),
        ([[1, math.inf], [3, 4]], "subject 0 by rater 1 is inf"),
    ],
)
def test_icc_names_what_it_cannot_use(ratings: list[list[float]], told: str):
    with pytest.raises(ValueError, match=told):
        icc_2_1(ratings)


def pairs_of(counts: list[list[int]]) -> tuple[list[int], list[int]]:
    """The ratings behind a table of counts, first rater down, second across."""
    cells = [
        (i, j) for i, row in enumerate(counts, 1) for j, n in enumerate(row, 1) for _ in range(n)
    ]
    return [i for i, _ in cells], [j for _, j in cells]


@pytest.mark.parametrize(
    ("weights", "kappa"),
    [
        # Of 10: cost seen (1 + 1 + 4)/10 = 0.6; by chance, margins 3 3 4 and 3 3 4:
        # (2·9·1 + 2·12·1 + 2·12·4)/100 = 1.38. Linear: (1 + 1 + 2)/10 against (18 + 24 + 48)/100.
        ("quadratic", 1 - 0.6 / 1.38),
        ("linear", 1 - 0.4 / 0.9),
    ],
)
def test_weighted_kappa_of_a_table_by_hand(weights: Weights, kappa: float):
    a, b = pairs_of([[2, 1, 0], [0, 2, 1], [1, 0, 3]])
    assert weighted_kappa(a, b, levels=(1, 2, 3), weights=weights) == pytest.approx(
        kappa, abs=1e-12
    )


def test_a_level_nobody_used_still_lies_between_its_neighbours():
    """1 against 3 is two levels apart, so it costs 4 where 1 against 2 costs 1."""
    a, b = [1, 1, 3, 3, 4, 1], [1, 3, 3, 3, 4, 4]
    assert weighted_kappa(a, b, levels=LEVELS) != pytest.approx(
        weighted_kappa(a, b, levels=(1, 3, 4))
    )


@given(ratings_of)
def test_quadratic_kappa_is_lins_concordance(ratings: list[list[int]]):
    """2·cov / (var + var + (difference of means)²) with population moments, no table at all.

    Lin (1989); Fleiss & Cohen (1973) for the weights.
    """
    a, b = np.array(ratings, dtype=np.float64)[:, :2].T
    whole = a.var() + b.var() + (a.mean() - b.mean()) ** 2
    assume(whole > 0)
    lin = 2 * np.mean((a - a.mean()) * (b - b.mean())) / whole
    both = ([int(x) for x in a], [int(x) for x in b])
    assert weighted_kappa(*both, levels=LEVELS) == pytest.approx(lin, abs=1e-6)
    found = agreement(np.column_stack([a, b]), samples=2, seed=0)
    assert found.kappa.value == pytest.approx(lin, abs=1e-6)


def test_kappa_of_three_raters_is_the_mean_of_scikit_learns_over_pairs():
    ratings = np.random.default_rng(4).integers(1, 5, size=(40, 3))
    ratings[:, 1] = np.clip(ratings[:, 0] + (ratings[:, 1] > 3), 1, 4)
    pairs = [
        cohen_kappa_score(ratings[:, i], ratings[:, j], weights="quadratic", labels=LEVELS)
        for i, j in itertools.combinations(range(3), 2)
    ]
    found = agreement(ratings, samples=50, seed=0)
    assert found.kappa.value == pytest.approx(np.mean(pairs), abs=1e-6)


def test_kappa_of_one_level_alone_does_not_exist():
    assert math.isnan(weighted_kappa([3, 3, 3], [3, 3, 3], levels=LEVELS))
    assert weighted_kappa([3, 3, 3], [2, 2, 2], levels=LEVELS) == 0


@pytest.mark.parametrize(
    ("a", "b", "told"),
    [
        ([], [], "got 0 and 0"),
        ([1, 2], [1], "got 2 and 1"),
        ([1, 2], [1, 5], "rating 5 is not one of 1, 2, 3, 4"),
    ],
)
def test_kappa_names_what_it_cannot_use(a: list[int], b: list[int], told: str):
    with pytest.raises(ValueError, match=told):
        weighted_kappa(a, b, levels=LEVELS)


def test_a_rating_between_levels_has_no_kappa():
    with pytest.raises(ValueError, match=r"rating 2\.5 is not one of 1, 2, 3, 4"):
        agreement([[1, 2], [2.5, 3]], samples=10, seed=0)


def two_raters(n: int, seed: int) -> npt.NDArray[np.int64]:
    rng = np.random.default_rng(seed)
    level = rng.integers(1, 5, size=n)
    return np.column_stack([level, np.clip(level + rng.integers(-1, 2, size=n), 1, 4)])


def test_intervals_agree_with_scipy_percentile_bootstrap():
    ratings = two_raters(60, seed=1)
    found = agreement(ratings, samples=4_000, seed=0)

    def theirs(statistic) -> tuple[float, float]:
        interval = scipy.stats.bootstrap(
            (np.arange(60),),
            lambda drawn: statistic(ratings[drawn]),
            n_resamples=4_000,
            method="percentile",
            vectorized=False,
            rng=np.random.default_rng(2),
        ).confidence_interval
        return interval.low, interval.high

    def kappa(drawn: npt.NDArray[np.int64]) -> float:
        a, b = drawn.T
        return 1 - np.square(a - b).mean() / np.square(np.subtract.outer(a, b)).mean()

    assert (found.icc.lo, found.icc.hi) == pytest.approx(theirs(icc_2_1), abs=0.015)
    assert (found.kappa.lo, found.kappa.hi) == pytest.approx(theirs(kappa), abs=0.015)


def test_same_seed_same_agreement_and_other_seeds_differ():
    ratings = two_raters(30, seed=2)
    one = agreement(ratings, samples=200, seed=7)
    assert one == agreement(ratings, samples=200, seed=7)
    assert one != agreement(ratings, samples=200, seed=8)


def test_agreement_that_does_not_exist_rests_on_nothing():
    found = agreement(np.full((5, 2), 3), samples=50, seed=0)
    assert isinstance(found, Agreement)
    for estimate in (found.kappa, found.icc):
        assert estimate.n == 0
        assert math.isnan(estimate.value)
        assert not estimate.excludes_zero


def test_draws_of_one_level_alone_are_left_out_not_counted_as_zero():
    """Of three subjects about one draw in nine holds the first of them three times, or the like."""
    found = agreement([[1, 1], [1, 1], [4, 4]], samples=500, seed=0)
    assert (found.icc.value, found.icc.lo, found.icc.hi) == pytest.approx((1, 1, 1))


def test_the_bootstrap_of_a_mean_is_that_of_mean_estimate():
    values = np.random.default_rng(5).normal(size=40)
    ours = bootstrap(lambda drawn_BN: values[drawn_BN].mean(1), 40, samples=300, seed=3)
    theirs = mean_estimate(values, samples=300, seed=3)
    assert ours.n == theirs.n
    assert (ours.value, ours.lo, ours.hi) == pytest.approx((theirs.value, theirs.lo, theirs.hi))


def test_many_units_are_drawn_in_blocks_without_changing_the_count():
    values = np.tile([0.0, 1.0], 300_000)
    blocks: list[int] = []

    def means(drawn_BN: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        blocks.append(len(drawn_BN))
        return values[drawn_BN].mean(1)

    assert bootstrap(means, values.size, samples=3, seed=0).n == 600_000
    assert blocks == [1, 1, 1, 1]  # all units once, then three draws of one block each


def test_a_bootstrap_without_samples_is_refused():
    with pytest.raises(ValueError, match="samples must be >= 1, got 0"):
        bootstrap(lambda drawn_BN: drawn_BN.mean(1), 3, samples=0, seed=0)


def test_each_draw_is_counted_by_itself():
    counts = drawn_counts(np.array([0, 2, 2]), np.array([[0, 1, 2], [0, 0, 0]]), 4)
    assert counts.tolist() == [[1, 0, 2, 0], [3, 0, 0, 0]]
