"""Driver-side handles: a pool of rollout actors that answers as one Sampler."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, TypeVar

import ray
from ray.exceptions import RayActorError, RayTaskError

from cogaudio_rl.config import ClusterConfig
from cogaudio_rl.errors import CogAudioError, RunError, WaitTimeout
from cogaudio_rl.types import Adapter, Group, Prompt

T = TypeVar("T")


async def gather(refs: Iterable[Awaitable[T]], timeout_s: float, what: str) -> list[T]:
    """The results of remote calls, in order.

    Raises WaitTimeout naming ``what`` when they take longer, a worker's own CogAudioError as it was
    raised there, and RunError when a worker process died.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return list(await asyncio.gather(*(_result(ref) for ref in refs)))
    except TimeoutError:
        raise WaitTimeout(f"waited {timeout_s:g} s for {what}, in vain") from None
    except RayTaskError as error:
        # Ray's own message is the remote traceback; ours is the one line that was meant.
        if isinstance(error.cause, CogAudioError):
            raise error.cause from None
        raise
    except RayActorError as error:
        raise RunError(f"a worker process died during {what}: {_first_line(error)}") from None


class SamplerPool:
    """Implements the Sampler port over rollout actors that all hold the same policy."""

    def __init__(self, workers: Sequence[Any], config: ClusterConfig) -> None:
        self._workers = list(workers)
        self._timeout_s = config.step_timeout_s

    async def sample(
        self, prompts_P: Sequence[Prompt], *, n: int, temperature: float, seed: int
    ) -> list[Group]:
        """See :class:`cogaudio_rl.ports.Sampler`. Which worker draws makes no difference."""
        return await self._spread(
            prompts_P,
            lambda worker, part: worker.sample.remote(
                part, n=n, temperature=temperature, seed=seed
            ),
            what=f"{n} rollouts of each of {len(prompts_P)} prompts",
        )

    async def choose(
        self, prompts_P: Sequence[Prompt], *, prefix: str, options: Sequence[str]
    ) -> list[str]:
        """See :class:`cogaudio_rl.ports.Sampler`."""
        return await self._spread(
            prompts_P,
            lambda worker, part: worker.choose.remote(part, prefix=prefix, options=options),
            what=f"choices for {len(prompts_P)} prompts",
        )

    async def publish(self, adapter: Adapter | None) -> None:
        """Every worker takes the adapter from one copy in the object store."""
        shared = ray.put(adapter)
        name = "the bare base" if adapter is None else f"policy version {adapter.version}"
        await gather(
            [worker.publish.remote(shared) for worker in self._workers],
            self._timeout_s,
            f"rollout workers to load {name}",
        )

    async def _spread(self, prompts_P: Sequence[Prompt], call: Any, *, what: str) -> list[Any]:
        """Deal the prompts out, ask every worker that has some, put the answers back in order."""
        hands = deal(prompts_P, len(self._workers))
        asked = [
            call(worker, [prompts_P[i] for i in hand])
            for worker, hand in zip(self._workers, hands, strict=True)
            if hand
        ]
        answers = await gather(asked, self._timeout_s, what)
        found: dict[int, Any] = {}
        for hand, answer in zip(filter(None, hands), answers, strict=True):
            found.update(zip(hand, answer, strict=True))
        return [found[i] for i in range(len(prompts_P))]


def deal(prompts_P: Sequence[Prompt], hands: int) -> list[list[int]]:
    """Indices of the prompts for each of ``hands`` workers, sizes at most one apart.

    Dealt route by route: explicit answers are twice as long, and no one should hold them all.
    """
    order = sorted(range(len(prompts_P)), key=lambda i: prompts_P[i].route)
    return [order[hand::hands] for hand in range(hands)]


async def _result(ref: Awaitable[T]) -> T:
    return await ref


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
