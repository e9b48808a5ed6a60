"""From rows to numbers: every metric of one model on one test set, each with its interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from cogaudio_rl.eval import dominance
from cogaudio_rl.eval.metrics import Estimate, mean_estimate, response_divergence
from cogaudio_rl.eval.result import Row, Swap, Timing
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import REPLY_ROUTES, Route


def _empathy(mode: str) -> Callable[[Row], float]:
    def of(row: Row) -> float:
        found = row.answers[mode].empathy
        return math.nan if found is None else found

    return of


ROW_METRICS: Mapping[str, Callable[[Row], float]] = {
    "emotion_accuracy": lambda r: r.chosen == r.emotion,
    "emotion_accuracy_as_written": lambda r: r.answers["explicit"].emotion == r.emotion,
    "emotion_accuracy_as_written_t1": lambda r: r.answers["explicit_t1"].emotion == r.emotion,
    "emotion_accuracy_silenced": lambda r: r.chosen_silenced == r.emotion,
    "emotion_accuracy_text_only": lambda r: r.chosen_read == r.emotion,
    "format_validity": lambda r: r.answers["explicit"].failure is None,
    "format_validity_t1": lambda r: r.answers["explicit_t1"].failure is None,
    "empathy_direct": _empathy("direct"),
    "empathy_explicit": _empathy("explicit"),
    "empathy_direct_t1": _empathy("direct_t1"),
    "empathy_explicit_t1": _empathy("explicit_t1"),
}
"""Metrics that are one number per utterance, so that models can be compared pair by pair; NaN where
there is none."""


def row_values(rows: Sequence[Row], metric: str) -> list[float]:
    """One number per row for a metric of :data:`ROW_METRICS`."""
    return [float(ROW_METRICS[metric](row)) for row in rows]


def known(values: Sequence[float]) -> list[float]:
    """Without those that are NaN."""
    return [value for value in values if not math.isnan(value)]


def estimate_rows(
    rows: Sequence[Row], labels: Sequence[str], *, samples: int, seed: int
) -> dict[str, Estimate]:
    """Every metric that rows alone give. The unit is the utterance, for replies the lexical family."""
    mean = partial(mean_estimate, samples=samples, seed=seed)
    truth, chosen = [r.emotion for r in rows], [r.chosen for r in rows]
    written = [r.answers["explicit"] for r in rows if r.answers["explicit"].emotion is not None]
    told = [a.emotion == a.reply_emotion for a in written if a.reply_emotion is not None]
    found = {metric: mean(known(row_values(rows, metric))) for metric in ROW_METRICS} | {
        "emotion_uar": dominance.uar(truth, chosen, labels, samples=samples, seed=seed),
        "emotion_macro_f1": dominance.macro_f1(truth, chosen, labels, samples=samples, seed=seed),
        "thought_reply_agreement": mean(told),
        **{f"tokens_{route}": mean(_tokens(rows, route)) for route in REPLY_ROUTES},
    }
    found |= _divergence(rows, samples=samples, seed=seed)
    found |= _listening(rows, samples=samples, seed=seed)
    return found | _conflict(rows, samples=samples, seed=seed)


def estimate_timings(
    timings: Sequence[Timing],
    *,
    samples: int,
    seed: int,
    routes: Sequence[Route] = REPLY_ROUTES,
) -> dict[str, Estimate]:
    """``seconds_direct`` and so on for each route: how long one user waits for a whole answer."""
    return {
        f"seconds_{route}": mean_estimate(
            [t.seconds for t in timings if t.route == route], samples=samples, seed=seed
        )
        for route in routes
    }


def estimate_swap(swap: Swap, *, samples: int, seed: int) -> dict[str, Estimate]:
    """``response_swap_accuracy`` and its chance level, 1/k; nothing where no family is whole."""
    if not swap:
        return {}
    found = dominance.response_swap(
        np.array(swap, dtype=np.float64),  # None becomes NaN
        samples=samples,
        seed=seed,
    )
    n = found.accuracy.n
    chance = found.chance if n else math.nan
    return {
        "response_swap_accuracy": found.accuracy,
        "response_swap_chance": Estimate(value=chance, lo=chance, hi=chance, n=n),
    }


def whole_families(rows: Sequence[Row]) -> list[list[Row]]:
    """One row for each emotion of every family that has the most emotions, in one order of them."""
    families: dict[str, dict[str, Row]] = {}
    for row in rows:
        families.setdefault(row.text_id, {}).setdefault(row.emotion, row)
    widest = max((tuple(sorted(f)) for f in families.values()), key=len, default=())
    if len(widest) < 2:
        return []
    return [
        [family[emotion] for emotion in widest]
        for _, family in sorted(families.items())
        if set(family) == set(widest)
    ]


def _tokens(rows: Sequence[Row], route: Route) -> list[float]:
    """Greedy answers' lengths, where they are known."""
    return [float(tokens) for r in rows if (tokens := r.answers[route].tokens)]


def _divergence(rows: Sequence[Row], *, samples: int, seed: int) -> dict[str, Estimate]:
    text_ids, emotions = [r.text_id for r in rows], [r.emotion for r in rows]
    greedy = {
        f"response_divergence{suffix}": response_divergence(
            text_ids,
            emotions,
            [r.answers[mode].reply for r in rows],
            samples=samples,
            seed=seed,
        )
        for mode, suffix in (("direct", ""), ("explicit", "_explicit"))
    }
    drawn = dominance.divergence_excess(
        text_ids,
        emotions,
        [(r.answers["direct_t1"].reply, r.again) for r in rows],
        samples=samples,
        seed=seed,
    )
    return greedy | {
        "divergence_across": drawn.across,
        "divergence_resampling": drawn.resampling,
        "divergence_excess": drawn.excess,
    }


def _listening(rows: Sequence[Row], *, samples: int, seed: int) -> dict[str, Estimate]:
    """What putting another sound in the place of the first does to the answer."""
    found: dict[str, Estimate] = {}
    if heard := [r for r in rows if r.audio_path]:
        found["lexical_cue_gap"] = dominance.lexical_cue_gap(
            [r.emotion for r in heard],
            [r.chosen_read for r in heard],
            [r.chosen for r in heard],
            samples=samples,
            seed=seed,
        )
    if swapped := [r for r in rows if r.chosen_mismatched is not None]:
        found["s_audio"] = dominance.s_audio(
            [r.emotion for r in swapped],
            [r.chosen for r in swapped],
            [r.chosen_silenced for r in swapped],
            [r.chosen_mismatched for r in swapped],
            samples=samples,
            seed=seed,
        )
    if donors := _donors(rows, seed):
        swap = dominance.donor_swap(
            [donor.emotion for donor in donors],
            [donor.chosen for donor in donors],
            samples=samples,
            seed=seed,
        )
        found |= {
            "donor_follow": swap.follow,
            "donor_chance": swap.chance,
            "donor_above_chance": swap.above_chance,
        }
    return found


def _donors(rows: Sequence[Row], seed: int) -> list[Row]:
    """For each row that has one, another of the same words in another emotion, at random.

    With the donor's sound in the place of its own, a row is asked what the donor was asked: the same
    words in that voice. So the donor's answer is the answer.
    """
    rng = rng_for(seed, "estimates", "donors")
    found: list[Row] = []
    for row in rows:
        fitting = [r for r in rows if r.text_id == row.text_id and r.emotion != row.emotion]
        if fitting:
            found.append(fitting[int(rng.integers(len(fitting)))])
    return found


def _conflict(rows: Sequence[Row], *, samples: int, seed: int) -> dict[str, Estimate]:
    """Where the words name an emotion: what becomes of the voice that says another."""
    told = [r for r in rows if r.lexical is not None]
    if not told:
        return {}
    split = dominance.conflict_split(
        [r.emotion for r in told],
        [r.lexical for r in told],
        [r.chosen for r in told],
        samples=samples,
        seed=seed,
    )
    found = {
        "conflict_accuracy": split.conflict,
        "consistent_accuracy": split.consistent,
        "conflict_gap": split.gap,
    }
    if all(r.lexical for r in told):
        found["lexical_label_rate"] = split.lexical_rate
    for route in REPLY_ROUTES:
        for name, agrees in (("conflict", False), ("consistent", True)):
            part = [r for r in told if (r.lexical == r.emotion) is agrees]
            values = known(row_values(part, f"empathy_{route}"))
            found[f"empathy_{route}_{name}"] = mean_estimate(values, samples=samples, seed=seed)
    return found
