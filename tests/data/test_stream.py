from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sounds import an_utterance

from cogaudio_rl.data.stream import UtteranceStream
from cogaudio_rl.errors import DataError

sizes = st.lists(st.integers(1, 12), min_size=1, max_size=8)


def ids(stream: UtteranceStream, steps: list[int]) -> list[str]:
    return [u.id for n in steps for u in stream.next(n)]


@given(size=st.integers(1, 9), before=sizes, after=sizes, seed=st.integers(0, 3))
def test_stopping_and_resuming_equals_never_stopping(
    size: int, before: list[int], after: list[int], seed: int
) -> None:
    utterances = [an_utterance(f"u{i}") for i in range(size)]
    steady = ids(UtteranceStream(utterances, seed), before + after)
    stopped = UtteranceStream(utterances, seed)
    first = ids(stopped, before)
    state = json.loads(json.dumps(stopped.state()))
    assert first + ids(UtteranceStream.restore(utterances, seed, state), after) == steady


@given(size=st.integers(1, 9), passes=st.integers(1, 4), step=st.integers(1, 12))
def test_every_pass_gives_each_utterance_exactly_once(size: int, passes: int, step: int) -> None:
    stream = UtteranceStream([an_utterance(f"u{i}") for i in range(size)], 0)
    given_out: list[str] = []
    while len(given_out) < size * passes:
        given_out += ids(stream, [step])
    for number in range(passes):
        assert set(Counter(given_out[number * size : (number + 1) * size]).values()) == {1}


def test_each_pass_has_its_own_order_and_each_seed_its_own() -> None:
    utterances = [an_utterance(f"u{i}") for i in range(50)]
    stream = UtteranceStream(utterances, 0)
    first, second = ids(stream, [50]), ids(stream, [50])
    assert first != second
    assert ids(UtteranceStream(utterances, 0), [50]) == first
    assert ids(UtteranceStream(utterances, 1), [50]) != first


def test_peeking_moves_nothing() -> None:
    stream = UtteranceStream([an_utterance(f"u{i}") for i in range(5)], 0)
    ahead = stream.peek(7)
    assert stream.next(7) == ahead


def test_what_it_cannot_stream_is_said() -> None:
    with pytest.raises(DataError, match="split 'rl' is empty"):
        UtteranceStream([], 0)
    stream = UtteranceStream([an_utterance()], 0)
    with pytest.raises(ValueError, match="n must be >= 1, got 0"):
        stream.next(0)


@pytest.mark.parametrize(("names", "seed"), [(("u0", "other"), 0), (("u0", "u1"), 1)])
def test_it_does_not_go_on_over_other_data(names: tuple[str, ...], seed: int) -> None:
    state = UtteranceStream([an_utterance("u0"), an_utterance("u1")], 0).state()
    with pytest.raises(DataError, match="resume with the data it began with"):
        UtteranceStream.restore([an_utterance(name) for name in names], seed, state)
