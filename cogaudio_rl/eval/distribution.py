"""How near a predicted distribution of emotions is to how listeners' votes are shared.

Vote shares and predictions are ``[N, K]``: N utterances, K labels in one order, each row summing to 1.
The conventions, since papers differ and arXiv 2603.08230 does not say all of its own:

=====================  =================================================================================
``js``                 Jensen–Shannon *divergence* in bits, 0 to 1: the square of scipy's
                       ``jensenshannon(p, q, base=2)``, which is the distance.
``bhattacharyya``      Σ_k √(p_k·q_k), 1 for equal distributions.
``r2``                 Coefficient of determination over all N·K cells, 1 − Σ(p − q)² / Σ(p − 1/K)².
``correlation2``       Squared Pearson correlation over all N·K cells.
``brier``              (p − q)² as a mean over the classes (not their sum), then over utterances.
``calibration_error``  Expected calibration error of the most probable label, in 15 bins of equal width
                       (Guo et al. 2017). What is expected of a label predicted at 0.6 is that six
                       listeners of ten hear it; with one-hot votes this is the usual accuracy.
``top1``, ``top2``     Whether an emotion that most listeners heard, any of several with as many votes,
                       is (one of the two) most probable. Labels predicted alike come in random order,
                       of which this is the mean: a uniform prediction hits one of K labels in 1/K of
                       cases.
=====================  =================================================================================

The paper's pairs of JS and BC (.40/.64, .20/.82, .25/.78, .17/.86) are of the divergence in bits: in
nats none exceeds 1 − BC, as theirs do, and a mean distance so near to 1 − BC would need predictions
that are all but perfect or wholly wrong. Its R² and Brier (.51/.15 on IEMOCAP, .54/.05 on CREMA-D) are
of no coefficient of determination over cells: four classes' cells vary by at most 3/16, CREMA-D's votes
by .060, which leaves R² at .20 and .16. They can be of a squared correlation, which therefore stands
beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cogaudio_rl.eval.agreement import Ints, bootstrap, bootstrap_groups
from cogaudio_rl.eval.metrics import Estimate, Floats, mean_estimate

METRICS: tuple[str, ...] = (
    "js",
    "bhattacharyya",
    "r2",
    "correlation2",
    "brier",
    "calibration_error",
    "top1",
    "top2",
)
LOWER_IS_BETTER: frozenset[str] = frozenset({"js", "brier", "calibration_error"})
CALIBRATION_BINS = 15

_SUM_TOLERANCE = 1e-6
_SAME = 1e-9


def distribution_estimates(
    votes_NK: npt.ArrayLike,
    predicted_NK: npt.ArrayLike,
    *,
    samples: int,
    seed: int,
    voices: Sequence[str] | None = None,
) -> dict[str, Estimate]:
    """Every metric of ``METRICS``, each with its interval: over voices, all clips of one together,
    where ``voices`` tells whose each clip is; else over utterances.

    ``r2`` and ``correlation2`` are NaN where no vote (or no prediction) differs from uniform. Raises
    ValueError for what :func:`checked` refuses.
    """
    votes, predicted = checked(votes_NK, predicted_NK)
    each = by_utterance(votes, predicted)
    whole = {
        "r2": lambda drawn_BN: _r2(votes, predicted, drawn_BN),
        "correlation2": lambda drawn_BN: _correlation2(votes, predicted, drawn_BN),
        "calibration_error": lambda drawn_BN: _calibration(votes, predicted, drawn_BN),
    }
    if voices is None:
        found = {name: mean_estimate(of, samples=samples, seed=seed) for name, of in each.items()}
        for name, statistic in whole.items():
            found[name] = bootstrap(statistic, len(votes), samples=samples, seed=seed)
    else:
        found = {
            name: mean_over(of, voices, samples=samples, seed=seed) for name, of in each.items()
        }
        for name, statistic in whole.items():
            found[name] = bootstrap_groups(statistic, voices, samples=samples, seed=seed)
    return {name: found[name] for name in METRICS}


def by_utterance(votes_NK: npt.ArrayLike, predicted_NK: npt.ArrayLike) -> dict[str, Floats]:
    """The metrics that are a mean over utterances, of each [N]."""
    votes, predicted = checked(votes_NK, predicted_NK)
    return {
        "js": jensen_shannon(votes, predicted),
        "bhattacharyya": bhattacharyya(votes, predicted),
        "brier": brier(votes, predicted),
        "top1": top_accuracy(votes, predicted, k=1),
        "top2": top_accuracy(votes, predicted, k=2),
    }


def mean_over(values_N: Floats, voices: Sequence[str], *, samples: int, seed: int) -> Estimate:
    """The mean of one value per clip, its interval over voices."""
    return bootstrap_groups(
        lambda drawn_BN: values_N[drawn_BN].mean(axis=1), voices, samples=samples, seed=seed
    )


def jensen_shannon(votes_NK: npt.ArrayLike, predicted_NK: npt.ArrayLike) -> Floats:
    """Jensen–Shannon divergence of each row [N] in bits (Lin 1991): 0 equal, 1 nothing in common."""
    p, q = checked(votes_NK, predicted_NK)
    middle = (p + q) / 2
    return np.clip((_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2, 0.0, 1.0)


def bhattacharyya(votes_NK: npt.ArrayLike, predicted_NK: npt.ArrayLike) -> Floats:
    """Bhattacharyya coefficient of each row [N]: 1 equal, 0 nothing in common."""
    p, q = checked(votes_NK, predicted_NK)
    return np.clip(np.sqrt(p * q).sum(axis=1), 0.0, 1.0)


def brier(votes_NK: npt.ArrayLike, predicted_NK: npt.ArrayLike) -> Floats:
    """Squared difference of each row [N], averaged over its K classes; at most 2/K."""
    p, q = checked(votes_NK, predicted_NK)
    return np.square(p - q).mean(axis=1)


def r2(votes_NK: npt.ArrayLike, predicted_NK: npt.ArrayLike) -> float:
    """Coefficient of determination over all cells; NaN where every row of votes is uniform."""
    p, q = checked(votes_NK, predicted_NK)
    return float(_r2(p, q, _all(p))[0])


def correlation2(votes_NK: npt.ArrayLike, predicted_NK: npt.ArrayLike) -> float:
    """Squared correlation over all cells; NaN where all votes or all predictions are uniform."""
    p, q = checked(votes_NK, predicted_NK)
    return float(_correlation2(p, q, _all(p))[0])


def calibration_error(votes_NK: npt.ArrayLike, predicted_NK: npt.ArrayLike) -> float:
    """Expected calibration error of the most probable label against the listeners who heard it."""
    p, q = checked(votes_NK, predicted_NK)
    return float(_calibration(p, q, _all(p))[0])


def top_accuracy(votes_NK: npt.ArrayLike, predicted_NK: npt.ArrayLike, *, k: int) -> Floats:
    """Whether an emotion that most heard is among the ``k`` most probable, of each row [N].

    Between 0 and 1 where the ``k``-th place is shared: the chance that a draw for it hits.
    """
    p, q = checked(votes_NK, predicted_NK)
    if not 1 <= k <= p.shape[1]:
        raise ValueError(f"k must be 1 to {p.shape[1]}, got {k}")
    most = p >= p.max(axis=1, keepdims=True) - _SAME
    last = np.sort(q, axis=1)[:, -k, None]
    sure, shared = q > last + _SAME, np.abs(q - last) <= _SAME
    return np.array(
        [
            1.0
            if (m & s).any()
            else _drawn_hits(int(c.sum()), int((m & c).sum()), k - int(s.sum()))
            for m, s, c in zip(most, sure, shared, strict=True)
        ]
    )


def checked(votes_NK: npt.ArrayLike, predicted_NK: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Both as float64 arrays of one shape. Nothing is normalised here.

    Raises ValueError naming the row for one that is no distribution: a share below 0 or not finite, or
    a sum other than 1.
    """
    p, q = _rows(votes_NK, "votes"), _rows(predicted_NK, "predicted")
    if p.shape != q.shape:
        raise ValueError(f"votes are {list(p.shape)} and predicted are {list(q.shape)}")
    return p, q


def _rows(given_NK: npt.ArrayLike, what: str) -> Floats:
    rows = np.asarray(given_NK, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[0] < 1 or rows.shape[1] < 2:
        raise ValueError(f"{what} must be [N, K] with N >= 1 and K >= 2, got {list(rows.shape)}")
    wrong = ~np.isfinite(rows).all(axis=1) | (rows < 0).any(axis=1)
    wrong |= ~(np.abs(rows.sum(axis=1) - 1) <= _SUM_TOLERANCE)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"row {row} of {what} is no distribution: {rows[row].tolist()} sums to"
            f" {rows[row].sum():g}"
        )
    return rows


def _relative_entropy(p: Floats, q: Floats) -> Floats:
    """Σ p·log₂(p/q) of each row; a share of 0 adds nothing."""
    ratio = np.divide(p, q, out=np.ones_like(p), where=p > 0)
    return (p * np.log2(ratio)).sum(axis=1)


def _r2(p: Floats, q: Floats, drawn_BN: Ints) -> Floats:
    # Rows sum to 1, so the mean over all cells is 1/K in every draw.
    rest = np.square(p - q).sum(axis=1)[drawn_BN].sum(axis=1)
    whole = np.square(p - 1 / p.shape[1]).sum(axis=1)[drawn_BN].sum(axis=1)
    return 1 - np.divide(rest, whole, out=np.full_like(rest, np.nan), where=whole > _SAME)


def _correlation2(p: Floats, q: Floats, drawn_BN: Ints) -> Floats:
    mean = 1 / p.shape[1]
    both, ours, theirs = (
        of.sum(axis=1)[drawn_BN].sum(axis=1)
        for of in ((p - mean) * (q - mean), np.square(p - mean), np.square(q - mean))
    )
    varies = (ours > _SAME) & (theirs > _SAME)
    found = np.divide(both**2, ours * theirs, out=np.full_like(both, np.nan), where=varies)
    return np.minimum(found, 1.0)


def _calibration(p: Floats, q: Floats, drawn_BN: Ints) -> Floats:
    confidence = q.max(axis=1)
    # Labels that are predicted alike stand for one another.
    best = q >= confidence[:, None] - _SAME
    heard = (p * best).sum(axis=1) / best.sum(axis=1)
    # The weight of a bin times its gap is the sum of its gaps over N, in bins closed above.
    bins = np.ceil(confidence * CALIBRATION_BINS).astype(np.int64) - 1
    draws, size = drawn_BN.shape
    apart = bins[drawn_BN] + CALIBRATION_BINS * np.arange(draws)[:, None]
    gaps = np.bincount(
        apart.ravel(),
        weights=(confidence - heard)[drawn_BN].ravel(),
        minlength=draws * CALIBRATION_BINS,
    )
    return np.abs(gaps.reshape(draws, CALIBRATION_BINS)).sum(axis=1) / size


def _drawn_hits(candidates: int, right: int, places: int) -> float:
    """Chance that ``places`` drawn of the candidates hold at least one of the right ones."""
    return 1 - math.comb(candidates - right, places) / math.comb(candidates, places)


def _all(rows: Floats) -> Ints:
    return np.arange(len(rows))[None]
