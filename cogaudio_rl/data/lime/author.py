"""The embedded author: sentences that fit every emotion, and annotations that fit only one.

It stands in for the paper's LLM writer and annotator (CogAudio-LLM, section 2) where no LLM is at
hand. Everything it knows is in the ``bank_*.yaml`` files beside this module. Two annotators wrote
reply banks: the first feeds SFT and the reward, the second feeds only the scorer of the test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from cogaudio_rl.errors import DataError
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import Annotation, EipsResponse

DEPTHS: tuple[int, ...] = (2, 3, 4)
"""The rubric's coarse, superficial and deep; no annotator writes a 1 on purpose."""

SPLIT_SEED = 20260606
"""The split of texts never moves with a run's seed: the shipped base knows its train side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """One sentence of the bank and what a reply may call its parts."""

    text_id: str
    text: str
    scenario: str
    topic: str
    gist: str
    language: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bank:
    """One annotator's phrases. ``replies[emotion][depth]`` are templates over {t} and {g}."""

    language: str
    replies: Mapping[str, Mapping[int, tuple[str, ...]]]
    chain: Mapping[str, Mapping[str, Any]]
    """emotion → intent, psychology and one strategy per depth; empty for a second annotator."""


@cache
def _yaml(name: str) -> Any:
    text = resources.files("cogaudio_rl.data.lime").joinpath(name).read_text(encoding="utf-8")
    return yaml.safe_load(text)


@cache
def load_bank(language: str, annotator: str = "first") -> Bank:
    """The phrases of one annotator. Raises DataError for a language without a bank."""
    if language not in ("en", "zh"):
        raise DataError(f"language must be 'en' or 'zh', got {language!r}")
    first = _yaml(f"bank_{language}.yaml")
    raw = first if annotator == "first" else _yaml(f"bank_{language}_{annotator}.yaml")
    replies = {
        emotion: {
            2: tuple(raw["coarse"][first["moods"][emotion]]),
            3: tuple(entry["superficial"]),
            4: tuple(entry["deep"]),
        }
        for emotion, entry in raw["emotions"].items()
    }
    chain = raw["emotions"] if annotator == "first" else {}
    return Bank(language=language, replies=replies, chain=chain)


@cache
def mood(emotion: str, language: str = "en") -> str:
    """The valence-and-arousal class of an emotion: all that a depth-2 reply catches."""
    moods: dict[str, str] = _yaml(f"bank_{language}.yaml")["moods"]
    return moods[emotion]


@cache
def sentences(language: str) -> tuple[Sentence, ...]:
    """Every sentence of the bank: each subject with each predicate of its kind."""
    raw = _yaml(f"bank_{language}.yaml")
    found: list[Sentence] = []
    for i, (scenario, kind, subject, topic) in enumerate(raw["subjects"]):
        for j, (predicate, gist) in enumerate(raw["predicates"][kind]):
            text = raw["sentence"].format(subject=subject, predicate=predicate)
            found.append(
                Sentence(
                    text_id=f"{language}_{i:02d}_{j:02d}",
                    text=text[0].upper() + text[1:],
                    scenario=scenario,
                    topic=topic,
                    gist=gist,
                    language=language,
                )
            )
    return tuple(found)


@cache
def emodb_sentences() -> tuple[Sentence, ...]:
    """EmoDB's ten German sentences with English topics, so that replies can be English."""
    return tuple(
        Sentence(
            text_id=f"emodb_{code}",
            text=text,
            scenario="EmoDB",
            topic=topic,
            gist=gist,
            language="de",
        )
        for code, (text, topic, gist) in _yaml("emodb_en.yaml").items()
    )


@cache
def sentence_by_id(text_id: str) -> Sentence | None:
    """The bank's sentence of this id, or None when it came from elsewhere."""
    if text_id.startswith("emodb_"):
        pool = emodb_sentences()
    elif text_id[:3] in ("en_", "zh_"):
        pool = sentences(text_id[:2])
    else:
        return None
    return next((s for s in pool if s.text_id == text_id), None)


@cache
def split_sentences(language: str) -> Mapping[str, tuple[Sentence, ...]]:
    """``train`` and ``test`` families; one family in seven is test, and no word is test only."""
    pool = sentences(language)
    order = rng_for(SPLIT_SEED, "texts", language).permutation(len(pool))
    test = {int(i) for i in order[: len(pool) // 7]}
    return {
        "train": tuple(s for i, s in enumerate(pool) if i not in test),
        "test": tuple(s for i, s in enumerate(pool) if i in test),
    }


def _fill(template: str, sentence: Sentence) -> str:
    text = template.format(t=sentence.topic, g=sentence.gist)
    return text[0].upper() + text[1:]


def replies(
    sentence: Sentence, emotion: str, depth: int, annotator: str = "first"
) -> tuple[str, ...]:
    """Every reply one annotator would give to this sentence in this emotion at this depth."""
    bank = load_bank("zh" if sentence.language == "zh" else "en", annotator)
    return tuple(_fill(template, sentence) for template in bank.replies[emotion][depth])


def annotate(sentence: Sentence, emotion: str, *, depth: int, variant: int) -> Annotation:
    """The first annotator's EIPS chain and reply; ``variant`` picks among equally deep replies."""
    bank = load_bank("zh" if sentence.language == "zh" else "en")
    options = replies(sentence, emotion, depth)
    entry = bank.chain[emotion]
    return Annotation(
        eips=EipsResponse(
            emotion=emotion,
            intent=entry["intent"].format(g=sentence.gist, t=sentence.topic),
            psychology=entry["psychology"],
            strategy=entry["strategy"][DEPTHS.index(depth)],
            response=options[variant % len(options)],
        ),
        depth=depth,
    )
