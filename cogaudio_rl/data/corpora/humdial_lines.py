"""What HumDial's lines say: dialogues, and multiple-choice items under names the user tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cogaudio_rl.data.corpora.text import parse_json
from cogaudio_rl.errors import DataError

REQUIRED_COLUMNS = ("id", "audio", "text", "options", "answer")
OPTIONAL_COLUMNS = ("question", "kind")


def parse_records(text: str, *, lines: bool) -> tuple[list[tuple[str, dict[str, Any]]], list[str]]:
    """(place, object) of JSON lines, or of one object or list, and what is wrong with the rest."""
    items: list[tuple[str, dict[str, Any]]] = []
    bad: list[str] = []
    # Not splitlines: JSON strings may hold its rarer line breaks.
    for number, line in enumerate(text.split("\n") if lines else [text], start=1):
        if not line.strip():
            continue
        place = f"line {number}" if lines else "item"
        try:
            value = parse_json(line)
        except DataError as error:
            bad.append(f"{place}: {error}")
            continue
        for nth, item in enumerate(value if isinstance(value, list) else [value], start=1):
            where = f"{place} {nth}" if isinstance(value, list) else place
            if isinstance(item, dict):
                items.append((where, item))
            else:
                bad.append(f"{where}: not a JSON object")
    return items, bad


def check_columns(columns: Mapping[str, str] | None) -> None:
    """Raise DataError naming the columns that are missing or unknown."""
    if columns is None:
        return
    missing = [name for name in REQUIRED_COLUMNS if name not in columns]
    if missing:
        raise DataError(f"columns: {', '.join(missing)} missing; needed: {REQUIRED_COLUMNS}")
    unknown = sorted(set(columns) - {*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS})
    if unknown:
        raise DataError(f"columns: unknown {unknown[0]!r}; optional: {OPTIONAL_COLUMNS}")


def parse_turns(fields: Mapping[str, Any]) -> list[dict[str, str]]:
    """A dialogue's turns as plain text under the challenge's names; absent fields are empty.

    Raises DataError naming the turn and the field.
    """
    turns = fields.get("turns")
    if not isinstance(turns, list) or not turns:
        raise DataError("field 'turns' must be a list of at least one turn")
    return [_turn_fields(turn, number) for number, turn in enumerate(turns, start=1)]


def parse_choice(
    fields: Mapping[str, Any], columns: Mapping[str, str]
) -> tuple[dict[str, str], tuple[str, ...], int]:
    """A multiple-choice item: its text fields, its options, and the index of the right one.

    The question alone may be missing: not every task's file spells it out.
    """
    missing = [
        theirs for name, theirs in columns.items() if name != "question" and theirs not in fields
    ]
    if missing:
        present = ", ".join(sorted(fields))[:200]
        raise DataError(f"field {missing[0]!r} is missing; the line has {present}")
    texts = {
        name: as_text(fields.get(theirs), theirs)
        for name, theirs in columns.items()
        if name not in ("options", "answer")
    }
    options = _options(fields[columns["options"]])
    answer = as_text(fields[columns["answer"]], columns["answer"])
    if answer in options.values():
        index = list(options.values()).index(answer)
    elif answer.upper().rstrip(".") in options:
        index = list(options).index(answer.upper().rstrip("."))
    else:
        raise DataError(f"answer {answer[:40]!r} is none of the options {list(options)}")
    return texts, tuple(options.values()), index


def as_text(value: Any, name: str) -> str:
    """A field's text; whole numbers count as text. Raises DataError for anything else."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DataError(f"field {name!r} must be text, got {type(value).__name__}")
    return str(value).strip()


def _turn_fields(turn: Any, number: int) -> dict[str, str]:
    if not isinstance(turn, dict):
        raise DataError(f"turn {number} is not an object")
    names = ("turn_id", "split_audio_file", "response_text", "response_audio")
    found = {name: as_text(turn.get(name), f"turn {number} {name}") for name in names}
    for name in ("text", "emotion"):
        theirs = name if name in turn else f"input_{name}"
        found[name] = as_text(turn.get(theirs), f"turn {number} {theirs}")
    found["turn_id"] = found["turn_id"] or str(number)
    return found


def _options(value: Any) -> dict[str, str]:
    """Letter → option, from a list or from an object that has the letters."""
    if isinstance(value, list):
        value = {chr(ord("A") + i): option for i, option in enumerate(value[:26])}
    if not isinstance(value, dict) or len(value) < 2:
        raise DataError("options must be a list or an object of at least two")
    options = {key.strip().upper(): as_text(option, "options") for key, option in value.items()}
    if len(options) < len(value) or len(set(options.values())) < len(options):
        raise DataError(f"options must differ, got {list(options.values())}")
    return options
