"""Manifests: one JSON line for each utterance, checked on the way in and on the way out.

A manifest holds no samples; ``"audio": null`` says that there are only words. Audio paths are written
relative to the manifest's folder, so that a corpus can be moved or mounted elsewhere, and are resolved
against it when read.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cogaudio_rl import ambiguity, attribution
from cogaudio_rl.data.corpora.emotions import VOTES_ONLY
from cogaudio_rl.data.lime.author import DEPTHS
from cogaudio_rl.data.votes import check_votes
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import INTENSITIES, KNOWN_EMOTIONS, AudioRef, Utterance

_ADAPTER = TypeAdapter(Utterance)
_FIELDS = tuple(field.name for field in dataclasses.fields(Utterance))
_NEVER_EMPTY = ("id", "text_id", "transcript", "speaker", "language")


def write_manifest(path: Path, utterances: Iterable[Utterance]) -> int:
    """Write the utterances as they come and return how many there were.

    ``path`` appears only when it is complete. Raises DataError for an utterance that
    :func:`read_manifest` would refuse, and for an id that comes twice.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    seen: set[str] = set()
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as lines:
            for utterance in utterances:
                where = f"{path.name}: utterance {utterance.id!r}"
                check_utterance(utterance, seen, where)
                lines.write(_to_json(utterance, path.parent) + "\n")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return len(seen)


def read_manifest(path: Path) -> tuple[Utterance, ...]:
    """Every utterance of a manifest, in order.

    Raises DataError naming file, line and value for a missing file, a line that is no JSON object,
    a field that is missing, unknown or of the wrong type, an unknown label, an id that comes twice.
    """
    return tuple(iter_manifest(path))


def iter_manifest(path: Path) -> Iterator[Utterance]:
    """As :func:`read_manifest`, one utterance at a time."""
    for record in records(path):
        if isinstance(record, DataError):
            raise record
        yield record


def records(path: Path) -> Iterator[Utterance | DataError]:
    """Each line's utterance, or what is wrong with it. Raises DataError only for a missing file."""
    if not path.is_file():
        raise DataError(f"manifest {str(path)!r} does not exist")
    seen: set[str] = set()
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                where = f"{path} line {number}"
                try:
                    utterance = parse_utterance(line, where)
                    check_utterance(utterance, seen, where)
                except DataError as error:
                    yield error
                else:
                    yield resolved(utterance, path.parent)


def validate_split(
    train: Sequence[Utterance],
    test: Sequence[Utterance],
    *,
    names: tuple[str, str] = ("train", "test"),
    texts: bool = True,
    speakers: bool = False,
) -> None:
    """Raise DataError if a split is empty or if the two share what the test must not have heard.

    LIME says the same words in every emotion: an utterance-level split would leak, so no
    ``text_id`` may stand in both. Corpora of a few sentences by many actors are held apart by
    ``speakers`` instead.
    """
    for name, split in zip(names, (train, test), strict=True):
        if not split:
            raise DataError(f"split {name!r} is empty: it needs at least one utterance")
    if texts:
        disjoint({u.text_id for u in train}, {u.text_id for u in test}, "text_id", names)
    if speakers:
        disjoint({u.speaker for u in train}, {u.speaker for u in test}, "speaker", names)


def disjoint(first: set[str], second: set[str], what: str, names: tuple[str, str]) -> None:
    """Raise DataError if the splits of these names share a text or a speaker."""
    shared = sorted(first & second)
    if shared:
        raise DataError(
            f"{what} {shared[0]!r} is in split {names[0]!r} and in split {names[1]!r}"
            f" ({len(shared)} shared in all); keep each in one split"
        )


def check_utterance(utterance: Utterance, seen: set[str], where: str) -> None:
    """Raise DataError naming ``where`` for what a manifest may not hold; adds the id to ``seen``."""
    if utterance.id in seen:
        raise DataError(f"{where}: id {utterance.id!r} comes twice; ids must be unique")
    seen.add(utterance.id)
    check_emotion(utterance.emotion, where)
    if utterance.intensity not in INTENSITIES:
        known = ", ".join(INTENSITIES)
        raise DataError(f"{where}: unknown intensity {utterance.intensity!r}; known: {known}")
    for name in _NEVER_EMPTY:
        if not getattr(utterance, name).strip():
            raise DataError(f"{where}: field {name!r} is empty")
    _check_audio(utterance.audio, where)
    _check_annotation(utterance, where)
    _check_votes(utterance, where)
    _check_ambiguity(utterance, where)
    _check_attribution(utterance, where)


def check_emotion(emotion: str, where: str) -> None:
    """Raise DataError naming ``where``, the label and the known ones if the label is unknown."""
    if emotion not in KNOWN_EMOTIONS:
        known = ", ".join(sorted(KNOWN_EMOTIONS))
        raise DataError(f"{where}: unknown emotion {emotion!r}; known: {known}")


def _check_audio(audio: AudioRef | None, where: str) -> None:
    if audio is None:
        return
    if audio.num_samples < 1:
        raise DataError(f"{where}: audio.num_samples must be >= 1, got {audio.num_samples}")
    if audio.sample_rate_hz < 1:
        raise DataError(f"{where}: audio.sample_rate_hz must be >= 1, got {audio.sample_rate_hz}")


def _check_annotation(utterance: Utterance, where: str) -> None:
    annotation = utterance.annotation
    if annotation is None:
        return
    if annotation.depth not in DEPTHS:
        raise DataError(
            f"{where}: annotation.depth must be one of {DEPTHS}, got {annotation.depth}"
        )
    if annotation.eips.emotion != utterance.emotion:
        raise DataError(
            f"{where}: the annotation says {annotation.eips.emotion!r}"
            f" but the utterance is {utterance.emotion!r}"
        )


def _check_votes(utterance: Utterance, where: str) -> None:
    if utterance.votes is None:
        if utterance.listeners is not None:
            raise DataError(f"{where}: {utterance.listeners} listeners and no votes")
        return
    for name in utterance.votes:
        if name not in KNOWN_EMOTIONS and name not in VOTES_ONLY:
            known = ", ".join(sorted({*KNOWN_EMOTIONS, *VOTES_ONLY}))
            raise DataError(f"{where}: votes for unknown emotion {name!r}; known: {known}")
    try:
        check_votes(utterance.votes, utterance.listeners)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def _check_ambiguity(utterance: Utterance, where: str) -> None:
    chain = utterance.ambiguity
    if chain is None:
        return
    if ambiguity.parse(ambiguity.render(chain)) != chain:
        raise DataError(
            f"{where}: the ambiguity chain cannot be read back; each part is one line without tags"
        )
    if utterance.votes is None:
        raise DataError(f"{where}: an ambiguity chain and no votes that it could be about")
    heard = utterance.votes.get(chain.emotion, 0.0)
    if heard < max(utterance.votes.values()):
        raise DataError(
            f"{where}: the ambiguity chain says {chain.emotion!r}, which has {heard:.2f} of the votes;"
            " others have more"
        )


def _check_attribution(utterance: Utterance, where: str) -> None:
    thought = utterance.attribution
    if thought is None:
        return
    if thought.emotion != utterance.emotion:
        raise DataError(
            f"{where}: the attribution says {thought.emotion!r} but the utterance is"
            f" {utterance.emotion!r}"
        )
    if why := attribution.problems(thought, utterance.transcript):
        raise DataError(f"{where}: attribution: {why[0]}")


def _to_json(utterance: Utterance, folder: Path) -> str:
    record = dataclasses.asdict(utterance)
    if utterance.audio is not None:
        relative = os.path.relpath(utterance.audio.path, folder)
        record["audio"]["path"] = Path(relative).as_posix()
    return json.dumps(record, ensure_ascii=False)


def resolved(utterance: Utterance, folder: Path) -> Utterance:
    """With its sound's path from here, not from the manifest's folder."""
    if utterance.audio is None:
        return utterance
    path = os.path.normpath(folder / utterance.audio.path)
    return dataclasses.replace(utterance, audio=dataclasses.replace(utterance.audio, path=path))


def parse_utterance(line: bytes, where: str) -> Utterance:
    """One JSON record, unchecked but for its fields; raises DataError naming ``where``."""
    try:
        record = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: not a JSON object ({error})") from None
    if not isinstance(record, dict):
        raise DataError(f"{where}: not a JSON object but {type(record).__name__}")
    unknown = [key for key in record if key not in _FIELDS]
    if unknown:
        known = ", ".join(_FIELDS)
        raise DataError(f"{where}: unknown field {unknown[0]!r}; known: {known}")
    try:
        return _ADAPTER.validate_json(line, strict=True)
    except ValidationError as error:
        raise DataError(f"{where}: {_problem(error.errors()[0])}") from None


def _problem(problem: Any) -> str:
    field = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "missing":
        return f"field {field!r} is missing"
    return f"field {field!r}: {problem['msg']} (got {problem['input']!r})"
