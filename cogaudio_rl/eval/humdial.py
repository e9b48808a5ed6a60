"""HumDial (EIBench, arXiv 2604.11594; challenge, arXiv 2601.05564) as an evaluation of one model.

    T1 emotion trajectory, T2 implicit cause    multiple choice about a dialogue ─┐
    T4 words against voice                      multiple choice about one turn   ─┼► rows ─► estimates
    T3 empathetic generation                    a reply, scored by an LLM judge  ─┘

T1 and T2 are multiple choice here, as in EIBench; in the challenge a judge scores them 1–5. Its Final
is given all the same, with accuracy a counted as 1 + 4a (our choice): compare models by it, not with
the challenge's board.
"""

from __future__ import annotations

import asyncio
import string
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from cogaudio_rl import prompts
from cogaudio_rl.config import JudgeConfig
from cogaudio_rl.data.corpora.humdial import HumDialReading
from cogaudio_rl.eval.humdial_items import ChoiceItem, ReplyItem, make_items, plain
from cogaudio_rl.eval.humdial_judge import JUDGE_PROMPT, Reply, judge_replies
from cogaudio_rl.eval.humdial_result import (
    CHOICE_TASKS,
    LANGUAGES,
    ChoiceRow,
    HumDialResult,
    ReplyRow,
    estimate_rows,
)
from cogaudio_rl.eval.run import PROMPTS_AT_ONCE, Progress, reply_of
from cogaudio_rl.ports import Sampler
from cogaudio_rl.seeding import seed_for
from cogaudio_rl.types import Unscored

NO_JUDGE = "no judge: name an endpoint that scores the replies"

_PROMPTS = (
    *(f"humdial_{task.lower()}_{language}.md" for task in CHOICE_TASKS for language in LANGUAGES),
    *(f"humdial_choice_{language}.md" for language in LANGUAGES),
    "prompt_b.md",
    JUDGE_PROMPT,
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
    sounds: Path,
    cache: Path,
    samples: int,
    seed: int,
    progress: Progress,
) -> HumDialResult:
    """Evaluate whatever policy the sampler holds; answers are greedy.

    ``reading`` is what :func:`cogaudio_rl.data.corpora.humdial.read` gives. Joined recordings go to
    ``sounds``, the judge's answers to ``cache``; both may be shared by models. Without a judge T3 is
    not run. A task that is not there is named in ``not_run``; nothing is raised for it. Raises
    DataError for a sound that can no longer be read, InputError where the sampler has no room for a
    clip of 30 s.
    """
    items = await asyncio.to_thread(make_items, reading, sounds, replies=judge is not None)
    done = _Done(len(items.choices) + 2 * len(items.replies), progress)
    choices = await _choose(sampler, items.choices, done)
    replies: tuple[ReplyRow, ...] = ()
    spent: dict[str, float] = {}
    not_run, notes = dict(items.not_run), list(items.notes)
    if judge is None:
        not_run["T3"] = NO_JUDGE
    elif items.replies:
        texts = await _answer(sampler, items.replies, seed, done)
        replies, spent = await _judged(items.replies, texts, judge, cache, done)
        notes += _about(replies)
        if all(row.scores is None for row in replies):
            not_run["T3"] = f"no reply could be scored; the first: {replies[0].unscored}"
    estimates, lacks = estimate_rows(choices, replies, samples=samples, seed=seed)
    if lacks:
        not_run["challenge_final"] = lacks
    if any(name.startswith("challenge_final") for name in estimates):
        notes.append(
            "challenge_final: an accuracy a of T1 and T2 counts as 1 + 4a of 5; our choice"
        )
    return HumDialResult(
        estimates=estimates,
        not_run=dict(sorted(not_run.items())),
        notes=tuple(notes),
        choices=choices,
        replies=replies,
        prompts={name: prompts.digest(name) for name in _PROMPTS},
        bootstrap_samples=samples,
        judge_spent=spent,
    )


async def _choose(
    sampler: Sampler, items: Sequence[ChoiceItem], done: _Done
) -> tuple[ChoiceRow, ...]:
    """What is chosen, in the order of the items; those of as many options are asked together."""
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
                [items[place].prompt for place in part], prefix="", options=list(letters)
            )
            for place, letter in zip(part, chosen, strict=True):
                rows[place] = _choice_row(items[place], letters.index(letter))
            done.add(len(part))
    return tuple(rows[place] for place in range(len(items)))


async def _answer(
    sampler: Sampler, items: Sequence[ReplyItem], seed: int, done: _Done
) -> list[str]:
    texts: list[str] = []
    for start in range(0, len(items), PROMPTS_AT_ONCE):
        asked = [item.prompt for item in items[start : start + PROMPTS_AT_ONCE]]
        groups = await sampler.sample(
            asked, n=1, temperature=0.0, seed=seed_for(seed, "eval", "humdial")
        )
        texts += [group.rollouts[0].text for group in groups]
        done.add(len(asked))
    return texts


async def _judged(
    items: Sequence[ReplyItem],
    texts: Sequence[str],
    judge: JudgeConfig,
    cache: Path,
    done: _Done,
) -> tuple[tuple[ReplyRow, ...], dict[str, float]]:
    replies = [
        Reply(dialogue=item.dialogue, heard=item.heard, text=reply_of(text))
        for item, text in zip(items, texts, strict=True)
    ]
    verdicts, spent = await judge_replies(replies, judge, cache, done.add)
    rows: list[ReplyRow] = []
    for item, text, reply, verdict in zip(items, texts, replies, verdicts, strict=True):
        scored = None if isinstance(verdict, Unscored) else verdict
        rows.append(
            ReplyRow(
                id=plain(item.dialogue.id),
                language=item.dialogue.language,
                heard=tuple((plain(turn.text), turn.emotion or "") for turn in item.heard),
                text=text,
                reply=reply.text,
                audio_path=item.prompt.utterance.clip.path,
                cut=item.cut,
                scores=scored and scored.scores,
                wrong_language=scored is not None and scored.wrong_language,
                reasoning=scored.reasoning if scored else "",
                unscored=verdict.reason if isinstance(verdict, Unscored) else "",
            )
        )
    return tuple(rows), spent


def _choice_row(item: ChoiceItem, chosen: int) -> ChoiceRow:
    choice = item.choice
    return ChoiceRow(
        id=plain(choice.id),
        task=choice.task,
        language=item.language,
        kind=item.kind,
        question=item.prompt.question,
        options=tuple(map(plain, choice.options)),
        answer=choice.answer,
        chosen=chosen,
        audio_path=item.prompt.utterance.clip.path,
        cut=item.cut,
    )


def _about(replies: Sequence[ReplyRow]) -> list[str]:
    """What happened to replies that no judge scored."""
    notes: list[str] = []
    if wrong := sum(row.wrong_language for row in replies):
        notes.append(f"{wrong} replies of T3 in the wrong language: each scores 1")
    reasons = Counter(row.unscored for row in replies if row.unscored)
    if reasons:
        ((most, _),) = reasons.most_common(1)
        notes.append(f"{reasons.total()} replies of T3 unscored, most of them so: {most}")
    return notes
