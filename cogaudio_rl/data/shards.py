"""Parquet shards: utterances with their sound inside, as `datasets` lays out its Audio feature.

`datasets.load_dataset("parquet", data_files=...)` opens them without being told anything.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import shutil
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from cogaudio_rl.data.audio import decode_audio
from cogaudio_rl.data.columns import ALWAYS_THERE, SCHEMA, to_record, to_row
from cogaudio_rl.data.manifest import check_utterance
from cogaudio_rl.data.sources import Sound, as_stated, checked
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import Utterance

ROWS_READ_TOGETHER = 32
"""Of a shard. One sound costs the reading of all of them; fewer make every file's index longer."""

_GROUPS_MIXED = 8
"""Row groups whose rows are shuffled together; the groups themselves are shuffled over the corpus."""

_DICTIONARY_COST = 8
"""Bytes of Python objects for a byte of arrow's; words are short, so this is about right."""


def write_shards(utterances: Iterable[Utterance], folder: Path, rows_per_shard: int) -> int:
    """Write the utterances as they come, with the files of their sounds; returns how many there were.

    ``folder`` appears only when it is complete. Raises DataError if it holds something already, for a
    sound that is missing, and for what :func:`write_manifest` would refuse.
    """
    if rows_per_shard < 1:
        raise ValueError(f"rows_per_shard must be >= 1, got {rows_per_shard}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"folder {str(folder)!r} is not empty; write the shards to a new one")
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        rows = _rows(utterances)
        written = 0
        for number in itertools.count():
            count = _write_shard(
                itertools.islice(rows, rows_per_shard), partial / f"shard-{number:05d}.parquet"
            )
            written += count
            if count < rows_per_shard:
                break
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return written


def iter_shards(folder: Path) -> Iterator[tuple[Utterance, bytes]]:
    """Every utterance of a folder of shards, in order, with the file of its sound (empty: only words).

    Raises DataError for a folder without shards, a damaged shard, and for what :func:`iter_manifest`
    would refuse; ids that come twice are not noticed.
    """
    source = ShardSource(folder)
    for number in range(len(source)):
        yield source.utterance(number), source.encoded(number)


def in_shards(utterance: Utterance) -> bool:
    """Whether its sound lies in a shard, and its path is only a name."""
    return utterance.audio is not None and ".parquet#" in utterance.audio.path


class ShardSource:
    """A folder of shards as a source. Memory holds where row groups lie, and those read last."""

    def __init__(self, folder: Path, *, cache_bytes: int = 256 << 20) -> None:
        """``cache_bytes`` is for row groups; below a few dozen of them, some are read again and again.

        Raises DataError for a folder without shards, and for a shard that is damaged or has no sounds.
        """
        self._paths = sorted(folder.glob("*.parquet"))
        if not self._paths:
            raise DataError(f"folder {str(folder)!r} holds no *.parquet; write_shards makes them")
        counts: list[int] = []
        places: list[tuple[int, int]] = []
        digest = hashlib.blake2b(digest_size=8)
        for number, path in enumerate(self._paths):
            rows_per_group, index = _index_of(path)
            digest.update(index)
            counts += rows_per_group
            places += [(number, group) for group in range(len(rows_per_group))]
        self.digest = digest.hexdigest()
        self._starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)
        self._places = np.array(places, dtype=np.int64).reshape(-1, 2)
        if len(self) == 0:
            raise DataError(f"folder {str(folder)!r} holds shards without a row; write them again")
        self._read = _Recent(self._paths, limit=cache_bytes)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def order(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Near one another in the order lie rows of the same few groups, so that each is read once."""
        groups = rng.permutation(len(self._places))
        pieces: list[npt.NDArray[np.int64]] = []
        for at in range(0, len(groups), _GROUPS_MIXED):
            mixed = groups[at : at + _GROUPS_MIXED]
            rows = np.concatenate([np.arange(*self._starts[g : g + 2]) for g in mixed])
            rng.shuffle(rows)
            pieces.append(rows)
        return np.concatenate(pieces)

    def utterance(self, number: int) -> Utterance:
        shard, group, row = self._locate(number)
        # Not a file's path, but as good a name: nothing else is called so.
        name = f"{self._paths[shard]}#{group}.{row}"
        record = to_record(self._read.words(shard, group)[row], name)
        return checked(json.dumps(record).encode(), name)

    def encoded(self, number: int) -> bytes:
        """The file of a sound; empty where there are only words."""
        shard, group, row = self._locate(number)
        sound = self._read.sounds(shard, group)[row].as_py()
        return (sound and sound["bytes"]) or b""

    def sound(self, number: int, utterance: Utterance) -> Sound:
        if utterance.audio is None:
            return np.zeros(0, np.float32)
        encoded = io.BytesIO(self.encoded(number))
        sound, _notes = decode_audio(encoded, name=utterance.audio.path)
        return as_stated(sound, utterance)

    def close(self) -> None:
        self._read.forget()

    def _locate(self, number: int) -> tuple[int, int, int]:
        if not 0 <= number < len(self):
            raise IndexError(f"row {number} of {len(self)}")
        at = int(np.searchsorted(self._starts, number, side="right")) - 1
        shard, group = (int(i) for i in self._places[at])
        return shard, group, number - int(self._starts[at])


class _Recent:
    """Row groups, words and sounds apart, of which those read last are kept."""

    def __init__(self, paths: list[Path], *, limit: int) -> None:
        self._paths = paths
        self._limit = limit
        self._size = 0
        self._kept: OrderedDict[tuple[int, int, bool], tuple[int, Any]] = OrderedDict()
        # Held while reading, so that threads that want the same group do not all read it.
        self._lock = threading.Lock()

    def words(self, shard: int, group: int) -> list[dict[str, Any]]:
        return self._get(shard, group, sounds=False)

    def sounds(self, shard: int, group: int) -> Any:
        """An arrow column: a sound becomes bytes when it is asked for."""
        return self._get(shard, group, sounds=True)

    def forget(self) -> None:
        with self._lock:
            self._kept.clear()
            self._size = 0

    def _get(self, shard: int, group: int, *, sounds: bool) -> Any:
        key = (shard, group, sounds)
        with self._lock:
            if key not in self._kept:
                self._keep(key, _read_group(self._paths[shard], group, sounds=sounds))
            self._kept.move_to_end(key)
            return self._kept[key][1]

    def _keep(self, key: tuple[int, int, bool], table: Any) -> None:
        # All rows become dictionaries at once: arrow takes long for each single one.
        rows = table.column("audio") if key[2] else table.to_pylist()
        size = table.nbytes * (1 if key[2] else _DICTIONARY_COST)
        while self._kept and self._size + size > self._limit:
            self._size -= self._kept.popitem(last=False)[1][0]
        self._kept[key] = (size, rows)
        self._size += size


def _read_group(path: Path, group: int, *, sounds: bool) -> Any:
    columns = ["audio.bytes"] if sounds else [name for name in SCHEMA.names if name != "audio"]
    try:
        with pq.ParquetFile(path) as shard:
            return shard.read_row_group(group, columns=columns, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from None


def _index_of(path: Path) -> tuple[list[int], bytes]:
    """Rows of each row group, and a digest of where the file says everything lies."""
    try:
        with pq.ParquetFile(path) as shard:
            meta = shard.metadata
            columns = shard.schema_arrow.names
            rows = [meta.row_group(g).num_rows for g in range(meta.num_row_groups)]
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from None
    for name in ALWAYS_THERE:
        if name not in columns:
            raise DataError(
                f"shard {str(path)!r} has no column {name!r}; make shards of a manifest by write_shards"
            )
    with path.open("rb") as file:
        # Its last 8 bytes are the length of what stands before them, the index, and a magic word.
        file.seek(-8, 2)
        file.seek(-8 - int.from_bytes(file.read(4), "little"), 2)
        return rows, hashlib.blake2b(file.read()).digest()


def _damaged(path: Path, error: Exception) -> DataError:
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataError(f"shard {str(path)!r} cannot be read: {first}; write it again")


def _rows(utterances: Iterable[Utterance]) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    for utterance in utterances:
        check_utterance(utterance, seen, f"utterance {utterance.id!r}")
        yield _row(utterance)


def _row(utterance: Utterance) -> dict[str, Any]:
    if utterance.audio is None:
        return to_row(utterance, b"", "")
    path = Path(utterance.audio.path)
    if not path.is_file():
        raise DataError(f"utterance {utterance.id!r}: audio file {str(path)!r} does not exist")
    return to_row(utterance, path.read_bytes(), path.suffix)


def _write_shard(rows: Iterator[dict[str, Any]], path: Path) -> int:
    """Write up to all rows and return how many; no file if there are none."""
    count, writer = 0, None
    try:
        while block := list(itertools.islice(rows, ROWS_READ_TOGETHER)):
            writer = writer or pq.ParquetWriter(path, SCHEMA, compression="zstd")
            writer.write_table(pa.Table.from_pylist(block, schema=SCHEMA))
            count += len(block)
    finally:
        if writer is not None:
            writer.close()
    return count
