"""EIPS annotations for a corpus that has none, as the paper's Aug parts were made of ESD and ECD-TSE.

manifest ─► each (words, emotion) asked once ─► checks ─► train.jsonl, test.jsonl, rejected.jsonl
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

from pydantic import model_validator

from cogaudio_rl.answer_cache import AnswerCache
from cogaudio_rl.config import Strict
from cogaudio_rl.data.lime.annotate import Annotator, LlmAnnotator
from cogaudio_rl.data.lime.author import Sentence
from cogaudio_rl.data.lime.recipe import AuthorConfig
from cogaudio_rl.data.lime.words import LANGUAGES
from cogaudio_rl.data.lime.write import Refused
from cogaudio_rl.data.manifest import iter_manifest, write_manifest
from cogaudio_rl.endpoint import ChatEndpoint
from cogaudio_rl.errors import DataError, RunError
from cogaudio_rl.types import Utterance

ANSWERS = "answers"
_AT_ONCE = 8
"""Utterances in hand for each request that may be under way."""


class AnnotateRecipe(Strict):
    """How a corpus is annotated and divided."""

    author: AuthorConfig
    split: Literal["by_text", "by_speaker"] = "by_text"
    """Which of the suggested splits in ``splits.json`` beside the manifest."""

    @model_validator(mode="after")
    def _asks_an_llm(self) -> AnnotateRecipe:
        if self.author.kind != "llm":
            raise ValueError("author.kind must be llm: the embedded author knows its own sentences")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotated:
    """Counts of what was written."""

    train: int
    test: int
    rejected: int


def annotate_manifest(
    manifest: Path,
    out: Path,
    recipe: AnnotateRecipe,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Annotated:
    """Write the two splits with annotations; what got none is listed with its reasons.

    Answers are kept in ``out``: the same command again pays for none twice. Utterances that have an
    annotation keep it. Raises DataError for a bad manifest, a missing ``splits.json``, or one that
    lacks the split, and RunError where the endpoint could not be asked: nothing is rejected for that.
    """
    side = _sides(manifest.with_name("splits.json"), recipe.split)
    total = sum(1 for _ in iter_manifest(manifest))
    found = asyncio.run(_annotated(iter_manifest(manifest), out, recipe, total, progress))
    kept = [one for one, why in found if not why]
    rejected = [{"what": one.id, "reasons": list(why)} for one, why in found if why]
    counts = {
        name: write_manifest(out / f"{name}.jsonl", (u for u in kept if side(u) == name))
        for name in ("train", "test")
    }
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rejected)
    (out / "rejected.jsonl").write_text(lines, "utf-8")
    return Annotated(train=counts["train"], test=counts["test"], rejected=len(rejected))


async def _annotated(
    utterances: Iterator[Utterance],
    out: Path,
    recipe: AnnotateRecipe,
    total: int,
    progress: Callable[[int, int], None],
) -> list[tuple[Utterance, tuple[str, ...]]]:
    endpoint = ChatEndpoint(recipe.author)
    annotator = LlmAnnotator(recipe.author, endpoint, AnswerCache(out / ANSWERS))
    found: list[tuple[Utterance, tuple[str, ...]]] = []
    try:
        async for one in annotate(
            utterances, annotator, at_once=_AT_ONCE * recipe.author.concurrency
        ):
            found.append(one)
            progress(len(found), total)
    finally:
        await endpoint.close()
    return found


async def annotate(
    utterances: Iterator[Utterance], annotator: Annotator, *, at_once: int
) -> AsyncIterator[tuple[Utterance, tuple[str, ...]]]:
    """Each utterance with an annotation, or with the reasons why it has none, in order.

    The same words in the same emotion are asked about once and share the answer.
    """
    known: dict[tuple[str, str], asyncio.Task[tuple[Utterance, tuple[str, ...]]]] = {}
    while part := list(islice(utterances, at_once)):
        for u in part:
            key = (u.transcript, u.emotion)
            if u.annotation is None and key not in known:
                known[key] = asyncio.create_task(_ask(u, annotator))
        for u in part:
            if u.annotation is not None:
                yield u, ()
                continue
            asked, why = await known[u.transcript, u.emotion]
            yield replace(u, annotation=asked.annotation), why


async def _ask(utterance: Utterance, annotator: Annotator) -> tuple[Utterance, tuple[str, ...]]:
    if utterance.language not in LANGUAGES:
        known = ", ".join(LANGUAGES)
        return utterance, (f"no annotator for language {utterance.language!r}; known: {known}",)
    sentence = Sentence(
        text_id=utterance.text_id,
        text=utterance.transcript,
        scenario="",
        topic="",
        gist="",
        language=utterance.language,
    )
    annotation, refused = await annotator.annotate(sentence, utterance.emotion, nth=0)
    for one in refused:
        if one.outage:
            raise RunError(
                f"{one.what}: {one.reasons[0]}; mend the endpoint and give the same command again, "
                "answers that came are kept"
            )
    why = () if annotation is not None else _reasons(refused)
    return replace(utterance, annotation=annotation), why


def _reasons(refused: Sequence[Refused]) -> tuple[str, ...]:
    """Of the last refusal: earlier ones were asked again."""
    return refused[-1].reasons if refused else ("no annotation",)


def _sides(path: Path, split: str) -> Callable[[Utterance], str]:
    """Which side of a suggested split an utterance is on."""
    try:
        splits = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise DataError(f"{str(path)!r} does not exist; `data prepare` writes it") from None
    except ValueError as error:
        raise DataError(f"{str(path)!r} is not JSON: {error}") from None
    if split not in splits:
        known = ", ".join(splits) or "none"
        raise DataError(f"{str(path)!r} has no split {split!r}; it has: {known}")
    test = set(splits[split]["test"])
    field = {"by_text": "text_id", "by_speaker": "speaker"}[split]
    return lambda utterance: "test" if getattr(utterance, field) in test else "train"
