"""CREMA-D (Cao et al., 2014): 91 actors, twelve sentences, and what listeners heard in them.

``AudioWAV/1001_DFA_ANG_XX.wav`` is actor, sentence, acted emotion, level. The votes of
``processedResults/tabulatedVotes.csv`` come in three kinds of rows; only those of listeners who had
nothing but the voice count here.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from pathlib import Path

from cogaudio_rl.data.corpora.emotions import CREMA_D, CREMA_D_ACTED, to_emotion
from cogaudio_rl.data.corpora.reading import (
    AUDIO_SUFFIXES,
    Collector,
    Progress,
    Reading,
    folder_of,
    silent,
)
from cogaudio_rl.data.corpora.text import decode
from cogaudio_rl.data.votes import shares_of
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import Utterance

LAYOUT = "'AudioWAV/1001_DFA_ANG_XX.wav' and 'processedResults/tabulatedVotes.csv'"
SENTENCES: dict[str, str] = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
INTENSITY_BY_LEVEL = {"LO": "low", "MD": "mid", "HI": "high", "XX": "mid"}
"""XX is unspecified."""

SILENT_CLIP = "1076_MTI_SAD_XX"
"""Has votes and no sound in the published corpus."""

KNOWN: dict[str, int | None] = {
    "utterances": 7_442,
    "speakers": 91,
    "texts": 12,
    **dict.fromkeys(("angry", "disgust", "fear", "happy", "sad"), 1_271),
    "neutral": 1_087,
    "voice votes": 7_442,
}

_NAME = re.compile(r"(10(?:0[1-9]|[1-8]\d|9[01]))_([A-Z]{3})_([A-Z]{3})_([A-Z]{2})", re.ASCII)
_VOICE = 1
_QUERIES = (_VOICE, 2, 3)
_PER_QUERY = 100_000
_COLUMNS = ("", *CREMA_D, "fileName", "numResponses")

Counts = dict[str, dict[str, int]]
"""Clip's name → emotion → how many heard it, each emotion that they could choose."""


def read(root: Path, *, votes: Path | None = None, progress: Progress = silent) -> Reading:
    """Every clip, with its votes where the table has them; ``votes`` if the table lies elsewhere."""
    folder = folder_of(root, f"{LAYOUT} (for the votes alone there is read_votes)", "AudioWAV")
    found = Collector(root, progress=progress)
    table = _table(found, root, votes)
    sounds = found.files(folder, AUDIO_SUFFIXES)
    for path in found.each(sounds):
        try:
            _add(found, path, table)
        except DataError as error:
            found.reject(path, str(error), expected=path.stem == SILENT_CLIP)
    for name in sorted(table.keys() - {path.stem for path in sounds}):
        found.reject(name, "it has votes and no sound", expected=name == SILENT_CLIP)
    reading = found.reading(KNOWN)
    return _with_vote_count(reading, len(table))


def read_votes(table: Path) -> Counts:
    """How many listeners heard each emotion in each clip's voice, by clip name.

    Needs no audio. Raises DataError for a file that is no such table, and for the first bad row.
    """
    try:
        raw = table.read_bytes()
    except OSError as error:
        raise DataError(f"vote table {str(table)!r} cannot be read: {error.strerror}") from None
    try:
        votes, bad = parse_votes(decode(raw, ("latin-1",))[0])
    except DataError as error:
        raise DataError(f"vote table {str(table)!r}: {error}") from None
    if bad:
        raise DataError(f"vote table {str(table)!r}: {bad[0]} ({len(bad)} bad rows in all)")
    return votes


def parse_votes(text: str) -> tuple[Counts, list[str]]:
    """The votes by clip name, and what is wrong with the rows that give none.

    Raises DataError if the columns are not those of the table.
    """
    rows = csv.reader(io.StringIO(text, newline=""))
    votes: Counts = {}
    bad: list[str] = []
    try:
        header = next(rows, [])
        columns = {name: header.index(name) for name in _COLUMNS if name in header}
        if len(columns) < len(_COLUMNS):
            raise DataError(f"is not tabulatedVotes.csv, with columns {', '.join(_COLUMNS[1:])}")
        for row in rows:
            try:
                _take(row, columns, votes)
            except DataError as error:
                bad.append(f"line {rows.line_num}: {error}")
    except csv.Error as error:  # The reader cannot go on behind it.
        bad.append(f"line {rows.line_num}: not CSV ({error}); nothing behind it is read")
    return votes, bad


def _take(row: list[str], columns: dict[str, int], votes: Counts) -> None:
    if len(row) <= max(columns.values()):
        raise DataError(f"has {len(row)} columns, expected more than {max(columns.values())}")
    query, clip = divmod(_count(row[columns[""]], "first column"), _PER_QUERY)
    if query not in _QUERIES or clip < 1:
        raise DataError(f"first column {row[columns['']]!r} is no query 1, 2 or 3 and clip")
    if query != _VOICE:
        return
    name = row[columns["fileName"]]
    _parts(name)
    counts = {emotion: _count(row[columns[letter]], letter) for letter, emotion in CREMA_D.items()}
    total = _count(row[columns["numResponses"]], "numResponses")
    if total < 1 or sum(counts.values()) != total:
        raise DataError(f"{name}: votes sum to {sum(counts.values())}, numResponses is {total}")
    if name in votes:
        raise DataError(f"{name} comes twice; the first is kept")
    votes[name] = counts


def _count(field: str, name: str) -> int:
    if re.fullmatch(r"\d{1,9}", field, re.ASCII) is None:
        raise DataError(f"{name} is not a count: {field[:20]!r}")
    return int(field)


def _parts(name: str) -> tuple[str, str, str, str]:
    match = _NAME.fullmatch(name)
    if match is None:
        raise DataError(f"name {name[:40]!r} is not one such as '1001_DFA_ANG_XX'")
    actor, sentence, acted, level = match.groups()
    if sentence not in SENTENCES:
        raise DataError(f"unknown sentence {sentence!r}; known: {', '.join(SENTENCES)}")
    if level not in INTENSITY_BY_LEVEL:
        raise DataError(f"unknown level {level!r}; known: {', '.join(INTENSITY_BY_LEVEL)}")
    return actor, sentence, to_emotion(CREMA_D_ACTED, acted), INTENSITY_BY_LEVEL[level]


def _table(found: Collector, root: Path, votes: Path | None) -> Counts:
    places = (root / "processedResults" / "tabulatedVotes.csv", root / "tabulatedVotes.csv")
    path = votes or next((place for place in places if place.is_file()), None)
    if path is None:
        found.note("no vote table", places[0])
        return {}
    if votes is not None:
        return read_votes(votes)
    text = found.text(path)
    if text is None:
        return {}
    try:
        table, bad = parse_votes(text)
    except DataError as error:
        found.reject(path, str(error))
        return {}
    for problem in bad:
        found.reject(path, problem)
    return table


def _add(found: Collector, path: Path, votes: Counts) -> None:
    actor, sentence, emotion, intensity = _parts(path.stem)
    if path.stem == SILENT_CLIP:
        raise DataError("known to have no sound")
    audio = found.audio(path)
    if audio is None:
        return
    counts = votes.get(path.stem)
    added = found.add(
        Utterance(
            id=f"crema_d_{path.stem}",
            text_id=f"crema_d_{sentence}",
            audio=audio,
            transcript=SENTENCES[sentence],
            emotion=emotion,
            intensity=intensity,
            speaker=f"crema_d_{actor}",
            language="en",
            votes=None if counts is None else shares_of(counts),
            listeners=None if counts is None else sum(counts.values()),
        ),
        path,
    )
    if added and counts is None and votes:
        found.note("no voice votes", path)


def _with_vote_count(reading: Reading, found: int) -> Reading:
    counts = {**reading.counts}
    counts["voice votes"] = {"found": found, "known": KNOWN["voice votes"]}
    return dataclasses.replace(reading, counts=counts)
