"""Requests wait until the rate allows them, by a clock that the test turns."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cogaudio_rl.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_without_limits_nobody_waits() -> None:
    pace = Pace(requests_per_minute=None, tokens_per_minute=None, clock=Clock())
    assert [pace.reserve(10_000) for _ in range(5)] == [0.0] * 5


def test_requests_stand_in_line() -> None:
    clock = Clock()
    pace = Pace(requests_per_minute=30, tokens_per_minute=None, clock=clock)
    assert [pace.reserve(1) for _ in range(4)] == pytest.approx([0, 2, 4, 6])
    clock.now += 60  # what was not used in a quiet minute is not saved up
    assert [pace.reserve(1) for _ in range(3)] == pytest.approx([0, 2, 4])


def test_a_long_request_holds_back_those_behind_it() -> None:
    pace = Pace(requests_per_minute=None, tokens_per_minute=600, clock=Clock())
    assert [pace.reserve(n) for n in (100, 10, 50)] == pytest.approx([0, 10, 11])


def test_tokens_that_were_not_used_are_given_back() -> None:
    pace = Pace(requests_per_minute=None, tokens_per_minute=600, clock=Clock())
    pace.reserve(100)
    pace.give_back(60)
    assert pace.reserve(1) == pytest.approx(4)
    pace.give_back(-20)
    assert pace.reserve(1) == pytest.approx(6.1)


@given(
    st.lists(st.tuples(st.floats(0, 20), st.integers(1, 400)), min_size=1, max_size=80),
    st.integers(1, 100),
    st.integers(100, 5_000),
)
def test_no_minute_holds_more_than_the_limits(
    asked: list[tuple[float, int]], requests: int, tokens: int
) -> None:
    clock = Clock()
    pace = Pace(requests_per_minute=requests, tokens_per_minute=tokens, clock=clock)
    sent: list[tuple[float, int]] = []
    for later_s, size in asked:
        clock.now += later_s
        sent.append((clock.now + pace.reserve(size), size))
    assert all(a <= b for (a, _), (b, _) in itertools.pairwise(sent))
    for i, (start, _) in enumerate(sent):
        minute = [size for at, size in sent[i:] if at < start + 60 - 1e-6]
        assert len(minute) <= requests
        assert sum(minute[:-1]) <= tokens + 1e-6, "but for the last request's own"
