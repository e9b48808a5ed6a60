"""Two models on the same utterances: by how much do they differ, and could that be luck?

Two answers to that: the paired bootstrap's interval, and for what is right or wrong McNemar's exact
test, which asks only about the utterances that one of the two got right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import binomtest

from cogaudio_rl.eval.distribution import by_utterance, mean_over
from cogaudio_rl.eval.estimates import ROW_METRICS
from cogaudio_rl.eval.metrics import Estimate, paired_difference
from cogaudio_rl.eval.result import ModelResult, Row


def _where(conflict: bool) -> Callable[[Row], float]:
    def right(row: Row) -> float:
        if row.lexical is None or (row.lexical != row.emotion) is not conflict:
            return math.nan
        return row.chosen == row.emotion

    return right


PAIRED_METRICS: Mapping[str, Callable[[Row], float]] = {
    **ROW_METRICS,
    "conflict_accuracy": _where(True),
    "consistent_accuracy": _where(False),
}
"""What is one number per utterance; NaN where an utterance has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class McNemar:
    """McNemar's exact test (McNemar 1947; exact as a sign test on the discordant pairs)."""

    ours_only: int
    """Utterances that only the first model got right."""
    theirs_only: int
    p_value: float
    """Two-sided; 1 where the two never differ."""


def mcnemar(ours: Sequence[float], theirs: Sequence[float]) -> McNemar:
    """Whether the two are right equally often; one 0 or 1 per utterance, in the same order.

    Under the null hypothesis each discordant pair falls to either side with probability 1/2. A pair
    with a NaN drops out. Raises ValueError for unequal lengths or another value.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"paired answers must be of one length, got {len(ours)} and {len(theirs)}")
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if not math.isnan(a + b)]
    for value in (value for pair in pairs for value in pair):
        if value not in (0, 1):
            raise ValueError(f"an answer is right (1) or wrong (0), got {value!r}")
    won, lost = sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)
    p = float(binomtest(won, won + lost).pvalue) if won + lost else 1.0
    return McNemar(ours_only=won, theirs_only=lost, p_value=p)


def compare(
    names: tuple[str, str], models: Mapping[str, ModelResult], *, seed: int
) -> dict[str, Estimate]:
    """``first − second`` for each of :data:`PAIRED_METRICS` that both were measured by.

    Raises ValueError when the two were not evaluated on the same utterances.
    """
    samples = models[names[0]].bootstrap_samples
    return {
        metric: paired_difference(ours, theirs, samples=samples, seed=seed)
        for metric, (ours, theirs) in _values(names, models).items()
    }


def compare_votes(
    names: tuple[str, str], models: Mapping[str, ModelResult], *, seed: int
) -> dict[str, Estimate]:
    """``first − second`` of each metric of votes that is a mean over utterances, the interval over
    voices.

    Raises ValueError when the two were not evaluated on the same utterances.
    """
    ours, theirs = (models[name] for name in names)
    _refuse_others(
        names, [r.utterance_id for r in ours.votes], [r.utterance_id for r in theirs.votes]
    )
    each = [
        by_utterance([r.votes for r in m.votes], [r.predicted for r in m.votes])
        for m in (ours, theirs)
    ]
    voices = [row.speaker for row in ours.votes]
    return {
        f"votes_{name}": mean_over(
            each[0][name] - each[1][name], voices, samples=ours.bootstrap_samples, seed=seed
        )
        for name in each[0]
    }


def compare_accuracies(
    names: tuple[str, str], models: Mapping[str, ModelResult]
) -> dict[str, McNemar]:
    """McNemar's test for each accuracy that both were measured by; raises as :func:`compare`."""
    return {
        metric: mcnemar(ours, theirs)
        for metric, (ours, theirs) in _values(names, models).items()
        if "accuracy" in metric
    }


def _values(
    names: tuple[str, str], models: Mapping[str, ModelResult]
) -> dict[str, tuple[list[float], list[float]]]:
    ours, theirs = (models[name] for name in names)
    _refuse_others(
        names, [r.utterance_id for r in ours.rows], [r.utterance_id for r in theirs.rows]
    )
    return {
        metric: ([float(of(r)) for r in ours.rows], [float(of(r)) for r in theirs.rows])
        for metric, of in PAIRED_METRICS.items()
        if ours.measured(metric) and theirs.measured(metric)
    }


def _refuse_others(names: tuple[str, str], ours: Sequence[str], theirs: Sequence[str]) -> None:
    if ours != theirs:
        raise ValueError(f"models {names[0]} and {names[1]} were evaluated on different utterances")
