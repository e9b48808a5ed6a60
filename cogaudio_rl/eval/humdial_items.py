"""What HumDial asks, made of its folder: one recording and one text for each item.

Models take one clip. So the user's turns of a dialogue become one recording with half a second of
silence between them, and of what is longer than a model hears the *last* 30 s are kept: the turn that
is asked about, or answered, stands at the end.
"""

from __future__ import annotations

import hashlib
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cogaudio_rl import prompts
from cogaudio_rl.data.audio import SAMPLE_RATE_HZ, read_audio, write_audio
from cogaudio_rl.data.corpora.humdial import Choice, Dialogue, HumDialReading, Turn
from cogaudio_rl.data.corpora.humdial_files import task_of
from cogaudio_rl.data.corpora.humdial_lines import REQUIRED_COLUMNS
from cogaudio_rl.eval.humdial_result import CHOICE_TASKS, KINDS
from cogaudio_rl.types import AudioRef, Prompt, Route, Utterance

GAP_SECONDS = 0.5
"""Silence between two turns."""
MAX_SECONDS = 30.0
"""What encoders after Whisper take; the same for every model, so that all hear the same."""
MAX_FIELDS_CHARS = 200
"""Of what a file says about itself, in a reason."""

_UNHEARD = "a turn has no sound that can be heard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One clip, and whether its beginning was left out."""

    audio: AudioRef
    cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceItem:
    """A multiple-choice item, ready to ask."""

    choice: Choice
    language: str
    kind: str
    prompt: Prompt
    cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyItem:
    """A dialogue up to the turn that is to be answered (T3)."""

    dialogue: Dialogue
    heard: tuple[Turn, ...]
    prompt: Prompt
    cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """Everything that can be asked, and what cannot and why."""

    choices: tuple[ChoiceItem, ...]
    replies: tuple[ReplyItem, ...]
    not_run: dict[str, str]
    notes: tuple[str, ...]


def make_items(reading: HumDialReading, sounds: Path, *, replies: bool) -> Items:
    """Every item of a folder; joined recordings go to ``sounds``. ``replies``: T3's too.

    Raises DataError for a sound that can no longer be read.
    """
    noted: Counter[str] = Counter()
    asked = _choices(reading, sounds, noted)
    told = _replies(reading, sounds, noted) if replies else []
    there = {item.choice.task for item in asked}
    not_run = {task: _why_no(reading, task) for task in CHOICE_TASKS if task not in there}
    if replies and not told:
        not_run["T3"] = _why_no_replies(reading)
    if cut := sum(item.cut for item in (*asked, *told)):
        noted[
            f"recordings longer than {MAX_SECONDS:g} s: their last {MAX_SECONDS:g} s were heard"
        ] = cut
    notes = tuple(f"{count} {what}" for what, count in sorted(noted.items()))
    return Items(choices=tuple(asked), replies=tuple(told), not_run=not_run, notes=notes)


def join(parts: Sequence[AudioRef], folder: Path) -> Recording:
    """The parts one after another, with silence between them, as one 16 kHz file in ``folder``.

    The file's name is made of its samples: the same turns are one file, whichever task asks.
    A single part that is short enough stays where it is.
    """
    if len(parts) == 1 and parts[0].seconds <= MAX_SECONDS:
        return Recording(audio=parts[0], cut=False)
    gap = np.zeros(round(GAP_SECONDS * SAMPLE_RATE_HZ), np.float32)
    pieces: list[npt.NDArray[np.float32]] = []
    for part in parts:
        pieces += [gap, read_audio(part.path)[0]]
    whole = np.concatenate(pieces[1:])
    sound = whole[-round(MAX_SECONDS * SAMPLE_RATE_HZ) :]
    name = hashlib.blake2b(sound.tobytes(), digest_size=16).hexdigest()
    return Recording(audio=write_audio(folder / f"{name}.flac", sound), cut=len(sound) < len(whole))


def asked_text(question: str, options: Sequence[str], *, task: str, language: str) -> str:
    """A question with its options under letters, and how to answer; each option on one line."""
    lines = [
        f"{letter}. {' '.join(option.split())}"
        for letter, option in zip(string.ascii_uppercase, options, strict=False)
    ]
    question = question or prompts.load(f"humdial_{task.lower()}_{language}.md")
    return "\n\n".join([question, "\n".join(lines), prompts.load(f"humdial_choice_{language}.md")])


def plain(text: str) -> str:
    """A corpus' text without half characters, which no tokenizer and no file takes."""
    return text.encode("utf-8", "replace").decode()


def _choices(reading: HumDialReading, sounds: Path, noted: Counter[str]) -> list[ChoiceItem]:
    dialogues = {dialogue.id: dialogue for dialogue in reading.dialogues}
    singles = {utterance.id: utterance for utterance in reading.utterances}
    found: list[ChoiceItem] = []
    for choice in reading.choices:
        task = choice.task
        if task not in CHOICE_TASKS:
            continue
        if len(choice.options) > len(string.ascii_uppercase):
            noted[f"{task} items left out: they have more options than there are letters"] += 1
            continue
        if choice.id in dialogues:
            dialogue = dialogues[choice.id]
            recording = _recording(dialogue.turns, sounds)
            words, language = _words(dialogue.turns), dialogue.language
        else:
            single = singles[choice.id]
            recording = join([single.clip], sounds)
            words, language = single.transcript, single.language
        if recording is None:
            noted[f"{task} items left out: {_UNHEARD}"] += 1
            continue
        kind = choice.kind.strip().lower()
        if task == "T4" and kind not in KINDS:
            noted[f"T4 items are neither {' nor '.join(KINDS)}: they count overall alone"] += 1
        if not choice.question:
            noted[f"{task} items have no question's text: the default question was asked"] += 1
        text = asked_text(
            plain(choice.question), tuple(map(plain, choice.options)), task=task, language=language
        )
        found.append(
            ChoiceItem(
                choice=choice,
                language=language,
                kind=kind if kind in KINDS else "",
                prompt=Prompt(
                    utterance=_heard(f"{choice.id}_whole", words, language, recording),
                    route=Route.DIRECT,
                    question=text,
                ),
                cut=recording.cut,
            )
        )
    return found


def _replies(reading: HumDialReading, sounds: Path, noted: Counter[str]) -> list[ReplyItem]:
    found: list[ReplyItem] = []
    for dialogue in reading.dialogues:
        if dialogue.task != "T3":
            continue
        target = dialogue.target
        if target is None:
            noted["T3 dialogues left out: no second turn that is known not to be neutral"] += 1
            continue
        # By identity: somebody may say the same twice.
        last = next(i for i, turn in enumerate(dialogue.turns) if turn is target)
        heard = dialogue.turns[: last + 1]
        recording = _recording(heard, sounds)
        if recording is None:
            noted[f"T3 dialogues left out: {_UNHEARD}"] += 1
            continue
        name = f"{dialogue.id}_to_{target.number}"
        utterance = _heard(name, _words(heard), dialogue.language, recording)
        found.append(
            ReplyItem(
                dialogue=dialogue,
                heard=heard,
                prompt=Prompt(utterance=utterance, route=Route.DIRECT),
                cut=recording.cut,
            )
        )
    return found


def _recording(turns: Sequence[Turn], sounds: Path) -> Recording | None:
    """The turns as one clip; None where one of them has no sound."""
    parts = [turn.audio for turn in turns if turn.audio]
    return join(parts, sounds) if len(parts) == len(turns) else None


def _words(turns: Sequence[Turn]) -> str:
    """What a model reads that does not hear."""
    return "\n".join(turn.text for turn in turns)


def _heard(name: str, words: str, language: str, recording: Recording) -> Utterance:
    return Utterance(
        id=plain(name),
        text_id=plain(name),
        audio=recording.audio,
        transcript=plain(words),
        emotion="neutral",  # of no use here: nobody compares an answer with it
        intensity="mid",
        speaker="unknown",
        language=language,
    )


def _why_no(reading: HumDialReading, task: str) -> str:
    if task not in reading.fields:
        return f"no file of {task}: its name would say so, as in 'HD-Track1-{task}.jsonl'"
    if any(choice.task == task for choice in reading.choices):
        return f"no item of {task} can be asked; see notes"
    rejected = [r for r in reading.rejected if _is_line_of(r.where, task)]
    names = plain(", ".join(reading.fields[task]))[:MAX_FIELDS_CHARS]
    if not names and not rejected:
        return f"the dialogues of {task} come without questions: nothing stands beside their turns"
    mapping = " ".join(f"columns.{name}=…" for name in REQUIRED_COLUMNS)
    why = f"; {rejected[0].where}: {rejected[0].reason[:MAX_FIELDS_CHARS]}" if rejected else ""
    return (
        f"no question of {task} could be read{why}; name the fields of multiple choice by {mapping}"
        f" (its lines have {names or 'none'})"
    )


def _is_line_of(where: str, task: str) -> bool:
    """Whether a line as a whole was rejected, and not a turn or a sound of it."""
    return task_of(Path(where)) == task and " turn " not in where


def _why_no_replies(reading: HumDialReading) -> str:
    if "T3" not in reading.fields:
        return "no file of T3: its name would say so, as in 'HD-Track1-T3.jsonl'"
    return "no dialogue of T3 can be answered; see notes"
