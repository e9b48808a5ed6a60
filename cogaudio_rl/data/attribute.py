"""Thoughts about emotion and cause for a corpus of one's own, from an LLM.

manifest ─► pitch and pace, measured ─► each (words, emotion) asked once ─► checks ─► manifest.jsonl
                                                                               └─► quarantined.jsonl
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, model_validator

from cogaudio_rl.answer_cache import AnswerCache
from cogaudio_rl.config import Strict
from cogaudio_rl.data.corpora.reading import Progress, silent
from cogaudio_rl.data.lime.attributed import QUARANTINED, write_quarantined
from cogaudio_rl.data.lime.attributions import Attributed, Manner, checked, manners
from cogaudio_rl.data.lime.llm import LlmAuthor, said_in
from cogaudio_rl.data.lime.recipe import AuthorConfig
from cogaudio_rl.data.lime.words import LANGUAGES
from cogaudio_rl.data.lime.write import Refused, unanswered
from cogaudio_rl.data.manifest import read_manifest, write_manifest
from cogaudio_rl.endpoint import ChatEndpoint, NoAnswer
from cogaudio_rl.errors import ConfigError, RunError
from cogaudio_rl.types import Attribution, Utterance

ANSWERS = "answers"


class AttributeRecipe(Strict):
    """Who says what an emotion is due to."""

    author: AuthorConfig

    @model_validator(mode="after")
    def _asks_an_llm(self) -> AttributeRecipe:
        if self.author.kind != "llm":
            raise ValueError("author.kind must be llm: the embedded author knows its own sentences")
        return self


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    cause: str
    plan: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What became of a manifest."""

    utterances: int
    quarantined: int


def attribute_manifest(
    manifest: Path, out: Path, recipe: AttributeRecipe, progress: Progress = silent
) -> Counted:
    """Write the utterances of ``manifest`` with a thought each into ``out`` under the same name, and
    those that got none, with reasons, into ``quarantined.jsonl`` beside it.

    Answers are kept in ``out``: the same command again pays for none twice. Raises DataError for a bad
    manifest, ConfigError where ``out`` is the manifest's own folder, and RunError where the endpoint
    could not be asked: nothing is quarantined for that.
    """
    if out.resolve() == manifest.parent.resolve():
        raise ConfigError(f"--out {str(out)!r} is the manifest's own folder; name another")
    utterances = read_manifest(manifest)
    done = asyncio.run(_attributed(utterances, out, recipe, progress))
    write_manifest(out / manifest.name, done.utterances)
    write_quarantined(out / QUARANTINED, done.quarantined)
    return Counted(utterances=len(done.utterances), quarantined=len(done.quarantined))


async def _attributed(
    utterances: Sequence[Utterance], out: Path, recipe: AttributeRecipe, progress: Progress
) -> Attributed:
    total = 2 * len(utterances)
    heard = manners(utterances, progress=lambda done, _: progress(done, total))
    endpoint = ChatEndpoint(recipe.author)
    asker = Asker(recipe.author, endpoint, AnswerCache(out / ANSWERS))
    try:
        return await attribute(
            utterances,
            heard,
            asker,
            progress=lambda done, _: progress(len(utterances) + done, total),
        )
    finally:
        await endpoint.close()


async def attribute(
    utterances: Sequence[Utterance],
    heard: Mapping[str, Manner],
    asker: Asker,
    *,
    progress: Progress = silent,
) -> Attributed:
    """Each with a thought, or the reasons why it has none. The same words in the same emotion are asked
    about once. Raises RunError where nobody answers."""
    asked: dict[tuple[str, str], asyncio.Task[tuple[str, str] | tuple[Refused, ...]]] = {}
    for u in utterances:
        if (u.transcript, u.emotion) not in asked:
            asked[u.transcript, u.emotion] = asyncio.create_task(asker.ask(u))
    kept: list[Utterance] = []
    quarantined: dict[str, tuple[str, ...]] = {}
    try:
        for done, u in enumerate(utterances, start=1):
            said = await asked[u.transcript, u.emotion]
            one = _taken(u, heard.get(u.id), said)
            if isinstance(one, Attribution):
                kept.append(replace(u, attribution=one))
            else:
                quarantined[u.id] = one
            progress(done, len(utterances))
    finally:
        for task in asked.values():
            task.cancel()
    return Attributed(utterances=tuple(kept), quarantined=quarantined)


def _taken(
    utterance: Utterance, manner: Manner | None, said: tuple[str, str] | tuple[Refused, ...]
) -> Attribution | tuple[str, ...]:
    refused = [one for one in said if isinstance(one, Refused)]
    for one in refused:
        if one.outage:
            raise RunError(
                f"{one.what}: {one.reasons[0]}; mend the endpoint and give the same command again, "
                "answers that came are kept"
            )
    if refused:
        return refused[-1].reasons  # earlier ones were asked again
    cause, plan = (part for part in said if isinstance(part, str))
    return checked(utterance, manner, cause=cause, plan=plan)


class Asker:
    """Asks an LLM what an emotion is due to, and again when a check refuses the answer."""

    def __init__(self, author: AuthorConfig, endpoint: ChatEndpoint, cache: AnswerCache) -> None:
        self._llm = LlmAuthor(author, endpoint, cache)

    async def ask(self, utterance: Utterance) -> tuple[str, str] | tuple[Refused, ...]:
        """Cause and plan, or all that was refused."""
        what = f"attribution of {utterance.id}"
        if utterance.language not in LANGUAGES:
            known = ", ".join(LANGUAGES)
            reason = f"no author for language {utterance.language!r}; known: {known}"
            return (Refused(what=what, reasons=(reason,)),)
        material = said_in(
            utterance.transcript, language=utterance.language, emotion=utterance.emotion
        )
        refused: list[Refused] = []
        # Cause and plan are checked here without the sound: any manner will do.
        anyhow = Manner(pitch="middle", pace="medium")
        for attempt in range(self._llm.settings.max_rejections):
            try:
                said = await self._llm.ask("lime_attribute.md", material, _Said, nth=attempt)
            except NoAnswer as error:
                return (*refused, unanswered(what, error))
            cause, plan = (" ".join(text.split()) for text in (said.cause, said.plan))
            found = checked(utterance, anyhow, cause=cause, plan=plan)
            if isinstance(found, Attribution):
                return cause, plan
            refused.append(Refused(what=what, reasons=found))
        return tuple(refused)
