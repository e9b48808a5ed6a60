"""A crew: worker actors of one role, each replaced by a fresh one when its process dies."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

from ray.exceptions import RayActorError, RayTaskError

from cogaudio_rl.errors import CogAudioError, WaitTimeout, WorkerDied

T = TypeVar("T")
Spawn = Callable[[], Any]
"""Starts one worker and gives its handle; again after it died."""

_log = logging.getLogger(__name__)


class Crew:
    """Handles by place. What a dead worker was asked is asked once more, of its replacement."""

    def __init__(
        self,
        role: str,
        spawners: Sequence[Spawn],
        *,
        start_timeout_s: float,
        settle: Callable[[Any], Awaitable[Any]] | None = None,
    ) -> None:
        """``settle`` brings a fresh worker up to where the others are."""
        self._role = role
        self._spawners = list(spawners)
        self._handles = [spawn() for spawn in spawners]
        self._settle = settle
        self._start_timeout_s = start_timeout_s
        self._locks = [asyncio.Lock() for _ in spawners]
        self.replaced = 0

    def __len__(self) -> int:
        return len(self._handles)

    async def call(
        self, place: int, send: Callable[[Any], Awaitable[T]], *, timeout_s: float, what: str
    ) -> T:
        """What the worker answers; a second death in one call is WorkerDied."""
        handle = self._handles[place]
        try:
            return (await gather([send(handle)], timeout_s, what))[0]
        except WorkerDied as died:
            handle = await self._replace(place, handle, died, what)
        return (await gather([send(handle)], timeout_s, what))[0]

    async def stream(
        self,
        place: int,
        send: Callable[[Any, Sequence[int]], Any],
        wanted: Sequence[int],
        *,
        timeout_s: float,
        what: str,
    ) -> AsyncGenerator[tuple[int, Any]]:
        """(index, answer) for each wanted index, as they come.

        ``send(handle, indices)`` starts a streaming call that yields (place in indices, answer).
        When the worker dies, only what it had not answered is asked again.
        """
        left = list(wanted)
        for last in (False, True):
            handle, asked = self._handles[place], tuple(left)
            try:
                async for i, answer in _items(send(handle, asked), timeout_s, what):
                    left.remove(asked[i])
                    yield asked[i], answer
                return
            except WorkerDied as died:
                if last:
                    raise
                await self._replace(place, handle, died, what)

    async def _replace(self, place: int, dead: Any, died: WorkerDied, what: str) -> Any:
        # Several calls may see one death: the first of them replaces the worker.
        async with self._locks[place]:
            if self._handles[place] is not dead:
                return self._handles[place]
            _log.warning("%s worker %d: %s; a new one takes its place", self._role, place, died)
            fresh = self._spawners[place]()
            if self._settle is not None:
                await gather(
                    [self._settle(fresh)],
                    self._start_timeout_s,
                    f"a new {self._role} worker, after one died during {what}",
                )
            self._handles[place] = fresh
            self.replaced += 1
            return fresh


async def gather(refs: Iterable[Awaitable[T]], timeout_s: float, what: str) -> list[T]:
    """The results of remote calls, in order.

    Raises WaitTimeout naming ``what`` when they take longer, a worker's own CogAudioError as it was
    raised there, and WorkerDied when a worker process died.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return list(await asyncio.gather(*(_result(ref) for ref in refs)))
    except TimeoutError:
        raise WaitTimeout(f"waited {timeout_s:g} s for {what}, in vain") from None
    except (RayTaskError, RayActorError) as error:
        raise _own(error, what) from None


async def _items(refs: Any, timeout_s: float, what: str) -> AsyncGenerator[Any]:
    """The values of a streaming call; the limit is on the wait for each."""
    try:
        while True:
            async with asyncio.timeout(timeout_s):
                item = await (await anext(refs))
            yield item
    except StopAsyncIteration:
        return
    except TimeoutError:
        raise WaitTimeout(f"waited {timeout_s:g} s for {what}, in vain") from None
    except (RayTaskError, RayActorError) as error:
        raise _own(error, what) from None


def _own(error: Exception, what: str) -> Exception:
    """Ray's message is the remote traceback; ours is the one line that was meant."""
    if isinstance(error, RayTaskError) and isinstance(error.cause, CogAudioError):
        return error.cause
    if isinstance(error, RayActorError):
        return WorkerDied(f"a worker process died during {what}: {_first_line(error)}")
    return error


async def _result(ref: Awaitable[T]) -> T:
    return await ref


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
