"""Does a judge score replies as people do? Labelled replies, and how far a judge agrees with them.

A labelled file is JSON lines: what was said and in what voice, the reply, and each rater's level of
the empathy rubric. Every rater rates every reply.

    {"words": "…", "emotion": "sad", "language": "en", "reply": "…", "labels": {"anna": 3, "ben": 4}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low
from typing import Any

import numpy as np

from cogaudio_rl.data.manifest import check_emotion
from cogaudio_rl.errors import DataError
from cogaudio_rl.eval.agreement import Agreement, agreement
from cogaudio_rl.eval.metrics import confusion_matrix, estimate_json
from cogaudio_rl.rewards.terms import RUBRIC
from cogaudio_rl.types import Unscored

COLUMNS: tuple[str, ...] = ("words", "emotion", "language", "reply", "labels")
_NEVER_EMPTY = ("words", "emotion", "language")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledReply:
    """One reply and what people think of it."""

    words: str
    emotion: str
    """Of the voice, not of the words."""
    language: str
    reply: str
    """May be empty: that is a reply too, and a poor one."""
    labels: Mapping[str, int]
    """Rater → level 1–4 of the rubric."""

    @property
    def median(self) -> int:
        """The middle level; of an even number of raters the lower one, as the rubric wants it
        when in doubt."""
        return median_low(self.labels.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeCalibration:
    """How far a judge agrees with people, beside how far they agree with each other."""

    raters: tuple[str, ...]
    judge: Agreement
    """Judge against the median human, over the replies that the judge scored."""
    humans: Agreement | None
    """Humans among themselves, over all replies; None where there is one rater."""
    per_rater: Mapping[str, Agreement]
    """Judge against each human."""
    confusion: tuple[tuple[int, ...], ...]
    """Counts [4, 4]: the median human's level down, the judge's across."""
    n: int
    """Replies that the judge scored."""
    unscored: int
    """Replies that it could not score; they are in no number but this."""

    def to_json(self) -> dict[str, Any]:
        """As it stands in ``calibration.json``; a number that does not exist is None."""
        return {
            "n": self.n,
            "unscored": self.unscored,
            "raters": list(self.raters),
            "judge": _agreement_json(self.judge),
            "humans": None if self.humans is None else _agreement_json(self.humans),
            "per_rater": {rater: _agreement_json(a) for rater, a in self.per_rater.items()},
            "confusion": {
                "levels": list(RUBRIC),
                "down": "median human",
                "across": "judge",
                "counts": [list(row) for row in self.confusion],
            },
        }


def read_labels(path: Path) -> tuple[LabelledReply, ...]:
    """Every labelled reply of a file, in order.

    Raises DataError naming file, line and value for a missing or empty file, a line that is no JSON
    object, a column that is missing, unknown or of the wrong type, an emotion nobody knows, a label
    outside the rubric, and a line that other raters rated than the first.
    """
    if not path.is_file():
        raise DataError(f"labelled file {str(path)!r} does not exist")
    found: list[LabelledReply] = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if line.strip():
            where = f"{path} line {number}"
            item = _parse(line, where)
            if found:
                _check_raters(item, found[0], where)
            found.append(item)
    if not found:
        raise DataError(
            f"labelled file {str(path)!r} is empty: it needs at least one labelled reply"
        )
    return tuple(found)


def calibrate_labels(
    items: Sequence[LabelledReply],
    judge_scores: Sequence[int | Unscored],
    *,
    samples: int,
    seed: int,
) -> JudgeCalibration:
    """Hold a judge's levels against people's; ``judge_scores`` has one for each item, in order.

    Raises ValueError for another number of scores or one outside the rubric, and DataError when the
    judge scored fewer than two replies: then nothing can be said of it.
    """
    if len(items) != len(judge_scores):
        raise ValueError(f"got {len(judge_scores)} judge scores for {len(items)} labelled replies")
    scored = [
        (item, score)
        for item, score in zip(items, judge_scores, strict=True)
        if not isinstance(score, Unscored)
    ]
    if len(scored) < 2:
        raise DataError(
            f"the judge scored {len(scored)} of {len(items)} labelled replies;"
            " agreement needs at least 2"
        )
    judge = [score for _, score in scored]
    median = [item.median for item, _ in scored]
    raters = tuple(items[0].labels)

    def against(human: Sequence[int]) -> Agreement:
        return agreement(np.column_stack([human, judge]), samples=samples, seed=seed)

    return JudgeCalibration(
        raters=raters,
        judge=against(median),
        humans=_among_humans(items, raters, samples=samples, seed=seed),
        per_rater={rater: against([item.labels[rater] for item, _ in scored]) for rater in raters},
        confusion=_confusion(median, judge),
        n=len(scored),
        unscored=len(items) - len(scored),
    )


def _among_humans(
    items: Sequence[LabelledReply], raters: Sequence[str], *, samples: int, seed: int
) -> Agreement | None:
    if len(raters) < 2:
        return None
    ratings = [[item.labels[rater] for rater in raters] for item in items]
    return agreement(ratings, samples=samples, seed=seed)


def _confusion(median: Sequence[int], judge: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    names = [str(level) for level in RUBRIC]
    counts = confusion_matrix([str(m) for m in median], [str(j) for j in judge], names)
    return tuple(tuple(int(count) for count in row) for row in counts)


def _agreement_json(found: Agreement) -> dict[str, Any]:
    return {
        "kappa_quadratic": estimate_json(found.kappa),
        "icc_2_1": estimate_json(found.icc),
    }


def _parse(line: bytes, where: str) -> LabelledReply:
    """One line, checked but for its raters; raises DataError naming ``where``."""
    record = _object(line, where)
    unknown = [key for key in record if key not in COLUMNS]
    if unknown:
        raise DataError(f"{where}: unknown column {unknown[0]!r}; known: {', '.join(COLUMNS)}")
    missing = [key for key in COLUMNS if key not in record]
    if missing:
        raise DataError(f"{where}: column {missing[0]!r} is missing")
    labels = _labels(record.pop("labels"), where)
    for name, value in record.items():
        if not isinstance(value, str):
            raise DataError(f"{where}: column {name!r} must be text, got {value!r}")
        if name in _NEVER_EMPTY and not value.strip():
            raise DataError(f"{where}: column {name!r} is empty")
    check_emotion(record["emotion"], where)
    return LabelledReply(**record, labels=labels)


def _object(line: bytes, where: str) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        # json would keep the last of two labels by one rater and say nothing.
        record = dict(pairs)
        if len(record) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(f"{where}: {twice!r} comes twice")
        return record

    try:
        record = json.loads(line, object_pairs_hook=once)
    except ValueError as error:
        raise DataError(f"{where}: not a JSON object ({error})") from None
    if not isinstance(record, dict):
        raise DataError(f"{where}: not a JSON object but {type(record).__name__}")
    return record


def _labels(labels: object, where: str) -> dict[str, int]:
    if not isinstance(labels, dict) or not labels:
        raise DataError(f"{where}: labels must be {{rater: level}}, got {labels!r}")
    for rater, level in labels.items():
        if not rater.strip():
            raise DataError(f"{where}: rater {rater!r} has no name")
        # True == 1 and 3.0 == 3 in Python; neither is a level that somebody gave.
        if type(level) is not int or level not in RUBRIC:
            known = ", ".join(map(str, RUBRIC))
            raise DataError(f"{where}: label {level!r} of rater {rater!r} is not one of {known}")
    return labels


def _check_raters(item: LabelledReply, first: LabelledReply, where: str) -> None:
    for rater in first.labels:
        if rater not in item.labels:
            raise DataError(
                f"{where}: no label of rater {rater!r}; every rater must rate every reply"
            )
    for rater in item.labels:
        if rater not in first.labels:
            raise DataError(
                f"{where}: rater {rater!r} is not among those of the first line:"
                f" {', '.join(first.labels)}"
            )
