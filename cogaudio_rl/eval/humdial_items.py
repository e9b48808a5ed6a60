"""What HumDial asks: its questions with their options, and the dialogues that are to be answered.

A dialogue with a question is multiple choice, as in EIBench; one without is answered turn by turn, as
in the challenge, and judged.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cogaudio_rl import prompts
from cogaudio_rl.data.corpora.humdial import Choice, HumDialReading
from cogaudio_rl.data.corpora.humdial_files import task_of
from cogaudio_rl.data.corpora.humdial_lines import REQUIRED_COLUMNS
from cogaudio_rl.eval.humdial_dialogues import (
    MAX_SECONDS,
    Heard,
    clip_of,
    hear,
    plain,
    utterance_of,
)
from cogaudio_rl.eval.humdial_result import CHOICE_TASKS, KINDS, TALK_TASKS, TASKS
from cogaudio_rl.types import Prompt, Route, Turn, Utterance

MAX_FIELDS_CHARS = 200
"""Of what a file says about itself, in a reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceItem:
    """A multiple-choice item. It is asked behind its last turn."""

    choice: Choice
    language: str
    kind: str
    question: str
    """As it is asked, options and all."""
    utterances: tuple[Utterance, ...]
    cut: bool

    def prompt(self, history: tuple[Turn, ...]) -> Prompt:
        """The question, after the turns before."""
        return Prompt(
            utterance=self.utterances[-1],
            route=Route.DIRECT,
            question=self.question,
            history=history,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """Everything that can be asked, and what cannot and why."""

    choices: tuple[ChoiceItem, ...]
    talks: tuple[Heard, ...]
    """Dialogues to be answered."""
    not_run: dict[str, str]
    notes: tuple[str, ...]
    quarantined: tuple[str, ...]
    """Lines that cannot be used as they are: where, and why."""


def make_items(reading: HumDialReading, sounds: Path, *, talks: bool) -> Items:
    """Every item of a folder; what had to be cut goes to ``sounds``. ``talks``: dialogues too that are
    to be answered and judged.

    Raises DataError for a sound that can no longer be read.
    """
    noted: Counter[str] = Counter()
    asked = _choices(reading, sounds, noted)
    told = open_dialogues(reading, sounds) if talks else ()
    there = {item.choice.task for item in asked} | {heard.dialogue.task for heard in told}
    tasks = TASKS if talks else CHOICE_TASKS
    not_run = {task: _why_no(reading, task) for task in tasks if task not in there}
    if cut := sum(item.cut for item in (*asked, *told)):
        noted[f"items with a turn longer than {MAX_SECONDS:g} s, of which the end was heard"] = cut
    for task in {heard.dialogue.task for heard in told} & {*CHOICE_TASKS}:
        if names := ", ".join(reading.fields[task]):
            count = sum(heard.dialogue.task == task for heard in told)
            unread = plain(names)[:MAX_FIELDS_CHARS]
            noted[f"{task} dialogues judged by what was answered; not read: {unread}"] = count
    bad = quarantined(reading)
    notes = [f"{count} {what}" for what, count in sorted(noted.items())]
    if bad:
        notes.append(f"{len(bad)} lines quarantined; the first: {bad[0]}")
    return Items(
        choices=tuple(asked),
        talks=told,
        not_run=not_run,
        notes=tuple(notes),
        quarantined=bad,
    )


def quarantined(reading: HumDialReading) -> tuple[str, ...]:
    """Each line of a task that is not used as a whole, and why."""
    bad = (r for r in reading.rejected if not r.expected and _is_line(r.where))
    return tuple(f"{r.where}: {r.reason}" for r in bad if task_of(Path(r.where)) in TASKS)


def open_dialogues(reading: HumDialReading, sounds: Path) -> tuple[Heard, ...]:
    """The dialogues of T1 to T3 that come without a question."""
    asked = {choice.id for choice in reading.choices}
    return tuple(
        hear(dialogue, sounds)
        for dialogue in reading.dialogues
        if dialogue.task in TALK_TASKS and dialogue.id not in asked
    )


def asked_text(question: str, options: Sequence[str], *, task: str, language: str) -> str:
    """A question with its options under letters, and how to answer; each option on one line."""
    lines = [
        f"{letter}. {' '.join(option.split())}"
        for letter, option in zip(string.ascii_uppercase, options, strict=False)
    ]
    question = question or prompts.load(f"humdial_{task.lower()}_{language}.md")
    return "\n\n".join([question, "\n".join(lines), prompts.load(f"humdial_choice_{language}.md")])


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
            heard = hear(dialogues[choice.id], sounds)
            utterances, cut, language = heard.utterances, heard.cut, heard.dialogue.language
        else:
            single = singles[choice.id]
            clip, language = clip_of(single.clip, sounds), single.language
            utterances = (utterance_of(choice.id, single.transcript, language, clip),)
            cut = clip is not single.clip
        kind = choice.kind.strip().lower()
        if task == "T4" and kind not in KINDS:
            noted[f"T4 items are neither {' nor '.join(KINDS)}: they count overall alone"] += 1
        if not choice.question:
            noted[f"{task} items have no question's text: the default question was asked"] += 1
        question = asked_text(
            plain(choice.question), tuple(map(plain, choice.options)), task=task, language=language
        )
        found.append(
            ChoiceItem(
                choice=choice,
                language=language,
                kind=kind if kind in KINDS else "",
                question=question,
                utterances=utterances,
                cut=cut,
            )
        )
    return found


def _why_no(reading: HumDialReading, task: str) -> str:
    if task not in reading.fields:
        return f"no file of {task}: its name would say so, as in 'HD-Track1-{task}.jsonl'"
    if task == "T3" or any(choice.task == task for choice in reading.choices):
        return f"no item of {task} can be asked; see notes"
    rejected = [r for r in reading.rejected if task_of(Path(r.where)) == task and _is_line(r.where)]
    names = plain(", ".join(reading.fields[task]))[:MAX_FIELDS_CHARS]
    if not names and not rejected:
        return f"the dialogues of {task} come without questions: nothing stands beside their turns"
    mapping = " ".join(f"columns.{name}=…" for name in REQUIRED_COLUMNS)
    why = f"; {rejected[0].where}: {rejected[0].reason[:MAX_FIELDS_CHARS]}" if rejected else ""
    return (
        f"no question of {task} could be read{why}; name the fields of multiple choice by {mapping}"
        f" (its lines have {names or 'none'})"
    )


def _is_line(where: str) -> bool:
    """Whether a line as a whole was rejected, and not a turn or a sound of it."""
    return Path(where).suffix.startswith(".json") and " turn " not in where
