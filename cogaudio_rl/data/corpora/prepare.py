"""From a corpus on disk to a manifest, with an account of everything that did not get into it."""

from __future__ import annotations

import collections.abc as abc
import dataclasses
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from cogaudio_rl.data.corpora import crema_d, ecd_tse, emodb, esd, humdial, iemocap, lime440k
from cogaudio_rl.data.corpora.reading import (
    UNKNOWN_SPEAKER,
    Progress,
    Reading,
    Rejected,
    silent,
)
from cogaudio_rl.data.manifest import write_manifest
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import Utterance

TEST_SHARE = 0.1
"""Of texts, and of each language's speakers, in the suggested splits; at least one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What :func:`prepare` wrote."""

    manifest: Path
    utterances: int
    rejected: int
    card: Mapping[str, Any]


CORPORA: dict[str, Callable[..., Reading]] = {
    "crema_d": crema_d.read,
    "ecd_tse": ecd_tse.read,
    "emodb": emodb.read,
    "esd": esd.read,
    "humdial": humdial.read,
    "iemocap": iemocap.read,
    "lime440k": lime440k.read,
}


def prepare(
    corpus: str,
    root: Path,
    out: Path,
    *,
    strict: bool = False,
    progress: Progress = silent,
    options: Mapping[str, Any] | None = None,
) -> Prepared:
    """Read a corpus and write ``manifest.jsonl``, ``rejected.jsonl``, ``splits.json``, ``card.json``.

    Audio stays where it is. ``strict`` turns everything that a sound copy of the published corpus
    would not have, rejected or mended, into a DataError before anything is written. ``options`` go
    to the corpus' reader.
    """
    if corpus not in CORPORA:
        raise DataError(f"unknown corpus {corpus!r}; known: {', '.join(CORPORA)}")
    asked = reader_options(corpus, options or {})
    reading = with_words(CORPORA[corpus](root, progress=progress, **asked))
    if strict:
        refuse_damage(reading)
    if not reading.utterances:
        first = f"; the first: {_line(reading.rejected[0])}" if reading.rejected else ""
        raise DataError(f"{str(root)!r}: nothing usable, {len(reading.rejected)} rejected{first}")
    card = card_of(corpus, reading)
    try:
        manifest = _write(out, reading, splits_of(corpus, reading.utterances), card)
    except OSError as error:
        raise DataError(f"cannot write to {str(out)!r}: {error.strerror}") from None
    return Prepared(
        manifest=manifest,
        utterances=len(reading.utterances),
        rejected=len(reading.rejected),
        card=card,
    )


def reader_options(corpus: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the corpus' reader takes beside its folder, in the types it takes it in.

    A mapping may be named by a JSON file. Raises DataError for an option it does not know, or a value
    that is none.
    """
    hints = get_type_hints(CORPORA[corpus])
    known = sorted(hints.keys() - {"root", "progress", "return"})
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise DataError(f"{corpus} has no option {name!r}; {takes}")
        kinds = {get_origin(kind) for kind in get_args(hints[name])}
        if isinstance(value, str) and abc.Mapping in kinds:
            value = _json_of(Path(value), name)
        try:
            found[name] = TypeAdapter(hints[name]).validate_python(value)
        except ValidationError as error:
            problem = error.errors()[0]
            raise DataError(f"option {name!r}: {problem['msg']} (got {value!r})") from None
    return found


def _json_of(path: Path, name: str) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"option {name!r}: {str(path)!r} is no JSON file: {error}") from None


def with_words(reading: Reading) -> Reading:
    """Without the utterances that have no text, which a manifest cannot hold; they are rejected."""
    reason = "no text: a manifest needs words; transcribe it and give the reader texts="
    wordless = tuple(
        Rejected(where=u.id, reason=reason, expected=True)
        for u in reading.utterances
        if not u.transcript.strip()
    )
    if not wordless:
        return reading
    return dataclasses.replace(
        reading,
        utterances=tuple(u for u in reading.utterances if u.transcript.strip()),
        rejected=(*reading.rejected, *wordless),
    )


def refuse_damage(reading: Reading) -> None:
    """Raise DataError for the first rejection or repair that a sound copy would not need."""
    damage, repairs = reading.damage, reading.repairs
    if damage:
        raise DataError(f"strict: {len(damage)} items rejected; the first: {_line(damage[0])}")
    if repairs:
        note, where = next(iter(repairs.items()))
        raise DataError(f"strict: {len(repairs)} kinds of repairs; the first: {where[0]}: {note}")


def splits_of(corpus: str, utterances: Sequence[Utterance]) -> dict[str, Any]:
    """Suggested splits: by text, by speaker, and IEMOCAP's sessions; each where there are two."""
    splits: dict[str, Any] = {}
    texts = {u.text_id for u in utterances}
    if len(texts) > 1:
        test = {name for names in _by_language(utterances, "text_id") for name in _every_nth(names)}
        splits["by_text"] = {"train": sorted(texts - test), "test": sorted(test)}
    speakers = {u.speaker for u in utterances}
    if len(speakers) > 1 and UNKNOWN_SPEAKER not in speakers:
        test = {name for names in _by_language(utterances, "speaker") for name in _last(names)}
        splits["by_speaker"] = {"train": sorted(speakers - test), "test": sorted(test)}
    if corpus == "iemocap":
        splits["sessions"] = iemocap.folds(utterances)
    return splits


def card_of(corpus: str, reading: Reading) -> dict[str, Any]:
    """What is in it, against what should be."""
    found = reading.utterances
    sounds = [u.audio for u in found if u.audio is not None]
    return {
        "corpus": corpus,
        "utterances": len(found),
        "with_sound": len(sounds),
        "with_votes": sum(u.votes is not None for u in found),
        "hours": round(sum(sound.seconds for sound in sounds) / 3600, 4),
        "counts": {name: dict(count) for name, count in reading.counts.items()},
        "emotions": _counted(u.emotion for u in found),
        "intensities": _counted(u.intensity for u in found),
        "languages": _counted(u.language for u in found),
        "speakers": _counted(u.speaker for u in found),
        "texts": len({u.text_id for u in found}),
        "rejected": len(reading.rejected),
        "rejected_expected": len(reading.rejected) - len(reading.damage),
        "rejected_for": _counted(_kind(item.reason) for item in reading.rejected),
        "notes": {note: len(where) for note, where in reading.notes.items()},
        "repairs": sorted(reading.repairs),
    }


def _write(out: Path, reading: Reading, splits: object, card: object) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    write_manifest(out / "manifest.jsonl", reading.utterances)
    _write_lines(out / "rejected.jsonl", (dataclasses.asdict(r) for r in reading.rejected))
    if isinstance(reading, humdial.HumDialReading):
        _write_lines(out / "dialogues.jsonl", (_moved(d, out) for d in reading.dialogues))
        _write_lines(out / "choices.jsonl", (_moved(c, out) for c in reading.choices))
    _write_text(out / "splits.json", json.dumps(splits, ensure_ascii=False, indent=1))
    _write_text(out / "card.json", json.dumps(card, ensure_ascii=False, indent=1))
    return out / "manifest.jsonl"


def _moved(item: humdial.Dialogue | humdial.Choice, out: Path) -> dict[str, Any]:
    """As JSON, its sounds named from ``out``, as a manifest names them."""
    record = dataclasses.asdict(item)
    for turn in record.get("turns", ()):
        for sound in (turn["audio"], turn["response_audio"]):
            if sound is not None:
                sound["path"] = Path(os.path.relpath(sound["path"], out)).as_posix()
    return record


def _write_lines(path: Path, records: Iterable[object]) -> None:
    _write_text(path, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))


def _write_text(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    # Dialogues keep what their file says, even halves of characters.
    partial.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
    partial.replace(path)


def _by_language(utterances: Sequence[Utterance], field: str) -> list[list[str]]:
    names: dict[str, set[str]] = {}
    for utterance in utterances:
        names.setdefault(utterance.language, set()).add(getattr(utterance, field))
    return [sorted(names[language]) for language in sorted(names)]


def _every_nth(names: Sequence[str]) -> list[str]:
    return list(names[:: round(1 / TEST_SHARE)]) if len(names) > 1 else []


def _last(names: Sequence[str]) -> list[str]:
    return list(names[-max(1, round(len(names) * TEST_SHARE)) :]) if len(names) > 1 else []


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _kind(reason: str) -> str:
    """A reason without what is particular to one item."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|\d[\d.]*", "…", reason)[:120]


def _line(item: Rejected) -> str:
    return f"{item.where}: {item.reason}"
