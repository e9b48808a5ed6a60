"""Do raters agree? Weighted kappa and ICC(2,1), with intervals over the subjects they rated.

Kappa (Cohen 1968) asks how much better than chance two raters place the same subjects on one scale;
ICC(2,1) (Shrout & Fleiss 1979) asks how much of the spread of ratings is the subjects' own. Both
lose by a rater who is always one level milder: what trains a policy must not only rank alike.

Where a number does not exist (nobody ever used a second level) it is NaN, never 0 or 1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from sklearn.metrics import cohen_kappa_score

from cogaudio_rl.eval.metrics import Estimate, Floats
from cogaudio_rl.rewards.terms import RUBRIC
from cogaudio_rl.seeding import rng_for

Ints = npt.NDArray[np.int64]

Weights = Literal["quadratic", "linear"]
"""What a disagreement costs: the levels between the two ratings, or the square of that."""

Statistic = Callable[[Ints], Floats]
"""Numbers of the units drawn [B, N] → what each draw gives [B], NaN where it gives nothing."""

_TAIL_PERCENT = 2.5
_UNITS_AT_ONCE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far raters agree on the same subjects; 1 is perfect, 0 is chance."""

    kappa: Estimate
    """Quadratically weighted; of more than two raters, the mean over their pairs (Light 1971)."""
    icc: Estimate
    """ICC(2,1): how far one rater's ratings can be taken for another's."""


def weighted_kappa(
    a: Sequence[int],
    b: Sequence[int],
    *,
    levels: Sequence[int],
    weights: Weights = "quadratic",
) -> float:
    """Cohen's weighted kappa (Cohen 1968) of two raters over the same subjects, by scikit-learn.

    ``levels`` is the whole scale in order: a level that nobody used still lies between its
    neighbours. NaN where both raters gave every subject one and the same level. Raises ValueError
    for ratings of unequal number, none at all, or one that is not a level.
    """
    if len(a) != len(b) or not a:
        raise ValueError(f"kappa needs two ratings of each subject, got {len(a)} and {len(b)}")
    _places(np.array([a, b], dtype=np.float64), levels)
    if len({*a, *b}) == 1:
        return math.nan
    return float(cohen_kappa_score(a, b, labels=list(levels), weights=weights))


def icc_2_1(ratings_NK: npt.ArrayLike) -> float:
    """ICC(2,1): two-way random effects, absolute agreement, a single rater.

    Of N subjects that K raters all rated (Shrout & Fleiss 1979, Psychological Bulletin 86,
    420–428)::

        ICC(2,1) = (BMS − EMS) / (BMS + (K − 1)·EMS + K·(JMS − EMS)/N)

    with the mean squares between subjects (BMS), between raters (JMS) and of the rest (EMS).
    NaN where nothing varies. Raises ValueError for fewer than two subjects or raters, and for a
    rating that is no finite number.
    """
    return float(_iccs(_checked(ratings_NK)[None])[0])


def agreement(
    ratings_NK: npt.ArrayLike, *, levels: Sequence[int] = RUBRIC, samples: int, seed: int
) -> Agreement:
    """Kappa and ICC(2,1) of K raters over N subjects, each with its interval over subjects.

    Raises ValueError for what :func:`icc_2_1` refuses and for a rating that is not a level.
    """
    ratings = _checked(ratings_NK)
    places = _places(ratings, levels)
    subjects, raters = ratings.shape
    pairs = [
        places[:, one] * len(levels) + places[:, other]
        for one, other in itertools.combinations(range(raters), 2)
    ]

    def kappas(drawn_BN: Ints) -> Floats:
        return np.mean(
            [_kappas(drawn_counts(p, drawn_BN, len(levels) ** 2)) for p in pairs], axis=0
        )

    return Agreement(
        kappa=bootstrap(kappas, subjects, samples=samples, seed=seed),
        icc=bootstrap(
            lambda drawn_BN: _iccs(ratings[drawn_BN]), subjects, samples=samples, seed=seed
        ),
    )


def bootstrap_groups(
    statistic: Statistic, groups: Sequence[str], *, samples: int, seed: int
) -> Estimate:
    """As :func:`bootstrap`, with the units of one group drawn together: clips of one voice resemble one
    another, and a draw of clips would take them for as many strangers (Davison & Hinkley 1997, 3.8).

    ``groups`` names each unit's. Where all are of one group, units are drawn.
    """
    names, place = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        return bootstrap(statistic, len(groups), samples=samples, seed=seed)
    value = float(statistic(np.arange(len(groups))[None])[0])
    if math.isnan(value):
        return Estimate(value=math.nan, lo=math.nan, hi=math.nan, n=0)
    members = [np.flatnonzero(place == k) for k in range(len(names))]
    rng = rng_for(seed, "bootstrap", "groups")
    drawn = rng.integers(len(members), size=(samples, len(members)))
    found = np.array(
        [float(statistic(np.concatenate([members[k] for k in row])[None])[0]) for row in drawn]
    )
    defined = found[~np.isnan(found)]
    tails = [_TAIL_PERCENT, 100 - _TAIL_PERCENT]
    lo, hi = np.percentile(defined, tails) if defined.size else (math.nan, math.nan)
    return Estimate(value=value, lo=float(lo), hi=float(hi), n=len(groups))


def bootstrap(statistic: Statistic, units: int, *, samples: int, seed: int) -> Estimate:
    """What ``statistic`` gives for all units once, and its interval over draws of the units.

    The draws are those of :func:`mean_estimate`, for numbers that are no mean of one value per
    unit. Draws that give nothing (NaN) are left out; where all units give nothing, ``n`` is 0.
    """
    if samples < 1:
        raise ValueError(f"samples must be >= 1, got {samples}")
    value = float(statistic(np.arange(units)[None])[0]) if units else math.nan
    if math.isnan(value):
        return Estimate(value=math.nan, lo=math.nan, hi=math.nan, n=0)
    rng = rng_for(seed, "bootstrap")
    block = max(1, _UNITS_AT_ONCE // units)
    found = np.concatenate(
        [
            statistic(rng.integers(units, size=(min(block, samples - done), units)))
            for done in range(0, samples, block)
        ]
    )
    defined = found[~np.isnan(found)]
    tails = [_TAIL_PERCENT, 100 - _TAIL_PERCENT]
    lo, hi = np.percentile(defined, tails) if defined.size else (math.nan, math.nan)
    return Estimate(value=value, lo=float(lo), hi=float(hi), n=units)


def drawn_counts(cells_N: Ints, drawn_BN: Ints, num_cells: int) -> Floats:
    """How often each cell comes up in each draw [B, num_cells]; ``cells_N`` is each unit's cell."""
    draws = len(drawn_BN)
    apart = cells_N[drawn_BN] + num_cells * np.arange(draws)[:, None]
    counts = np.bincount(apart.ravel(), minlength=draws * num_cells)
    return counts.reshape(draws, num_cells).astype(np.float64)


def _kappas(counts_BC: Floats) -> Floats:
    """Quadratically weighted kappa of each draw [B]; C cells are the L × L pairs of levels."""
    levels = math.isqrt(counts_BC.shape[1])
    counts = counts_BC.reshape(-1, levels, levels)
    place = np.arange(levels)
    cost = np.square(np.subtract.outer(place, place))
    by_chance = counts.sum(2)[:, :, None] * counts.sum(1)[:, None, :] / counts.sum((1, 2))[0]
    return 1 - _ratio((cost * counts).sum((1, 2)), (cost * by_chance).sum((1, 2)))


def _iccs(ratings_BNK: Floats) -> Floats:
    """ICC(2,1) of each draw [B], from the mean squares of its two-way analysis of variance."""
    _, n, k = ratings_BNK.shape
    # From the first rating, not from the mean: ratings that are all equal become exact zeros.
    shifted = ratings_BNK - ratings_BNK[:, :1, :1]
    centred = shifted - shifted.mean((1, 2), keepdims=True)
    subject_BN, rater_BK = centred.mean(2), centred.mean(1)
    rest = centred - subject_BN[:, :, None] - rater_BK[:, None, :]
    bms = k * np.square(subject_BN).sum(1) / (n - 1)
    jms = n * np.square(rater_BK).sum(1) / (k - 1)
    ems = np.square(rest).sum((1, 2)) / ((n - 1) * (k - 1))
    return _ratio(bms - ems, bms + (k - 1) * ems + k * (jms - ems) / n)


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def _checked(ratings_NK: npt.ArrayLike) -> Floats:
    ratings = np.asarray(ratings_NK, dtype=np.float64)
    if ratings.ndim != 2 or min(ratings.shape) < 2:
        raise ValueError(
            "agreement needs [subjects, raters] with at least 2 of each,"
            f" got shape {list(ratings.shape)}"
        )
    missing = np.argwhere(~np.isfinite(ratings))
    if missing.size:
        subject, rater = missing[0]
        raise ValueError(
            f"rating of subject {subject} by rater {rater} is {ratings[subject, rater]};"
            " leave out subjects that not everybody rated"
        )
    return ratings


def _places(ratings: Floats, levels: Sequence[int]) -> Ints:
    """The place of each rating on the scale. Raises ValueError for one that is not on it."""
    scale = np.asarray(levels, dtype=np.float64)
    same = ratings[..., None] == scale
    strange = ratings[~same.any(-1)]
    if strange.size:
        raise ValueError(f"rating {strange[0]:g} is not one of {', '.join(map(str, levels))}")
    return same.argmax(-1)
