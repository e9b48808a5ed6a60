"""One number of several seeds: worked by hand, and what an interval over seeds may never do."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cogaudio_rl.eval.metrics import Estimate
from cogaudio_rl.eval.over_seeds import over_seeds

NOTHING = Estimate(value=math.nan, lo=math.nan, hi=math.nan, n=0)


def around(value: float, below: float, above: float, n: int = 100) -> Estimate:
    return Estimate(value=value, lo=value - below, hi=value + above, n=n)


def test_three_seeds_worked_by_hand() -> None:
    """std(.2, .3, .4) = .1, so .1/√3 = .0577350; t(0.975, 2) = 4.3026527, so half a seed interval is
    .2484137; below √(.1² + .2484137²) = .2677861, above √(.2² + .2484137²) = .3189191."""
    found = over_seeds(
        {0: around(0.2, 0.1, 0.2), 1: around(0.3, 0.1, 0.2), 2: around(0.4, 0.1, 0.2)}
    )
    assert found.value == pytest.approx(0.3)
    assert found.lo == pytest.approx(0.3 - 0.2677861, abs=1e-6)
    assert found.hi == pytest.approx(0.3 + 0.3189191, abs=1e-6)


def test_two_seeds_worked_by_hand() -> None:
    """std(.5, .6) = .0707107, /√2 = .05; t(0.975, 1) = 12.7062047: .6353102. Below nothing else."""
    found = over_seeds({3: around(0.5, 0.0, 0.0), 7: around(0.6, 0.0, 0.0)})
    assert (found.lo, found.hi) == pytest.approx((0.55 - 0.6353102, 0.55 + 0.6353102), abs=1e-6)
    bounded = over_seeds({3: around(0.5, 0.0, 0.0), 7: around(0.6, 0.0, 0.0)}, lowest=0, highest=1)
    assert (bounded.lo, bounded.hi) == (0, 1)


def test_one_seed_is_itself_and_none_is_nothing() -> None:
    alone = around(0.4, 0.1, 0.05, n=21)
    found = over_seeds({0: alone, 1: NOTHING})
    assert (found.value, found.n) == (0.4, 21)
    assert (found.lo, found.hi) == pytest.approx((alone.lo, alone.hi))
    assert over_seeds({0: NOTHING}).n == 0
    assert math.isnan(over_seeds({}).value)


def test_n_is_what_every_seed_rests_on() -> None:
    assert over_seeds({0: around(0.5, 0.1, 0.1, n=9), 1: around(0.5, 0.1, 0.1, n=12)}).n == 9


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6), st.floats(0.001, 0.2))
def test_the_seed_only_ever_widens_it(values: list[float], half: float) -> None:
    found = over_seeds({i: around(value, half, half) for i, value in enumerate(values)})
    assert found.lo <= found.value <= found.hi
    assert found.hi - found.value >= half - 1e-12
    assert found.value - found.lo >= half - 1e-12
    same = over_seeds({i: around(values[0], half, half) for i in range(len(values))})
    assert same.hi - same.value == pytest.approx(half)
