"""Who annotates: (sentence, emotion) → EIPS chain and reply, taken if no check speaks against it."""

from __future__ import annotations

import re
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from cogaudio_rl import eips
from cogaudio_rl.answer_cache import AnswerCache
from cogaudio_rl.data.lime.author import Sentence
from cogaudio_rl.data.lime.depths import annotate_nth
from cogaudio_rl.data.lime.llm import LlmAuthor, said_in
from cogaudio_rl.data.lime.recipe import AuthorConfig, LimeRecipe
from cogaudio_rl.data.lime.words import is_written_in
from cogaudio_rl.data.lime.write import Refused, unanswered
from cogaudio_rl.endpoint import ChatEndpoint, NoAnswer
from cogaudio_rl.seeding import seed_for
from cogaudio_rl.types import Annotation, EipsResponse

ANNOTATION = "annotation of"
"""How what is said of an annotation begins."""
_DEEP = 4
_MAX_ECHO = 0.8
_TEMPLATES = {
    "en": (
        r"^i('m| am) sorry to hear( that)?\W*$", r"^i understand( how you feel)?\W*$",
        r"^that (sounds|must be) (great|hard|difficult|tough|nice|wonderful)\W*$",
        r"^thank you for sharing( that)?( with me)?\W*$", r"^how can i help( you)?( today)?\W*$",
    ),
    "zh": (
        r"^我(能|可以)?理解(你的(感受|心情))?\W*$", r"^听到这个我很(抱歉|高兴)\W*$",
        r"^谢谢你的分享\W*$",
    ),
}  # fmt: skip
"""Replies that would fit any sentence."""


class Annotator(Protocol):
    """Says what lies behind a sentence said in an emotion, and what to reply."""

    async def annotate(
        self, sentence: Sentence, emotion: str, *, nth: int
    ) -> tuple[Annotation | None, list[Refused]]:
        """The annotation, or None, and what was refused; ``nth`` counts earlier ones of this pair."""
        ...


class EmbeddedAnnotator:
    """The bank's own, which passes every check by construction."""

    def __init__(self, recipe: LimeRecipe) -> None:
        self._seed, self._mix = recipe.seed, recipe.depth_mix

    async def annotate(
        self, sentence: Sentence, emotion: str, *, nth: int
    ) -> tuple[Annotation | None, list[Refused]]:
        seed = seed_for(self._seed, "lime")
        return annotate_nth(sentence, emotion, nth=nth, mix=self._mix, seed=seed), []


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    emotion: str
    intent: str
    psychology: str
    strategy: str
    response: str


class LlmAnnotator:
    """Annotations from any chat endpoint, each asked for again when a check refuses it."""

    def __init__(self, author: AuthorConfig, endpoint: ChatEndpoint, cache: AnswerCache) -> None:
        self._llm = LlmAuthor(author, endpoint, cache)

    async def annotate(
        self, sentence: Sentence, emotion: str, *, nth: int
    ) -> tuple[Annotation | None, list[Refused]]:
        refused: list[Refused] = []
        what = f"{ANNOTATION} {sentence.text_id}/{emotion}"
        material = said_in(sentence.text, language=sentence.language, emotion=emotion)
        tries = self._llm.settings.max_rejections
        for attempt in range(nth * tries, (nth + 1) * tries):
            try:
                said = await self._llm.ask("lime_annotate.md", material, _Said, nth=attempt)
            except NoAnswer as error:
                return None, [*refused, unanswered(what, error)]
            chain = EipsResponse(**{k: " ".join(v.split()) for k, v in said.model_dump().items()})
            reasons = annotation_problems(chain, sentence, emotion)
            if not reasons:
                return Annotation(eips=chain, depth=_DEEP), refused
            refused.append(Refused(what=what, reasons=reasons))
        return None, refused


def annotation_problems(chain: EipsResponse, sentence: Sentence, emotion: str) -> tuple[str, ...]:
    """What speaks against an annotation; empty where nothing does."""
    language, found = sentence.language, list[str]()
    steps = {
        "intent": chain.intent,
        "psychology": chain.psychology,
        "strategy": chain.strategy,
        "response": chain.response,
    }
    found += [f"{name} is empty" for name, text in steps.items() if not text.strip()]
    if chain.emotion != emotion:
        found.append(f"the emotion is {chain.emotion!r}, not {emotion!r}")
    found += [
        f"{name} is not written in {language!r}"
        for name, text in steps.items()
        if text.strip() and not is_written_in(text, language)
    ]
    if any(re.match(t, chain.response.strip(), re.IGNORECASE) for t in _TEMPLATES[language]):
        found.append("the response is a template")
    if _echo(chain.response, sentence.text) > _MAX_ECHO:
        found.append("the response repeats the sentence")
    if not isinstance(eips.parse(eips.render(chain)), EipsResponse):
        found.append("it cannot be written as a chain")
    return tuple(found)


def _echo(response: str, sentence: str) -> float:
    """Share of the response's characters (in threes) that stand in the sentence."""
    said, words = response.lower(), sentence.lower()
    threes = [said[i : i + 3] for i in range(len(said) - 2)]
    return sum(t in words for t in threes) / max(1, len(threes))
