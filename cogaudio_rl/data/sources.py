"""Where a loader's utterances lie. Memory holds where each begins, never the utterances."""

from __future__ import annotations

import hashlib
import io
import os
from array import array
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cogaudio_rl.data.audio import SAMPLE_RATE_HZ, read_audio
from cogaudio_rl.data.manifest import check_utterance, parse_utterance, resolved
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import Utterance

Sound = npt.NDArray[np.float32]
"""Mono at 16 kHz; of length 0 where there are only words."""


class Source(Protocol):
    """Utterances that are read one at a time, by number, from several threads at once."""

    @property
    def digest(self) -> str:
        """Stands for what it holds and in which order, wherever it lies."""
        ...

    def __len__(self) -> int: ...

    def order(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """One pass: each number once, shuffled."""
        ...

    def utterance(self, number: int) -> Utterance:
        """Raises DataError for a record that a manifest may not hold."""
        ...

    def sound(self, number: int, utterance: Utterance) -> Sound:
        """Raises DataError for a sound that is missing, unreadable or not as long as stated."""
        ...

    def close(self) -> None: ...


class ManifestSource:
    """A manifest with its sounds in files, read by byte offset.

    Ids that come twice are not noticed: that would take all of them in memory.
    """

    def __init__(self, path: Path) -> None:
        """Reads the manifest once, to find its lines. Raises DataError if there are none."""
        if not path.is_file():
            raise DataError(f"manifest {str(path)!r} does not exist")
        self._path = path
        self._file = path.open("rb")
        self._offsets, self.digest = _lines_of(self._file)
        if len(self) == 0:
            self.close()
            raise DataError(f"manifest {str(path)!r} holds no utterance; it needs at least one")

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def order(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        return rng.permutation(len(self))

    def utterance(self, number: int) -> Utterance:
        start, end = (int(at) for at in self._offsets[number : number + 2])
        # Unlike seek and read, pread can be called from several threads.
        line = os.pread(self._file.fileno(), end - start, start)
        where = f"{self._path} at byte {start}"
        return resolved(checked(line, where), self._path.parent)

    def sound(self, number: int, utterance: Utterance) -> Sound:
        if utterance.audio is None:
            return np.zeros(0, np.float32)
        sound, _notes = read_audio(utterance.audio.path)
        return as_stated(sound, utterance)

    def close(self) -> None:
        self._file.close()


def checked(record: bytes, where: str) -> Utterance:
    """One JSON record as an utterance; raises DataError naming ``where``."""
    utterance = parse_utterance(record, where)
    check_utterance(utterance, set(), where)
    return utterance


def as_stated(sound: Sound, utterance: Utterance) -> Sound:
    """The sound, if it is as long as stated: batches are formed by what is stated.

    Raises DataError naming both lengths.
    """
    clip = utterance.clip
    expected = clip.num_samples * SAMPLE_RATE_HZ / clip.sample_rate_hz
    if abs(len(sound) - expected) > 1:  # resampling rounds
        raise DataError(
            f"audio {clip.path!r} has {len(sound)} samples at 16 kHz, but {expected:.0f} are stated;"
            " correct num_samples and sample_rate_hz"
        )
    return sound


def _lines_of(file: io.BufferedReader) -> tuple[npt.NDArray[np.int64], str]:
    """Where each line begins and where the last one ends, without blank lines, and a digest."""
    starts, at, digest = array("q"), 0, hashlib.blake2b(digest_size=8)
    for line in file:
        if not line.isspace():
            starts.append(at)
        at += len(line)
        digest.update(line)
    starts.append(at)
    return np.array(starts, dtype=np.int64), digest.hexdigest()
