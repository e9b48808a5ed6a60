"""Judges inside Ray processes, and the driver's handle to a pool of them."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence

from actors.crew import Crew, Spawn
from actors.describe import report_in
from actors.judge_engine import EngineAsker
from actors.pools import deal, in_order
from cogaudio_rl.config import ClusterConfig, JudgeConfig, RewardConfig
from cogaudio_rl.rewards.ensemble import total_of
from cogaudio_rl.rewards.judge import make_judge
from cogaudio_rl.types import Group, Score, Unscored


class JudgeWorker:
    """One judge in its own process; an async actor, so that requests to an endpoint overlap.

    For a vLLM engine the environment of ``judge_env`` must be set before the process starts.
    """

    def __init__(self, config: JudgeConfig, weights: RewardConfig, cluster: ClusterConfig) -> None:
        """Raises CheckpointError for a model that vLLM cannot serve."""
        report_in("judge")
        self._judge = make_judge(config, weights, lambda own: EngineAsker(own, cluster))
        # What imports made is never garbage, and walking through it again and again takes a fifth of
        # the core that hundreds of requests a second wait for.
        gc.freeze()

    async def score(self, groups_P: Sequence[Group]) -> list[list[Score | Unscored]]:
        """See :class:`cogaudio_rl.ports.Judge`."""
        return await self._judge.score(groups_P)

    async def spent(self) -> dict[str, float]:
        """See :class:`cogaudio_rl.ports.Judge`."""
        return await self._judge.spent()

    async def close(self) -> None:
        """Close its judge's connections, or its engine; a process that is killed need not."""
        await self._judge.close()


class JudgePool:
    """Implements the Judge port over judge actors; each takes a share of the prompts.

    A worker that dies is replaced, and what it was asked is asked again, once.
    """

    def __init__(self, config: ClusterConfig, spawners: Sequence[Spawn]) -> None:
        self._crew = Crew("judge", spawners, start_timeout_s=config.start_timeout_s)
        self._timeout_s = config.step_timeout_s
        self._turn = 0

    @property
    def replaced(self) -> int:
        """How many workers have died and been replaced."""
        return self._crew.replaced

    async def score(self, groups_P: Sequence[Group]) -> list[list[Score | Unscored]]:
        """One verdict for each rollout, in order. Raises WaitTimeout when it takes too long."""
        hands = [hand for hand in deal([g.prompt for g in groups_P], len(self._crew)) if hand]
        # Groups come one at a time too: each to the next worker in turn.
        self._turn += len(hands)
        answers = await asyncio.gather(
            *(
                self._crew.call(
                    (self._turn + i) % len(self._crew),
                    lambda handle, hand=hand: handle.score.remote([groups_P[i] for i in hand]),
                    timeout_s=self._timeout_s,
                    what=f"verdicts on {len(hand)} groups",
                )
                for i, hand in enumerate(hands)
            )
        )
        return in_order(hands, answers)

    async def spent(self) -> dict[str, float]:
        """All workers' together; one that died takes its last step's count with it."""
        return total_of(
            await asyncio.gather(
                *(
                    self._crew.call(
                        place,
                        lambda handle: handle.spent.remote(),
                        timeout_s=self._timeout_s,
                        what="the judges' counts",
                    )
                    for place in range(len(self._crew))
                )
            )
        )
