"""IEMOCAP (Busso et al., 2008): ten actors in five sessions, each utterance heard by several people.

``Session<n>/sentences/wav/<dialogue>/<utterance>.wav``, ``dialog/transcriptions/<dialogue>.txt`` and
``dialog/EmoEvaluation/<dialogue>.txt``, where a block per utterance holds the consensus and one line
per annotator (``C-E2:``). The actors' opinions of themselves (``C-F1:``, ``C-M1:``) do not count.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cogaudio_rl.data.corpora.emotions import (
    FOUR_CLASSES,
    IEMOCAP,
    IEMOCAP_VOTES,
    to_emotion,
)
from cogaudio_rl.data.corpora.reading import (
    AUDIO_SUFFIXES,
    Collector,
    Progress,
    Reading,
    folder_of,
    silent,
)
from cogaudio_rl.data.corpora.text import family_of
from cogaudio_rl.data.manifest import check_emotion
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import Utterance

LAYOUT = (
    "'Session<n>/sentences/wav/<dialogue>/<utterance>.wav', 'Session<n>/dialog/EmoEvaluation'"
    " and 'Session<n>/dialog/transcriptions'"
)
SESSIONS = range(1, 6)
KNOWN: dict[str, int | None] = {
    "utterances": 5_531,
    "speakers": 10,
    "angry": 1_103,
    "happy": 1_636,
    "neutral": 1_708,
    "sad": 1_084,
}
"""Of the four-class set. All 10,039: fear 40, surprise 107, disgust 2, fru 1,849, oth 3, xxx 2,507."""

_ASIDE = "aside outside the cut utterances"
_UTTERANCE = re.compile(
    r"(Ses0([1-5])[FM]_(?:impro|script)\d\d(?:_\d)?[a-z]?)_([FM])[A-Z]{0,2}\d{1,3}", re.ASCII
)
_HEADER = re.compile(r"\[\s*[\d.]+\s*-\s*[\d.]+\s*\]\s+(\S+)\s+(\S+)\s+\[[^\]]*\]", re.ASCII)
_ANNOTATOR = re.compile(r"C-([A-Za-z]+)\d*:(.*)", re.ASCII)
_TRANSCRIPT = re.compile(r"(Ses\S+)\s+\[[^\]]*\]\s*:?(.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What was heard in one utterance."""

    id: str
    label: str
    """As on disk: ``ang``, ``exc``, ``xxx`` …"""
    votes: Mapping[str, float]
    """Shares of all that annotators could choose, also outside the project's vocabulary. Empty if
    nobody was understood, or somebody was not: the others' shares would not be those of all."""
    listeners: int
    """How many annotators the shares are of."""


def read(
    root: Path, *, classes: Sequence[str] = FOUR_CLASSES, progress: Progress = silent
) -> Reading:
    """Every utterance whose consensus is one of ``classes``, with the annotators' votes."""
    for name in classes:
        check_emotion(name, "classes")
    folder_of(root, LAYOUT, *(f"Session{n}/sentences/wav" for n in SESSIONS))
    found = Collector(root, usual=(_ASIDE,), progress=progress)
    evaluations: dict[str, Evaluation] = {}
    transcripts: dict[str, str] = {}
    sounds: list[Path] = []
    for session in (root / f"Session{n}" for n in SESSIONS):
        if session.is_dir():
            _evaluations(found, session / "dialog" / "EmoEvaluation", evaluations)
            _transcripts(found, session / "dialog" / "transcriptions", transcripts)
            sounds += _sounds(found, session)
        else:
            found.reject(session, "the session is missing")
    for path in found.each(sounds):
        try:
            _add(found, path, evaluations, transcripts, classes)
        except DataError as error:
            found.reject(path, str(error))
    for name in sorted(evaluations.keys() - {path.stem for path in sounds}):
        found.reject(name, "it has an evaluation and no sound")
    return found.reading(KNOWN if tuple(classes) == FOUR_CLASSES else {"speakers": 10})


def folds(utterances: Sequence[Utterance]) -> dict[str, list[str]]:
    """Session → its two speakers: leave one out, since they hear each other."""
    speakers = sorted({u.speaker for u in utterances})
    return {
        f"Session{n}": mine
        for n in SESSIONS
        if (mine := [name for name in speakers if name.startswith(f"iemocap_{n:02d}")])
    }


def parse_evaluation(text: str) -> tuple[list[Evaluation], list[str]]:
    """The blocks of one dialogue's file, and what is wrong with its other lines."""
    blocks: list[tuple[str, str, list[tuple[str, ...]]]] = []
    bad: list[str] = []
    unread: set[int] = set()
    votes: list[tuple[str, ...]] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            if line.startswith("["):
                votes = None
                name, label = _header(line)
                votes = []
                blocks.append((name, label, votes))
            elif line.startswith("C-"):
                heard = _heard(line)
                if votes is None and heard is not None:
                    raise DataError("an annotator's line outside a block")
                if votes is not None and heard is not None:
                    votes.append(heard)
            elif line.strip() and not line.startswith(("%", "A-")):
                raise DataError(f"not a line of an evaluation: {line[:40]!r}")
        except DataError as error:
            bad.append(f"line {number}: {error}")
            if votes is not None and line.startswith("C-"):
                unread.add(len(blocks) - 1)
    return [
        _evaluation(name, label, () if place in unread else heard)
        for place, (name, label, heard) in enumerate(blocks)
    ], bad


def _evaluation(name: str, label: str, heard: Sequence[Sequence[str]]) -> Evaluation:
    ballot = dict.fromkeys(IEMOCAP_VOTES.values(), 0.0) if heard else {}
    return Evaluation(id=name, label=label, votes=ballot | shares(heard), listeners=len(heard))


def shares(votes: Sequence[Sequence[str]]) -> dict[str, float]:
    """Each annotator has one vote; who names several emotions splits it between them."""
    weights: dict[str, float] = defaultdict(float)
    for heard in votes:
        for emotion in heard:
            weights[emotion] += 1 / len(heard)
    return {emotion: weight / len(votes) for emotion, weight in sorted(weights.items())}


def parse_transcripts(text: str) -> tuple[list[tuple[str, str]], int, list[str]]:
    """(utterance, its words) in order, the number of asides, and what is wrong with other lines.

    Asides (``M: …``) were spoken between the cut utterances and have no file.
    """
    lines: list[tuple[str, str]] = []
    bad: list[str] = []
    asides = 0
    for number, line in enumerate(text.splitlines(), start=1):
        match = _TRANSCRIPT.fullmatch(line.strip())
        if match is not None:
            lines.append((match[1], " ".join(match[2].split())))
        elif re.match(r"[FM]\s*:", line.strip()):
            asides += 1
        elif line.strip():
            bad.append(f"line {number}: not '<utterance> [start-end]: words': {line[:40]!r}")
    return lines, asides, bad


def _header(line: str) -> tuple[str, str]:
    match = _HEADER.match(line)
    if match is None:
        raise DataError(f"not '[start - end] utterance emotion [V, A, D]': {line[:60]!r}")
    if _UTTERANCE.fullmatch(match[1]) is None:
        raise DataError(f"name {match[1][:40]!r} is not one such as 'Ses01F_impro01_F000'")
    return match[1], match[2]


def _heard(line: str) -> tuple[str, ...] | None:
    """The emotions one annotator named; None for an actor's opinion of himself."""
    match = _ANNOTATOR.match(line)
    if match is None:
        raise DataError(f"not an annotator's line: {line[:40]!r}")
    if match[1] != "E":
        return None
    # The comment in brackets, after the last tab, is free text.
    named = re.sub(r"\([^()]*\)\s*$", "", match[2]).split(";")
    heard = dict.fromkeys(to_emotion(IEMOCAP_VOTES, name.strip()) for name in named if name.strip())
    if not heard:
        raise DataError("the annotator named no emotion")
    return tuple(heard)


def _evaluations(found: Collector, folder: Path, into: dict[str, Evaluation]) -> None:
    for path in found.entries(folder):
        # Folders hold the single annotators' files; what they say stands in the common ones too.
        if path.is_dir():
            continue
        if path.suffix != ".txt":
            found.reject(path, "not one of .txt")
            continue
        text = found.text(path)
        if text is None:
            continue
        blocks, bad = parse_evaluation(text)
        for problem in bad:
            found.reject(path, problem)
        for block in blocks:
            if block.id in into:
                found.reject(path, f"{block.id} is evaluated twice; the first is kept")
            else:
                into[block.id] = block


def _transcripts(found: Collector, folder: Path, into: dict[str, str]) -> None:
    for path in found.files(folder, (".txt",)):
        text = found.text(path)
        if text is None:
            continue
        lines, asides, bad = parse_transcripts(text)
        for problem in bad:
            found.reject(path, problem)
        if asides:
            found.note(_ASIDE, path)
        for name, words in lines:
            if into.setdefault(name, words) != words:
                found.reject(path, f"{name} is transcribed twice; the first is kept")


def _sounds(found: Collector, session: Path) -> list[Path]:
    sounds: list[Path] = []
    for dialogue in found.entries(session / "sentences" / "wav"):
        if not dialogue.is_dir():
            found.reject(dialogue, "a file where dialogues' folders were expected")
            continue
        for path in found.files(dialogue, AUDIO_SUFFIXES):
            match = _UTTERANCE.fullmatch(path.stem)
            if match is None or match[1] != dialogue.name or session.name != f"Session{match[2]}":
                found.reject(path, "not named as this dialogue's utterances are")
            else:
                sounds.append(path)
    return sounds


def _add(
    found: Collector,
    path: Path,
    evaluations: Mapping[str, Evaluation],
    transcripts: Mapping[str, str],
    classes: Sequence[str],
) -> None:
    evaluation, words = evaluations.get(path.stem), transcripts.get(path.stem, "")
    if evaluation is None:
        raise DataError("it has a sound and no evaluation")
    emotion = to_emotion(IEMOCAP, evaluation.label)
    if emotion not in classes:
        reason = f"label {evaluation.label!r} ({emotion}) is not one of {', '.join(classes)}"
        found.reject(path, reason, expected=True)
        return
    if not words:
        raise DataError("it has no transcript")
    audio = found.audio(path)
    if audio is None:
        return
    match = _UTTERANCE.fullmatch(path.stem)
    assert match is not None  # _sounds let only such names in.
    added = found.add(
        Utterance(
            id=f"iemocap_{path.stem}",
            text_id=f"iemocap_{family_of(words) or path.stem}",
            audio=audio,
            transcript=words,
            emotion=emotion,
            intensity="mid",
            speaker=f"iemocap_0{match[2]}{match[3]}",
            language="en",
            votes=evaluation.votes or None,
            listeners=evaluation.listeners or None,
        ),
        path,
    )
    if added and not evaluation.votes:
        found.note("no votes", path)
