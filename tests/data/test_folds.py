"""Nobody on two sides, everybody tested once."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sounds import an_utterance

from cogaudio_rl.data.corpora.reading import UNKNOWN_SPEAKER
from cogaudio_rl.data.folds import Fold, leave_one_session_out, speaker_folds
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import Utterance

SPEAKERS = st.lists(st.integers(1, 12), min_size=2, max_size=30)
"""How much each of them says."""


def said_by(numbers: dict[str, int]) -> list[Utterance]:
    return [
        an_utterance(f"{speaker}_{i}", speaker=speaker, text_id=f"t{i}")
        for speaker, count in numbers.items()
        for i in range(count)
    ]


def check(folds: tuple[Fold, ...], utterances: list[Utterance]) -> None:
    tested = Counter(u.id for fold in folds for u in fold.test)
    assert tested == Counter(u.id for u in utterances)
    for fold in folds:
        assert {u.speaker for u in fold.train}.isdisjoint(u.speaker for u in fold.test)
        assert fold.train
        assert fold.test
        together = {u.id for u in (*fold.train, *fold.test)}
        assert together == {u.id for u in utterances}
        assert list(fold.train) == [u for u in utterances if u in fold.train]


IEMOCAP = [f"iemocap_0{n}{sex}" for n in range(1, 6) for sex in "FM"]


def test_each_session_is_the_test_once() -> None:
    utterances = said_by({speaker: 3 + i for i, speaker in enumerate(IEMOCAP)})
    folds = leave_one_session_out(utterances)
    check(folds, utterances)
    assert [fold.name for fold in folds] == [f"Session{n}" for n in range(1, 6)]
    for number, fold in enumerate(folds, start=1):
        speakers = {u.speaker for u in fold.test}
        assert speakers == {f"iemocap_0{number}F", f"iemocap_0{number}M"}
        sessions = {u.speaker[:-1] for u in fold.train}
        assert f"iemocap_0{number}" not in sessions
        assert len(sessions) == 4


def test_a_stranger_or_a_single_session_is_refused() -> None:
    with pytest.raises(DataError, match="speaker 'crema_d_1001' is in none of IEMOCAP's sessions"):
        leave_one_session_out(said_by({"iemocap_01F": 1, "iemocap_02F": 1, "crema_d_1001": 1}))
    with pytest.raises(DataError, match="takes two, got Session1"):
        leave_one_session_out(said_by({"iemocap_01F": 1, "iemocap_01M": 1}))
    with pytest.raises(DataError, match="takes two, got none"):
        leave_one_session_out([])


@given(numbers=SPEAKERS, count=st.integers(2, 10), seed=st.integers(0, 5))
def test_each_speaker_is_tested_in_one_fold(numbers: list[int], count: int, seed: int) -> None:
    utterances = said_by({f"s{i}": number for i, number in enumerate(numbers)})
    count = min(count, len(numbers))
    folds = speaker_folds(utterances, count=count, seed=seed)
    assert [fold.name for fold in folds] == [f"fold{n + 1}" for n in range(count)]
    check(folds, utterances)
    homes = Counter(name for fold in folds for name in {u.speaker for u in fold.test})
    assert set(homes.values()) == {1}
    assert folds == speaker_folds(utterances, count=count, seed=seed)
    assert speaker_folds(utterances[::-1], count=count, seed=seed) == tuple(
        Fold(name=f.name, train=f.train[::-1], test=f.test[::-1]) for f in folds
    )


def test_folds_of_a_corpus_like_crema_d_are_of_one_size() -> None:
    """91 actors with 82 clips each, but for one."""
    numbers = {f"crema_d_{1001 + i}": 82 for i in range(91)} | {"crema_d_1076": 81}
    sizes = [len(f.test) for f in speaker_folds(said_by(numbers), count=5, seed=0)]
    assert max(sizes) - min(sizes) <= 82
    other = speaker_folds(said_by(numbers), count=5, seed=1)
    assert {u.speaker for u in other[0].test} != {
        u.speaker for u in speaker_folds(said_by(numbers), count=5, seed=0)[0].test
    }


@pytest.mark.parametrize("count", [0, 1, 4])
def test_folds_are_of_speakers(count: int) -> None:
    with pytest.raises(
        DataError, match=f"folds must be 2 to 3, the number of speakers, got {count}"
    ):
        speaker_folds(said_by({"a": 1, "b": 2, "c": 3}), count=count, seed=0)


def test_who_is_not_known_cannot_be_held_apart() -> None:
    with pytest.raises(DataError, match="its speaker is not known; leave it out"):
        speaker_folds(said_by({"a": 1, UNKNOWN_SPEAKER: 2}), count=2, seed=0)
