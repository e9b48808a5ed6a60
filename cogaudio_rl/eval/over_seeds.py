"""One number of several seeds, with an interval that holds the seed too.

Seeds are trained apart and tested on the same utterances. Of S seeds with values v_s and intervals
[l_s, h_s] over utterances::

    value       = mean_s v_s
    seed half   = t(0.975, S − 1) · std_s(v_s) / √S          std with S − 1 in its denominator
    lo          = value − √( mean_s(v_s − l_s)² + seed half² )
    hi          = value + √( mean_s(h_s − v_s)² + seed half² )

The two parts are variances of independent draws (which utterances, which seeds), so they add as
squares. That the same utterances serve every seed is why theirs does not shrink with S. Two seeds say
little of all others, and t says so: 12.7 standard errors, of three 4.3. (The bootstrap over so few
seeds would give an interval too narrow by √((S − 1)/S), never wider than from least to largest.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import mean, stdev

from scipy.stats import t as student

from cogaudio_rl.eval.metrics import Estimate

_CONFIDENCE = 0.95


def over_seeds(
    by_seed: Mapping[int, Estimate], *, lowest: float = -math.inf, highest: float = math.inf
) -> Estimate:
    """The mean over the seeds; ``n`` is the fewest units that any of them rests on.

    Seeds whose estimate rests on nothing are left out; with none left, ``n`` is 0. One seed's estimate
    is its own. No interval reaches beyond what the metric can be, ``lowest`` to ``highest``.
    """
    known = [one for one in by_seed.values() if one.n]
    if not known:
        return Estimate(value=math.nan, lo=math.nan, hi=math.nan, n=0)
    value = mean(one.value for one in known)
    half = 0.0
    if len(known) > 1:
        spread = stdev(one.value for one in known) / math.sqrt(len(known))
        half = float(student.ppf((1 + _CONFIDENCE) / 2, len(known) - 1)) * spread
    below = math.hypot(mean(one.value - one.lo for one in known), half)
    above = math.hypot(mean(one.hi - one.value for one in known), half)
    return Estimate(
        value=value,
        lo=max(min(lowest, value), value - below),
        hi=min(max(highest, value), value + above),
        n=min(one.n for one in known),
    )
