"""A second opinion on a step, had while the learner trains."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from cogaudio_rl.rollout_file import Scores
from cogaudio_rl.types import Group

T = TypeVar("T")
Opinion = Callable[[int, Sequence[Group], Scores], Coroutine[Any, Any, Mapping[str, float]]]
"""(step, its groups, their scores) → metrics."""


async def no_opinion(step: int, groups_P: Sequence[Group], scores_PG: Scores) -> dict[str, float]:
    """Of a run without a held-out judge."""
    return {}


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, T]) -> AsyncGenerator[Awaitable[T]]:
    """Have it done while the block runs; nothing of it is left when the block ends."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
