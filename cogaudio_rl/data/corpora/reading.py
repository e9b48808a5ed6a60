"""What the reader of a corpus hands back, and the checks that each of its items goes through.

An item is kept, kept with a note of what was mended, or rejected with the reason. Nothing else.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import soundfile

from cogaudio_rl.data.audio import probe_audio
from cogaudio_rl.data.corpora.text import decode
from cogaudio_rl.data.votes import check_votes
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import KNOWN_EMOTIONS, AudioRef, Utterance

MAX_SECONDS = 60.0
"""Longer is not an utterance but a whole session."""

UNKNOWN_SPEAKER = "unknown"
"""Where a corpus does not say who speaks; a split by speaker then has nothing to hold on to."""

AUDIO_SUFFIXES = (".wav", ".flac")

_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_NEVER_EMPTY = ("text_id", "speaker", "language")

Progress = Callable[[int, int], None]
"""Called with (items done, items in all)."""

Counts = Mapping[str, Mapping[str, int | None]]
"""Category → ``{"found": …, "known": …}``; known is None where no paper says."""

Item = TypeVar("Item")


def silent(done: int, total: int) -> None:
    """The progress of those who do not ask for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """One thing of the corpus that is not used, and why."""

    where: str
    """File (from the root), line or id."""
    reason: str
    expected: bool = False
    """The corpus as published is known to be so; not a sign of damage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """All that a corpus' folder holds."""

    utterances: tuple[Utterance, ...]
    rejected: tuple[Rejected, ...] = ()
    notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What was mended or will be converted → where."""
    usual: frozenset[str] = frozenset()
    """Notes that the corpus as published gives rise to."""
    counts: Counts = field(default_factory=dict)

    @property
    def repairs(self) -> dict[str, tuple[str, ...]]:
        """The notes that a sound copy would not have."""
        return {note: where for note, where in self.notes.items() if note not in self.usual}

    @property
    def damage(self) -> tuple[Rejected, ...]:
        """What a sound copy would not have had to reject."""
        return tuple(item for item in self.rejected if not item.expected)


class Collector:
    """Gathers one reading; all paths are below ``root``."""

    def __init__(
        self, root: Path, *, usual: Iterable[str] = (), progress: Progress = silent
    ) -> None:
        self.root = root
        self._usual = frozenset(usual)
        self._progress = progress
        self._utterances: dict[str, Utterance] = {}
        self._rejected: list[Rejected] = []
        self._notes: dict[str, list[str]] = defaultdict(list)

    def each(self, items: Sequence[Item]) -> Iterator[Item]:
        """The items, telling the progress."""
        for done, item in enumerate(items, start=1):
            yield item
            self._progress(done, len(items))

    def reject(self, where: str | Path, reason: str, *, expected: bool = False) -> None:
        self._rejected.append(
            Rejected(where=self.place(where), reason=_printable(reason), expected=expected)
        )

    def note(self, what: str, where: str | Path) -> None:
        self._notes[what].append(self.place(where))

    def place(self, where: str | Path) -> str:
        """How to name it: paths from the root, and only characters that can be written."""
        if isinstance(where, Path) and where.is_relative_to(self.root):
            where = where.relative_to(self.root).as_posix()
        return _printable(str(where))

    def audio(self, path: Path) -> AudioRef | None:
        """Where a sound lies, by its header; None if it was rejected."""
        try:
            # Before it is opened: soundfile asks for the rate of what is named .raw.
            if path.suffix.lower() not in AUDIO_SUFFIXES:
                raise DataError(f"not one of {', '.join(AUDIO_SUFFIXES)}")
            ref, conversions = probe_audio(inside(self.root, path))
            check_audio(ref)
            _play(ref)
        except DataError as error:
            self.reject(path, str(error))
            return None
        except (OSError, ValueError, soundfile.LibsndfileError) as error:
            self.reject(path, f"audio file cannot be played: {error}")
            return None
        for conversion in conversions:
            self.note(conversion, path)
        return ref

    def text(self, path: Path, encodings: Sequence[str] = ("cp1252", "latin-1")) -> str | None:
        """A text file's content, any encoding but UTF-8 noted; None if it was rejected."""
        raw = self.raw(path)
        if raw is None:
            return None
        try:
            text, encoding = decode(raw, encodings)
        except DataError as error:
            self.reject(path, str(error))
            return None
        if encoding != "utf-8":
            self.note(f"encoding {encoding}", path)
        return text

    def raw(self, path: Path) -> bytes | None:
        """A file's bytes; None if it was rejected."""
        try:
            return inside(self.root, path).read_bytes()
        except DataError as error:
            self.reject(path, str(error))
        except (OSError, ValueError) as error:
            self.reject(path, f"file cannot be read: {error}")
        return None

    def entries(self, folder: Path) -> list[Path]:
        """What lies in a folder, by name, without the dot files that macOS puts into archives."""
        try:
            found = sorted(inside(self.root, folder).iterdir())
        except DataError as error:
            self.reject(folder, str(error))
            return []
        except OSError as error:
            self.reject(folder, f"folder cannot be read: {error}")
            return []
        return [path for path in found if not path.name.startswith(".")]

    def files(
        self, folder: Path, suffixes: Sequence[str], *, subfolders: Sequence[str] = ()
    ) -> list[Path]:
        """The files of a folder and of the named subfolders; whatever else is there is rejected."""
        found: list[Path] = []
        for path in self.entries(folder):
            if path.is_dir():
                if path.name in subfolders:
                    found += self.files(path, suffixes)
                else:
                    self.reject(path, "a folder where files were expected")
            elif path.suffix.lower() in suffixes:
                found.append(path)
            else:
                self.reject(path, f"not one of {', '.join(suffixes)}")
        return found

    def add(self, utterance: Utterance, where: str | Path, *, wordless: bool = False) -> bool:
        """Keep it, if it is sound and its id is new; ``wordless`` allows an empty transcript."""
        try:
            check_utterance(utterance, wordless=wordless)
            if utterance.id in self._utterances:
                raise DataError(f"id {utterance.id!r} comes twice; the first is kept")
        except DataError as error:
            self.reject(where, str(error))
            return False
        self._utterances[utterance.id] = utterance
        return True

    @property
    def utterances(self) -> tuple[Utterance, ...]:
        return tuple(self._utterances[key] for key in sorted(self._utterances))

    @property
    def rejected(self) -> tuple[Rejected, ...]:
        return tuple(self._rejected)

    @property
    def notes(self) -> dict[str, tuple[str, ...]]:
        return {note: tuple(self._notes[note]) for note in sorted(self._notes)}

    def reading(self, known: Mapping[str, int | None]) -> Reading:
        return Reading(
            utterances=self.utterances,
            rejected=self.rejected,
            notes=self.notes,
            usual=self._usual,
            counts=against(self.utterances, known),
        )


def against(utterances: Sequence[Utterance], known: Mapping[str, int | None]) -> Counts:
    """Found and known numbers of utterances, speakers, texts, languages and emotions."""
    found = Counter[str](u.emotion for u in utterances)
    found += Counter(u.language for u in utterances)
    found["utterances"] = len(utterances)
    found["speakers"] = len({u.speaker for u in utterances} - {UNKNOWN_SPEAKER})
    found["texts"] = len({u.text_id for u in utterances})
    keys = (*known, *sorted(found.keys() - known.keys()))
    return {key: {"found": found[key], "known": known.get(key)} for key in keys}


def folder_of(root: Path, layout: str, *candidates: str) -> Path:
    """The first of the folders below ``root`` that is there.

    Raises DataError naming the expected layout if the root is missing or holds none of them.
    """
    if not root.is_dir():
        raise DataError(f"folder {str(root)!r} does not exist; expected {layout}")
    for candidate in candidates:
        if (root / candidate).is_dir():
            return root / candidate
    raise DataError(f"folder {str(root)!r} does not hold this corpus; expected {layout}")


def inside(root: Path, path: Path) -> Path:
    """``path``, if it stays below ``root``; raises DataError for ``..`` and links that lead out."""
    try:
        str(path).encode()
        if ".." in path.relative_to(root).parts:
            raise DataError(f"path {str(path)!r} leads out of the corpus by '..'")
        real = path.resolve()
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: links in a circle.
        raise DataError(f"path {str(path)!r} cannot be followed: {error}") from None
    if not real.is_relative_to(root.resolve()):
        raise DataError(f"path {str(path)!r} is a link that leads out of the corpus")
    return path


def check_audio(ref: AudioRef) -> None:
    """Raise DataError for a sound that cannot be one utterance."""
    if ref.sample_rate_hz < 1:
        raise DataError(f"a sample rate of {ref.sample_rate_hz} Hz cannot be played")
    if ref.seconds > MAX_SECONDS:
        raise DataError(f"lasts {ref.seconds:.1f} s, more than {MAX_SECONDS:.0f} s; cut it first")


def _play(ref: AudioRef) -> None:
    """Raise DataError for a file that is cut off or damaged behind a sound header."""
    decoded = len(soundfile.read(ref.path, dtype="float32")[0])
    if decoded != ref.num_samples:
        raise DataError(f"cut off: {decoded} of {ref.num_samples} samples can be read")


def check_utterance(utterance: Utterance, *, wordless: bool = False) -> None:
    """Raise DataError for what no manifest may hold."""
    if _SAFE_ID.fullmatch(utterance.id) is None or ".." in utterance.id:
        raise DataError(f"id {utterance.id!r} cannot be a file name; use letters, digits, '._-'")
    if utterance.emotion not in KNOWN_EMOTIONS:
        raise DataError(f"emotion {utterance.emotion!r} is not in the project's vocabulary")
    for name in _NEVER_EMPTY:
        if not getattr(utterance, name).strip():
            raise DataError(f"field {name!r} is empty")
    if not (utterance.transcript.strip() or wordless):
        raise DataError("the transcript is empty")
    for name in (*_NEVER_EMPTY, "transcript", "scenario"):
        if _printable(getattr(utterance, name)) != getattr(utterance, name):
            raise DataError(f"field {name!r} holds half a character; save it as UTF-8")
    if utterance.votes is not None:
        check_votes(utterance.votes, utterance.listeners)


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
