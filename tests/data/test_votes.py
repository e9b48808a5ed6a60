"""Votes as distributions over one task's labels: kept, quarantined or refused, never bent unasked."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from sounds import an_utterance

from cogaudio_rl.data.corpora.emotions import CREMA_D, FOUR_CLASSES, IEMOCAP_VOTES
from cogaudio_rl.data.votes import (
    check_votes,
    shares_of,
    vote_counts,
    vote_table,
    with_votes,
)
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import Utterance

SIX = tuple(CREMA_D.values())


def voted(name: str, votes: dict[str, float] | None, listeners: int | None = 10) -> Utterance:
    return dataclasses.replace(an_utterance(name), votes=votes, listeners=listeners)


def crema_d(name: str = "c", **shares: float) -> Utterance:
    return voted(name, dict.fromkeys(SIX, 0.0) | shares)


def iemocap(name: str = "i", listeners: int = 3, **shares: float) -> Utterance:
    return voted(name, dict.fromkeys(IEMOCAP_VOTES.values(), 0.0) | shares, listeners)


def test_a_table_is_in_the_order_of_the_labels() -> None:
    clips = [crema_d("a", sad=0.6, angry=0.4), crema_d("b", happy=1.0)]
    found = vote_table(clips, SIX)
    assert found.tolist() == [[0.4, 0, 0, 0, 0, 0.6], [0, 0, 0, 1, 0, 0]]
    assert vote_table(clips, tuple(reversed(SIX))).tolist() == found[:, ::-1].tolist()
    assert vote_counts(clips, SIX).tolist() == [[4, 0, 0, 0, 0, 6], [0, 0, 0, 10, 0, 0]]
    assert vote_table([], SIX).shape == (0, 6)


QUARANTINED: dict[str, tuple[Utterance, str]] = {
    "no votes": (voted("u", None, None), "it has no votes"),
    "one vote": (
        voted("u", dict.fromkeys(SIX, 0.0) | {"sad": 1.0}, 1),
        "one vote is no distribution; it takes 2 listeners",
    ),
    "sum": (crema_d("u", sad=0.5, angry=0.25), "vote shares must sum to 1, got 0.75"),
    "other labels": (voted("u", {"sad": 0.5, "happy": 0.5}), "could not choose 'angry'"),
    "outside": (
        crema_d("u", sad=0.5, surprise=0.5),
        "some heard what is no label of this task: surprise 0.50",
    ),
}


@pytest.mark.parametrize(("clip", "why"), QUARANTINED.values(), ids=QUARANTINED)
def test_what_is_no_distribution_over_the_labels_is_set_aside(clip: Utterance, why: str) -> None:
    good = crema_d("good", neutral=0.9, sad=0.1)
    found = with_votes([clip, good], SIX)
    assert found.utterances == (good,)
    assert list(found.quarantined) == ["u"]
    assert why in found.quarantined["u"]
    assert not found.renormalised
    with pytest.raises(DataError, match="utterance 'u': ") as told:
        vote_table([good, clip], SIX)
    assert "\n" not in str(told.value)


def test_corpora_of_other_labels_do_not_mix() -> None:
    """CREMA-D's listeners were never offered surprise: nobody choosing it says nothing."""
    clips = [crema_d(neutral=1.0), iemocap(neutral=1.0)]
    with pytest.raises(DataError, match="'c': its listeners could not choose 'surprise'"):
        vote_table(clips, (*SIX, "surprise"))
    assert vote_table(clips, SIX).shape == (2, 6)


def test_four_classes_of_iemocap() -> None:
    merge = {"excited": "happy"}
    excited = iemocap("excited", happy=1 / 3, excited=1 / 3, angry=1 / 3)
    frustrated = iemocap("frustrated", angry=2 / 3, frustrated=1 / 3)
    neither = iemocap("neither", frustrated=2 / 3, other=1 / 3)
    clips = [excited, frustrated, neither]
    found = with_votes(clips, FOUR_CLASSES, merge=merge)
    assert [u.id for u in found.utterances] == ["excited"]
    assert found.utterances[0].votes == pytest.approx(
        {"angry": 1 / 3, "happy": 2 / 3, "neutral": 0, "sad": 0}
    )
    assert "frustrated 0.33" in found.quarantined["frustrated"]
    asked = with_votes(clips, FOUR_CLASSES, merge=merge, renormalise=True)
    assert [u.id for u in asked.utterances] == ["excited", "frustrated"]
    assert asked.renormalised == ("frustrated",)
    assert (asked.utterances[1].votes or {})["angry"] == pytest.approx(1)
    assert list(asked.quarantined) == ["neither"]
    assert "frustrated 0.67, other 0.33" in asked.quarantined["neither"]
    assert vote_table(asked.utterances, FOUR_CLASSES).sum(axis=1) == pytest.approx([1, 1])


def test_an_unknown_number_of_listeners_is_no_single_one() -> None:
    clip = voted("u", dict.fromkeys(SIX, 0.0) | {"sad": 1.0}, None)
    assert vote_table([clip], SIX).shape == (1, 6)
    with pytest.raises(DataError, match="'u' does not say how many listeners voted"):
        vote_counts([clip], SIX)


def test_split_votes_are_no_counts() -> None:
    with pytest.raises(DataError, match=r"3 listeners cannot have voted .*2\.5"):
        vote_counts([iemocap(neutral=2.5 / 3, angry=0.5 / 3)], FOUR_CLASSES)


@pytest.mark.parametrize("labels", [("sad",), ("sad", "sad"), ()])
def test_labels_are_two_or_more(labels: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="labels must be two or more, each once"):
        with_votes([], labels)


@pytest.mark.parametrize("counts", [{"sad": 0}, {"sad": -1, "happy": 3}])
def test_nobody_is_no_listener(counts: dict[str, int]) -> None:
    with pytest.raises(DataError, match="counts of at least one listener"):
        shares_of(counts)


def test_shares_are_counts_over_their_sum() -> None:
    assert shares_of({"sad": 3, "angry": 1, "fear": 0}) == {"sad": 0.75, "angry": 0.25, "fear": 0}


BAD: dict[str, tuple[dict[str, Any], int | None, str]] = {
    "negative": ({"sad": -0.5, "happy": 1.5}, None, "between 0 and 1"),
    "sum": ({"sad": 0.5}, None, "must sum to 1, got 0.5"),
    "nobody": ({"sad": 1.0}, 0, "listeners must be >= 1 where there are votes, got 0"),
    "empty": ({}, None, "must sum to 1, got 0"),
    "nan": ({"sad": float("nan"), "happy": 1.0}, None, "between 0 and 1"),
}


@pytest.mark.parametrize(("votes", "listeners", "told"), BAD.values(), ids=BAD)
def test_bad_votes_are_told(votes: dict[str, float], listeners: int | None, told: str) -> None:
    with pytest.raises(DataError, match=told):
        check_votes(votes, listeners)


def test_nothing_is_changed_that_need_not_be() -> None:
    shares = np.random.default_rng(0).dirichlet(np.ones(6), size=20)
    clips = [crema_d(f"u{i}", **dict(zip(SIX, row, strict=True))) for i, row in enumerate(shares)]
    np.testing.assert_array_equal(vote_table(clips, SIX), shares)


def test_listeners_whose_votes_are_left_out_are_no_listeners_any_more() -> None:
    most = iemocap("most", 4, angry=3 / 4, other=1 / 4)
    one = iemocap("one", 3, happy=1 / 3, other=2 / 3)
    found = with_votes([most, one], FOUR_CLASSES, renormalise=True)
    assert [(u.id, u.listeners) for u in found.utterances] == [("most", 3)]
    assert vote_counts(found.utterances, FOUR_CLASSES).sum() == 3
    assert "of 3 listeners 1 heard an emotion of this task" in found.quarantined["one"]
