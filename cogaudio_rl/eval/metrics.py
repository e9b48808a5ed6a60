"""Numbers of the evaluation, each with the interval that says how far to trust it. No torch here.

Every interval is a percentile bootstrap (Efron & Tibshirani 1993, chapter 13) at 95 %, from a named
seed: the same rows give the same interval to the last digit.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cogaudio_rl.seeding import rng_for, seed_for

Floats = npt.NDArray[np.float64]

_TAIL_PERCENT = 2.5
_VALUES_AT_ONCE = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean, its 95 % interval and the number of units it rests on; NaN where ``n`` is 0."""

    value: float
    lo: float
    hi: float
    n: int

    @property
    def excludes_zero(self) -> bool:
        return self.lo > 0 or self.hi < 0


def estimate_json(estimate: Estimate) -> dict[str, Any]:
    """``{value, ci95, n}`` as reports have it; null for a NaN, which JSON has not."""
    value, lo, hi = (
        x if math.isfinite(x) else None for x in (estimate.value, estimate.lo, estimate.hi)
    )
    return {"value": value, "ci95": [lo, hi], "n": estimate.n}


def mean_estimate(values: Sequence[float] | Floats, *, samples: int, seed: int) -> Estimate:
    """The mean of one value per unit, with the units resampled. ``values`` [N]; 0/1 for a share."""
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.size == 0:
        return Estimate(value=math.nan, lo=math.nan, hi=math.nan, n=0)
    lo, hi = np.percentile(
        _resampled_means(numbers, samples, seed), [_TAIL_PERCENT, 100 - _TAIL_PERCENT]
    )
    return Estimate(value=float(numbers.mean()), lo=float(lo), hi=float(hi), n=numbers.size)


def paired_difference(
    ours: Sequence[float], theirs: Sequence[float], *, samples: int, seed: int
) -> Estimate:
    """Mean of ``ours − theirs`` over the same units in the same order, with its interval.

    Pairing takes out what both share (a hard sentence, an unclear voice). A pair with a NaN, a unit
    that one of them has no number for, drops out. Raises ValueError when the lengths differ: then
    these are not the same units.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"paired values must be of one length, got {len(ours)} and {len(theirs)}")
    differences = np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)
    return mean_estimate(differences[~np.isnan(differences)], samples=samples, seed=seed)


def weighted_means(
    parts: Sequence[tuple[float, Sequence[float]]], *, samples: int, seed: int
) -> Estimate:
    """Σ weight · mean over sets of units that have nothing to do with each other, each (weight,
    values); every set is resampled by itself. ``n`` counts the units of all sets.

    Raises ValueError for no set, or one without units: its mean is unknown, and so is the sum.
    """
    if not parts or not all(values for _, values in parts):
        raise ValueError("a weighted sum of means needs at least one unit in every set")
    drawn = [
        weight * _resampled_means(np.asarray(values, np.float64), samples, seed_for(seed, "set", i))
        for i, (weight, values) in enumerate(parts)
    ]
    lo, hi = np.percentile(np.sum(drawn, axis=0), [_TAIL_PERCENT, 100 - _TAIL_PERCENT])
    return Estimate(
        value=sum(weight * (sum(values) / len(values)) for weight, values in parts),
        lo=float(lo),
        hi=float(hi),
        n=sum(len(values) for _, values in parts),
    )


def confusion_matrix(
    truth: Sequence[str], answers: Sequence[str], labels: Sequence[str]
) -> npt.NDArray[np.int64]:
    """Counts [true label, answered label], both in the order of ``labels``.

    Raises ValueError naming a label that is not among them.
    """
    at = {label: i for i, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for pair in zip(truth, answers, strict=True):
        unknown = [label for label in pair if label not in at]
        if unknown:
            raise ValueError(f"label {unknown[0]!r} is not one of {', '.join(labels)}")
        counts[at[pair[0]], at[pair[1]]] += 1
    return counts


def reply_distance(a: str, b: str) -> float:
    """How differently two replies are worded: 1 − Jaccard overlap of their word bigrams.

    0 for the same words in the same order (case and punctuation aside), 1 for nothing in common.
    Sentence ends count as words, so one-word and empty replies compare too; a Chinese character
    is a word.
    """
    ours, theirs = _bigrams(a), _bigrams(b)
    return 1 - len(ours & theirs) / len(ours | theirs)


def response_divergence(
    text_ids: Sequence[str],
    emotions: Sequence[str],
    replies: Sequence[str],
    *,
    samples: int,
    seed: int,
) -> Estimate:
    """How much replies to the *same words* differ when the emotion differs; 0 = always the same.

    Mean :func:`reply_distance` over the pairs of one lexical family that differ in emotion, then
    mean over families. Families are the resampled unit; those with one emotion have no pair.
    """
    family: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for text_id, emotion, reply in zip(text_ids, emotions, replies, strict=True):
        family[text_id].append((emotion, reply))
    means: list[float] = []
    for members in family.values():
        distances = [
            reply_distance(one, other)
            for (emotion, one), (another, other) in itertools.combinations(members, 2)
            if emotion != another
        ]
        if distances:
            means.append(sum(distances) / len(distances))
    return mean_estimate(means, samples=samples, seed=seed)


def mean_by(keys: Sequence[str], values: Sequence[float]) -> Mapping[str, tuple[float, int]]:
    """Mean and count of ``values`` for each distinct key, keys in sorted order; NaN is no value."""
    groups: dict[str, list[float]] = defaultdict(list)
    for key, value in zip(keys, values, strict=True):
        if not math.isnan(value):
            groups[key].append(value)
    return {k: (sum(groups[k]) / len(groups[k]), len(groups[k])) for k in sorted(groups)}


def _resampled_means(numbers: Floats, samples: int, seed: int) -> Floats:
    """Means [samples] of draws with replacement, a block at a time to bound memory."""
    rng = rng_for(seed, "bootstrap")
    block = max(1, _VALUES_AT_ONCE // numbers.size)
    means = [
        numbers[rng.integers(numbers.size, size=(min(block, samples - done), numbers.size))].mean(1)
        for done in range(0, samples, block)
    ]
    return np.concatenate(means)


_WORD = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+(?:['’]\w+)?")


def _bigrams(reply: str) -> set[tuple[str, str]]:
    words = ["", *_WORD.findall(reply.lower()), ""]
    return set(itertools.pairwise(words))
