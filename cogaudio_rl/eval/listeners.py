"""How near two groups of listeners come to one another: what no model needs to surpass.

Votes of ten people are a sample. Two further numbers stand beside a model's:

- ``halves``: each clip's voters are split in two at random, and one half's shares predict the other's.
  Both are samples of half the size, so that a model which knows the true distribution does better.
- ``redrawn``: as many votes are drawn anew from each clip's shares, which then predict them: the error
  of a model that knows the distribution, only because so few people voted. It comes out too small,
  since an emotion that none of them chose is never drawn.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from cogaudio_rl.eval.distribution import distribution_estimates
from cogaudio_rl.eval.metrics import Estimate
from cogaudio_rl.seeding import rng_for

Ints = npt.NDArray[np.int64]


def human_bounds(
    counts_NK: npt.ArrayLike, *, samples: int, seed: int
) -> dict[str, Mapping[str, Estimate]]:
    """``halves`` and ``redrawn``, each with all metrics of :mod:`.distribution`.

    ``counts_NK`` are votes; intervals are over clips, of one split of voters each. Clips with a single
    vote have no halves and are left out of both. Raises ValueError for what are no counts, and where no
    clip has two votes.
    """
    counts = _checked(counts_NK)
    counts = counts[counts.sum(axis=1) >= 2]
    if not len(counts):
        raise ValueError("no clip has two votes; human_bounds needs at least one that has")
    rng = rng_for(seed, "listeners")
    total = counts.sum(axis=1)
    first = np.stack(
        [
            rng.multivariate_hypergeometric(row, int(number) // 2)
            for row, number in zip(counts, total, strict=True)
        ]
    )
    shares = _shares(counts)
    redrawn = np.stack([rng.multinomial(n, row) for row, n in zip(shares, total, strict=True)])
    pairs = {"halves": (_shares(counts - first), _shares(first)), "redrawn": (redrawn, shares)}
    return {
        name: distribution_estimates(_shares(votes), predicted, samples=samples, seed=seed)
        for name, (votes, predicted) in pairs.items()
    }


def _shares(counts: npt.NDArray[np.float64] | Ints) -> npt.NDArray[np.float64]:
    return counts / counts.sum(axis=1, keepdims=True)


def _checked(counts_NK: npt.ArrayLike) -> Ints:
    counts = np.asarray(counts_NK)
    if counts.ndim != 2 or not np.issubdtype(counts.dtype, np.integer) or (counts < 0).any():
        raise ValueError(
            f"counts must be whole numbers [N, K] of at least 0, got {counts.dtype} of shape"
            f" {list(counts.shape)}"
        )
    return counts.astype(np.int64)
