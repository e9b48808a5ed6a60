"""HumDial: the challenge's dialogues (arXiv 2601.05564) and EIBench (arXiv 2604.11594).

Dialogues are JSON lines ``{"dialogue_id", "turns": [{"turn_id", "text", "emotion",
"split_audio_file", "response_text", "response_audio"}]}``; EIBench writes ``input_text`` and
``input_emotion``. The task stands in the file's name (``HD-Track1-T2.jsonl``, ``task2_3.jsonl``), the
language in the path or the id. A line without turns is a multiple-choice item, whose fields are not
public: say what they are called. A dialogue that lacks a turn, or the sound of one, is rejected as a
whole: nobody could tell what was felt, or why, from the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cogaudio_rl.data.corpora.emotions import HUMDIAL, to_emotion
from cogaudio_rl.data.corpora.humdial_files import (
    Record,
    json_files,
    language_of,
    records,
    sound_of,
    task_of,
)
from cogaudio_rl.data.corpora.humdial_lines import (
    OPTIONAL_COLUMNS,
    REQUIRED_COLUMNS,
    as_text,
    check_columns,
    parse_choice,
    parse_turns,
)
from cogaudio_rl.data.corpora.reading import (
    UNKNOWN_SPEAKER,
    Collector,
    Progress,
    Reading,
    against,
    folder_of,
    silent,
)
from cogaudio_rl.data.corpora.text import family_of
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import AudioRef, Utterance

LAYOUT = "'.jsonl' or '.json' files of dialogues, such as 'HD-Track1-Test/zh/HD-Track1-T1.jsonl'"
KNOWN_ITEMS: dict[str, int] = {
    "EIBench T1": 300,
    "EIBench T2": 283,
    "EIBench T3": 294,
    "EIBench T4": 200,
}

_DIALOGUE = {"dialogue_id", "turns"}
_NOT_READ = "fields beside the turns not read; give columns="


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What the user said, and the reply that the corpus gives, if any."""

    number: str
    text: str
    emotion: str | None
    """None where it is hidden, as in test sets."""
    audio: AudioRef
    response_text: str
    response_audio: AudioRef | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue:
    """Several turns of one user, all of them."""

    id: str
    name: str
    """As its file calls it."""
    task: str
    language: str
    turns: tuple[Turn, ...]

    @property
    def target(self) -> Turn | None:
        """The turn that empathetic generation (T3) is judged by: the second that is not neutral. None
        where there is none, or a hidden emotion before it leaves open which it is."""
        moved = 0
        for turn in self.turns:
            if turn.emotion is None:
                return None
            moved += turn.emotion != "neutral"
            if moved == 2:
                return turn
        return None

    @property
    def is_told(self) -> bool:
        """Whether the corpus tells what was said and felt in every turn."""
        return all(turn.text and turn.emotion for turn in self.turns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A question with several answers about one utterance or one dialogue."""

    id: str
    """The utterance's or the dialogue's."""
    task: str
    question: str
    options: tuple[str, ...]
    answer: int
    """Index of the right option."""
    kind: str
    """``consistent`` or ``conflict`` in T4, if there is a column for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HumDialReading(Reading):
    """Single turns are utterances; what binds them stands beside."""

    dialogues: tuple[Dialogue, ...] = ()
    choices: tuple[Choice, ...] = ()
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Task → the fields that its lines have beside a dialogue's own: what a column can name."""


def read(
    root: Path, *, columns: Mapping[str, str] | None = None, progress: Progress = silent
) -> HumDialReading:
    """Everything below ``root``. ``columns`` names the fields of multiple-choice items: id, audio,
    text, options, answer, and optionally question and kind → the name in the file.

    A question about a dialogue needs options and answer alone; the rest its dialogue says.
    """
    folder_of(root, LAYOUT, ".")
    check_columns(columns)
    found = Collector(root, progress=progress)
    files = json_files(found)
    if not files:
        raise DataError(f"folder {str(root)!r} does not hold this corpus; expected {LAYOUT}")
    dialogues: dict[str, Dialogue] = {}
    choices: dict[str, Choice] = {}
    items: Counter[str] = Counter()
    everything = [item for path in files for item in records(found, path)]
    if columns is None and not any("turns" in record.fields for record in everything):
        raise DataError(_no_dialogue(root, everything))
    for record in found.each(everything):
        try:
            if "turns" in record.fields:
                dialogue = _dialogue(found, record)
                _keep(dialogues, dialogue.id, dialogue)
                choice = _question(found, record, dialogue, columns)
            else:
                choice = _choice(found, record, columns)
            if choice is not None:
                _keep(choices, choice.id, choice)
            if choice is not None or "turns" in record.fields:
                items[_series(record)] += 1
        except DataError as error:
            found.reject(record.where, str(error))
    counts = {name: {"found": n, "known": KNOWN_ITEMS.get(name)} for name, n in items.items()}
    return HumDialReading(
        utterances=found.utterances,
        rejected=found.rejected,
        notes=found.notes,
        usual=frozenset((_NOT_READ,)),
        counts={**against(found.utterances, {}), **dict(sorted(counts.items()))},
        dialogues=tuple(dialogues[key] for key in sorted(dialogues)),
        choices=tuple(choices[key] for key in sorted(choices)),
        fields=_fields(everything),
    )


def _fields(everything: Sequence[Record]) -> dict[str, tuple[str, ...]]:
    names: dict[str, set[str]] = {}
    for record in everything:
        names.setdefault(task_of(record.path), set()).update(record.fields)
    return {task: tuple(sorted(names[task] - _DIALOGUE)) for task in sorted(names)}


def _dialogue(found: Collector, record: Record) -> Dialogue:
    name = as_text(record.fields.get("dialogue_id"), "dialogue_id")
    if not name:
        raise DataError("field 'dialogue_id' is missing")
    language, task = language_of(record, name), task_of(record.path)
    key = f"humdial_{record.stem}_{name}"
    turns: list[Turn] = []
    told = parse_turns(record.fields)
    for fields in told:
        where = f"{record.where} turn {fields['turn_id']}"
        turn = _turn(found, record, name, fields, where)
        if turn is None:
            continue
        turns.append(turn)
        # What is not there for a reason given already is not rejected twice.
        if fields["emotion"] and turn.emotion is None:
            continue
        try:
            found.add(_utterance(turn, f"{key}_{turn.number}", language), where)
        except DataError as error:
            found.reject(where, str(error), expected=not fields["emotion"])
    _check_whole([fields["turn_id"] for fields in told], [turn.number for turn in turns])
    return Dialogue(id=key, name=name, task=task, language=language, turns=tuple(turns))


def _check_whole(told: Sequence[str], heard: Sequence[str]) -> None:
    """Raise DataError naming the turns that are missing, or cannot be heard."""
    if all(number.isdecimal() for number in told):
        numbers = [int(number) for number in told]
        first = min(numbers[0], 1)  # some count from 0
        if numbers != list(range(first, first + len(numbers))):
            raise DataError(
                f"dialogue not used: its turns are {', '.join(told)}, and not {first} to "
                f"{first + len(numbers) - 1} in this order"
            )
    elif len(set(told)) < len(told):
        raise DataError(f"dialogue not used: two of its turns {', '.join(told)} have one number")
    if silent := [number for number in told if number not in heard]:
        raise DataError(f"dialogue not used: no sound of its turn {', '.join(silent)}")


def _turn(
    found: Collector, record: Record, name: str, fields: Mapping[str, str], where: str
) -> Turn | None:
    """None where it cannot be heard; the sound is rejected then."""
    emotion = None
    if fields["emotion"]:
        try:
            emotion = to_emotion(HUMDIAL, fields["emotion"].lower())
        except DataError as error:
            found.reject(where, str(error))
    stated = fields["split_audio_file"] or f"{name}_{fields['turn_id']}.wav"
    audio, response = sound_of(found, record, stated), fields["response_audio"]
    if audio is None:
        return None
    return Turn(
        number=fields["turn_id"],
        text=fields["text"],
        emotion=emotion,
        audio=audio,
        response_text=fields["response_text"],
        response_audio=sound_of(found, record, response) if response else None,
    )


def _utterance(turn: Turn, name: str, language: str) -> Utterance:
    """The turn as an utterance of its own; raises DataError saying why it is none."""
    if turn.emotion is None:
        raise DataError("not an utterance: its emotion is not given")
    family = family_of(turn.text)
    if not family:
        raise DataError("not an utterance: it has no words")
    return Utterance(
        id=name,
        text_id=f"humdial_{family}",
        audio=turn.audio,
        transcript=turn.text,
        emotion=turn.emotion,
        intensity="mid",
        speaker=UNKNOWN_SPEAKER,
        language=language,
    )


def _question(
    found: Collector, record: Record, dialogue: Dialogue, columns: Mapping[str, str] | None
) -> Choice | None:
    """The question about a dialogue (T1, T2), if its line has one."""
    if columns is None or columns["options"] not in record.fields:
        if record.fields.keys() - _DIALOGUE:
            found.note(_NOT_READ, record.where)
        return None
    asked = {name: columns[name] for name in ("options", "answer")}
    asked |= {
        name: columns[name]
        for name in OPTIONAL_COLUMNS
        if name in columns and columns[name] in record.fields
    }
    texts, options, answer = parse_choice(record.fields, asked)
    return Choice(
        id=dialogue.id,
        task=dialogue.task,
        question=texts.get("question", ""),
        options=options,
        answer=answer,
        kind=texts.get("kind", ""),
    )


def _choice(found: Collector, record: Record, columns: Mapping[str, str] | None) -> Choice | None:
    if columns is None:
        needed = ", ".join(REQUIRED_COLUMNS)
        raise DataError(f"a multiple-choice item; give columns= with its fields for {needed}")
    texts, options, answer = parse_choice(record.fields, columns)
    key = f"humdial_{record.stem}_{texts['id']}"
    audio = sound_of(found, record, texts["audio"])
    if audio is None:
        return None
    turn = Turn(
        number="1",
        text=texts["text"],
        emotion=to_emotion(HUMDIAL, options[answer].lower()),
        audio=audio,
        response_text="",
        response_audio=None,
    )
    if not found.add(_utterance(turn, key, language_of(record, texts["id"])), record.where):
        return None
    return Choice(
        id=key,
        task=task_of(record.path),
        question=texts.get("question", ""),
        options=options,
        answer=answer,
        kind=texts.get("kind", ""),
    )


def _no_dialogue(root: Path, found: Sequence[Record]) -> str:
    needed = ", ".join(REQUIRED_COLUMNS)
    fields = ", ".join(sorted({name for record in found[:10] for name in record.fields}))[:200]
    return (
        f"folder {str(root)!r} does not hold this corpus; expected {LAYOUT}; for multiple choice"
        f" give columns= with the fields for {needed} (found: {fields or 'none'})"
    )


def _keep(into: dict[str, Any], key: str, item: Dialogue | Choice) -> None:
    if key in into:
        raise DataError(f"id {key!r} comes twice; the first is kept")
    into[key] = item


def _series(record: Record) -> str:
    turns: Sequence[Any] = record.fields.get("turns") or [{}]
    first = turns[0] if isinstance(turns[0], dict) else {}
    benchmark = "turns" not in record.fields or "input_text" in first
    return f"{'EIBench' if benchmark else 'challenge'} {task_of(record.path)}"
