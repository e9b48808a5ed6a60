"""LIME-440K's core as released (CogAudio-LLM, arXiv 2606.06940), read as it lies on disk.

``PartA_json_CN/*.json`` and ``PartB_json_EN/*.json`` map ids to items such as
``"10_1_surprise": {"text": …, "emotion": "SURPRISE", "scenario": …, "group": "10_g_0", "wav_path":
"/10/medium/10_1_surprise.wav"}``. The intensity stands in the path alone, the speaker nowhere. A
group says one sentence in many ways and is what splits go by; its punctuation can betray the emotion
("？！", "……") and is taken away. Part B came without texts, part A without sound.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogaudio_rl.data.corpora.emotions import LIME_440K, LIME_440K_INTENSITIES, to_emotion
from cogaudio_rl.data.corpora.reading import (
    UNKNOWN_SPEAKER,
    Collector,
    Progress,
    Reading,
    folder_of,
    silent,
)
from cogaudio_rl.data.corpora.text import Pairs, lexical, parse_json, without_punctuation
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import AudioRef, Utterance

PARTS: dict[str, str] = {"PartA_json_CN": "zh", "PartB_json_EN": "en"}
MARKS: dict[str, set[str]] = {
    "PartA_json_CN": {"parta", "cn", "zh"},
    "PartB_json_EN": {"partb", "en"},
}
"""Words in the name of a folder of sounds that tell whose they are (``PartB_wav_en``)."""

LAYOUT = "'PartA_json_CN/*.json' or 'PartB_json_EN/*.json', and the unpacked sound beside them"
KNOWN: dict[str, int | None] = {"utterances": 319_884, "zh": 223_884, "en": 96_000}

NO_SOUND = "no sound: words only"
_USUAL = (
    NO_SOUND,
    *(f"no {folder}" for folder in PARTS),
    "no text",
    "text given",
    "punctuation taken away",
    "resampled from 22050 Hz to 16000 Hz",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One item of a JSON file, checked."""

    part: str
    """``a`` or ``b``."""
    key: str
    text: str
    """As on disk; empty for null."""
    emotion: str
    scenario: str
    group: str
    wav: str
    """Path below the folder of the sounds, without the slash it begins with."""
    intensity: str

    @property
    def id(self) -> str:
        return f"lime_{self.part}_{self.intensity}_{self.key}"

    @property
    def family(self) -> str:
        return f"lime_{self.part}_{self.group}"


def read(
    root: Path,
    *,
    audio: Mapping[str, Path] | None = None,
    texts: Mapping[str, str] | None = None,
    progress: Progress = silent,
) -> Reading:
    """Every item of both parts. A text that is null comes out empty.

    ``audio`` gives, by name of a JSON folder, the folder below ``root`` that ``wav_path`` begins at;
    by default it is looked for in ``root`` and two levels down. ``texts`` gives words by text_id
    (``lime_b_10_g_0``) where a group has none.
    """
    folder_of(root, LAYOUT, *PARTS)
    found = Collector(root, usual=_USUAL, progress=progress)
    for folder, language in PARTS.items():
        if not (root / folder).is_dir():
            found.note(f"no {folder}", root / folder)
            continue
        entries = _entries(found, root / folder)
        spelt = _sentences(entries)
        base = (audio or {}).get(folder) or _sound_folder(found, root / folder, entries)
        for entry in found.each(entries):
            given = without_punctuation((texts or {}).get(entry.family, ""))
            words = spelt.get(entry.family, given)
            if _add(found, entry, words, base, language):
                for note in _notes(entry, words, spelt, base):
                    found.note(note, _place(entry))
    return found.reading(KNOWN)


def parse_items(text: str, part: str) -> tuple[list[Entry], list[str]]:
    """The items of one file, and what is wrong with the others. DataError if it is no such file."""
    items = parse_json(text, pairs=True)
    if not isinstance(items, Pairs):
        raise DataError("not a JSON object of items by id")
    entries: list[Entry] = []
    bad: list[str] = []
    for key, item in items:
        try:
            entries.append(_entry(part, key, item))
        except DataError as error:
            bad.append(f"{key[:60]!r}: {error}")
    return entries, bad


def _entry(part: str, key: str, item: Any) -> Entry:
    if not isinstance(item, Pairs):
        raise DataError("not an item with text, emotion, scenario, group and wav_path")
    fields = dict(item)
    if len(fields) < len(item):
        raise DataError("a field comes twice")
    wav = _field(fields, "wav_path").removeprefix("/")
    folders = wav.split("/")[:-1]
    intensity = LIME_440K_INTENSITIES.get(folders[-1]) if folders else None
    if intensity is None:
        known = ", ".join(LIME_440K_INTENSITIES)
        raise DataError(f"wav_path {wav[:60]!r}: its folder is no intensity; known: {known}")
    emotion = to_emotion(LIME_440K, _field(fields, "emotion").upper())
    suffix = key.rsplit("_", 1)[-1].upper()
    if LIME_440K.get(suffix, emotion) != emotion:
        raise DataError(f"its id says {suffix}, its emotion {emotion}")
    return Entry(
        part=part,
        key=key,
        text=_field(fields, "text", optional=True),
        emotion=emotion,
        scenario=_field(fields, "scenario", optional=True),
        group=_field(fields, "group"),
        wav=wav,
        intensity=intensity,
    )


def _field(fields: dict[str, Any], name: str, *, optional: bool = False) -> str:
    value = fields.get(name)
    if value is None and optional:
        return ""
    if not isinstance(value, str) or not (value.strip() or optional):
        raise DataError(f"field {name!r} must be text, got {str(value)[:40]!r}")
    return value.strip()


def _entries(found: Collector, folder: Path) -> list[Entry]:
    part = folder.name[len("Part")].lower()
    entries: list[Entry] = []
    for path in found.files(folder, (".json",)):
        text = found.text(path, encodings=("gb18030",))
        if text is None:
            continue
        try:
            items, bad = parse_items(text, part)
        except DataError as error:
            found.reject(path, str(error))
            continue
        for problem in bad:
            found.reject(path, problem)
        entries += items
    return entries


def _sentences(entries: Iterable[Entry]) -> dict[str, str]:
    """Family → its sentence without punctuation, as most items spell it, where any has one."""
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in entries:
        words = without_punctuation(entry.text)
        if words:  # An item with nothing but "……" says nothing about its group's.
            spellings[entry.family][words] += 1
    return {
        family: min(found, key=lambda text: (-found[text], text))
        for family, found in spellings.items()
    }


def _sound_folder(found: Collector, folder: Path, entries: Sequence[Entry]) -> Path | None:
    """The folder that this part's paths begin at; None if its sound is not here.

    Both parts have a ``10/medium/10_1_anger.wav``: where both are here, only a folder whose name
    tells the part will do, or one would be heard with the other's words.
    """
    root = found.root
    alone = sum((root / name).is_dir() for name in PARTS) == 1
    mine, others = MARKS[folder.name], set().union(*MARKS.values()) - MARKS[folder.name]
    outer = [path for path in found.entries(root) if path.is_dir() and path.name not in PARTS]
    inner = [path for base in outer for path in found.entries(base) if path.is_dir()]
    tops = {entry.wav.split("/")[0] for entry in entries}
    for base in (*outer, *inner, root):
        marks = set(re.split(r"[\W_]+", base.relative_to(root).as_posix().lower()))
        told = bool(marks & mine) or (alone and not marks & others)
        if told and any(_is_folder(base / top) for top in tops):
            return base
    return None


def _is_folder(path: Path) -> bool:
    try:
        return path.name not in ("", ".", "..") and path.is_dir()
    except (OSError, ValueError):  # A name from the file that no file can have.
        return False


def _add(found: Collector, entry: Entry, words: str, base: Path | None, language: str) -> bool:
    where = _place(entry)
    if entry.text and lexical(entry.text) != lexical(words):
        found.reject(where, f"text {entry.text[:60]!r} is not its group's, {words[:60]!r}")
        return False
    sound: AudioRef | None = None
    if base is not None:
        sound = found.audio(base / entry.wav)
        if sound is None:
            return False
    if sound is None and not words:
        found.reject(where, "it has neither text nor sound; unpack its part's sounds")
        return False
    return found.add(
        Utterance(
            id=entry.id,
            text_id=entry.family,
            audio=sound,
            transcript=words,
            emotion=entry.emotion,
            intensity=entry.intensity,
            speaker=UNKNOWN_SPEAKER,
            language=language,
            scenario=entry.scenario,
        ),
        where,
        wordless=True,
    )


def _place(entry: Entry) -> str:
    return f"{entry.part}/{entry.key}"


def _notes(entry: Entry, words: str, spelt: Mapping[str, str], base: Path | None) -> Iterator[str]:
    if base is None:
        yield NO_SOUND
    if not words:
        yield "no text"
    elif not entry.text:
        yield "text from its group" if entry.family in spelt else "text given"
    elif entry.text != words:
        yield "punctuation taken away"
