"""ECD-TSE (Liu et al., Interspeech 2025): twelve English speakers in five emotions.

``<speaker>/<emotion>/text/<item>.txt`` beside ``<speaker>/<emotion>/raw/<item>.wav``. Items are not
numbered by sentence, so texts are told apart by their words.
"""

from __future__ import annotations

from pathlib import Path

from cogaudio_rl.data.corpora.emotions import ECD_TSE, to_emotion
from cogaudio_rl.data.corpora.reading import (
    AUDIO_SUFFIXES,
    Collector,
    Progress,
    Reading,
    folder_of,
    silent,
)
from cogaudio_rl.data.corpora.text import family_of
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import Utterance

LAYOUT = "'<NNN>/<emotion>/text/<item>.txt' and '<NNN>/<emotion>/raw/<item>.wav'"
KNOWN: dict[str, int | None] = {"utterances": 84_000, "speakers": 12}


def read(root: Path, *, progress: Progress = silent) -> Reading:
    """Every recording that has a text."""
    folder = folder_of(root, LAYOUT, "ECD-TSE", ".")
    found = Collector(root, progress=progress)
    cells = [cell for path in found.entries(folder) for cell in _cells(found, path)]
    if not cells:
        raise DataError(f"folder {str(root)!r} does not hold this corpus; expected {LAYOUT}")
    pairs = [pair for cell in cells for pair in _pairs(found, cell)]
    for text, sound in found.each(pairs):
        try:
            _add(found, text, sound)
        except DataError as error:
            found.reject(sound, str(error))
    return found.reading(KNOWN)


def parse_text(content: str) -> str:
    """A sentence, however its lines are broken. Raises DataError if there are no words."""
    words = " ".join(content.split())
    if not family_of(words):
        raise DataError("its text has no words")
    return words


def _cells(found: Collector, speaker: Path) -> list[Path]:
    """The emotions' folders of one speaker."""
    if not speaker.is_dir() or not (speaker.name.isascii() and speaker.name.isdigit()):
        found.reject(speaker, "not a speaker's folder, such as '001'")
        return []
    cells: list[Path] = []
    for path in found.entries(speaker):
        if path.name not in ECD_TSE:
            known = ", ".join(ECD_TSE)
            found.reject(path, f"unknown label {path.name!r}; known: {known}")
        elif not ((path / "text").is_dir() and (path / "raw").is_dir()):
            found.reject(path, "has no folders 'text' and 'raw'")
        else:
            cells.append(path)
    return cells


def _pairs(found: Collector, cell: Path) -> list[tuple[Path, Path]]:
    texts = {path.stem: path for path in found.files(cell / "text", (".txt",))}
    sounds = found.files(cell / "raw", AUDIO_SUFFIXES)
    for name in sorted(texts.keys() - {path.stem for path in sounds}):
        found.reject(texts[name], "it has a text and no sound")
    for path in (path for path in sounds if path.stem not in texts):
        found.reject(path, "it has a sound and no text")
    return [(texts[path.stem], path) for path in sounds if path.stem in texts]


def _add(found: Collector, text: Path, sound: Path) -> None:
    content = found.text(text)
    if content is None:
        raise DataError("its text cannot be read")
    transcript = parse_text(content)
    audio = found.audio(sound)
    if audio is None:
        return
    emotion, speaker = sound.parents[1].name, sound.parents[2].name
    found.add(
        Utterance(
            id=f"ecd_tse_{speaker}_{emotion}_{sound.stem}",
            text_id=f"ecd_tse_{family_of(transcript)}",
            audio=audio,
            transcript=transcript,
            emotion=to_emotion(ECD_TSE, emotion),
            intensity="mid",
            speaker=f"ecd_tse_{speaker}",
            language="en",
        ),
        sound,
    )
