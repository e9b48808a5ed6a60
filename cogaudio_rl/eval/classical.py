"""What acoustic statistics and a support vector machine make of a test set, without any deep net.

Printed beside every accuracy: a large model that does not beat it has not learnt to listen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from cogaudio_rl.data.corpora.reading import Progress, silent
from cogaudio_rl.data.mixture import Mixture
from cogaudio_rl.errors import DataError
from cogaudio_rl.eval.acoustics import acoustics_at
from cogaudio_rl.eval.dominance import conflict_split, macro_f1, uar
from cogaudio_rl.eval.metrics import Estimate, mean_estimate
from cogaudio_rl.eval.suite import Classical, Suite
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import Utterance

MAX_TRAIN = 4_000
"""Utterances learnt from: a support vector machine's time grows with their square."""
MAX_SEARCH = 1_500
"""Of them, what the parameters are chosen on."""
FOLDS = 5
COSTS = (1.0, 3.0, 10.0)
REACHES = (0.1, 0.3, 1.0)
"""Times one over the number of features: how far an example reaches (``gamma``)."""

Table = npt.NDArray[np.float64]
Names = npt.NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class ClassicalModel:
    """A fitted classifier of voices."""

    pipeline: Any
    """scikit-learn's, from acoustic numbers to an emotion."""
    trained_on: int
    """Utterances it learnt from."""

    def answers(
        self, utterances: Sequence[Utterance], *, progress: Progress = silent
    ) -> tuple[str, ...]:
        """An emotion for each. Raises DataError for a sound that cannot be read, and ValueError for
        an utterance without."""
        if not utterances:
            return ()
        return tuple(map(str, self.pipeline.predict(_table(utterances, progress))))


def fit_classical(
    train: Sequence[Utterance], *, seed: int, progress: Progress = silent
) -> ClassicalModel:
    """Learn from at most ``MAX_TRAIN`` of these utterances, which all have a sound.

    Cost and reach are those that do best on speakers left out of the rest, fold by fold; where there
    is only one speaker, on texts left out. Raises DataError for fewer than two emotions, and for a
    sound that cannot be read.
    """
    drawn = _drawn(train, MAX_TRAIN, seed)
    emotions = {u.emotion for u in drawn}
    if len(emotions) < 2:
        known = ", ".join(sorted(emotions)) or "none"
        raise DataError(f"a classifier needs >= 2 emotions to learn from, got: {known}")
    table_NK = _table(drawn, progress)
    emotion_N = np.array([u.emotion for u in drawn])
    model = make_pipeline(StandardScaler(), SVC())
    model.set_params(**_best(model, drawn[:MAX_SEARCH], table_NK, emotion_N))
    return ClassicalModel(model.fit(table_NK, emotion_N), trained_on=len(drawn))


def classical_of(
    suite: Suite, *, samples: int, seed: int, progress: Progress = silent
) -> Classical | None:
    """The baseline of a test set; None where there is nothing to learn it from or to try it on.

    It learns from utterances with a sound and one of the suite's labels. Raises DataError where it
    would hear a speaker of the test say a sentence of the test in training.
    """
    train = _learnable(suite, seed)
    heard = all(u.audio is not None for u in suite.utterances)
    if len({u.emotion for u in train}) < 2 or not heard or not suite.utterances:
        return None
    _refuse_seen(train, suite.utterances)
    learnt = min(len(train), MAX_TRAIN)
    total = learnt + len(suite.utterances)
    model = fit_classical(train, seed=seed, progress=lambda done, _: progress(done, total))
    answers = model.answers(
        suite.utterances, progress=lambda done, _: progress(learnt + done, total)
    )
    return Classical(
        trained_on=model.trained_on,
        answers=answers,
        estimates=_estimates(suite, answers, samples=samples, seed=seed),
    )


def _estimates(
    suite: Suite, answers: Sequence[str], *, samples: int, seed: int
) -> dict[str, Estimate]:
    truth = [u.emotion for u in suite.utterances]
    right = [float(t == a) for t, a in zip(truth, answers, strict=True)]
    found = {
        "emotion_accuracy": mean_estimate(right, samples=samples, seed=seed),
        "emotion_uar": uar(truth, answers, suite.labels, samples=samples, seed=seed),
        "emotion_macro_f1": macro_f1(truth, answers, suite.labels, samples=samples, seed=seed),
    }
    if suite.lexical:
        lexical = [suite.lexical.get(u.id) for u in suite.utterances]
        split = conflict_split(truth, lexical, answers, samples=samples, seed=seed)
        found["conflict_accuracy"] = split.conflict
        found["consistent_accuracy"] = split.consistent
    return found


def _refuse_seen(train: Sequence[Utterance], test: Sequence[Utterance]) -> None:
    """A corpus is held apart by its speakers or by its texts; one of the two has to be new."""
    texts, speakers = {u.text_id for u in train}, {u.speaker for u in train}
    for u in test:
        if u.text_id in texts and u.speaker in speakers:
            raise DataError(
                f"{u.id!r}: speaker {u.speaker!r} and sentence {u.text_id!r} are in training and in "
                "the test; hold one of them out"
            )


def _learnable(suite: Suite, seed: int) -> list[Utterance]:
    train = suite.train
    listed = train.draw(MAX_TRAIN, seed=seed) if isinstance(train, Mixture) else train
    return [u for u in listed if u.audio is not None and u.emotion in suite.labels]


def _drawn(utterances: Sequence[Utterance], count: int, seed: int) -> list[Utterance]:
    """At most so many, in an order of their own."""
    order = rng_for(seed, "classical").permutation(len(utterances))
    return [utterances[int(i)] for i in order[:count]]


def _table(utterances: Sequence[Utterance], progress: Progress) -> Table:
    """Their acoustic numbers [N, K]."""
    rows: list[tuple[float, ...]] = []
    for utterance in utterances:
        rows.append(acoustics_at(utterance.clip.path))
        progress(len(rows), len(utterances))
    return np.array(rows)


def _best(
    model: Any, utterances: Sequence[Utterance], table_NK: Table, emotion_N: Names
) -> dict[str, float]:
    """The parameters that do best on what is left out of each fold; the middle ones without folds."""
    grid = {
        "svc__C": COSTS,
        "svc__gamma": tuple(reach / table_NK.shape[1] for reach in REACHES),
    }
    size = len(utterances)
    folds = _folds(utterances, emotion_N[:size])
    if not folds:
        return {name: values[len(values) // 2] for name, values in grid.items()}
    search = GridSearchCV(model, grid, cv=folds, refit=False)
    return search.fit(table_NK[:size], emotion_N[:size]).best_params_


def _folds(
    utterances: Sequence[Utterance], emotion_N: Names
) -> list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    """(fit, left out) by speaker, or by text where one speaker said it all; none that leaves out so
    much that one emotion remains."""
    for groups in ([u.speaker for u in utterances], [u.text_id for u in utterances]):
        count = min(FOLDS, len(set(groups)))
        if count >= 2:
            found = GroupKFold(count).split(emotion_N, groups=groups)
            return [(fit, out) for fit, out in found if len(set(emotion_N[fit])) >= 2]
    return []
