"""Batches for training from corpora too large for memory, decoded off the training thread.

    plan (windows.py) ─► this rank's share of each batch ─► threads: decode, features ─► list[Item]

Global batch i is the same set for every number of ranks; rank r gets every R-th of it, from r on.
A position is one of the global stream, so a run may go on with another number of ranks.
"""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from cogaudio_rl.data.sources import Sound
from cogaudio_rl.data.windows import Cursor, Draw, Length, Planner, Weighted, Window, seconds_of
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import Utterance

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderConfig:
    """How utterances become batches; the first four decide which, the rest where and how fast."""

    seed: int
    budget: float
    """Of a global batch, padding included, in seconds of sound or whatever ``length`` counts."""
    window: int = 512
    """Utterances among which those of like length are put together."""
    max_items: int | None = None
    """Of a global batch."""
    rank: int = 0
    world_size: int = 1
    threads: int = 2
    prefetch: int = 4
    """Batches that are worked on ahead of the one that is asked for."""
    skip_bad: bool = False
    """Leave out what cannot be decoded, and list it, instead of raising DataError."""

    def __post_init__(self) -> None:
        if not self.budget > 0:
            raise ValueError(f"budget must be > 0, got {self.budget}")
        for name in ("window", "world_size", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        if self.max_items is not None and self.max_items < 1:
            raise ValueError(f"max_items must be >= 1 or None, got {self.max_items}")
        if self.prefetch < 0:
            raise ValueError(f"prefetch must be >= 0, got {self.prefetch}")
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank must be in [0, {self.world_size}), got {self.rank}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item(Generic[T]):
    """An utterance and what was made of its sound."""

    utterance: Utterance
    epoch: int
    """How many whole passes its source made before."""
    features: T


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """An utterance that was left out, and why."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending(Generic[T]):
    """A batch on its way."""

    items: list[Future[Item[T] | Rejected]]
    window: Cursor
    batch: int


class Loader(Generic[T]):
    """Batches without end; each source starts a new pass when it has given all it has.

    A rank's share of a batch can be empty, where the batch has fewer items than there are ranks or
    none could be decoded: ranks stay in step. Use it in a ``with`` block, which ends its threads and
    closes its sources. Not for several consumers at once.
    """

    def __init__(
        self,
        mixture: Sequence[Weighted],
        features: Callable[[Utterance, Sound], T],
        config: LoaderConfig,
        *,
        length: Length = seconds_of,
    ) -> None:
        """``features`` and ``length`` are called from threads; a DataError of ``features`` rejects the
        utterance. Raises DataError for an empty mixture or a weight that is not above 0."""
        self._mixture = tuple(mixture)
        self._features = features
        self._config = config
        self._planner = Planner(
            self._mixture,
            seed=config.seed,
            size=config.window,
            budget=config.budget,
            max_items=config.max_items,
            length=length,
        )
        self._threads = ThreadPoolExecutor(config.threads, thread_name_prefix="loader")
        self._closed = False
        self._pending: deque[_Pending[T]] = deque()
        self._planned: Future[Window] | None = None
        self._window: Window | None = None
        self._next_batch = 0
        self._position = (self._planner.start(), 0)
        self.rejected: list[Rejected] = []
        """What was left out of the batches given so far, once for each time."""

    @classmethod
    def restore(
        cls,
        mixture: Sequence[Weighted],
        features: Callable[[Utterance, Sound], T],
        config: LoaderConfig,
        state: Mapping[str, Any],
        *,
        length: Length = seconds_of,
    ) -> Loader[T]:
        """Go on from ``state``, on this or another number of ranks.

        Raises DataError if it was taken over other sources or with another config; ``length`` has to
        be the same, too, and cannot be checked.
        """
        loader = cls(mixture, features, config, length=length)
        if state["digest"] != loader._digest():
            loader.close()
            raise DataError(
                f"the saved loader had other sources, weights, seed, budget, window or max_items than"
                f" these {len(mixture)} with seed {config.seed}; resume with what it began with"
            )
        drawn = tuple(int(count) for count in state["drawn"])
        loader._position = (Cursor(window=int(state["window"]), drawn=drawn), int(state["batch"]))
        return loader

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` needs, ready for JSON, the same on every rank.

        It counts batches that were given, not those that are being worked on.
        """
        start, batch = self._position
        return {
            "window": start.window,
            "drawn": list(start.drawn),
            "batch": batch,
            "digest": self._digest(),
        }

    def __enter__(self) -> Loader[T]:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def __iter__(self) -> Loader[T]:
        return self

    def __next__(self) -> list[Item[T]]:
        """This rank's share of the next global batch.

        Raises DataError for an utterance that cannot be decoded, and whatever ``features`` raised, each
        naming the utterance; asked again, it raises the same.
        """
        if self._closed:
            raise ValueError("the loader is closed")
        self._work_ahead()
        first = self._pending[0]
        outcomes = [item.result() for item in first.items]
        self._pending.popleft()
        self._position = (first.window, first.batch + 1)
        for outcome in outcomes:
            if isinstance(outcome, Rejected):
                _log.warning("skipped utterance %r: %s", outcome.id, outcome.reason)
                self.rejected.append(outcome)
        return [outcome for outcome in outcomes if isinstance(outcome, Item)]

    def close(self) -> None:
        """Drop what was not begun, wait for what was, and end the threads."""
        self._closed = True
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._pending.clear()
        for part in self._mixture:
            part.source.close()

    def _work_ahead(self) -> None:
        while len(self._pending) <= self._config.prefetch:
            window = self._open_window()
            if window is None:
                return
            share = window.batches[self._next_batch][self._config.rank :: self._config.world_size]
            items = [self._threads.submit(self._load, draw) for draw in share]
            self._pending.append(_Pending(items=items, window=window.start, batch=self._next_batch))
            self._next_batch += 1

    def _open_window(self) -> Window | None:
        """The window the next batch is in; None if what is pending can go first, since the next window
        is not planned yet, or cannot be."""
        if self._planned is None:
            start, self._next_batch = self._position
            self._planned = self._threads.submit(self._planner.window, start)
        while self._window is None or self._next_batch >= len(self._window.batches):
            if self._pending and not (self._planned.done() and self._planned.exception() is None):
                return None
            planned = self._planned.result()
            if self._window is not None:
                self._next_batch = 0
            self._window = planned
            self._planned = self._threads.submit(self._planner.window, planned.end)
        return self._window

    def _load(self, draw: Draw) -> Item[T] | Rejected:
        utterance = draw.utterance
        try:
            sound = self._mixture[draw.source].source.sound(draw.number, utterance)
            return Item(
                utterance=utterance,
                epoch=draw.epoch,
                features=self._features(utterance, sound),
            )
        except DataError as error:
            if self._config.skip_bad:
                return Rejected(id=utterance.id, reason=str(error))
            raise DataError(
                f"utterance {utterance.id!r}: {error}; mend it, or set skip_bad to go on without it"
            ) from None
        except Exception as error:  # whatever the caller's features raise stays what it is
            error.add_note(f"while loading utterance {utterance.id!r}")
            raise

    def _digest(self) -> str:
        config = self._config
        parts = [config.seed, config.budget, config.window, config.max_items]
        parts += [(part.source.digest, part.weight) for part in self._mixture]
        return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()
