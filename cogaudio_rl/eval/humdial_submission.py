"""The folder that the HumDial challenge takes, written and read back.

The layout is that of the organisers' rules for track 1 (test set page of the ASLP-lab/HumDial-Challenge
site)::

    HD-Track1/{zh,en}/HD-Track1-T1.jsonl  HD-Track1-T2.jsonl  HD-Track1-T3.jsonl
    HD-Track1/{zh,en}/HD-Track1-T3/{dialogue_id}_{turn_id}_response.wav

A line is a dialogue under the challenge's own field names, as its scoring scripts read them::

    {"dialogue_id", "turns": [{"turn_id", "text", "emotion", "response_text", "response_audio"}]}

``response_audio`` is the path from the folder of the file; T3 alone has it. ``text`` and ``emotion``
are the input's own, where it gives them. The organisers' example of such a file is not at hand: what
value they put into ``response_audio``, and whether they want replies to all turns or to the judged one
alone, is not known. All turns are answered and spoken, for the test set hides which one is judged. The
system description, a PDF that the rules demand, is the team's own to add.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cogaudio_rl.data.audio import probe_audio
from cogaudio_rl.data.corpora.humdial import Dialogue, HumDialReading
from cogaudio_rl.data.corpora.humdial_lines import as_text, parse_records
from cogaudio_rl.errors import DataError
from cogaudio_rl.eval.humdial_dialogues import Answered, plain
from cogaudio_rl.eval.humdial_result import TALK_TASKS
from cogaudio_rl.eval.humdial_voice import SPOKEN_TASK, says_something
from cogaudio_rl.types import AudioRef

FOLDER = "HD-Track1"
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,180}")
_SHOWN = 3
"""Of what is wrong with a folder, an error names so many."""


def write_submission(out: Path, dialogues: Sequence[Answered]) -> Path:
    """``HD-Track1`` in ``out``; gives its path. It appears when it is complete.

    Raises DataError for what is there already, two dialogues of one name, an id that cannot be a file's
    name, and a reply of T3 that says something and was not spoken.
    """
    folder, partial = out / FOLDER, out / f"{FOLDER}.partial"
    if folder.exists():
        raise DataError(f"{str(folder)!r} is already there; name another folder")
    shutil.rmtree(partial, ignore_errors=True)
    files: dict[Path, dict[str, str]] = {}
    for answered in dialogues:
        dialogue = answered.dialogue
        file = partial / dialogue.language / f"{FOLDER}-{dialogue.task}.jsonl"
        lines = files.setdefault(file, {})
        if dialogue.name in lines:
            raise DataError(
                f"two dialogues of {dialogue.language} {dialogue.task} are called {dialogue.name!r}"
            )
        lines[dialogue.name] = json.dumps(_line(answered, file), ensure_ascii=False) + "\n"
    for file, lines in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(lines.values()), encoding="utf-8", newline="\n")
    partial.rename(folder)
    return folder


def read_submission(folder: Path, reading: HumDialReading) -> list[Answered]:
    """What a submission answers to the dialogues of a corpus, which it has to match one by one.

    ``folder`` is ``HD-Track1`` or what holds it. Raises DataError naming what is missing, too much or
    cannot be played: nothing is scored without it.
    """
    folder = folder / FOLDER if (folder / FOLDER).is_dir() else folder
    wanted: dict[Path, list[Dialogue]] = {}
    for dialogue in reading.dialogues:
        if dialogue.task in TALK_TASKS:
            file = folder / dialogue.language / f"{FOLDER}-{dialogue.task}.jsonl"
            wanted.setdefault(file, []).append(dialogue)
    if not wanted:
        raise DataError("the corpus holds no dialogue of T1, T2 or T3 to hold a submission against")
    problems: list[str] = []
    found: list[Answered] = []
    for file, dialogues in wanted.items():
        lines = _lines(file, folder, problems)
        where = file.relative_to(folder).as_posix()
        for name in lines.keys() - {dialogue.name for dialogue in dialogues}:
            problems.append(f"{where}: dialogue {name!r} is not in the corpus")
        for dialogue in dialogues:
            try:
                if dialogue.name not in lines:
                    raise DataError("missing")
                found.append(_answered(dialogue, lines[dialogue.name], file))
            except DataError as error:
                problems.append(f"{where}: dialogue {dialogue.name!r}: {error}")
    if problems:
        told = "; ".join(sorted(problems)[:_SHOWN])
        raise DataError(f"submission {str(folder)!r}: {len(problems)} faults, such as {told}")
    return found


def _line(answered: Answered, file: Path) -> dict[str, Any]:
    """A line of the file; the sounds of its replies are put beside it."""
    dialogue = answered.dialogue
    turns: list[dict[str, Any]] = []
    for turn, reply, sound in zip(dialogue.turns, answered.replies, answered.sounds, strict=True):
        record: dict[str, Any] = {"turn_id": _number(turn.number)}
        record |= {"text": plain(turn.text)} if turn.text else {}
        record |= {"emotion": turn.emotion} if turn.emotion else {}
        record["response_text"] = plain(reply)
        if dialogue.task == SPOKEN_TASK:
            name = f"{dialogue.name}_{turn.number}"
            if not _SAFE.fullmatch(name):
                raise DataError(f"dialogue {dialogue.name!r}: its id cannot be a file's name")
            if sound is None and says_something(reply):
                raise DataError(f"dialogue {dialogue.name!r} turn {turn.number}: not spoken")
            record["response_audio"] = "" if sound is None else _put(sound, name, file)
        turns.append(record)
    return {"dialogue_id": plain(dialogue.name), "turns": turns}


def _put(sound: AudioRef, name: str, file: Path) -> str:
    target = file.with_suffix("") / f"{name}_response.wav"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(sound.path, target)
    return target.relative_to(file.parent).as_posix()


def _lines(file: Path, folder: Path, problems: list[str]) -> dict[str, Mapping[str, Any]]:
    """The file's dialogues by name."""
    where = file.relative_to(folder).as_posix()
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{where}: cannot be read: {error}")
        return {}
    items, bad = parse_records(text, lines=True)
    problems += [f"{where} {problem}" for problem in bad]
    lines: dict[str, Mapping[str, Any]] = {}
    for place, fields in items:
        try:
            name = as_text(fields.get("dialogue_id"), "dialogue_id")
            if not name or name in lines:
                raise DataError(f"dialogue_id {name!r} is missing or comes twice")
            lines[name] = fields
        except DataError as error:
            problems.append(f"{where} {place}: {error}")
    return lines


def _answered(dialogue: Dialogue, fields: Mapping[str, Any], file: Path) -> Answered:
    turns = fields.get("turns")
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise DataError("field 'turns' must be a list of objects")
    told = [as_text(turn.get("turn_id"), "turn_id") for turn in turns]
    numbers = [turn.number for turn in dialogue.turns]
    if told != numbers:
        ours, theirs = ", ".join(told) or "none", ", ".join(numbers)
        raise DataError(f"its turns are {ours}, the corpus has {theirs}")
    replies: list[str] = []
    sounds: list[AudioRef | None] = []
    for number, turn in zip(told, turns, strict=True):
        if "response_text" not in turn:
            raise DataError(f"turn {number} has no response_text")
        replies.append(as_text(turn["response_text"], f"turn {number} response_text"))
        sounds.append(_sound(turn, number, dialogue, replies[-1], file))
    return Answered(dialogue=dialogue, replies=tuple(replies), sounds=tuple(sounds))


def _sound(
    turn: Mapping[str, Any], number: str, dialogue: Dialogue, reply: str, file: Path
) -> AudioRef | None:
    if dialogue.task != SPOKEN_TASK:
        return None
    path = file.with_suffix("") / f"{dialogue.name}_{number}_response.wav"
    named = as_text(turn.get("response_audio"), f"turn {number} response_audio")
    if not path.exists() and not named and not says_something(reply):
        return None
    if Path(named).name != path.name:
        raise DataError(f"turn {number}: response_audio {named!r} does not name {path.name!r}")
    return probe_audio(path)[0]


def _number(turn_id: str) -> int | str:
    """As the corpus writes it: its numbers are numbers."""
    return int(turn_id) if re.fullmatch(r"0|[1-9][0-9]{0,8}", turn_id) else turn_id
