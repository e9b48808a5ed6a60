"""Which utterances come when, and which of them make a batch. Pure: no threads, no sound.

    sources ─► one pass after another, each shuffled ─► mixed by weight ─► windows ─► batches

Every rank plans the same windows, so that no rank has to ask another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cogaudio_rl.data.sources import Source
from cogaudio_rl.errors import DataError
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import Utterance

Length = Callable[[Utterance], float]
"""What an utterance costs: seconds, or tokens. Called off the training thread."""

_ROUNDING = 1e-9
"""Far above what float64 loses in share x step, far below what the mixture's bound leaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighted:
    """A source and its share of the mixture, relative to the other sources'."""

    source: Source
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """Where a window begins."""

    window: int
    drawn: tuple[int, ...]
    """How many utterances each source has given, over all its passes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One place of the global stream."""

    source: int
    number: int
    epoch: int
    """How many whole passes its source made before."""
    utterance: Utterance


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The batches of one stretch of the global stream, and where the next one begins."""

    start: Cursor
    batches: tuple[tuple[Draw, ...], ...]
    end: Cursor


class Planner:
    """Plans windows in any order, though fastest one after another."""

    def __init__(
        self,
        mixture: Sequence[Weighted],
        *,
        seed: int,
        size: int,
        budget: float,
        max_items: int | None,
        length: Length,
    ) -> None:
        self._sources = [part.source for part in mixture]
        self._shares = shares([part.weight for part in mixture])
        self._seed = seed
        self._size = size
        self._budget = budget
        self._max_items = max_items
        self._length = length
        self._orders: dict[int, tuple[int, npt.NDArray[np.int64]]] = {}

    def start(self) -> Cursor:
        return Cursor(window=0, drawn=(0,) * len(self._sources))

    def window(self, start: Cursor) -> Window:
        """Raises DataError for a record that cannot be used, as every other rank does."""
        drawn, draws = list(start.drawn), []
        for _ in range(self._size):
            source = next_source(self._shares, drawn)
            draws.append(self._draw(source, drawn[source]))
            drawn[source] += 1
        lengths = [self._length_of(draw.utterance) for draw in draws]
        batches = cut(lengths, budget=self._budget, max_items=self._max_items)
        # Cut longest first; trained on in that order, every window would end on its shortest.
        shuffled = rng_for(self._seed, "loader", "window", start.window).permutation(len(batches))
        return Window(
            start=start,
            batches=tuple(tuple(draws[i] for i in batches[b]) for b in shuffled),
            end=Cursor(window=start.window + 1, drawn=tuple(drawn)),
        )

    def _draw(self, source: int, place: int) -> Draw:
        epoch, at = divmod(place, len(self._sources[source]))
        number = int(self._order(source, epoch)[at])
        utterance = self._sources[source].utterance(number)
        return Draw(source=source, number=number, epoch=epoch, utterance=utterance)

    def _order(self, source: int, epoch: int) -> npt.NDArray[np.int64]:
        known = self._orders.get(source)
        if known is None or known[0] != epoch:
            rng = rng_for(self._seed, "loader", source, epoch)
            known = self._orders[source] = (epoch, self._sources[source].order(rng))
        return known[1]

    def _length_of(self, utterance: Utterance) -> float:
        length = self._length(utterance)
        if not (math.isfinite(length) and length > 0):
            raise DataError(f"utterance {utterance.id!r} has length {length}; it must be > 0")
        return length


def seconds_of(utterance: Utterance) -> float:
    """Seconds of sound. Raises DataError where there is none."""
    if utterance.audio is None:
        raise DataError(
            f"utterance {utterance.id!r} has no sound; give the loader a length that counts words"
        )
    return utterance.audio.seconds


def shares(weights: Sequence[float]) -> tuple[float, ...]:
    """Weights that sum to 1. Raises DataError for none at all, or one that is not above 0."""
    if not weights:
        raise DataError("the mixture is empty; give it at least one source")
    for place, weight in enumerate(weights):
        if not (math.isfinite(weight) and weight > 0):
            raise DataError(
                f"source {place} of the mixture has weight {weight}; give it one above 0, or leave"
                " the source out"
            )
    return tuple(weight / math.fsum(weights) for weight in weights)


def next_source(shares: Sequence[float], drawn: Sequence[int]) -> int:
    """Whose turn it is, so that no source is ever a whole item before or behind its share.

    Tijdeman, "The chairman assignment problem" (1980): of those that are behind by 1 / (2k - 2), the
    one that would first be too far behind. After n draws, count - share x n is within
    1 - 1 / (2k - 2) of 0.
    """
    if len(shares) == 1:
        return 0
    slack, due = 1 / (2 * len(shares) - 2), sum(drawn) + 1
    behind = [share * due - count for share, count in zip(shares, drawn, strict=True)]
    ready = [k for k, by in enumerate(behind) if by >= slack - _ROUNDING]
    return min(ready, key=lambda k: ((1 - slack - behind[k]) / shares[k], k))


def cut(lengths: Sequence[float], *, budget: float, max_items: int | None) -> list[list[int]]:
    """Places in ``lengths``, batch by batch, longest first; each place once.

    A batch costs its items times its longest: what it takes when padded. It stays within ``budget``,
    but for one item that is longer by itself: nothing is cut short or left out.
    """
    found: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        rows = len(found[-1]) + 1 if found else 0
        fits = rows and rows * lengths[found[-1][0]] <= budget
        if fits and (max_items is None or rows <= max_items):
            found[-1].append(i)
        else:
            found.append([i])
    return found
