"""HumDial (EIBench, arXiv 2604.11594; challenge, arXiv 2601.05564) as an evaluation of one model.

    T1 trajectory, T2 cause, asked   turns, own replies, the question ─► a choice ─┐
    T4 words against voice           one turn, the question ─► a choice            ┼► estimates
    T1, T2, T3 not asked             turns, own replies ─► judged replies         ─┘

Every turn is heard on its own, behind the turns before and what the model itself answered to them.
"""

from __future__ import annotations

import asyncio
import string
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cogaudio_rl import prompts
from cogaudio_rl.config import JudgeConfig
from cogaudio_rl.data.corpora.humdial import HumDialReading
from cogaudio_rl.data.lime.speakers import Speaker
from cogaudio_rl.eval.humdial_dialogues import Answered, Heard, converse, history_of, plain
from cogaudio_rl.eval.humdial_items import ChoiceItem, make_items, quarantined
from cogaudio_rl.eval.humdial_judge import JUDGE_PROMPTS, Judged, judge_dialogues, judged_place
from cogaudio_rl.eval.humdial_result import (
    CHOICE_TASKS,
    LANGUAGES,
    TALK_TASKS,
    ChoiceRow,
    HumDialResult,
    ReplyRow,
    estimate_rows,
)
from cogaudio_rl.eval.humdial_voice import speak_replies
from cogaudio_rl.eval.run import PROMPTS_AT_ONCE, Progress
from cogaudio_rl.ports import Sampler
from cogaudio_rl.types import Route, Unscored

NO_JUDGE = "no judge: name an endpoint that scores the replies"
FINAL_NOTE = "challenge_final: one judge scored all parts; on the board people scored T3 D2 and D3"
NO_VOICE = "T3 D2 and D3 need a judge that hears, judge.hears=true"

_PROMPTS = (
    *(f"humdial_{task.lower()}_{language}.md" for task in CHOICE_TASKS for language in LANGUAGES),
    *(f"humdial_choice_{language}.md" for language in LANGUAGES),
    "prompt_b.md",
    *JUDGE_PROMPTS,
)


class _Done:
    """Counts what is done over all parts of the evaluation."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._done, self._total, self._progress = 0, total, progress

    def add(self, count: int = 1) -> None:
        self._done += count
        self._progress(self._done, self._total)


async def evaluate_humdial(
    sampler: Sampler,
    reading: HumDialReading,
    *,
    judge: JudgeConfig | None,
    speaker: Speaker,
    sounds: Path,
    cache: Path,
    samples: int,
    seed: int,
    progress: Progress,
) -> HumDialResult:
    """Evaluate whatever policy the sampler holds; answers are greedy.

    ``reading`` is what :func:`cogaudio_rl.data.corpora.humdial.read` gives. Clips that had to be cut,
    and replies that ``speaker`` speaks for a judge that hears, go to ``sounds``, the judge's answers
    to ``cache``; models may share both. Without a judge, dialogues without questions are not run. A
    task that is not there is named in ``not_run``; nothing is raised for it. Raises DataError for a
    sound that can no longer be read, InputError where the sampler has no room for a dialogue.
    """
    items = await asyncio.to_thread(make_items, reading, sounds, talks=judge is not None)
    before = sum(len(item.utterances) - 1 for item in items.choices)
    turns = sum(len(heard.utterances) for heard in items.talks)
    done = _Done(before + len(items.choices) + turns + len(items.talks), progress)
    choices = await _choose(sampler, items.choices, seed, done)
    not_run = dict(items.not_run)
    talked = Talked()
    if judge is None:
        asked = {choice.id for choice in reading.choices}
        left = {d.task for d in reading.dialogues if d.id not in asked}
        # Where something stands beside their turns it may be a question, whose fields are to be named.
        left -= {task for task, names in reading.fields.items() if names}
        not_run |= dict.fromkeys(not_run.keys() & left & {*TALK_TASKS}, NO_JUDGE)
        not_run["T3"] = NO_JUDGE
    else:
        said = await answer_dialogues(sampler, items.talks, Route.DIRECT, seed, done.add)
        if judge.hears:
            said = await asyncio.to_thread(
                speak_replies, said, speaker, sounds / "replies", seed=seed
            )
        talked = await _judged(said, judge, cache, done)
    return _result(
        choices,
        talked,
        not_run=not_run,
        notes=items.notes,
        bad=items.quarantined,
        samples=samples,
        seed=seed,
    )


async def score_dialogues(
    said: Sequence[Answered],
    reading: HumDialReading,
    judge: JudgeConfig,
    *,
    cache: Path,
    samples: int,
    seed: int,
    progress: Progress,
) -> HumDialResult:
    """The challenge's scores of what was answered, such as a submission that was read back."""
    talked = await _judged(said, judge, cache, _Done(len(said), progress))
    there = {answered.dialogue.task for answered in said}
    not_run = {task: f"no dialogue of {task}" for task in TALK_TASKS if task not in there}
    bad = quarantined(reading)
    notes = [f"{len(bad)} lines quarantined; the first: {bad[0]}"] if bad else []
    return _result((), talked, not_run=not_run, notes=notes, bad=bad, samples=samples, seed=seed)


async def answer_dialogues(
    sampler: Sampler,
    dialogues: Sequence[Heard],
    route: Route,
    seed: int,
    progress: Callable[[int], None],
) -> list[Answered]:
    """What the model says to every turn of every dialogue; nobody has spoken it yet."""
    told = await converse(
        sampler, [d.utterances for d in dialogues], route=route, seed=seed, progress=progress
    )
    return [
        Answered(
            dialogue=d.dialogue,
            replies=tuple(s.reply for s in said),
            sounds=(None,) * len(said),
            voices=tuple(s.voice for s in said),
            cut=d.cut,
        )
        for d, said in zip(dialogues, told, strict=True)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Talked:
    """What was judged."""

    rows: tuple[ReplyRow, ...] = ()
    spent: dict[str, float] = field(default_factory=dict[str, float])
    hears: bool = True


def _result(
    choices: tuple[ChoiceRow, ...],
    talked: Talked,
    *,
    not_run: dict[str, str],
    notes: Sequence[str],
    bad: tuple[str, ...],
    samples: int,
    seed: int,
) -> HumDialResult:
    rows = talked.rows
    estimates, lacks = estimate_rows(choices, rows, samples=samples, seed=seed)
    for task in {row.task for row in rows}:
        judged = [row for row in rows if row.task == task]
        if all(row.scores is None for row in judged):
            not_run[task] = f"no reply could be scored; the first: {judged[0].unscored}"
    if lacks:
        not_run["challenge_final"] = lacks if talked.hears else f"{lacks} ({NO_VOICE})"
    elif estimates:
        notes = [*notes, FINAL_NOTE]
    return HumDialResult(
        estimates=estimates,
        not_run=dict(sorted(not_run.items())),
        notes=(*notes, *_about(rows)),
        choices=choices,
        replies=rows,
        prompts={name: prompts.digest(name) for name in _PROMPTS},
        bootstrap_samples=samples,
        quarantined=bad,
        judge_spent=talked.spent,
    )


async def _choose(
    sampler: Sampler, items: Sequence[ChoiceItem], seed: int, done: _Done
) -> tuple[ChoiceRow, ...]:
    """What is chosen, in the order of the items; those of as many options are asked together."""
    told = await converse(
        sampler,
        [item.utterances[:-1] for item in items],
        route=Route.DIRECT,
        seed=seed,
        progress=done.add,
    )
    before = [tuple(s.reply for s in said) for said in told]
    asked = [
        item.prompt(history_of(item.utterances, replies))
        for item, replies in zip(items, before, strict=True)
    ]
    by_size: dict[int, list[int]] = defaultdict(list)
    for place, item in enumerate(items):
        by_size[len(item.choice.options)].append(place)
    rows: dict[int, ChoiceRow] = {}
    for size, places in sorted(by_size.items()):
        letters = string.ascii_uppercase[:size]
        for start in range(0, len(places), PROMPTS_AT_ONCE):
            part = places[start : start + PROMPTS_AT_ONCE]
            # Without a space: nothing stands before the letter, it begins the answer.
            chosen = await sampler.choose(
                [asked[place] for place in part], prefix="", options=list(letters)
            )
            for place, letter in zip(part, chosen, strict=True):
                rows[place] = _choice_row(items[place], before[place], letters.index(letter))
            done.add(len(part))
    return tuple(rows[place] for place in range(len(items)))


async def _judged(said: Sequence[Answered], judge: JudgeConfig, cache: Path, done: _Done) -> Talked:
    verdicts, spent = await judge_dialogues(said, judge, cache, done.add)
    rows = tuple(_reply_row(a, verdict) for a, verdict in zip(said, verdicts, strict=True))
    return Talked(rows=rows, spent=spent, hears=judge.hears)


def _reply_row(answered: Answered, verdict: Judged | Unscored) -> ReplyRow:
    dialogue, judged = answered.dialogue, judged_place(answered)
    place = len(dialogue.turns) - 1 if judged is None else judged
    sound = answered.sounds[place]
    scored = None if isinstance(verdict, Unscored) else verdict
    return ReplyRow(
        id=plain(dialogue.id),
        task=dialogue.task,
        language=dialogue.language,
        heard=tuple(
            (plain(turn.text), turn.emotion or "", plain(reply))
            for turn, reply in zip(dialogue.turns[: place + 1], answered.replies, strict=False)
        ),
        reply=plain(answered.replies[place]),
        audio_path=sound.path if sound else "",
        cut=answered.cut,
        scores=scored and scored.scores,
        wrong_language=scored is not None and scored.wrong_language,
        reasoning=scored.reasoning if scored else "",
        unscored=verdict.reason if isinstance(verdict, Unscored) else "",
    )


def _choice_row(item: ChoiceItem, replies: tuple[str, ...], chosen: int) -> ChoiceRow:
    choice = item.choice
    return ChoiceRow(
        id=plain(choice.id),
        task=choice.task,
        language=item.language,
        kind=item.kind,
        question=item.question,
        options=tuple(map(plain, choice.options)),
        answer=choice.answer,
        chosen=chosen,
        replies=replies,
        audio_paths=tuple(u.clip.path for u in item.utterances),
        cut=item.cut,
    )


def _about(rows: Sequence[ReplyRow]) -> list[str]:
    """What happened to replies that no judge scored."""
    notes: list[str] = []
    for task, wrong in sorted(Counter(row.task for row in rows if row.wrong_language).items()):
        notes.append(f"{wrong} replies of {task} in the wrong language: each scores 1")
    for task in TALK_TASKS:
        reasons = Counter(row.unscored for row in rows if row.unscored and row.task == task)
        if reasons:
            ((most, _),) = reasons.most_common(1)
            notes.append(f"{reasons.total()} replies of {task} unscored, most of them so: {most}")
    return notes
