"""Do replies differ more, the further apart two emotions lie? Emotions as points in a plane.

A model that only tells pleasant from unpleasant answers fear as it answers anger. One that hears the
emotion itself answers every pair differently, those far apart most of all.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from cogaudio_rl.eval.metrics import reply_distance
from cogaudio_rl.eval.result import Row

VALENCE_AROUSAL: Mapping[str, tuple[float, float]] = {
    "neutral": (0.0, 0.0),
    "happy": (0.81, 0.51),
    "sad": (-0.63, -0.27),
    "angry": (-0.51, 0.59),
    "fear": (-0.64, 0.60),
    "disgust": (-0.60, 0.35),
    "surprise": (0.40, 0.67),
    "boredom": (-0.65, -0.62),
}
"""Valence and arousal in [-1, 1]: where an emotion lies on Russell's circumplex (Russell 1980).

The figures are the mean ratings of Russell & Mehrabian (1977), Evidence for a three-factor theory of
emotions, without dominance: the circumplex itself places no disgust. Neutral is the origin.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairDivergence:
    """Two emotions, and how differently the same words are answered in the two."""

    emotions: tuple[str, str]
    distance: float
    """Between the two in valence and arousal."""
    divergence: float
    """Mean :func:`reply_distance` of direct replies: over the pairs of a family, then families."""
    families: int


def emotion_distance(one: str, other: str) -> float:
    """Euclidean distance in valence and arousal. Raises KeyError for an unknown emotion."""
    return math.dist(VALENCE_AROUSAL[one], VALENCE_AROUSAL[other])


def divergence_by_pair(rows: Sequence[Row]) -> tuple[PairDivergence, ...]:
    """Every pair of emotions that some family has both of, nearest first.

    Rows without a direct reply or with an emotion that has no place in the plane are left out.
    """
    families: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if "direct" in row.answers and row.emotion in VALENCE_AROUSAL:
            families[row.text_id].append(row)
    means: dict[tuple[str, str], list[float]] = defaultdict(list)
    for members in families.values():
        for pair, distances in _distances(members).items():
            means[pair].append(fmean(distances))
    found = [
        PairDivergence(
            emotions=pair,
            distance=emotion_distance(*pair),
            divergence=fmean(of_families),
            families=len(of_families),
        )
        for pair, of_families in means.items()
    ]
    return tuple(sorted(found, key=lambda pair: (pair.distance, pair.emotions)))


def _distances(members: Sequence[Row]) -> dict[tuple[str, str], list[float]]:
    """Reply distances within one family by pair of emotions, names in sorted order."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for a, b in itertools.combinations(members, 2):
        if a.emotion != b.emotion:
            first, second = sorted((a.emotion, b.emotion))
            replies = (a.answers["direct"].reply, b.answers["direct"].reply)
            found[first, second].append(reply_distance(*replies))
    return found
