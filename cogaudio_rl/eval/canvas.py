"""What every chart is drawn on: inline SVG without files or scripts, ink that follows the theme."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

INK = "#010203"
"""Drawn in a colour nobody uses, then replaced: SVG inside HTML takes the page's text colour."""

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "cogaudio",
    # A model may be called by a folder's name, and "$" would make a formula of it.
    "text.parse_math": False,
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}

MODEL_COLOURS: Mapping[str, str] = {
    "base": "#8d96a5",
    "A": "#b98a3e",
    "B": "#8fb4f0",
    "C": "#4a78d4",
    "D": "#e0723a",
}
"""One colour per model of the paper on every chart; all read on white and on near-black."""

LINES = ("#4a78d4", "#e0723a", "#2fa084", "#b05fb8", "#b98a3e", "#8d96a5", "#d14d72")
"""For curves that are no models."""

_LONGEST = 18
_OTHERS = ("#2fa084", "#b05fb8", "#d14d72", "#6d9c2f", "#7d74d6", "#1f9fc4", "#a8744f")


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """A colour for each model: its own, or the next that none of the paper's models has."""
    others = [name for name in names if name not in MODEL_COLOURS]
    return dict(MODEL_COLOURS) | {name: _OTHERS[i % len(_OTHERS)] for i, name in enumerate(others)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One figure of a report."""

    title: str
    about: str
    svg: Markup


def model_handles(names: Iterable[str], colours: Mapping[str, str]) -> list[Line2D]:
    """A legend's entries; a long name is cut, or it would leave the plot no room."""
    return [
        Line2D([], [], color=colours[name], marker="o", linestyle="", label=_short(name))
        for name in names
    ]


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


def legend_above(axes: Axes, handles: Sequence[Line2D] | None = None, *, columns: int = 3) -> None:
    """A legend above the plot, so that it never covers a curve."""
    shown = handles if handles is not None else axes.get_legend_handles_labels()[0]
    axes.legend(
        handles=list(shown),
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=columns,
        frameon=False,
        fontsize=9,
        handlelength=1.1,
        handletextpad=0.4,
        columnspacing=1.1,
        borderaxespad=0.2,
    )


@contextmanager
def axes_for(width: float, height: float) -> Iterator[tuple[Axes, list[Markup]]]:
    """Axes to draw on (inches); when the block ends, the list holds the SVG."""
    with rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots()
        axes.patch.set_alpha(0)
        axes.grid(axis="y", color=INK, alpha=0.12, linewidth=0.8)
        axes.set_axisbelow(True)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_alpha(0.4)
        axes.tick_params(length=0)
        svg: list[Markup] = []
        yield axes, svg
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    # Safe to mark: matplotlib escapes every word that is drawn.
    svg.append(Markup(text[text.index("<svg") :].replace(INK, "currentColor")))
