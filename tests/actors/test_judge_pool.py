"""The pool of judges keeps order whoever judges, and does not wait for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import pytest
from replies import direct, group_of, said

from actors.judge import JudgePool, JudgeWorker
from cogaudio_rl.config import ClusterConfig, JudgeConfig, RewardConfig
from cogaudio_rl.data.lime import author
from cogaudio_rl.errors import WaitTimeout
from cogaudio_rl.rewards.judge import EmbeddedJudge
from cogaudio_rl.types import LIME_EMOTIONS, Group, Route, Score, Unscored

Verdicts = list[list[Score | Unscored]]

SENTENCE = author.split_sentences("en")["test"][0]
GROUPS = [
    group
    for emotion in LIME_EMOTIONS
    for group in (
        group_of(said(SENTENCE, emotion), Route.EXPLICIT, "unreadable"),
        direct(said(SENTENCE, emotion), *author.replies(SENTENCE, emotion, 4), "Hm."),
    )
]


class _Method:
    def __init__(self, call: Callable[..., Awaitable[Any]]) -> None:
        self.remote = call


class NearHandle:
    """Stands where an actor's handle would, with the worker in this process."""

    def __init__(self, worker: JudgeWorker, delay_s: float = 0.0) -> None:
        self.asked = 0
        self.score, self.spent = _Method(self._score), _Method(self._spent)
        self._worker, self._delay_s = worker, delay_s

    async def _score(self, groups_P: Sequence[Group]) -> Verdicts:
        self.asked += len(groups_P)
        await asyncio.sleep(self._delay_s)
        return await self._worker.score(groups_P)

    async def _spent(self) -> dict[str, float]:
        return {"judge/requests": float(self.asked)} | await self._worker.spent()


def worker() -> JudgeWorker:
    return JudgeWorker(JudgeConfig(), RewardConfig(), ClusterConfig())


@pytest.mark.parametrize("count", [1, 3, 20])
async def test_any_number_of_workers_gives_the_same_verdicts(count: int) -> None:
    handles = [NearHandle(worker(), delay_s=0.01 * (i % 2)) for i in range(count)]
    pool = JudgePool(ClusterConfig(), [partial(lambda h: h, h) for h in handles])
    assert await pool.score(GROUPS) == await EmbeddedJudge(RewardConfig()).score(GROUPS)
    assert sum(handle.asked for handle in handles) == len(GROUPS)
    assert max(h.asked for h in handles) - min(h.asked for h in handles) <= 1


async def test_counts_of_all_workers_add_up() -> None:
    handles = [NearHandle(worker()) for _ in range(3)]
    pool = JudgePool(ClusterConfig(), [partial(lambda h: h, h) for h in handles])
    await pool.score(GROUPS)
    assert await pool.spent() == {"judge/requests": len(GROUPS)}


async def test_nothing_to_judge() -> None:
    assert await JudgePool(ClusterConfig(), [lambda: NearHandle(worker())]).score([]) == []


async def test_a_judge_that_hangs_is_named() -> None:
    pool = JudgePool(ClusterConfig(step_timeout_s=0.05), [lambda: NearHandle(worker(), delay_s=30)])
    with pytest.raises(WaitTimeout, match="verdicts on 14 groups"):
        await pool.score(GROUPS)
