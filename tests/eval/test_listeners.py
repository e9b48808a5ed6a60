"""Listeners against listeners: known crowds, and the real votes of CREMA-D where they are at hand."""

from __future__ import annotations

import numpy as np
import pytest
from sounds import REAL_DATA

from cogaudio_rl.data.corpora.crema_d import read_votes
from cogaudio_rl.eval.distribution import METRICS, distribution_estimates
from cogaudio_rl.eval.listeners import human_bounds


def crowd(clips: int, listeners: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Votes of so many, and the distribution they are drawn from."""
    rng = np.random.default_rng(seed)
    truth = rng.dirichlet(np.full(6, 0.4), size=clips)
    return np.stack([rng.multinomial(listeners, row) for row in truth]), truth


def test_all_metrics_of_both_bounds() -> None:
    counts, _ = crowd(60, 10)
    found = human_bounds(counts, samples=50, seed=0)
    assert set(found) == {"halves", "redrawn"}
    for estimates in found.values():
        assert tuple(estimates) == METRICS
        assert all(e.n == 60 for e in estimates.values())
        assert estimates["js"].lo < estimates["js"].value < estimates["js"].hi
    assert found == human_bounds(counts, samples=50, seed=0)
    assert found != human_bounds(counts, samples=50, seed=1)


def test_who_knows_the_distribution_stands_between_the_two() -> None:
    counts, truth = crowd(2_000, 10)
    found = human_bounds(counts, samples=20, seed=0)
    shares = counts / counts.sum(axis=1, keepdims=True)
    knows = distribution_estimates(shares, truth, samples=20, seed=0)["js"]
    assert found["redrawn"]["js"].hi < knows.lo
    assert knows.hi < found["halves"]["js"].lo


def test_more_listeners_agree_better() -> None:
    few, many = (human_bounds(crowd(400, n)[0], samples=20, seed=0) for n in (4, 200))
    for name in few:
        assert many[name]["js"].hi < few[name]["js"].lo
    assert many["halves"]["r2"].value > 0.9


def test_listeners_of_one_mind_are_no_distance_apart() -> None:
    counts = np.tile([0, 7, 0, 0], (5, 1))
    for estimates in human_bounds(counts, samples=10, seed=0).values():
        assert estimates["js"].value == 0
        assert estimates["top1"].value == 1


def test_a_single_vote_has_no_halves() -> None:
    counts = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]])
    assert human_bounds(counts, samples=5, seed=0)["halves"]["js"].n == 1
    with pytest.raises(ValueError, match="no clip has two votes"):
        human_bounds(counts[[0, 2]], samples=5, seed=0)


@pytest.mark.parametrize("counts", [[[0.5, 0.5]], [[-1, 2]], [1, 2]])
def test_shares_are_no_counts(counts: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="counts must be whole numbers"):
        human_bounds(counts, samples=5, seed=0)


TABLE = REAL_DATA / "crema_d" / "tabulatedVotes.csv"


@pytest.mark.skipif(
    not TABLE.is_file(), reason=f"CREMA-D's votes are not in {REAL_DATA}; they are not shipped"
)
def test_the_paper_stands_between_the_bounds_of_crema_ds_listeners() -> None:
    """Half of them tell the other half's votes with a JS of .23; the paper's best model has .17."""
    counts = np.array([list(of.values()) for of in read_votes(TABLE).values()])
    found = human_bounds(counts, samples=50, seed=0)
    assert found["halves"]["js"].n == 7_442
    assert found["halves"]["js"].value == pytest.approx(0.232, abs=0.005)
    assert found["redrawn"]["js"].value == pytest.approx(0.052, abs=0.005)
    assert found["redrawn"]["js"].hi < 0.17 < found["halves"]["js"].lo


@pytest.mark.skipif(
    not TABLE.is_file(), reason=f"CREMA-D's votes are not in {REAL_DATA}; they are not shipped"
)
def test_the_papers_r2_is_no_coefficient_of_determination() -> None:
    """R² = 1 − Brier / variance of the cells, and its .54 stands beside a Brier score of .05."""
    counts = np.array([list(of.values()) for of in read_votes(TABLE).values()])
    shares = counts / counts.sum(axis=1, keepdims=True)
    assert 1 - 0.045 / shares.var() < 0.54 / 2
