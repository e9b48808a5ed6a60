"""Who writes the sentences: plausible in every emotion, so that only the voice can tell.

An LLM's sentence is asked about once more, without a voice: where the words alone tell the emotion with
too much certainty it is refused, and another is asked for.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cogaudio_rl.answer_cache import AnswerCache
from cogaudio_rl.data.lime import author
from cogaudio_rl.data.lime.author import Sentence
from cogaudio_rl.data.lime.llm import LlmAuthor, language_name
from cogaudio_rl.data.lime.plan import Family
from cogaudio_rl.data.lime.recipe import LimeRecipe
from cogaudio_rl.data.lime.words import feeling_in, is_written_in
from cogaudio_rl.endpoint import ChatEndpoint, NoAnswer, Outage
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import LIME_EMOTIONS

SCENARIOS: tuple[str, ...] = tuple(dict.fromkeys(s.scenario for s in author.sentences("en")))
"""The twenty of the embedded author, which follow the paper's."""

_ROUNDING = 0.06
"""What seven shares of two digits may be off by, and a little more."""
_LENGTHS = {"en": (15, 120), "zh": (6, 40)}
"""Characters of a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """What was not taken into the corpus, and why."""

    what: str
    reasons: tuple[str, ...]
    outage: bool = False
    """Nobody could be asked: it may be taken when there is somebody again."""


def unanswered(what: str, error: NoAnswer) -> Refused:
    """What an endpoint gave no answer about."""
    return Refused(what=what, reasons=(f"no answer: {error}",), outage=isinstance(error, Outage))


class Writer(Protocol):
    """Gives every family its sentence."""

    async def sentence(self, family: Family) -> tuple[Sentence | None, list[Refused]]:
        """The sentence, or None, and what was refused on the way."""
        ...


class EmbeddedWriter:
    """The bank's sentences: each comes once before any comes again, in a new order every round."""

    def __init__(self, recipe: LimeRecipe) -> None:
        self._seed = recipe.seed

    async def sentence(self, family: Family) -> tuple[Sentence | None, list[Refused]]:
        pool = author.split_sentences(family.language)[family.split]
        nth, place = divmod(family.nth, len(pool))
        order = rng_for(self._seed, "texts", family.language, family.split, nth)
        return pool[int(order.permutation(len(pool))[place])], []


class _Written(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    sentence: str
    topic: str
    gist: str


class _Share(BaseModel):
    model_config = ConfigDict(extra="forbid")

    emotion: str
    probability: float = Field(ge=0, le=1)


class _Guess(BaseModel):
    """A model that evades the question must not pass as one that is unsure."""

    model_config = ConfigDict(extra="forbid")

    shares: list[_Share]

    @model_validator(mode="after")
    def _is_a_distribution(self) -> _Guess:
        if sorted(s.emotion for s in self.shares) != sorted(LIME_EMOTIONS):
            raise ValueError(f"needs one share for each of {', '.join(LIME_EMOTIONS)}")
        total = sum(s.probability for s in self.shares)
        if abs(total - 1) > _ROUNDING:
            raise ValueError(f"shares must sum to 1, got {total:g}")
        return self


class LlmWriter:
    """Sentences from any chat endpoint."""

    def __init__(self, recipe: LimeRecipe, endpoint: ChatEndpoint, cache: AnswerCache) -> None:
        self._llm = LlmAuthor(recipe.author, endpoint, cache)

    async def sentence(self, family: Family) -> tuple[Sentence | None, list[Refused]]:
        refused: list[Refused] = []
        what = f"sentence of family {family.index}"
        for nth in range(self._llm.settings.max_rejections):
            try:
                written = await self._write(family, nth)
                reasons = sentence_problems(written.sentence, family.language)
                reasons = reasons or await self._tells(written.sentence)
            except NoAnswer as error:
                return None, [*refused, unanswered(what, error)]
            if not reasons:
                return _sentence(written, family), refused
            refused.append(Refused(what=what, reasons=reasons))
        return None, refused

    async def _write(self, family: Family, nth: int) -> _Written:
        material = {
            "scenario": scenario_of(family),
            "language": language_name(family.language),
            "emotions": list(LIME_EMOTIONS),
            "number": family.index,
        }
        return await self._llm.ask("lime_write.md", material, _Written, nth=nth)

    async def _tells(self, sentence: str) -> tuple[str, ...]:
        """Why the words alone tell too much; empty where they do not."""
        material = {"sentence": sentence, "emotions": list(LIME_EMOTIONS)}
        guess = await self._llm.ask("lime_ambiguity.md", material, _Guess, temperature=0.0)
        surest = max(guess.shares, key=lambda share: share.probability)
        limit = self._llm.settings.max_text_certainty
        if surest.probability <= limit:
            return ()
        return (f"the words alone say {surest.emotion!r} ({surest.probability:.2f} > {limit:g})",)


def sentence_problems(text: str, language: str) -> tuple[str, ...]:
    """What speaks against a sentence by its words alone."""
    shortest, longest = _LENGTHS[language]
    found: list[str] = []
    if not shortest <= len(text) <= longest:
        found.append(f"{len(text)} characters, expected {shortest} to {longest}")
    if not is_written_in(text, language):
        found.append(f"not written in {language!r}")
    if re.search(r"[!！?？…\n]", text):
        found.append("its punctuation tells a tone")
    if word := feeling_in(text, language):
        found.append(f"names a feeling: {word!r}")
    return tuple(found)


def scenario_of(family: Family) -> str:
    """In turn within each language and split, so that each of these has all of them."""
    return SCENARIOS[family.nth % len(SCENARIOS)]


def _sentence(written: _Written, family: Family) -> Sentence:
    digest = hashlib.blake2b(written.sentence.encode(), digest_size=5).hexdigest()
    return Sentence(
        text_id=f"{family.language}_{digest}",
        text=written.sentence,
        scenario=scenario_of(family),
        topic=written.topic,
        gist=written.gist,
        language=family.language,
    )
