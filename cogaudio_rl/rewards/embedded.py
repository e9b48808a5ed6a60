"""The embedded judge: the rubric's 1–4 by contrast, without an LLM.

A reply is good when it fits *this* emotion better than its siblings, the references of the other
emotions for the same words, and *this* sentence better than other sentences. Both are asked apart:

- wording: TF-IDF over word uni- and bigrams, with topic and gist taken out of the reply as they are
  out of the references, so that siblings differ only in how they answer the feeling;
- naming: how much of the sentence's topic and gist the reply says, against every other sentence's.

4 = deep for this emotion and names what was said, 3 = right emotion but superficial or not
specific, 2 = only valence and arousal, 1 = the rest. A reply falls one step when it names nothing,
since it could be given to anyone, and one when it names something that was not said.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from cogaudio_rl.data.lime.author import Sentence
from cogaudio_rl.rewards.references import (
    WORD,
    Family,
    Reference,
    any_of,
    bare_references,
    family_of,
    generic_replies,
    without,
    words_of,
)
from cogaudio_rl.rewards.route import Answer, Verdict
from cogaudio_rl.types import EipsResponse, Unscored, Utterance

Matrix = npt.NDArray[np.float32]
Levels = npt.NDArray[np.int64]

FLOOR = 0.20
"""Below this cosine to every reference a reply says nothing that an annotator would."""
MARGIN = 0.08
"""A reply must be closer to its own emotion than to any sibling by at least this cosine."""
MIXED = 0.05
"""Share of a reply's weight on words that only siblings use, times its cosine to the nearest of
them: at most this much above 2. A reply for several emotions is for none."""
FLUENT = 0.20
"""Smallest share of a deep reply's word pairs that stand in some reference; salad has fewer."""
FEWEST_WORDS = 2
"""Fewer words beside the names are a label, not a reply."""
DISTINCT = 0.75
"""Smallest share of distinct trigrams in a reply above 2; less is repetition."""
STRETCH = 1.6
"""A reply above 2 is at most this many times as long as the longest reference."""
NAMED = 0.2
"""Share of a sentence's names, weighted by rarity, that a reply must say to be about it."""
STEP_FLOOR = 0.5
"""Below this cosine to every reference a chain step is none of them."""
STRATEGY_WORTH = {2: 0.25, 3: 0.5, 4: 1.0}
"""A coarse strategy, one that names the feeling, and one that meets its need."""

_LEAK = re.compile(r"[<>{}]|\b(?:emotion|intent|psychology|strategy|response|score)\s*:", re.I)


def _vectoriser(texts: Sequence[str]) -> TfidfVectorizer:
    vectoriser = TfidfVectorizer(token_pattern=WORD, ngram_range=(1, 2), sublinear_tf=True)
    return vectoriser.fit(texts)


def _rows(vectoriser: CountVectorizer, texts: Sequence[str]) -> Matrix:
    return np.asarray(vectoriser.transform(texts).todense(), dtype=np.float32)


def _pairs(text: str) -> list[str]:
    return [f"{a} {b}" for a, b in itertools.pairwise(words_of(text))]


class Naming:
    """Whether a reply names this sentence's topic and gist, nothing at all, or another's."""

    def __init__(self, pool: Sequence[Sentence]) -> None:
        texts = [f"{s.topic} {s.gist}" for s in pool]
        self._counter = CountVectorizer(token_pattern=WORD, binary=True).fit(texts)
        present = _rows(self._counter, texts)
        # Squared: "the" and "that" are in most names and must not make a reply specific.
        rarity = np.log((1 + len(texts)) / present.sum(axis=0)) ** 2
        weights = present * rarity
        self._shares: Matrix = weights / weights.sum(axis=1, keepdims=True)
        self._row = {s.text_id: row for row, s in enumerate(pool)}
        self._names = [{s.topic.lower(), s.gist.lower()} - {""} for s in pool]
        self._any_name = any_of(sorted(set().union(*self._names)))

    def demotions(self, replies: Sequence[str], text_id: str) -> Levels:
        """Steps of the rubric each reply loses: 1 for naming nothing, 1 for naming another's."""
        row = self._row[text_id]
        named = _rows(self._counter, replies) @ self._shares[row] >= NAMED
        found = [set(self._any_name.findall(reply.lower())) for reply in replies]
        elsewhere = np.array([bool(names - self._names[row]) for names in found])
        return (~named).astype(int) + elsewhere


@lru_cache(maxsize=1024)
def _naming(pool: tuple[Sentence, ...]) -> Naming:
    return Naming(pool)


class Wording:
    """Tells replies to one emotion from replies to its siblings and from what fits anyone."""

    def __init__(
        self, references: Sequence[Reference], generic: Sequence[str], emotion: str
    ) -> None:
        texts = [*(r.eips.response for r in references), *generic]
        self._vectoriser = _vectoriser(texts)
        self._matrix = _rows(self._vectoriser, texts)
        self._vocabulary = frozenset(self._vectoriser.get_feature_names_out())
        self._longest = max(len(words_of(text)) for text in texts)
        moods = {r.emotion: r.mood for r in references}
        owner = np.array([*(r.emotion for r in references), *("" for _ in generic)])
        depth = np.array([*(r.depth for r in references), *(1 for _ in generic)])
        same_mood = np.array([moods.get(name) == moods[emotion] for name in owner])
        self._deep = (owner == emotion) & (depth == 4)
        self._superficial = (owner == emotion) & (depth == 3)
        # A coarse reply is shared by the emotions of its mood: it is nobody's sibling.
        self._mood, self._siblings = same_mood, (owner != emotion) & (depth != 2)
        ours = ((owner == emotion) | (same_mood & (depth == 2))) @ self._matrix > 0
        foreign = (self._siblings & (depth > 2)) @ self._matrix > 0
        self._foreign = (foreign & ~ours).astype(np.float32)

    def levels(self, replies: Sequence[str]) -> Levels:
        """The rubric's 1–4 by bare wording alone."""
        vectors = _rows(self._vectoriser, replies)
        known = np.array([self._known_share(words_of(reply)) for reply in replies])
        # The vectoriser drops words it does not know; a reply must not gain by them.
        near = vectors @ self._matrix.T * known[:, None]

        def best(rows: npt.NDArray[np.bool_]) -> Matrix:
            return near[:, rows].max(axis=1, initial=0.0)

        deep, superficial = best(self._deep), best(self._superficial)
        own, mood = np.maximum(deep, superficial), best(self._mood)
        sibling = best(self._siblings)
        right = (own >= FLOOR) & (own >= mood) & (own - sibling >= MARGIN)
        felt = (mood >= FLOOR) & (mood - best(~self._mood) >= MARGIN)
        level = np.where(right, np.where(deep >= superficial, 4, 3), np.where(felt, 2, 1))
        mixed = (vectors**2 @ self._foreign) * sibling > MIXED
        salad = (level == 4) & [self._known_share(_pairs(reply)) < FLUENT for reply in replies]
        level = np.where(mixed | salad, np.minimum(level, 2), level)
        return np.minimum(level, [self._shape_cap(reply) for reply in replies])

    def _known_share(self, features: Sequence[str]) -> float:
        return sum(f in self._vocabulary for f in features) / max(len(features), 1)

    def _shape_cap(self, reply: str) -> int:
        words = words_of(reply)
        if _LEAK.search(reply) or len(words) < FEWEST_WORDS:
            return 1
        trigrams = list(zip(words, words[1:], words[2:], strict=False))
        repeats = len(set(trigrams)) < DISTINCT * len(trigrams)
        return 2 if repeats or len(words) > STRETCH * self._longest else 4


class Step:
    """Contrast of one chain step with the same step of the sibling emotions."""

    def __init__(self, worth: Mapping[str, float], siblings: Sequence[str]) -> None:
        """``worth`` is what each of this emotion's own texts scores; the rest scores 0."""
        texts = sorted({*worth, *siblings})
        self._vectoriser = _vectoriser(texts)
        self._matrix = _rows(self._vectoriser, texts)
        self._worth = np.array([worth.get(text, 0.0) for text in texts], dtype=np.float32)

    def scores(self, texts: Sequence[str]) -> Matrix:
        """Worth × cosine where the nearest text is this emotion's own, else 0; in [0, 1]."""
        near = _rows(self._vectoriser, texts) @ self._matrix.T
        fit = near.max(axis=1).clip(0.0, 1.0)
        return np.where(fit >= STEP_FLOOR, fit * self._worth[near.argmax(axis=1)], 0.0)


class Contrast:
    """All that is compared for one emotion: the wording of replies and of the chain's steps."""

    def __init__(
        self, references: Sequence[Reference], generic: Sequence[str], emotion: str
    ) -> None:
        own = [r for r in references if r.emotion == emotion]
        self.wording = Wording(references, generic, emotion)
        self.intent = Step({r.eips.intent: 1.0 for r in own}, [r.eips.intent for r in references])
        self.psychology = Step(
            {r.eips.psychology: 1.0 for r in own}, [r.eips.psychology for r in references]
        )
        self.strategy = Step(
            {r.eips.strategy: STRATEGY_WORTH[r.depth] for r in own},
            [r.eips.strategy for r in references],
        )


@lru_cache(maxsize=1024)
def _contrast(language: str, emotion: str, annotated: Reference | None) -> Contrast:
    extra = () if annotated is None else (annotated,)
    references = (*bare_references(language), *extra)
    return Contrast(references, generic_replies(language), emotion)


class ContrastGrader:
    """Grades answers against the first annotator's references."""

    def grade(self, utterance: Utterance, answers: Sequence[Answer]) -> list[Verdict | Unscored]:
        """One verdict for each answer; :class:`Unscored` where nothing can be compared."""
        family = family_of(utterance)
        if isinstance(family, Unscored):
            return [family] * len(answers)
        contrast = _contrast(family.language, utterance.emotion, family.annotated)
        levels = iter(self._empathy(family, contrast, answers))
        chains = iter(
            self._chain(family, contrast, [a for a in answers if isinstance(a, EipsResponse)])
        )
        return [
            Verdict(empathy=next(levels), **(next(chains) if isinstance(a, EipsResponse) else {}))
            for a in answers
        ]

    def _empathy(self, family: Family, contrast: Contrast, answers: Sequence[Answer]) -> list[int]:
        if not answers:
            return []
        replies = [a.response if isinstance(a, EipsResponse) else a for a in answers]
        bare = [without(reply, family.names) for reply in replies]
        lost = _naming(family.pool).demotions(replies, family.sentence.text_id)
        return [int(level) for level in np.maximum(contrast.wording.levels(bare) - lost, 1)]

    def _chain(
        self, family: Family, contrast: Contrast, chains: Sequence[EipsResponse]
    ) -> list[dict[str, float]]:
        if not chains:
            return []
        gist = family.sentence.gist.lower()
        intents = [without(chain.intent, family.names) for chain in chains]
        # An intent that does not say what it is about is half of one.
        about = np.array([1.0 if gist in chain.intent.lower() else 0.5 for chain in chains])
        columns = (
            contrast.intent.scores(intents) * about,
            contrast.psychology.scores([chain.psychology for chain in chains]),
            contrast.strategy.scores([chain.strategy for chain in chains]),
        )
        return [
            {"intent": float(i), "psychology": float(p), "strategy": float(s)}
            for i, p, s in zip(*columns, strict=True)
        ]
