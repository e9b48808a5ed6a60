"""Forest plots of the suites' report: who reaches what, with intervals and chance, on one axis.

Places are percent of a plot's width, so that the page draws them in any width without scripts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cogaudio_rl.eval.result import ModelResult
from cogaudio_rl.eval.suite_metrics import LISTENING, PAIRED_TEXTS, chance_level


@dataclass(frozen=True, slots=True, kw_only=True)
class ForestRow:
    """One estimate; places in percent."""

    name: str
    value: str
    interval: str
    note: str
    at: float
    left: float
    right: float
    chance: float | None
    """Where guessing would stand."""
    tone: str = ""
    """``up`` or ``down`` where an interval excludes 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """One plot."""

    title: str
    about: str
    note: str
    zero: float | None
    """Where 0 lies, for a plot of differences."""
    rows: tuple[ForestRow, ...]


def listening_forests(models: Mapping[str, ModelResult], names: Sequence[str]) -> list[Forest]:
    """A plot for each measure of dominance that some model was measured by."""
    return [
        forest
        for metric in LISTENING
        if (forest := _listening(metric, {n: models[n] for n in names if n in models}))
    ]


def difference_forest(pair: tuple[str, str], told: Mapping[str, Mapping[str, Any]]) -> Forest:
    """Paired differences as ``report.json`` tells them: ``{metric: {mean, ci95, n, mcnemar}}``."""
    shown = {metric: told[metric] for metric in PAIRED_TEXTS if _exists(told.get(metric))}
    place = _places([end for difference in shown.values() for end in difference["ci95"]])
    return Forest(
        title=f"{pair[0]} − {pair[1]}",
        about="",
        note="",
        zero=place(0.0),
        rows=tuple(
            _difference(text.full, difference, place, falls="↓" in text.title)
            for metric, difference in shown.items()
            for text in (PAIRED_TEXTS[metric],)
        ),
    )


def _listening(metric: str, models: Mapping[str, ModelResult]) -> Forest | None:
    found = {name: e for name, model in models.items() if (e := model.measured(metric))}
    if not found:
        return None
    chances = {name: chance_level(metric, models[name]) for name in found}
    known = [level for level in chances.values() if level is not None]
    place = _places([end for e in found.values() for end in (e.lo, e.hi)] + known)
    is_difference = set(known) == {0.0}
    text, sizes = LISTENING[metric], {e.n for e in found.values()}
    one_size = len(sizes) == 1
    return Forest(
        title=text.title,
        about=text.about,
        note=f"n {next(iter(sizes))}" if one_size else "",
        zero=place(0.0) if is_difference else None,
        rows=tuple(
            ForestRow(
                name=name,
                value=_signed(e.value) if is_difference else f"{e.value:.2f}",
                interval=f"{_text(e.lo)} … {_text(e.hi)}",
                note="" if one_size else f"n {e.n}",
                at=place(e.value),
                left=place(e.lo),
                right=place(e.hi),
                chance=None if is_difference or level is None else place(level),
            )
            for name, e in found.items()
            for level in (chances[name],)
        ),
    )


def _difference(
    name: str, told: Mapping[str, Any], place: Callable[[float], float], *, falls: bool
) -> ForestRow:
    """``falls``: less of it is better."""
    low, high = told["ci95"]
    test = told.get("mcnemar")
    return ForestRow(
        name=name,
        value=_signed(told["mean"]),
        interval=f"{_signed(low)} … {_signed(high)}",
        note="" if test is None else f"McNemar {_p(test['p_value'])}",
        at=place(told["mean"]),
        left=place(low),
        right=place(high),
        chance=None,
        tone="" if low <= 0 <= high else "up" if (low > 0) is not falls else "down",
    )


def _places(ends: Iterable[float]) -> Callable[[float], float]:
    """From a value to its place on an axis that holds all of these and 0."""
    known = [0.0, *(end for end in ends if not math.isnan(end))]
    low, high = min(known), max(known)
    span = (high - low) or 1.0
    return lambda value: round(3 + 94 * (min(max(value, low), high) - low) / span, 2)


def _exists(difference: Mapping[str, Any] | None) -> bool:
    return difference is not None and difference["n"] > 0


def _signed(value: float) -> str:
    return _text(value) if math.isnan(value) else f"{value:+.2f}".replace("-", "−")


def _text(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}".replace("-", "−")


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
