"""The card's plots: PNG on white, so that they read the same wherever the card is shown."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cogaudio_rl.data.lime.leak import Features
from cogaudio_rl.data.lime.voice import VOICE
from cogaudio_rl.types import INTENSITIES, LIME_EMOTIONS

if TYPE_CHECKING:
    from cogaudio_rl.data.lime.card import PartStats

_INK, _PALE = "#3a4150", "#8d96a5"
_BLUE = "#9fb8ea"
_SHADES: Mapping[str, str] = dict(zip(INTENSITIES, ("#b9cdf3", "#7d9fe6", "#3c63b8"), strict=True))
_DPI = 120
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _PALE,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "xtick.color": _INK,
    "ytick.color": _INK,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One picture and what to say of it to those who do not see it."""

    file: str
    caption: str
    png: bytes


def draw_all(parts: Sequence[PartStats], sample: Sequence[Features]) -> tuple[Plot, ...]:
    """Label balance, and duration, loudness and F0 by emotion where there is a sample."""
    made = [_balance(parts)]
    if sample:
        f0 = VOICE.index("f0_median_hz")
        made += [
            _by_emotion(
                sample,
                lambda row: row.duration_s,
                file="durations.png",
                title="Duration",
                unit="seconds",
                caption="Duration by emotion: boxes that stand alike tell nothing",
            ),
            _by_emotion(
                sample,
                lambda row: row.speaking_db,
                file="loudness.png",
                title="Level of speech",
                unit="dBFS, RMS",
                caption="Level of speech by emotion: boxes that stand alike tell nothing",
            ),
            _by_emotion(
                [row for row in sample if row.voice[f0] > 0],
                lambda row: row.voice[f0],
                file="f0.png",
                title="Pitch",
                unit="median F0 in Hz",
                caption="Median F0 by emotion: here the voice is meant to tell",
            ),
        ]
    return tuple(made)


def emotions_in(found: Sequence[str] | set[str]) -> list[str]:
    """In the paper's order, those that it does not have behind."""
    return [e for e in LIME_EMOTIONS if e in found] + sorted(set(found) - set(LIME_EMOTIONS))


def _balance(parts: Sequence[PartStats]) -> Plot:
    """Utterances by emotion, stacked by intensity, over all parts."""
    names = emotions_in({emotion for part in parts for emotion in part.by_emotion_and_intensity})
    bottom = np.zeros(len(names))
    with _axes(6.0, 2.9) as (axes, png):
        for intensity in INTENSITIES:
            heights = np.array(
                [
                    sum(p.by_emotion_and_intensity.get(e, {}).get(intensity, 0) for p in parts)
                    for e in names
                ]
            )
            axes.bar(names, heights, 0.66, bottom, color=_SHADES[intensity], label=intensity)
            bottom += heights
        axes.set_ylabel("utterances")
        axes.grid(axis="y", color=_PALE, alpha=0.25, linewidth=0.8)
        axes.legend(
            title=None, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, frameon=False
        )
        axes.set_title("Label balance")
    return Plot(
        file="balance.png", caption="Utterances by emotion and intensity", png=png.getvalue()
    )


def _by_emotion(
    sample: Sequence[Features],
    value: Callable[[Features], float],
    *,
    file: str,
    title: str,
    unit: str,
    caption: str,
) -> Plot:
    """A box for each emotion: the middle half, whiskers from the 5th to the 95th percentile."""
    names = emotions_in({row.emotion for row in sample})
    values = [[value(row) for row in sample if row.emotion == name] for name in names]
    with _axes(6.0, 2.9) as (axes, png):
        axes.boxplot(
            values,
            orientation="horizontal",
            tick_labels=names,
            whis=(5, 95),
            showfliers=False,
            widths=0.58,
            patch_artist=True,
            boxprops={"facecolor": _BLUE, "edgecolor": "none"},
            medianprops={"color": _INK, "linewidth": 1.8},
            whiskerprops={"color": _PALE},
            capprops={"color": _PALE},
        )
        axes.invert_yaxis()
        axes.grid(axis="x", color=_PALE, alpha=0.25, linewidth=0.8)
        axes.set_xlabel(unit)
        axes.set_title(title)
    return Plot(file=file, caption=caption, png=png.getvalue())


@contextmanager
def _axes(width: float, height: float) -> Iterator[tuple[Axes, io.BytesIO]]:
    """Axes to draw on (inches); when the block ends, the stream holds the PNG."""
    with rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
        axes = figure.subplots()
        axes.set_axisbelow(True)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.tick_params(length=0)
        png = io.BytesIO()
        yield axes, png
        figure.savefig(png, format="png", dpi=_DPI, metadata={"Software": None})
