"""A crew: worker actors of one role, each replaced by a fresh one when its process dies."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

import ray
from ray.actor import ActorHandle
from ray.exceptions import (
    ActorUnschedulableError,
    RayActorError,
    RayError,
    RayTaskError,
    RuntimeEnvSetupError,
    TaskUnschedulableError,
)

from cogaudio_rl.errors import CogAudioError, RunError, WaitTimeout, WorkerDied

T = TypeVar("T")
Spawn = Callable[[], Any]
"""Starts one worker and gives its handle; again after it died, with everything as before."""

_STARTS = 3
_BETWEEN_STARTS_S = 2.0

_log = logging.getLogger(__name__)


def _end(handle: Any) -> None:
    if isinstance(handle, ActorHandle):
        ray.kill(handle, no_restart=True)


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

    def handles(self) -> list[Any]:
        return list(self._handles)

    def tell(self, send: Callable[[Any], Any]) -> None:
        """Say something to every worker, and wait for no answer."""
        for handle in self._handles:
            send(handle)

    async def _replace(self, place: int, dead: Any, died: WorkerDied, what: str) -> Any:
        # Several calls may see one death: the first of them replaces the worker.
        async with self._locks[place]:
            if self._handles[place] is not dead:
                return self._handles[place]
            _log.warning("%s worker %d: %s; a new one takes its place", self._role, place, died)
            # It may only be out of reach: alive, it would hold the resources of its successor.
            _end(dead)
            fresh = await self._start(place, f"a new {self._role} worker, after {what}")
            self._handles[place] = fresh
            self.replaced += 1
            return fresh

    async def _start(self, place: int, what: str) -> Any:
        """A fresh worker, up to where the others are.

        Ray learns late that a node is gone and may place it there: one that dies at once is
        started again.
        """
        attempts = 0
        while True:
            fresh = self._spawners[place]()
            try:
                if self._settle is not None:
                    await gather([self._settle(fresh)], self._start_timeout_s, what)
                return fresh
            except BaseException as error:
                _end(fresh)  # nobody would know of it, and it would hold its place for ever
                attempts += 1
                if not isinstance(error, WorkerDied) or attempts == _STARTS:
                    raise
                await asyncio.sleep(_BETWEEN_STARTS_S)


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
    except RayError as error:
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
    except RayError as error:
        raise _own(error, what) from None


def _own(error: RayError, what: str) -> Exception:
    """What happened, in the one line that was meant: Ray's message is the remote traceback."""
    task = error
    if isinstance(error, RayActorError) and error.actor_init_failed and error.args:
        task = error.args[0]  # the constructor raised: a new process would raise again
    if isinstance(task, RayTaskError):
        if isinstance(task.cause, CogAudioError):
            return task.cause
        if task is error:
            return error  # a defect keeps its traceback
        return RunError(f"a worker could not start for {what}: {_last_line(task)}")
    if isinstance(error, RuntimeEnvSetupError | ActorUnschedulableError | TaskUnschedulableError):
        return RunError(f"a worker could not start for {what}: {_last_line(error)}")
    # Killed, out of memory, its node lost: Ray has a class for each, and more to come.
    return WorkerDied(f"a worker process died during {what}: {_gist(error)}")


async def _result(ref: Awaitable[T]) -> T:
    return await ref


def _last_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def _gist(error: Exception) -> str:
    """What Ray says of a death, without the indented facts about the process."""
    lines = (str(error).strip() or type(error).__name__).splitlines()
    return " ".join(line for line in lines if line and not line[0].isspace())[:300]
