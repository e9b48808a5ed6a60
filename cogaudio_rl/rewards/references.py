"""What the embedded judge compares with: the replies and chains of a whole lexical family.

Siblings answer the same words, so topic and gist stand in all of them alike. They are kept out
here: references are the bare wording, and :class:`Family` says what a reply should have named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

import yaml

from cogaudio_rl.data.lime import author
from cogaudio_rl.data.lime.author import Sentence
from cogaudio_rl.types import Annotation, EipsResponse, Unscored, Utterance

WORD = r"[^\W\d_\u4e00-\u9fff]+|[\u4e00-\u9fff]|\d+"
"""A word, one Chinese character, or a number."""


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text in lower case."""
    return tuple(re.findall(WORD, text.lower()))


def any_of(phrases: Iterable[str]) -> re.Pattern[str]:
    """Matches any of the phrases, whole words only where words have bounds."""
    bounded = (rf"\b{re.escape(p)}\b" if p.isascii() else re.escape(p) for p in phrases)
    return re.compile("|".join(bounded), re.IGNORECASE)


def without(text: str, names: Sequence[str]) -> str:
    """The text's bare wording: the names left out wherever they stand."""
    return any_of(names).sub(" ", text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What the first annotator writes for one emotion at one depth, without the names."""

    emotion: str
    mood: str
    depth: int
    eips: EipsResponse


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A sentence, the pool of sentences it is contrasted with, and its references' language.

    ``names`` are the phrases a reply may call its parts, longest first. ``annotated`` is the
    corpus's own annotation where the bank does not know the sentence.
    """

    sentence: Sentence
    names: tuple[str, ...]
    pool: tuple[Sentence, ...]
    language: str
    annotated: Reference | None = None


@cache
def bare_references(language: str) -> tuple[Reference, ...]:
    """The first annotator's answers in every emotion, depth and wording, names left out."""
    nobody = Sentence(text_id="", text="", scenario="", topic="", gist="", language=language)
    return tuple(
        Reference(
            emotion=emotion,
            mood=author.mood(emotion, language),
            depth=depth,
            eips=author.annotate(nobody, emotion, depth=depth, variant=variant).eips,
        )
        for emotion in author.load_bank(language).chain
        for depth in author.DEPTHS
        for variant in range(len(author.replies(nobody, emotion, depth)))
    )


@cache
def generic_replies(language: str) -> tuple[str, ...]:
    """Replies that would fit anyone, names left out: a 1 for every emotion."""
    text = resources.files("cogaudio_rl.rewards").joinpath("generic.yaml").read_text("utf-8")
    return tuple(line.format(t="", g="") for line in yaml.safe_load(text)[language])


def family_of(utterance: Utterance) -> Family | Unscored:
    """The family of an utterance's sentence, or the reason why nothing can be compared.

    A sentence outside the bank is held against its own annotation and the bare wording of the other
    emotions; without an annotation nothing says what a fitting reply would be.
    """
    language = utterance.reply_language
    if utterance.emotion not in author.load_bank(language).chain:
        return Unscored(reason=f"no references for emotion {utterance.emotion!r}")
    sentence = author.sentence_by_id(utterance.text_id)
    if sentence is not None:
        of_emodb = sentence in author.emodb_sentences()
        pool = author.emodb_sentences() if of_emodb else author.sentences(language)
        names = sorted({sentence.topic, sentence.gist}, key=len, reverse=True)
        return Family(sentence=sentence, names=tuple(names), pool=pool, language=language)
    if utterance.annotation is None:
        return Unscored(reason=f"no references for sentence {utterance.text_id!r}")
    return _annotated_family(utterance, utterance.annotation, language)


def _annotated_family(
    utterance: Utterance, annotation: Annotation, language: str
) -> Family | Unscored:
    reply = annotation.eips.response
    names = _names_in(reply, language) or words_of(utterance.transcript)
    if not names:
        return Unscored(reason=f"nothing is named in sentence {utterance.text_id!r}")
    sentence = Sentence(
        text_id=utterance.text_id,
        text=utterance.transcript,
        scenario=utterance.scenario,
        topic=" ".join(names),
        gist="",
        language=utterance.language,
    )
    annotated = Reference(
        emotion=utterance.emotion,
        mood=author.mood(utterance.emotion, language),
        depth=annotation.depth,
        eips=replace(annotation.eips, response=without(reply, names)),
    )
    return Family(
        sentence=sentence,
        names=names,
        pool=(sentence,),
        language=language,
        annotated=annotated,
    )


def _names_in(reply: str, language: str) -> tuple[str, ...]:
    """The words of an annotated reply that the bank's wording never uses: what was talked about."""
    wording = {word for r in bare_references(language) for word in words_of(r.eips.response)}
    return tuple(word for word in words_of(reply) if word not in wording)
