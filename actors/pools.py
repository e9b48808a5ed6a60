"""The driver's handle to all rollout actors: a pool that answers as one Sampler."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

import ray

from actors.crew import Crew, Spawn
from cogaudio_rl.config import ClusterConfig
from cogaudio_rl.ports import in_order_of_place
from cogaudio_rl.types import Adapter, Group, Prefix, Prompt

GENERATE = "generate"
"""The concurrency group of a rollout actor in which its streams run, one at a time."""


class SamplerPool:
    """Implements the Sampler port over rollout actors that all hold the same policy.

    A worker that dies is replaced, the replacement is given the policy the others hold, and what
    the dead one had not answered is asked again, once.
    """

    def __init__(self, config: ClusterConfig, spawners: Sequence[Spawn]) -> None:
        self._crew = Crew(
            "rollout",
            spawners,
            start_timeout_s=config.start_timeout_s,
            settle=self._settle,
        )
        self._timeout_s = config.step_timeout_s
        self._published: Any = None
        """Reference to the adapter in use; None is the bare base."""
        self._source: Callable[[], Awaitable[Adapter]] | None = None
        """Who can give what is in use, where it did not come through :meth:`publish`."""

    @property
    def replaced(self) -> int:
        """How many workers have died and been replaced."""
        return self._crew.replaced

    async def sample(
        self, prompts_P: Sequence[Prompt], *, n: int, temperature: float, seed: int
    ) -> list[Group]:
        """See :class:`cogaudio_rl.ports.Sampler`. Which worker draws makes no difference."""
        return await in_order_of_place(
            self.stream(prompts_P, n=n, temperature=temperature, seed=seed)
        )

    async def stream(
        self, prompts_P: Sequence[Prompt], *, n: int, temperature: float, seed: int
    ) -> AsyncGenerator[tuple[int, Group]]:
        """See :class:`cogaudio_rl.ports.Sampler`."""
        ticket = uuid.uuid4().hex
        come: asyncio.Queue[tuple[int, Group] | BaseException | None] = asyncio.Queue()

        def send(worker: Any, places: Sequence[int]) -> Any:
            # In a group of its own, so that a publish and its canary need not wait for the end of it.
            return worker.stream.options(concurrency_group=GENERATE).remote(
                [prompts_P[i] for i in places],
                n=n,
                temperature=temperature,
                seed=seed,
                ticket=ticket,
            )

        async def listen(worker: int, hand: Sequence[int]) -> None:
            what = f"{n} rollouts of each of {len(hand)} prompts"
            try:
                async for item in self._crew.stream(
                    worker, send, hand, timeout_s=self._timeout_s, what=what
                ):
                    come.put_nowait(item)
                come.put_nowait(None)
            except BaseException as error:  # handed over to whoever consumes the stream
                come.put_nowait(error)

        hands = deal(prompts_P, len(self._crew))
        listeners = [asyncio.create_task(listen(i, hand)) for i, hand in enumerate(hands) if hand]
        try:
            running = len(listeners)
            while running:
                item = await come.get()
                if isinstance(item, BaseException):
                    raise item
                if item is None:
                    running -= 1
                else:
                    yield item
        finally:
            if any(not listener.done() for listener in listeners):
                # To stop listening stops no worker: it would go on, and what is asked next would wait.
                self._crew.tell(lambda handle: handle.abandon.remote(ticket))
            for listener in listeners:
                listener.cancel()

    async def probe(self, prompts_P: Sequence[Prompt]) -> list[Group]:
        """See :class:`cogaudio_rl.ports.Sampler`; one engine after another."""
        answers = await asyncio.gather(
            *(
                self._crew.call(
                    worker,
                    lambda handle: handle.probe.remote(list(prompts_P)),
                    timeout_s=self._timeout_s,
                    what=f"the canary of rollout worker {worker}",
                )
                for worker in range(len(self._crew))
            )
        )
        return [group for groups in answers for group in groups]

    async def choose(
        self, prompts_P: Sequence[Prompt], *, prefix: str, options: Sequence[str]
    ) -> list[str]:
        """See :class:`cogaudio_rl.ports.Sampler`."""
        hands = [hand for hand in deal(prompts_P, len(self._crew)) if hand]
        answers = await asyncio.gather(
            *(
                self._crew.call(
                    worker,
                    lambda handle, hand=hand: handle.choose.remote(
                        [prompts_P[i] for i in hand], prefix=prefix, options=options
                    ),
                    timeout_s=self._timeout_s,
                    what=f"choices for {len(hand)} prompts",
                )
                for worker, hand in enumerate(hands)
            )
        )
        return in_order(hands, answers)

    async def weigh(
        self, prompts_P: Sequence[Prompt], prefixes_P: Sequence[Prefix], options: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """See :class:`cogaudio_rl.ports.Sampler`."""
        hands = [hand for hand in deal(prompts_P, len(self._crew)) if hand]
        answers = await asyncio.gather(
            *(
                self._crew.call(
                    worker,
                    lambda handle, hand=hand: handle.weigh.remote(
                        [prompts_P[i] for i in hand], [prefixes_P[i] for i in hand], options
                    ),
                    timeout_s=self._timeout_s,
                    what=f"weights of {len(options)} options for {len(hand)} prompts",
                )
                for worker, hand in enumerate(hands)
            )
        )
        return in_order(hands, answers)

    async def publish(self, adapter: Adapter | None) -> None:
        """Every worker takes the adapter from one copy in the object store."""
        self._published, self._source = ray.put(adapter), None
        name = "the bare base" if adapter is None else f"policy version {adapter.version}"
        await asyncio.gather(
            *(
                self._crew.call(
                    worker,
                    lambda handle: handle.publish.remote(self._published),
                    timeout_s=self._timeout_s,
                    what=f"rollout workers to load {name}",
                )
                for worker in range(len(self._crew))
            )
        )

    def handles(self) -> list[Any]:
        """The workers of now."""
        return self._crew.handles()

    def holds(self, source: Callable[[], Awaitable[Adapter]]) -> None:
        """Every worker was sent weights past this pool; a new worker will be given ``source``'s."""
        self._source = source

    async def _settle(self, fresh: Any) -> None:
        if self._source is not None:
            self._published = ray.put(await self._source())
        await fresh.publish.remote(self._published)


def deal(prompts_P: Sequence[Prompt], hands: int) -> list[list[int]]:
    """Indices of the prompts for each of ``hands`` workers, sizes at most one apart.

    Dealt route by route: explicit answers are twice as long, and no one should hold them all.
    """
    order = sorted(range(len(prompts_P)), key=lambda i: prompts_P[i].route)
    return [order[hand::hands] for hand in range(hands)]


def in_order(hands: Sequence[Sequence[int]], answers: Sequence[Sequence[Any]]) -> list[Any]:
    """What each hand was answered, back in the places the hands were dealt from."""
    found: dict[int, Any] = {}
    for hand, answer in zip(hands, answers, strict=True):
        found.update(zip(hand, answer, strict=True))
    return [found[i] for i in sorted(found)]
