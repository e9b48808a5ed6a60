"""Emotions as points: distances by hand, and divergence pair by pair."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_results import make_results

from cogaudio_rl.eval.emotion_space import VALENCE_AROUSAL, divergence_by_pair, emotion_distance
from cogaudio_rl.eval.result import Row
from cogaudio_rl.types import KNOWN_EMOTIONS


@pytest.fixture(scope="module")
def row(tmp_path_factory: pytest.TempPathFactory) -> Row:
    folder: Path = tmp_path_factory.mktemp("made")
    return make_results(folder, models=("D",), families=1)["D"].rows[0]


def said(row: Row, family: str, emotion: str, reply: str) -> Row:
    answer = replace(row.answers["direct"], reply=reply)
    return replace(row, text_id=family, emotion=emotion, answers={"direct": answer})


def test_distances_by_hand():
    assert emotion_distance("neutral", "happy") == pytest.approx(0.9572, abs=5e-5)
    assert emotion_distance("angry", "fear") == pytest.approx(0.1304, abs=5e-5)


def test_every_supported_emotion_has_a_place_and_no_two_share_one():
    assert set(VALENCE_AROUSAL) == KNOWN_EMOTIONS
    for one, other in itertools.combinations(KNOWN_EMOTIONS, 2):
        assert emotion_distance(one, other) == emotion_distance(other, one) > 0


def test_valence_tells_pleasant_from_unpleasant():
    for emotion in ("sad", "angry", "fear", "disgust", "boredom"):
        assert VALENCE_AROUSAL[emotion][0] < 0 < VALENCE_AROUSAL["happy"][0]


def test_divergence_is_the_mean_over_families(row: Row):
    rows = [
        said(row, "one", "neutral", "the same words"),
        said(row, "one", "happy", "The same words!"),
        said(row, "two", "happy", "quite another thing"),
        said(row, "two", "neutral", "nothing in common"),
    ]
    (found,) = divergence_by_pair(rows)
    assert found.emotions == ("happy", "neutral")
    assert (found.divergence, found.families) == (0.5, 2)


def test_a_family_with_many_clips_counts_once(row: Row):
    rows = [
        said(row, "one", "sad", "alpha beta"),
        *[said(row, "one", "happy", "alpha beta")] * 9,
        said(row, "two", "sad", "gamma delta"),
        said(row, "two", "happy", "epsilon zeta"),
    ]
    assert divergence_by_pair(rows)[0].divergence == 0.5


def test_pairs_come_nearest_first(row: Row):
    rows = [said(row, "one", e, e) for e in ("happy", "angry", "fear", "sad")]
    found = divergence_by_pair(rows)
    assert len(found) == 6
    assert found[0].emotions == ("angry", "fear")
    assert [p.distance for p in found] == sorted(p.distance for p in found)


def test_what_has_no_place_or_no_direct_reply_is_left_out(row: Row):
    rows = [
        said(row, "one", "happy", "a"),
        said(row, "one", "smug", "b"),
        replace(said(row, "one", "sad", "c"), answers={}),
    ]
    assert divergence_by_pair(rows) == ()
