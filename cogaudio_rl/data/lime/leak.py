"""Does anything but the voice tell the emotion? And does the voice?

Four classifiers guess the emotion of utterances whose lexical family they never saw: one from the
words, one from the length, one from the level, one from how it is said. In a corpus that is what it
claims to be, the first three guess and the fourth does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.model_selection import GroupKFold
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

from cogaudio_rl.data.audio import SAMPLE_RATE_HZ
from cogaudio_rl.data.lime.levels import Sound, speaking_power
from cogaudio_rl.data.lime.voice import voice_of
from cogaudio_rl.errors import DataError
from cogaudio_rl.seeding import rng_for, seed_for

CLUES: tuple[str, ...] = ("text", "duration", "loudness", "acoustic")
"""What each classifier sees; all but the last should be at chance."""

MIN_FAMILIES = 10
_FOLDS = 5
_RESAMPLES = 2000
_SILENCE_DBFS = -120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """One utterance as the classifiers see it; a row of the table that :func:`measure` takes."""

    family: str
    emotion: str
    text: str
    duration_s: float
    level_db: float
    """RMS of all samples over full scale."""
    speaking_db: float
    """RMS of the spoken frames over full scale: what a level set by the first still shows."""
    voice: tuple[float, ...]
    """In the order of :data:`cogaudio_rl.data.lime.voice.VOICE`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaks:
    """Share of held-out utterances whose emotion each clue alone tells."""

    text_accuracy: float
    duration_accuracy: float
    loudness_accuracy: float
    acoustic_accuracy: float
    chance: float
    """Accuracy of always naming the most frequent emotion."""
    intervals: Mapping[str, tuple[float, float]]
    """Clue → (lowest, highest): 95 % bootstrap over families, whose members are not independent."""
    utterances: int
    families: int

    @property
    def leaking(self) -> tuple[str, ...]:
        """The clues that should tell nothing and do: their whole interval lies over chance."""
        return tuple(c for c in CLUES[:-1] if self.intervals[c][0] > self.chance + 1e-9)


def features(sound: Sound, *, family: str, emotion: str, text: str) -> Features:
    """What one utterance shows; ``sound`` [T] at 16 kHz. About 2 ms for 3 s of speech.

    Voice features know neither how long nor how loud it is: those are clues of their own.
    """
    return Features(
        family=family,
        emotion=emotion,
        text=text,
        duration_s=sound.size / SAMPLE_RATE_HZ,
        level_db=_decibels(float(np.mean(np.square(sound), dtype=np.float64))),
        speaking_db=_decibels(speaking_power(sound)),
        voice=voice_of(sound),
    )


def measure(table: Sequence[Features], *, seed: int = 0) -> Leaks:
    """Five folds over families, each guessed by classifiers fitted on the others.

    A few thousand utterances are enough: 3,000 bring the interval to about ±0.02. Raises DataError
    for fewer than ``MIN_FAMILIES`` families or a single emotion.
    """
    families = sorted({row.family for row in table})
    counts = Counter(row.emotion for row in table)
    if len(families) < MIN_FAMILIES:
        raise DataError(
            f"the leak test needs >= {MIN_FAMILIES} families, got {len(families)}; sample more"
        )
    if len(counts) < 2:
        raise DataError(f"the leak test needs >= 2 emotions, got only {next(iter(counts))!r}")
    place = {family: i for i, family in enumerate(families)}
    family_N = np.array([place[row.family] for row in table])
    emotion_N = np.array([row.emotion for row in table])
    right = {
        # The best of what a clue can be taken by, each alone.
        clue: max(
            (_held_out(model, inputs, emotion_N, family_N) == emotion_N for inputs in ways),
            key=np.count_nonzero,
        )
        for clue, (model, *ways) in _classifiers(table, seed).items()
    }
    return Leaks(
        **{f"{clue}_accuracy": float(right_N.mean()) for clue, right_N in right.items()},
        chance=max(counts.values()) / len(table),
        intervals={clue: _interval(right_N, family_N, seed) for clue, right_N in right.items()},
        utterances=len(table),
        families=len(families),
    )


def _classifiers(table: Sequence[Features], seed: int) -> dict[str, tuple[Any, ...]]:
    """Clue → (classifier, its inputs, other inputs). The trees cut a number into ranges.

    Loudness is the level of the file or that of the speech in it, not both: their difference is the
    share of silence, which is pace and not loudness.
    """
    least = max(3, len(table) // 60)
    state = seed_for(seed, "leak") % (1 << 32)
    tree = DecisionTreeClassifier(min_samples_leaf=least, random_state=state)
    words = CountVectorizer(analyzer="char", ngram_range=(1, 4), lowercase=False)
    forest = ExtraTreesClassifier(100, min_samples_leaf=2, random_state=state)
    return {
        "text": (make_pipeline(words, MultinomialNB()), np.array([row.text for row in table])),
        "duration": (tree, np.array([[row.duration_s] for row in table])),
        "loudness": (
            tree,
            np.array([[row.level_db] for row in table]),
            np.array([[row.speaking_db] for row in table]),
        ),
        "acoustic": (forest, np.array([row.voice for row in table])),
    }


def _held_out(
    model: Any, inputs: npt.NDArray[Any], emotion_N: npt.NDArray[Any], family_N: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """For each utterance the guess of a model that was fitted without its family."""
    guessed = np.empty_like(emotion_N)
    for fit, test in GroupKFold(_FOLDS).split(inputs, emotion_N, family_N):
        guessed[test] = model.fit(inputs[fit], emotion_N[fit]).predict(inputs[test])
    return guessed


def _interval(
    right_N: npt.NDArray[np.bool_], family_N: npt.NDArray[Any], seed: int
) -> tuple[float, float]:
    """95 % percentile bootstrap with whole families drawn (Efron & Tibshirani 1993, chapter 13)."""
    sizes = np.bincount(family_N)
    rights = np.bincount(family_N, weights=right_N)
    drawn = rng_for(seed, "leak", "interval").integers(sizes.size, size=(_RESAMPLES, sizes.size))
    shares = rights[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.percentile(shares, [2.5, 97.5])
    return float(low), float(high)


def _decibels(power: float) -> float:
    return 10 * float(np.log10(power)) if power > 0 else _SILENCE_DBFS
