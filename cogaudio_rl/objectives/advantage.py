"""Group-relative advantages: a reward compared with its siblings' and nobody else's."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import fmean, stdev
from typing import SupportsFloat


def is_zero_spread(rewards_G: Iterable[SupportsFloat], *, tolerance: float = 1e-6) -> bool:
    """Whether ``max(R) - min(R) <= tolerance``: the group prefers none of its rollouts.

    Dividing by the standard deviation scales any spread to order 1, rounding noise included.

    Args:
        rewards_G: the G rewards of one (utterance, route) group.
        tolerance: largest spread, in units of reward, that counts as none; >= 0.

    Raises:
        ValueError: fewer than two rewards, a reward that is not finite, or a negative tolerance.
    """
    return _is_flat(_checked(rewards_G), tolerance)


def group_advantages(
    rewards_G: Iterable[SupportsFloat],
    *,
    divide_by_std: bool = True,
    eps: float = 1e-6,
    tolerance: float = 1e-6,
) -> tuple[float, ...] | None:
    """``A_i = (R_i - mean(R)) / (std(R) + eps)`` in one group (arXiv 2402.03300, section 4.1.2).

    ``std`` is the sample standard deviation (G - 1 in the denominator), as in ``torch.std`` and
    TRL; the papers do not say which. The population's would make every advantage larger by
    ``sqrt(G / (G - 1))``, 7 % at G = 8. TRL's own eps is 1e-4.

    Args:
        rewards_G: the G rewards of one (utterance, route) group: floats, or a 1-D array or tensor.
        divide_by_std: False leaves ``R_i - mean(R)``, as Dr. GRPO does (arXiv 2503.20783): dividing
            gives groups of small spread, the very easy and the very hard, more weight.
        eps: added to the standard deviation; >= 0.
        tolerance: see :func:`is_zero_spread`; >= 0.

    Returns:
        G advantages with mean 0, or None where the group has no spread and nothing to teach.

    Raises:
        ValueError: fewer than two rewards, a reward that is not finite, or a negative number for
            ``eps`` or ``tolerance``.
    """
    if not eps >= 0:
        raise ValueError(f"eps must be >= 0, got {eps}")
    rewards = _checked(rewards_G)
    if _is_flat(rewards, tolerance):
        return None
    mean = fmean(rewards)
    scale = stdev(rewards) + eps if divide_by_std else 1.0
    return tuple((reward - mean) / scale for reward in rewards)


def _is_flat(rewards: list[float], tolerance: float) -> bool:
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be >= 0, got {tolerance}")
    return max(rewards) - min(rewards) <= tolerance


def _checked(rewards_G: Iterable[SupportsFloat]) -> list[float]:
    rewards = [float(reward) for reward in rewards_G]
    if len(rewards) < 2:
        raise ValueError(f"a group needs >= 2 rewards, got {len(rewards)}: {rewards}")
    if not all(map(math.isfinite, rewards)):
        raise ValueError(f"rewards must be finite, got {rewards}")
    return rewards
