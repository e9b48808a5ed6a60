"""Listeners' votes as distributions over the labels of one task. Nothing is normalised unasked.

``Utterance.votes`` holds every emotion that the listeners of its corpus could choose, those that nobody
chose with a share of 0: a label that is missing there was not offered, which says nothing about it.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cogaudio_rl.errors import DataError
from cogaudio_rl.types import Utterance

FEWEST_LISTENERS = 2
"""One vote is an opinion, not a distribution."""

_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Voted:
    """Utterances whose votes are distributions over ``labels``, and those that have none such."""

    labels: tuple[str, ...]
    utterances: tuple[Utterance, ...]
    quarantined: Mapping[str, str]
    """Id → why."""
    renormalised: tuple[str, ...]
    """Ids of those that lost votes outside the labels, where that was asked for."""


def check_votes(votes: Mapping[str, float], listeners: int | None = None) -> None:
    """Raise DataError unless the shares are a distribution, of at least one listener."""
    if any(not 0 <= share <= 1 for share in votes.values()):
        raise DataError(f"vote shares must lie between 0 and 1, got {dict(votes)}")
    total = math.fsum(votes.values())
    if abs(total - 1) > _TOLERANCE:
        raise DataError(f"vote shares must sum to 1, got {total}")
    if listeners is not None and listeners < 1:
        raise DataError(f"listeners must be >= 1 where there are votes, got {listeners}")


def shares_of(counts: Mapping[str, int]) -> dict[str, float]:
    """What part of all votes each emotion got. Raises DataError where nobody voted."""
    total = sum(counts.values())
    if total < 1 or min(counts.values()) < 0:
        raise DataError(f"votes must be counts of at least one listener, got {dict(counts)}")
    return {emotion: count / total for emotion, count in counts.items()}


def with_votes(
    utterances: Sequence[Utterance],
    labels: Sequence[str],
    *,
    merge: Mapping[str, str] | None = None,
    renormalise: bool = False,
) -> Voted:
    """The utterances whose votes can be told in ``labels``; what cannot is quarantined with its reason.

    ``merge`` counts votes of one name for another, such as IEMOCAP's ``{"excited": "happy"}``. An
    utterance is quarantined without votes, with those of fewer than ``FEWEST_LISTENERS``, where a
    label was not offered to its listeners, and where some heard what is no label; with
    ``renormalise`` those votes and listeners are left out instead, if enough others are left, and the
    utterance is listed. Shares whose number of listeners is unknown are taken as they are. Raises
    DataError for labels that come twice or are fewer than two.
    """
    if len(set(labels)) != len(labels) or len(labels) < 2:
        raise DataError(f"labels must be two or more, each once, got {', '.join(labels)}")
    kept: list[Utterance] = []
    quarantined: dict[str, str] = {}
    renormalised: list[str] = []
    for utterance in utterances:
        try:
            votes, left = _told(utterance, labels, merge or {}, renormalise)
        except DataError as error:
            quarantined[utterance.id] = str(error)
            continue
        number = utterance.listeners
        if left < 1:
            renormalised.append(utterance.id)
            number = None if number is None else round(number * left)
        kept.append(dataclasses.replace(utterance, votes=votes, listeners=number))
    return Voted(
        labels=tuple(labels),
        utterances=tuple(kept),
        quarantined=quarantined,
        renormalised=tuple(renormalised),
    )


def vote_table(utterances: Sequence[Utterance], labels: Sequence[str]) -> npt.NDArray[np.float64]:
    """Shares ``[N, K]`` in the order of ``labels``.

    Raises DataError naming the first utterance that :func:`with_votes` would quarantine.
    """
    found = with_votes(utterances, labels)
    for name, why in found.quarantined.items():
        more = f" ({len(found.quarantined)} such in all)" if len(found.quarantined) > 1 else ""
        raise DataError(f"utterance {name!r}: {why}{more}; with_votes() sets such aside")
    rows = [[(u.votes or {})[label] for label in labels] for u in found.utterances]
    return np.array(rows, dtype=np.float64).reshape(-1, len(labels))


def vote_counts(utterances: Sequence[Utterance], labels: Sequence[str]) -> npt.NDArray[np.int64]:
    """How many listeners heard each label ``[N, K]``.

    Raises DataError as :func:`vote_table` does, for an unknown number of listeners, and where a
    vote is split between emotions, as IEMOCAP's annotators may do.
    """
    shares = vote_table(utterances, labels)
    for utterance, row in zip(utterances, shares, strict=True):
        if utterance.listeners is None:
            raise DataError(f"utterance {utterance.id!r} does not say how many listeners voted")
        exact = row * utterance.listeners
        if np.abs(exact - np.rint(exact)).max() > 1e-6:
            raise DataError(
                f"utterance {utterance.id!r}: {utterance.listeners} listeners cannot have voted"
                f" {np.round(exact, 3).tolist()}; somebody named several emotions"
            )
    numbers = np.array([u.listeners for u in utterances], dtype=np.float64)
    return np.rint(shares * numbers[:, None]).astype(np.int64)


def _told(
    utterance: Utterance, labels: Sequence[str], merge: Mapping[str, str], renormalise: bool
) -> tuple[dict[str, float], float]:
    """The shares in the order of ``labels``, and what part of all votes they are."""
    if utterance.votes is None:
        raise DataError("it has no votes")
    check_votes(utterance.votes, utterance.listeners)
    if utterance.listeners is not None and utterance.listeners < FEWEST_LISTENERS:
        raise DataError(f"one vote is no distribution; it takes {FEWEST_LISTENERS} listeners")
    merged: dict[str, float] = defaultdict(float)
    for name, share in utterance.votes.items():
        merged[merge.get(name, name)] += share
    if missing := [label for label in labels if label not in merged]:
        raise DataError(f"its listeners could not choose {missing[0]!r}")
    outside = {name: share for name, share in merged.items() if share > 0 and name not in labels}
    inside = {label: merged[label] for label in labels}
    if not outside:
        return inside, 1.0
    total = math.fsum(inside.values())
    if not renormalise or total <= _TOLERANCE:
        heard = ", ".join(f"{name} {share:.2f}" for name, share in sorted(outside.items()))
        raise DataError(f"some heard what is no label of this task: {heard}")
    if utterance.listeners is not None and round(utterance.listeners * total) < FEWEST_LISTENERS:
        raise DataError(
            f"of {utterance.listeners} listeners {utterance.listeners * total:g} heard an emotion of "
            f"this task; it takes {FEWEST_LISTENERS}"
        )
    return {label: share / total for label, share in inside.items()}, total
