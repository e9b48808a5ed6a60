"""The scorer of the test: the rubric's 1–4 from other references and features than the reward.

The reward compares words with the first annotator's replies. This scorer never sees those: it
learns from the second annotator's replies to sentences of the train split, by character n-grams and
logistic regression over (emotion, depth), and it checks names by characters too. So a policy that
learns the reward's quirks gains nothing here unless its replies became better. It reads words, not
their order: the right words shuffled keep their score.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from cogaudio_rl.data.lime import author
from cogaudio_rl.data.lime.author import Sentence
from cogaudio_rl.errors import DataError
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import Utterance

ANNOTATOR = "second"
SENTENCES_PER_REPLY = 24
"""Train sentences that fill each template, so that names carry no weight."""
SURE = 0.2
"""Smallest probability of the likeliest kind; below it the reply is like nothing learnt."""
SURE_OF_EMOTION = 0.65
"""Smallest probability of one emotion for a 3 or 4: a reply for several emotions is for none."""
SAID = 0.6
"""Share of a name's character n-grams that a reply must hold to have said it."""
SAID_OF_ANOTHER = 0.9
"""The same for a name that is not this sentence's: higher, since names resemble each other."""
STRETCH = 1.6
"""A reply above 2 is at most this many times as long as the longest reply that was learnt."""

Kind = tuple[str, int]
"""(emotion, 3 or 4), (mood, 2) for coarse replies, ("", 1) for what could be said to anyone."""


class TestScorer:
    """Scores replies 1–4 for an utterance and says which emotion a reply fits best."""

    def __init__(self) -> None:
        texts, kinds = _lessons()
        self._longest = max(len(text.split()) for text in texts)
        self._kinds = sorted(set(kinds))
        self._emotions = sorted({name for name, depth in self._kinds if depth > 2})
        self._features = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
        self._model = LogisticRegression(C=10.0, max_iter=500)
        index = {kind: i for i, kind in enumerate(self._kinds)}
        self._model.fit(self._features.fit_transform(texts), [index[kind] for kind in kinds])
        # A reply is scored for its own emotion, named, and held against its family's other emotions.
        self._chances = lru_cache(maxsize=10_000)(self._look_up)

    def score(self, utterance: Utterance, reply: str) -> int:
        """Empathy 1–4 of the reply. Raises DataError for a language or emotion it never learnt."""
        check_scorable([utterance])
        level = self._level(utterance.emotion, reply)
        return max(level - _names(utterance.text_id, utterance.transcript).lost(reply), 1)

    def emotion_of(self, utterance: Utterance, reply: str) -> str:
        """The emotion the reply fits best; of a coarse one, the likeliest of its mood."""
        chances = dict(zip(self._kinds, self._chances(reply), strict=True))
        return max(self._emotions, key=lambda emotion: _fit(emotion, chances))

    def _level(self, emotion: str, reply: str) -> int:
        chances = dict(zip(self._kinds, self._chances(reply), strict=True))
        name, depth = max(chances, key=chances.__getitem__)
        if chances[name, depth] < SURE or depth == 1:
            return 1
        if name != emotion or depth == 2:
            mood = name if depth == 2 else author.mood(name)
            return 2 if mood == author.mood(emotion) else 1
        sure = chances[name, 3] + chances[name, 4] >= SURE_OF_EMOTION
        return depth if sure and len(reply.split()) <= STRETCH * self._longest else 2

    def _look_up(self, reply: str) -> npt.NDArray[np.float64]:
        return self._model.predict_proba(self._features.transform([reply]))[0]


def check_scorable(utterances: Iterable[Utterance]) -> None:
    """Raise DataError for the first utterance of a language or emotion the scorer never learnt."""
    known = author.load_bank("en", ANNOTATOR).replies
    for utterance in utterances:
        if utterance.language == "zh" or utterance.emotion not in known:
            raise DataError(
                f"the test scorer has no references for {utterance.id!r}, emotion "
                f"{utterance.emotion!r} in language {utterance.language!r}; it knows English replies "
                f"to {', '.join(sorted(known))}: leave others out of the test split"
            )


def _fit(emotion: str, chances: dict[Kind, float]) -> float:
    own = chances[emotion, 3] + chances[emotion, 4]
    # Far below its own share of a mood, so that it only decides among the emotions of that mood.
    return own + chances.get((author.mood(emotion), 2), 0.0) / 2


def _lessons() -> tuple[list[str], list[Kind]]:
    """Second-annotator replies to train sentences, and the kind of each."""
    pool = author.split_sentences("en")["train"]
    rng = rng_for(author.SPLIT_SEED, "scorer")
    chosen = [pool[int(i)] for i in rng.permutation(len(pool))[:SENTENCES_PER_REPLY]]
    texts: list[str] = []
    kinds: list[Kind] = []
    for sentence in chosen:
        for kind, replies in _replies(sentence).items():
            texts += replies
            kinds += [kind] * len(replies)
    return texts, kinds


def _replies(sentence: Sentence) -> dict[Kind, list[str]]:
    found: dict[Kind, list[str]] = {("", 1): _generic(sentence)}
    for emotion in author.load_bank("en", ANNOTATOR).replies:
        for depth in author.DEPTHS:
            name = author.mood(emotion) if depth == 2 else emotion
            found[name, depth] = list(author.replies(sentence, emotion, depth, ANNOTATOR))
    return found


def _generic(sentence: Sentence) -> list[str]:
    return [line.format(t=sentence.topic, g=sentence.gist) for line in _generic_lines()]


@cache
def _generic_lines() -> tuple[str, ...]:
    file = resources.files("cogaudio_rl.data.lime").joinpath(f"bank_en_{ANNOTATOR}.yaml")
    return tuple(yaml.safe_load(file.read_text(encoding="utf-8"))["generic"])


class Names:
    """Whether a reply says this sentence's names, by the character n-grams they are made of."""

    def __init__(self, own: Sequence[str], others: Sequence[str]) -> None:
        names = [name.lower() for name in (*own, *others)]
        self._own = len(own)
        self._features = TfidfVectorizer(analyzer="char", ngram_range=(3, 5))
        weights = _dense(self._features.fit(names), names)
        self._shares = weights / weights.sum(axis=1, keepdims=True)

    def lost(self, reply: str) -> int:
        """Steps of the rubric: one for saying none of the names, one for saying another's."""
        present = _dense(self._features, [reply.lower()])[0] > 0
        said = self._shares @ present
        own, other = said[: self._own].max(), said[self._own :].max(initial=0.0)
        return int(own < SAID) + int(other >= SAID_OF_ANOTHER)


def _dense(features: TfidfVectorizer, texts: Sequence[str]) -> npt.NDArray[np.float64]:
    rows: Any = features.transform(texts)
    return rows.toarray()


@cache
def _names(text_id: str, transcript: str) -> Names:
    sentence = author.sentence_by_id(text_id)
    if sentence is None:
        # Outside the bank nobody wrote down topic and gist: the words themselves must do.
        words = re.findall(r"\w{4,}", transcript) or [transcript or text_id]
        return Names(words, ())
    own = {sentence.topic, sentence.gist}
    of_emodb = sentence in author.emodb_sentences()
    pool = author.emodb_sentences() if of_emodb else author.sentences(sentence.language)
    others = {name for s in pool for name in (s.topic, s.gist)} - own
    return Names(sorted(own), sorted(others))
