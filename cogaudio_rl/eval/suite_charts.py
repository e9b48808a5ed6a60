"""The charts of the suites' report: conflict beside consistent, divergence, cost against depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from cogaudio_rl.eval.canvas import (
    INK,
    MODEL_COLOURS,
    Chart,
    axes_for,
    colours_of,
    legend_above,
    model_handles,
)
from cogaudio_rl.eval.emotion_space import PairDivergence
from cogaudio_rl.eval.metrics import Estimate
from cogaudio_rl.eval.paper import PAPER_MODELS, figure, ours_from
from cogaudio_rl.eval.published import ABLATION, Column
from cogaudio_rl.eval.result import ModelResult
from cogaudio_rl.eval.suite import SuiteResult

_WIDTH, _HEIGHT = 4.6, 3.7


def conflict_chart(
    results: Mapping[str, SuiteResult],
    names: Sequence[str],
    conflict: Column,
    consistent: Column,
    *,
    title: str,
    limits: tuple[float, float],
) -> Chart | None:
    """Consistent items across, conflict items up; arrows from base to D, the paper's dashed.

    None where neither was measured. On the dotted diagonal words make no difference.
    """
    ours = {
        name: (across, up)
        for name in names
        if (across := figure(consistent, name, results)) and (up := figure(conflict, name, results))
    }
    if not ours:
        return None
    theirs = _published(conflict, consistent)
    colours = colours_of(names)
    with axes_for(_WIDTH, _HEIGHT) as (axes, svg):
        axes.plot(limits, limits, linestyle=":", color=INK, alpha=0.5, linewidth=1)
        for name, (x, y) in theirs.items():
            colour = MODEL_COLOURS[name]
            axes.plot([x], [y], "o", color=colour, markerfacecolor="none", markersize=6)
        for name, (across, up) in ours.items():
            _cross(axes, across, up, colours[name])
        _arrow(axes, {n: (a.value, u.value) for n, (a, u) in ours.items()}, "-")
        _arrow(axes, theirs, "--")
        axes.set_xlim(*limits)
        axes.set_ylim(*limits)
        axes.set_xlabel("words and voice agree")
        axes.set_ylabel("words and voice disagree")
        kinds = [
            Line2D([], [], color=INK, linestyle="-", label="ours"),
            Line2D([], [], color=INK, linestyle="--", label="paper (hollow)"),
        ]
        handles = [*model_handles(ours, colours), *kinds]
        legend_above(axes, handles, columns=_columns(handles))
    source = ours_from(conflict, results)
    about = (
        f"ours: {source.called if source else '–'}; the paper’s: HumDial Task 4, Qwen2.5-Omni-7B"
    )
    return Chart(title=title, about=about, svg=svg[0])


def divergence_chart(
    suite: str, pairs: Mapping[str, Sequence[PairDivergence]], names: Sequence[str]
) -> Chart | None:
    """A dot for each pair of emotions: how far apart they are, how differently they are answered."""
    shown = {name: pairs[name] for name in names if pairs.get(name)}
    if not shown:
        return None
    colours = colours_of(names)
    with axes_for(_WIDTH, _HEIGHT) as (axes, svg):
        for name, dots in shown.items():
            axes.plot(
                [d.distance for d in dots],
                [d.divergence for d in dots],
                "o",
                color=colours[name],
                markersize=5,
                alpha=0.8,
            )
        axes.set_xlim(left=0)
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("distance of the two emotions (valence, arousal)")
        axes.set_ylabel("reply distance")
        handles = model_handles(shown, colours)
        legend_above(axes, handles, columns=_columns(handles))
    count = len(next(iter(shown.values())))
    about = f"{count} pairs of emotions, direct replies to the same words"
    return Chart(title=suite, about=about, svg=svg[0])


def cost_chart(
    suite: str, models: Mapping[str, ModelResult], names: Sequence[str], unit: str
) -> Chart | None:
    """What a chain costs and what it buys: ``unit`` (tokens, seconds) across, empathy up.

    Hollow is the direct route, filled the explicit one, a line joins a model's two.
    """
    routes: dict[str, list[tuple[Estimate, Estimate, bool]]] = {}
    for name in names:
        for route in ("direct", "explicit"):
            cost = models[name].measured(f"{unit}_{route}") if name in models else None
            empathy = models[name].measured(f"empathy_{route}") if name in models else None
            if cost and empathy:
                routes.setdefault(name, []).append((cost, empathy, route == "explicit"))
    if not routes:
        return None
    colours = colours_of(names)
    with axes_for(_WIDTH, 3.1) as (axes, svg):
        for name, points in routes.items():
            colour = colours[name]
            across, up = [c.value for c, _, _ in points], [e.value for _, e, _ in points]
            axes.plot(across, up, color=colour, linewidth=1.2, alpha=0.6)
            for cost, empathy, filled in points:
                _cross(axes, cost, empathy, colour, filled=filled)
        axes.set_xlim(left=0)
        axes.set_ylim(0.9, 4.1)
        axes.set_yticks([1, 2, 3, 4])
        axes.set_xlabel(f"{unit} per answer")
        axes.set_ylabel("empathy, 1–4")
        handles = model_handles(routes, colours)
        legend_above(axes, handles, columns=_columns(handles))
    about = f"{unit}; hollow: direct, filled: explicit route"
    return Chart(title=suite, about=about, svg=svg[0])


def _published(conflict: Column, consistent: Column) -> dict[str, tuple[float, float]]:
    """Our name of a model of the paper → its (consistent, conflict) figures."""
    at = [ABLATION.columns.index(column) for column in (consistent, conflict)]
    found: dict[str, tuple[float, float]] = {}
    for row, figures in ABLATION.rows.items():
        x, y = (figures[i] for i in at)
        if x is not None and y is not None:
            found[ABLATION.ours[row]] = (x, y)
    return found


def _cross(axes: Axes, across: Estimate, up: Estimate, colour: str, *, filled: bool = True) -> None:
    """A dot with both intervals."""
    axes.plot([across.lo, across.hi], [up.value] * 2, color=colour, linewidth=2.5, alpha=0.3)
    axes.plot([across.value] * 2, [up.lo, up.hi], color=colour, linewidth=2.5, alpha=0.3)
    face = colour if filled else "none"
    axes.plot([across.value], [up.value], "o", color=colour, markerfacecolor=face, markersize=6)


def _arrow(axes: Axes, points: Mapping[str, tuple[float, float]], style: str) -> None:
    first, last = PAPER_MODELS[0], PAPER_MODELS[-1]
    if first in points and last in points:
        axes.annotate(
            "",
            xy=points[last],
            xytext=points[first],
            arrowprops={"arrowstyle": "->", "linestyle": style, "color": INK, "alpha": 0.6},
        )


def _columns(handles: Sequence[Line2D]) -> int:
    """As many entries to a row as this width of chart has room for, at most six."""
    longest = max(len(str(handle.get_label())) for handle in handles)
    return max(1, min(len(handles), 6, 60 // (longest + 5)))
