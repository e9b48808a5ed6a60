"""ESD, the Emotional Speech Dataset (Zhou et al., ICASSP 2021).

Ten Chinese and ten English speakers say the same 350 sentences of their language in five emotions:
``00NN/00NN.txt`` (id, text, label by tabs) and ``00NN/<Emotion>/[train|evaluation|test/]<id>.wav``.
An id's number tells both: 1–350 neutral, 351–700 angry, 701–1050 happy, 1051–1400 sad, 1401–1750
surprise, in each the same sentences in the same order. So a text that one line spells badly, or
lacks, is mended from the other lines of its sentence.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from cogaudio_rl.data.corpora.emotions import ESD, to_emotion
from cogaudio_rl.data.corpora.reading import (
    AUDIO_SUFFIXES,
    Collector,
    Progress,
    Reading,
    folder_of,
    silent,
)
from cogaudio_rl.data.corpora.text import decode, is_chinese, lexical
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import Utterance

LAYOUT = "'Emotion Speech Dataset/00NN/00NN.txt' and '00NN/<Emotion>/…/00NN_NNNNNN.wav'"
SENTENCES = 350
EMOTION_BY_BLOCK = ("neutral", "angry", "happy", "sad", "surprise")
CHINESE_SPEAKERS = range(1, 11)
ENGLISH_SPEAKERS = range(11, 21)
KNOWN: dict[str, int | None] = {
    "utterances": 35_000,
    "speakers": 20,
    "texts": 700,
    "zh": 17_500,
    "en": 17_500,
    **dict.fromkeys(EMOTION_BY_BLOCK, 7_000),
}

_ENCODINGS = {
    **dict.fromkeys((1, 2, 4, 5, 9), "gb2312"),
    **dict.fromkeys((3, 6, 7, 8, 10, 12, 13, 14, 18, 19), "utf-16"),
    **dict.fromkeys((11, 15, 20), "utf-8"),
    **dict.fromkeys((16, 17), "latin-1"),
}
_USUAL = ("encoding gb2312", "encoding utf-16", "encoding latin-1")
_ID = re.compile(r"(?P<speaker>\d{4})_(?P<number>\d{6})", re.ASCII)
_SUBFOLDERS = ("train", "evaluation", "test")
_SIMILAR = 0.6
"""Spellings of one sentence share more than this of their characters, two sentences less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a transcript; ``text`` and ``label`` are empty where it lacks them."""

    id: str
    text: str
    label: str
    malformed: bool = False


def read(root: Path, *, progress: Progress = silent) -> Reading:
    """Every recording whose text and emotion are beyond doubt."""
    folder = folder_of(root, LAYOUT, "Emotion Speech Dataset", ".")
    found = Collector(root, usual=_USUAL, progress=progress)
    speakers = [path for path in found.entries(folder) if _is_speaker(found, path)]
    if not speakers:
        raise DataError(f"folder {str(root)!r} does not hold this corpus; expected {LAYOUT}")
    lines = {path.name: _lines(found, path) for path in speakers}
    sentences = _sentences(line for by_id in lines.values() for line in by_id.values())
    sounds = [sound for path in speakers for sound in _sounds(found, path)]
    for emotion, path in found.each(sounds):
        try:
            _add(found, path, emotion, lines[path.stem[:4]], sentences)
        except DataError as error:
            found.reject(path, str(error))
    present = {path.stem for _, path in sounds}
    for line in (line for by_id in lines.values() for line in by_id.values()):
        if line.id not in present:
            found.reject(line.id, "it has a text and no sound")
    return found.reading(KNOWN)


def parse_transcripts(raw: bytes, speaker: int) -> tuple[dict[str, Line], list[str], list[str]]:
    """Lines by id, what is wrong with the others, and notes. Raises DataError if undecodable.

    Line breaks are those of text files; a malformed line keeps what can be made out.
    """
    documented = _ENCODINGS.get(speaker, "utf-8")
    fallbacks = ("gb2312", "gb18030") if speaker in CHINESE_SPEAKERS else ("latin-1",)
    text, encoding = decode(raw, fallbacks)
    notes: list[str] = []
    if encoding != "utf-8":
        place = "" if encoding == documented else f" in the place of {documented}"
        notes.append(f"encoding {encoding}{place}")
    lines: dict[str, Line] = {}
    bad: list[str] = []
    for number, content in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        if not content.strip():
            continue
        try:
            line = parse_line(content, speaker)
            if lines.get(line.id, line) != line:
                raise DataError(f"id {line.id!r} comes twice; the first is kept")
            lines[line.id] = line
        except DataError as error:
            bad.append(f"line {number}: {error}")
    return lines, bad, notes


def parse_line(content: str, speaker: int) -> Line:
    """One line, mended where its tabs are missing. Raises DataError if its id cannot be made out."""
    match = _ID.match(content.strip())
    if match is None:
        raise DataError(f"no id such as '{speaker:04d}_000001' at its beginning")
    if int(match["speaker"]) != speaker:
        raise DataError(f"id {match[0]!r} is another speaker's")
    family(match[0])
    fields = [part.strip() for part in content.strip().split("\t")]
    malformed = len(fields) != 3 or fields[0] != match[0]
    if malformed:
        rest = " ".join(content.strip()[match.end() :].split())
        label = next((label for label in ESD if rest.endswith(label)), "")
        text = rest.removesuffix(label).strip()
    else:
        _, text, label = fields
    if text and is_chinese(text) != (speaker in CHINESE_SPEAKERS):
        raise DataError(f"text {text[:40]!r} is not in the speaker's language")
    if text and not lexical(text):
        raise DataError(f"text {text[:40]!r} has no words")
    return Line(id=match[0], text=text, label=label, malformed=malformed or not (text and label))


def family(name: str) -> tuple[str, str]:
    """The sentence (``zh_001`` …) and the emotion that an id's number stands for."""
    match = _ID.fullmatch(name)
    if match is None:
        raise DataError(f"name {name!r} is not one such as '0001_000001'")
    speaker, number = int(match["speaker"]), int(match["number"])
    if not 1 <= number <= SENTENCES * len(EMOTION_BY_BLOCK):
        raise DataError(f"id {name!r}: number {number} is not in 1 to 1750")
    if speaker not in (*CHINESE_SPEAKERS, *ENGLISH_SPEAKERS):
        raise DataError(f"id {name!r}: speaker {speaker} is not in 1 to 20")
    language = "zh" if speaker in CHINESE_SPEAKERS else "en"
    block, sentence = divmod(number - 1, SENTENCES)
    return f"{language}_{sentence + 1:03d}", EMOTION_BY_BLOCK[block]


def _is_speaker(found: Collector, path: Path) -> bool:
    if not path.is_dir():
        if path.suffix.lower() not in (".txt", ".md", ".pdf"):  # The corpus' own ReadMe.
            found.reject(path, "a file where speakers' folders were expected")
        return False
    if re.fullmatch(r"00(0[1-9]|1\d|20)", path.name) is None:
        found.reject(path, "a folder that is not a speaker's, 0001 to 0020")
        return False
    return True


def _lines(found: Collector, folder: Path) -> dict[str, Line]:
    path = folder / f"{folder.name}.txt"
    raw = found.raw(path)
    if raw is None:
        return {}
    try:
        lines, bad, notes = parse_transcripts(raw, int(folder.name))
    except DataError as error:
        found.reject(path, str(error))
        return {}
    for problem in bad:
        found.reject(path, problem)
    for note in notes:
        found.note(note, path)
    for line in lines.values():
        if line.malformed:
            found.note("malformed line", line.id)
    return lines


def _sentences(lines: Iterable[Line]) -> dict[str, str]:
    """Each sentence as most lines spell it."""
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    for line in lines:
        if line.text:
            spellings[family(line.id)[0]][line.text] += 1
    return {
        name: min(found, key=lambda text: (-found[text], text)) for name, found in spellings.items()
    }


def _sounds(found: Collector, folder: Path) -> list[tuple[str, Path]]:
    sounds: list[tuple[str, Path]] = []
    for path in found.entries(folder):
        if path.name == f"{folder.name}.txt":
            continue
        if path.name not in ESD or not path.is_dir():
            found.reject(path, f"not one of the emotions' folders of {folder.name}")
            continue
        for sound in found.files(path, AUDIO_SUFFIXES, subfolders=_SUBFOLDERS):
            if sound.stem.startswith(f"{folder.name}_"):
                sounds.append((to_emotion(ESD, path.name), sound))
            else:
                found.reject(sound, f"not named as speaker {folder.name}'s recordings are")
    return sounds


def _add(
    found: Collector, path: Path, emotion: str, lines: Mapping[str, Line], sentences: dict[str, str]
) -> None:
    name, by_number = family(path.stem)
    line = lines.get(path.stem)
    said = {"the folder": emotion, "the number": by_number}
    if line is not None and line.label:
        said["the transcript"] = to_emotion(ESD, line.label)
    if len(set(said.values())) > 1:
        raise DataError("; ".join(f"{who} says {what}" for who, what in said.items()))
    transcript, note = _transcript(line, sentences.get(name, ""))
    audio = found.audio(path)
    if audio is None:
        return
    added = found.add(
        Utterance(
            id=f"esd_{path.stem}",
            text_id=f"esd_{name}",
            audio=audio,
            transcript=transcript,
            emotion=emotion,
            intensity="mid",
            speaker=f"esd_{path.stem[:4]}",
            language=name[:2],
        ),
        path,
    )
    if added and note:
        found.note(note, path)


def _transcript(line: Line | None, usual: str) -> tuple[str, str]:
    """The sentence, spelt as in most lines, and what was mended. Raises DataError if in doubt."""
    if not usual:
        raise DataError("no transcript holds its sentence")
    if line is None or not line.text:
        return usual, "text from other lines of its sentence"
    if line.text == usual:
        return usual, ""
    mine, theirs = lexical(line.text), lexical(usual)
    if mine == theirs:
        return usual, "punctuation as in most lines of its sentence"
    if SequenceMatcher(None, mine, theirs, autojunk=False).ratio() > _SIMILAR:
        return usual, "spelling as in most lines of its sentence"
    raise DataError(f"text {line.text!r} is not its sentence, {usual!r}")
