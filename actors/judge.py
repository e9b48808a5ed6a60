"""Judges inside Ray processes, and the driver's handle to a pool of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from actors.pools import deal, gather
from cogaudio_rl.config import ClusterConfig, JudgeConfig, RewardConfig
from cogaudio_rl.rewards.judge import make_judge
from cogaudio_rl.types import Group, Score, Unscored


class JudgeWorker:
    """One judge in its own process; an async actor, so that requests to an endpoint overlap."""

    def __init__(self, config: JudgeConfig, weights: RewardConfig) -> None:
        self._judge = make_judge(config, weights)

    async def score(self, groups_P: Sequence[Group]) -> list[list[Score | Unscored]]:
        """See :class:`cogaudio_rl.ports.Judge`."""
        return await self._judge.score(groups_P)


class JudgePool:
    """Implements the Judge port over judge actors; each takes a share of the prompts."""

    def __init__(self, workers: Sequence[Any], config: ClusterConfig) -> None:
        self._workers = list(workers)
        self._timeout_s = config.step_timeout_s

    async def score(self, groups_P: Sequence[Group]) -> list[list[Score | Unscored]]:
        """One verdict for each rollout, in order. Raises WaitTimeout when it takes too long."""
        hands = [h for h in deal([g.prompt for g in groups_P], len(self._workers)) if h]
        asked = [
            worker.score.remote([groups_P[i] for i in hand])
            for worker, hand in zip(self._workers, hands, strict=False)
        ]
        what = f"verdicts on {len(groups_P)} groups from {len(asked)} judge workers"
        answers = await gather(asked, self._timeout_s, what)
        found = {
            i: scores
            for hand, answer in zip(hands, answers, strict=True)
            for i, scores in zip(hand, answer, strict=True)
        }
        return [found[i] for i in range(len(groups_P))]
