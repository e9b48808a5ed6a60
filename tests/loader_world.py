"""Sources without files, and what the loader's tests ask of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from sounds import an_utterance

from cogaudio_rl.data.loader import Loader, LoaderConfig
from cogaudio_rl.data.sources import Sound
from cogaudio_rl.data.windows import Weighted
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import Utterance


class FakeSource:
    """Utterances named ``<name>-<number>``, a tenth of a second to 3 seconds long, all silent."""

    def __init__(self, name: str, size: int, bad: Sequence[int] = ()) -> None:
        self.digest = f"{name}{size}"
        self._name = name
        self._size = size
        self._bad = bad

    def __len__(self) -> int:
        return self._size

    def order(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        return rng.permutation(self._size)

    def utterance(self, number: int) -> Utterance:
        return an_utterance(f"{self._name}-{number}", num_samples=1_600 * (1 + number * 7919 % 30))

    def sound(self, number: int, utterance: Utterance) -> Sound:
        if number in self._bad:
            raise DataError("audio file 'x.flac' cannot be read: it is broken")
        return np.zeros(utterance.clip.num_samples, np.float32)

    def close(self) -> None:
        pass


def num_samples(utterance: Utterance, sound: Sound) -> int:
    del utterance
    return len(sound)


def fakes(sizes: Sequence[int], weights: Sequence[float]) -> list[Weighted]:
    return [
        Weighted(source=FakeSource(f"s{k}", size), weight=weight)
        for k, (size, weight) in enumerate(zip(sizes, weights, strict=False))
    ]


def batches(loader: Loader[int], count: int) -> list[list[str]]:
    return [[item.utterance.id for item in batch] for batch in islice(loader, count)]


def whole(mixture: Sequence[Weighted], config: LoaderConfig, items: int) -> list[str]:
    """The ids of the first so many items, which must be whole windows."""
    found: list[str] = []
    with Loader(mixture, num_samples, config) as loader:
        while len(found) < items:
            found += batches(loader, 1)[0]
    assert len(found) == items
    return found


sizes = st.lists(st.integers(1, 9), min_size=1, max_size=3)
weights = st.lists(st.floats(0.1, 5), min_size=3, max_size=3)


@st.composite
def configs(draw: st.DrawFn) -> LoaderConfig:
    return LoaderConfig(
        seed=draw(st.integers(0, 3)),
        budget=draw(st.floats(0.5, 20)),
        window=draw(st.integers(1, 16)),
        max_items=draw(st.sampled_from((None, 1, 3))),
        threads=draw(st.integers(1, 3)),
        prefetch=draw(st.integers(0, 4)),
    )


def on_rank(config: LoaderConfig, rank: int, world: int) -> LoaderConfig:
    return dataclasses.replace(config, rank=rank, world_size=world, threads=1)
