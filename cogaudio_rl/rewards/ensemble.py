"""Several judges as one: a policy that has learnt to please one of them has not pleased all."""

from __future__ import annotations

import asyncio
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from cogaudio_rl.config import RewardConfig
from cogaudio_rl.ports import Judge
from cogaudio_rl.rewards.terms import direct_reward, explicit_reward
from cogaudio_rl.types import Group, Score, Unscored

COMBINE: Mapping[str, Callable[[Sequence[float]], float]] = {
    "mean": statistics.fmean,
    "median": statistics.median,
    "worst": min,
}


class OwnJudge(Judge, Protocol):
    """A judge in this process."""

    async def close(self) -> None:
        """Close its connections."""
        ...


def combine_scores(
    scores: Sequence[Score | Unscored], *, combine: str, quorum: int, weights: RewardConfig
) -> Score | Unscored:
    """What several judges' scores of one reply come to.

    Each term is combined by itself and the reward weighed anew, so that it is still the weighted sum
    of its terms; under ``worst`` no term is better than the strictest judge of that term found it.
    Fewer scores than ``quorum`` are none: Unscored, with the reasons of those that gave none.
    """
    given = [score for score in scores if isinstance(score, Score)]
    if len(given) < quorum:
        reasons = list(dict.fromkeys(s.reason for s in scores if isinstance(s, Unscored)))
        if not given and len(reasons) == 1:
            return Unscored(reason=reasons[0])
        found = f"{len(given)} of {len(scores)} judges gave a score, {quorum} must"
        return Unscored(reason=f"{found}: {'; '.join(reasons)}")
    terms = {name: COMBINE[combine]([s.terms[name] for s in given]) for name in given[0].terms}
    weigh = explicit_reward if "format" in terms else direct_reward
    return Score(reward=weigh(terms, weights), terms=terms)


class EnsembleJudge:
    """Implements the Judge port over other judges, who all judge at the same time."""

    def __init__(
        self,
        members: Sequence[OwnJudge],
        weights: RewardConfig,
        *,
        combine: str = "mean",
        quorum: int | None = None,
    ) -> None:
        """``quorum`` None: every member must have scored a reply."""
        self._members, self._weights = tuple(members), weights
        self._combine, self._quorum = combine, quorum or len(self._members)

    async def score(self, groups_P: Sequence[Group]) -> list[list[Score | Unscored]]:
        """One verdict for each rollout of each group, in order; see ports.Judge."""
        found_MPG = await asyncio.gather(*(member.score(groups_P) for member in self._members))
        return [
            [
                combine_scores(
                    scores, combine=self._combine, quorum=self._quorum, weights=self._weights
                )
                for scores in zip(*rows, strict=True)
            ]
            for rows in zip(*found_MPG, strict=True)
        ]

    async def spent(self) -> dict[str, float]:
        """See ports.Judge."""
        return total_of([await member.spent() for member in self._members])

    async def close(self) -> None:
        """Close every member's connections."""
        for member in self._members:
            await member.close()


def total_of(spent: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """What several judges have spent together."""
    total: Counter[str] = Counter()
    for one in spent:
        total.update(one)  # pyright: ignore[reportArgumentType]  # floats count as well
    return dict(total)
