"""Corpora that training streams: manifests and folders of shards, mixed by weight."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cogaudio_rl.config import DataConfig
from cogaudio_rl.data.shards import ShardSource
from cogaudio_rl.data.sources import ManifestSource, Source
from cogaudio_rl.data.windows import Weighted
from cogaudio_rl.errors import DataError
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import Utterance

_TOLD_EVERY = 100


@dataclass(frozen=True, slots=True)
class Mixture:
    """Path of each source and its weight: small enough to send to a process, which opens it there."""

    weights: Mapping[Path, float]

    @classmethod
    def of(cls, data: DataConfig) -> Mixture:
        """What ``data.mixture`` names, or else ``train.jsonl`` in ``data.root``."""
        if data.mixture:
            return cls({part.path.absolute(): part.weight for part in data.mixture})
        assert data.root is not None
        return cls({(data.root / "train.jsonl").absolute(): 1.0})

    def open(self) -> list[Weighted]:
        """Raises DataError for a source that is missing, damaged or empty."""
        return [Weighted(source=_open(p), weight=weight) for p, weight in self.weights.items()]

    def read(
        self, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> Iterator[Utterance]:
        """Every utterance once, source by source.

        Raises DataError for a record that a manifest may not hold, and for an id that comes twice.
        """
        seen: set[str] = set()
        with self._sources() as sources:
            total = sum(map(len, sources))
            for source in sources:
                for number in range(len(source)):
                    utterance = source.utterance(number)
                    if utterance.id in seen:
                        raise DataError(
                            f"id {utterance.id!r} comes twice in what SFT trains on; ids must be unique"
                        )
                    seen.add(utterance.id)
                    yield utterance
                    if len(seen) % _TOLD_EVERY == 0 or len(seen) == total:
                        progress(len(seen), total)

    def draw(self, count: int, *, seed: int) -> tuple[Utterance, ...]:
        """So many utterances, or all there are, each once.

        Only those whose sound is a file of its own: that is how other processes hear it.
        """
        with self._sources() as sources:
            files = [source for source in sources if isinstance(source, ManifestSource)]
            places = [(source, number) for source in files for number in range(len(source))]
            chosen = rng_for(seed, "mixture", "draw").permutation(len(places))[:count]
            return tuple(source.utterance(number) for source, number in (places[i] for i in chosen))

    @contextmanager
    def _sources(self) -> Iterator[list[Source]]:
        with ExitStack() as stack:
            yield [stack.enter_context(closing(part.source)) for part in self.open()]


def _open(path: Path) -> Source:
    """A manifest, or a folder of shards."""
    return ShardSource(path) if path.is_dir() else ManifestSource(path)
