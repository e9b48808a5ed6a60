"""Where HumDial's lines and sounds lie: its releases agree on the lines, not on the folders."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogaudio_rl.data.corpora.humdial_lines import parse_records
from cogaudio_rl.data.corpora.reading import Collector
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import AudioRef

LANGUAGES = ("zh", "en")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One JSON object and where it stood."""

    path: Path
    where: str
    stem: str
    """The file's path from the root as one word: the same dialogue may be in several files."""
    fields: Mapping[str, Any]


def json_files(found: Collector) -> list[Path]:
    """Every file of lines below the root, in order; links to folders are not followed."""
    files: list[Path] = []

    def refused(error: OSError) -> None:
        found.reject(Path(error.filename), f"folder cannot be read: {error.strerror}")

    for folder, below, names in os.walk(found.root, onerror=refused):
        below[:] = sorted(name for name in below if not name.startswith("."))
        files += [
            Path(folder, name)
            for name in sorted(names)
            if Path(name).suffix.lower() in (".jsonl", ".json") and not name.startswith(".")
        ]
    return files


def records(found: Collector, path: Path) -> list[Record]:
    """The file's objects; what is not one is rejected by line."""
    text = found.text(path, encodings=("gb18030",))
    if text is None:
        return []
    relative = path.relative_to(found.root).with_suffix("")
    stem = re.sub(r"[^A-Za-z0-9-]+", "_", "_".join(relative.parts))
    items, bad = parse_records(text, lines=path.suffix.lower() == ".jsonl")
    for problem in bad:
        found.reject(path, problem)
    return [
        Record(path=path, where=f"{found.place(path)} {place}", stem=stem, fields=fields)
        for place, fields in items
    ]


def task_of(path: Path) -> str:
    """``T1`` to ``T4``, from the file's name; ``dialogue`` where it names none."""
    match = re.search(r"(?:^|[^a-z])t(?:ask)?[_-]?([1-4])(?!\d)", path.stem.lower())
    return f"T{match[1]}" if match else "dialogue"


def language_of(record: Record, name: str) -> str:
    """From the id (``zh_0001_0001``) or the path. Raises DataError if neither tells."""
    for source in (name, record.stem):
        told = [word for word in re.split(r"[_\W]+", source.lower()) if word in LANGUAGES]
        if len(set(told)) == 1:
            return told[0]
    raise DataError(f"neither id {name[:60]!r} nor path says zh or en")


def sound_of(found: Collector, record: Record, stated: str) -> AudioRef | None:
    """The sound of that name, looked for beside its file, in the folder of its file's name, and
    below the root; None if it was rejected.
    """
    bases = (record.path.parent, record.path.with_suffix(""), found.root)
    places = [base / stated for base in bases]
    return found.audio(next((place for place in places if _is_file(place)), places[0]))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # A name from the file that no file can have.
        return False
