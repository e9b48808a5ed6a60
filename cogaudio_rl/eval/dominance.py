"""Does a model listen, or does it read? The measures of semantic dominance, from answers alone.

    the same words, another voice ─► does the answer move?   donor swap, response divergence
    the same voice, no words      ─► what was the cue?       lexical-cue gap, S_audio
    words against voice           ─► which one wins?         conflict split, lexical-label rate

Answers are labels; None, or a label nobody asked for, is a wrong answer like any other. Units that
are resampled are utterances where nothing else is said. A number that rests on no unit is NaN.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cogaudio_rl.eval.agreement import Ints, bootstrap, drawn_counts
from cogaudio_rl.eval.metrics import (
    Estimate,
    Floats,
    mean_estimate,
    paired_difference,
    reply_distance,
)

Labels = Sequence[str]
Answers = Sequence[str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictSplit:
    """Accuracy where words and voice say different things, and where they say the same."""

    conflict: Estimate
    consistent: Estimate
    gap: Estimate
    """``consistent − conflict``: what it costs when the words mislead."""
    lexical_rate: Estimate
    """Share of conflict items answered with the emotion of the *words*."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DonorSwap:
    """How often answers follow the voice that was put in the place of the first."""

    follow: Estimate
    chance: Estimate
    """Σ_c p_donor(c)·p_answer(c): the rate of the same answers handed out blindly."""
    above_chance: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class DivergenceExcess:
    """Whether replies differ more across emotions than they do for one and the same recording."""

    across: Estimate
    resampling: Estimate
    excess: Estimate
    """``across − resampling``, paired by lexical family."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseSwap:
    """Share of responses that were matched to the emotion they were given to."""

    accuracy: Estimate
    chance: float
    """1/k."""


def conflict_split(
    truth: Labels, lexical: Answers, answers: Answers, *, samples: int, seed: int
) -> ConflictSplit:
    """Split by whether the words' emotion is the voice's (``truth``).

    ``lexical`` is the emotion of the words alone; None where they carry none: such an item is
    neither in conflict nor consistent. ``gap`` rests on the items of both kinds.
    """
    right, lexical_right = _right(truth, answers), _right(lexical, answers)
    told = np.array([label is not None for label in lexical], dtype=bool)
    agrees = _right(truth, lexical) > 0
    conflict, consistent = told & ~agrees, told & agrees
    both_right, both_conflict = right[told], conflict[told]

    def gaps(drawn_BN: Ints) -> Floats:
        drawn_right, in_conflict = both_right[drawn_BN], both_conflict[drawn_BN]
        return _mean_where(drawn_right, ~in_conflict) - _mean_where(drawn_right, in_conflict)

    return ConflictSplit(
        conflict=mean_estimate(right[conflict], samples=samples, seed=seed),
        consistent=mean_estimate(right[consistent], samples=samples, seed=seed),
        gap=bootstrap(gaps, int(told.sum()), samples=samples, seed=seed),
        lexical_rate=mean_estimate(lexical_right[conflict], samples=samples, seed=seed),
    )


def lexical_cue_gap(
    truth: Labels, text_only: Answers, audio_only: Answers, *, samples: int, seed: int
) -> Estimate:
    """accuracy(text only) − accuracy(audio only), paired; above 0 the words tell more."""
    text, audio = _right(truth, text_only), _right(truth, audio_only)
    return paired_difference(text.tolist(), audio.tolist(), samples=samples, seed=seed)


def s_audio(
    truth: Labels,
    original: Answers,
    silence: Answers,
    mismatched: Answers,
    *,
    samples: int,
    seed: int,
) -> Estimate:
    """accuracy(original) − (accuracy(silence) + accuracy(mismatched))/2, paired.

    The three answer the same words: with the recording they came with, with silence, and with a
    recording of other words. 0 for a model that does not listen.
    """
    heard = _right(truth, original)
    unheard = (_right(truth, silence) + _right(truth, mismatched)) / 2
    return paired_difference(heard.tolist(), unheard.tolist(), samples=samples, seed=seed)


def donor_swap(donors: Labels, answers: Answers, *, samples: int, seed: int) -> DonorSwap:
    """Follow rate when each utterance is heard in a donor clip: the same words, another emotion.

    ``donors`` are the emotions of the clips that were put in. The chance level is made of the same
    draw's shares, so that an answer that is merely frequent gains nothing.
    """
    names = sorted(set(donors))
    cells = _cells(donors, answers, names)

    def follow(drawn_BN: Ints) -> Floats:
        return _hits(_confusions(cells, drawn_BN, names)).sum(1) / len(cells)

    def by_chance(drawn_BN: Ints) -> Floats:
        counts = _confusions(cells, drawn_BN, names)
        return (counts.sum(2) * counts.sum(1)[:, :-1]).sum(1) / len(cells) ** 2

    def above(drawn_BN: Ints) -> Floats:
        return follow(drawn_BN) - by_chance(drawn_BN)

    found = [
        bootstrap(rate, len(cells), samples=samples, seed=seed)
        for rate in (follow, by_chance, above)
    ]
    return DonorSwap(follow=found[0], chance=found[1], above_chance=found[2])


def divergence_excess(
    text_ids: Labels,
    emotions: Labels,
    draws: Sequence[Sequence[str]],
    *,
    samples: int,
    seed: int,
) -> DivergenceExcess:
    """Response divergence across emotions against that of sampling the same audio again.

    ``draws[i]`` are at least two replies sampled for utterance i alone. Both sides are means of
    :func:`reply_distance`: over pairs of one family that differ in emotion, and over pairs for one
    recording. The resampled unit is the family; those of one emotion are left out. Raises
    ValueError naming an utterance with fewer than two replies.
    """
    families: dict[str, list[tuple[str, Sequence[str]]]] = {}
    for i, (text_id, emotion, replies) in enumerate(zip(text_ids, emotions, draws, strict=True)):
        if len(replies) < 2:
            raise ValueError(f"utterance {i} needs >= 2 sampled replies, got {len(replies)}")
        families.setdefault(text_id, []).append((emotion, replies))
    mixed = [members for members in families.values() if len({e for e, _ in members}) > 1]
    across = [_distance_across(members) for members in mixed]
    within = [_distance_within(members) for members in mixed]
    return DivergenceExcess(
        across=mean_estimate(across, samples=samples, seed=seed),
        resampling=mean_estimate(within, samples=samples, seed=seed),
        excess=paired_difference(across, within, samples=samples, seed=seed),
    )


def response_swap(scores_FKK: npt.ArrayLike, *, samples: int, seed: int) -> ResponseSwap:
    """Can a judge tell which response was given to which emotion, better than 1/k?

    ``scores_FKK[f, e, r]`` is how well the response made for emotion r suits emotion e in family f.
    Each response goes to the emotion with its highest score; m that tie share it, 1/m each, so
    that a judge who cannot tell them apart scores 1/k. A family with a NaN (unscored) drops out.
    Raises ValueError for another shape or k < 2.
    """
    scores = np.asarray(scores_FKK, dtype=np.float64)
    if scores.ndim != 3 or scores.shape[1] != scores.shape[2] or scores.shape[1] < 2:
        raise ValueError(f"scores must be [families, k, k] with k >= 2, got {list(scores.shape)}")
    scored = scores[~np.isnan(scores).any((1, 2))]
    best = scored == scored.max(axis=1, keepdims=True)
    accuracy_F = (np.diagonal(best, axis1=1, axis2=2) / best.sum(1)).mean(1)
    accuracy = mean_estimate(accuracy_F, samples=samples, seed=seed)
    return ResponseSwap(accuracy=accuracy, chance=1 / scores.shape[1])


def uar(truth: Labels, answers: Answers, labels: Labels, *, samples: int, seed: int) -> Estimate:
    """Unweighted average recall: mean over the true labels that occur, each counting the same.

    Raises ValueError naming a true label that is not among ``labels``.
    """
    cells = _cells(truth, answers, labels)

    def recalls(drawn_BN: Ints) -> Floats:
        counts = _confusions(cells, drawn_BN, labels)
        return _mean_share(_hits(counts), counts.sum(2))

    return bootstrap(recalls, len(cells), samples=samples, seed=seed)


def macro_f1(
    truth: Labels, answers: Answers, labels: Labels, *, samples: int, seed: int
) -> Estimate:
    """Mean F1 over the labels that occur as truth or as answer, each counting the same.

    An answer that is no label is a miss of its true label and a false alarm of none. Raises
    ValueError naming a true label that is not among ``labels``.
    """
    cells = _cells(truth, answers, labels)

    def f1s(drawn_BN: Ints) -> Floats:
        counts = _confusions(cells, drawn_BN, labels)
        return _mean_share(2 * _hits(counts), counts.sum(2) + counts.sum(1)[:, :-1])

    return bootstrap(f1s, len(cells), samples=samples, seed=seed)


def _right(truth: Answers, answers: Answers) -> Floats:
    """1 where the answer is the truth, else 0 [N]. Raises ValueError for unequal lengths."""
    if len(truth) != len(answers):
        raise ValueError(f"answers must be one per item, got {len(answers)} for {len(truth)} items")
    return np.array([t == a for t, a in zip(truth, answers, strict=True)], dtype=np.float64)


def _cells(truth: Labels, answers: Answers, labels: Labels) -> Ints:
    """Each item's cell of the confusion matrix [L, L + 1]; its last column is whatever else."""
    place: dict[str | None, int] = {label: i for i, label in enumerate(labels)}
    unknown = [label for label in truth if label not in place]
    if unknown:
        raise ValueError(f"label {unknown[0]!r} is not one of {', '.join(labels)}")
    width = len(labels) + 1
    pairs = zip(truth, answers, strict=True)
    return np.array([place[t] * width + place.get(a, width - 1) for t, a in pairs], dtype=np.int64)


def _confusions(cells_N: Ints, drawn_BN: Ints, labels: Labels) -> Floats:
    """The confusion matrix of each draw [B, L, L + 1], true label by answer."""
    shape = (len(labels), len(labels) + 1)
    return drawn_counts(cells_N, drawn_BN, math.prod(shape)).reshape(-1, *shape)


def _hits(counts_BLA: Floats) -> Floats:
    """Right answers of each label [B, L]."""
    return np.diagonal(counts_BLA, axis1=1, axis2=2)


def _mean_share(part_BL: Floats, whole_BL: Floats) -> Floats:
    """Mean of part/whole over the labels that have a whole [B]."""
    there = whole_BL > 0
    shares = np.divide(part_BL, whole_BL, out=np.zeros_like(whole_BL), where=there)
    return shares.sum(1) / there.sum(1)


def _mean_where(values_BN: Floats, chosen_BN: npt.NDArray[np.bool_]) -> Floats:
    """Mean of the chosen values of each draw [B], NaN where there are none."""
    chosen = chosen_BN.sum(1).astype(np.float64)
    sums = (values_BN * chosen_BN).sum(1)
    return np.divide(sums, chosen, out=np.full_like(chosen, np.nan), where=chosen > 0)


def _distance_across(members: Sequence[tuple[str, Sequence[str]]]) -> float:
    return _mean(
        reply_distance(a, b)
        for (emotion, ours), (another, theirs) in itertools.combinations(members, 2)
        if emotion != another
        for a, b in itertools.product(ours, theirs)
    )


def _distance_within(members: Sequence[tuple[str, Sequence[str]]]) -> float:
    return _mean(
        reply_distance(a, b)
        for _, replies in members
        for a, b in itertools.combinations(replies, 2)
    )


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
