"""The charts of a run's report: what the models reach, and how training went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from cogaudio_rl.eval.canvas import (
    INK,
    LINES,
    MODEL_COLOURS,
    Chart,
    axes_for,
    colours_of,
    legend_above,
    model_handles,
)
from cogaudio_rl.eval.metrics import Estimate
from cogaudio_rl.eval.summary import Results, chance
from cogaudio_rl.trace import Span, excerpt

_STAGES = {"stage1": ("Stage I", "B"), "stage2": ("Stage II", "C"), "direct": ("Direct only", "A")}

Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]
"""Name → (steps, values)."""


def accuracy_chart(results: Results) -> Chart:
    """Emotion accuracy of every model, read three ways, with the chance level."""
    keys = {
        "by choice": "emotion_accuracy",
        "as written": "emotion_accuracy_as_written",
        "silenced": "emotion_accuracy_silenced",
    }
    with axes_for(5.6, 2.7) as (axes, svg):
        level = chance(results)
        line = axes.axhline(level, color=INK, linestyle=(0, (4, 3)), linewidth=1, alpha=0.6)
        line.set_label(f"chance {level:.3f}")
        _whiskers(axes, results, keys, [line])
        axes.set_ylim(-0.03, 1.03)
    return Chart(title="Emotion accuracy", about="share right, 95 % interval", svg=svg[0])


def empathy_chart(results: Results) -> Chart:
    """Empathy of every model on both routes, greedy and sampled."""
    keys = {
        "direct": "empathy_direct",
        "direct, sampled": "empathy_direct_t1",
        "explicit": "empathy_explicit",
        "explicit, sampled": "empathy_explicit_t1",
    }
    with axes_for(5.6, 2.7) as (axes, svg):
        _whiskers(axes, results, keys, [])
        axes.set_ylim(0.9, 4.1)
        axes.set_yticks([1, 2, 3, 4])
    return Chart(title="Empathy", about="rubric 1–4, test scorer, 95 % interval", svg=svg[0])


_CALLS: Mapping[str, str] = {
    "stream": "#4a78d4",
    "sample": "#8fb4f0",
    "score": "#2fa084",
    "update": "#e0723a",
    "logprobs": "#b98a3e",
    "publish": "#b05fb8",
}


def timeline_chart(spans: Sequence[Span]) -> Chart | None:
    """Each worker's calls over a few steps of stage III; None when there is nothing to show."""
    shown = excerpt(spans)
    if not shown:
        return None
    tracks = sorted({s.track for s in shown}, reverse=True)
    origin = min(s.start_s for s in shown)
    with axes_for(11.4, 0.7 + 0.32 * len(tracks)) as (axes, svg):
        for name in dict.fromkeys(s.name for s in sorted(shown, key=lambda s: -s.seconds)):
            for track in tracks:
                bars = [
                    (s.start_s - origin, s.seconds)
                    for s in shown
                    if s.track == track and s.name == name
                ]
                place = (tracks.index(track) - 0.35, 0.7)
                axes.broken_barh(bars, place, color=_CALLS.get(name, "#8d96a5"), linewidth=0)
        axes.set_yticks(range(len(tracks)), tracks)
        axes.set_xlabel("seconds")
        seen = {s.name for s in shown}
        handles = [
            Line2D([], [], color=colour, linewidth=6, label=name)
            for name, colour in _CALLS.items()
            if name in seen
        ]
        legend_above(axes, handles, columns=6)
    return Chart(title="Timeline", about="a few steps of stage III; gaps are idle", svg=svg[0])


def training_charts(lines: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """A chart for each thing that ``metrics.jsonl`` tells of; what was not logged is left out."""
    losses = {label: _series(lines, stage, "sft/loss") for stage, (label, _) in _STAGES.items()}
    colours = {label: MODEL_COLOURS[model] for label, model in _STAGES.values()}
    charts = [_curves("SFT loss", "mean over tokens, by step", losses, colours)]
    for title, about, keys in _rl_panels(lines):
        charts.append(
            _curves(title, about, {n: _series(lines, "stage3", k) for n, k in keys.items()})
        )
    charts.append(_time_chart(lines))
    return [chart for chart in charts if chart is not None]


def _rl_panels(lines: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, dict[str, str]]]:
    """Title, explanation and {label: key} of each panel of stage III."""
    keys = sorted({k for line in lines if line["stage"] == "stage3" for k in line})
    explicit = {
        k.removeprefix("reward/explicit/"): k
        for k in keys
        if k.startswith("reward/explicit/") and not k.endswith("/mean")
    }
    routes = ("direct", "explicit")
    return [
        ("Reward", "R_F1 and R_F2, mean of a step", {r: f"reward/{r}/mean" for r in routes}),
        ("Empathy term", "0–1, scorer of the reward", {r: f"reward/{r}/empathy" for r in routes}),
        (
            "Held-out judge",
            "empathy, 0–1: the reward's judge less it",
            {"gap": "alarm/held_out_gap"},
        ),
        ("Terms of R_F1", "explicit route, before λ", explicit),
        ("KL", "new policy against the sampling one", {"KL": "policy/kl"}),
        ("Ratio", "mean of π / π_old over tokens", {"mean": "policy/ratio_mean"}),
        ("Ratio, farthest", "largest |π / π_old − 1|", {"largest": "policy/ratio_max_dev"}),
        ("Gate", "share of tokens it attenuates", {"gate": "policy/attenuated"}),
        ("Entropy", "nats per token", {"entropy": "policy/entropy"}),
        ("Gradient norm", "before clipping", {"norm": "policy/grad_norm"}),
        ("Canary", "log-prob gap, sampler to learner", {"gap": "policy/canary_gap"}),
        ("Answer length", "tokens", {r: f"rollout/{r}/tokens" for r in routes}),
        (
            "Left out",
            "rollouts a step, by reason",
            {k.removeprefix("drop/").replace("_", " "): k for k in keys if k.startswith("drop/")},
        ),
    ]


def _series(
    lines: Sequence[Mapping[str, Any]], stage: str, key: str
) -> tuple[list[float], list[float]]:
    found = [
        (line["step"], line[key])
        for line in lines
        if line["stage"] == stage and line.get(key) is not None
    ]
    return [step for step, _ in found], [value for _, value in found]


def _curves(
    title: str, about: str, series: Series, colours: Mapping[str, str] | None = None
) -> Chart | None:
    present = {name: xy for name, xy in series.items() if xy[0]}
    if not present:
        return None
    with axes_for(3.6, 2.1) as (axes, svg):
        for i, (name, (steps, values)) in enumerate(present.items()):
            colour = (colours or {}).get(name) or LINES[i % len(LINES)]
            axes.plot(steps, values, color=colour, linewidth=0.8, alpha=0.3)
            axes.plot(steps, _smooth(values), color=colour, linewidth=1.7, label=name)
        axes.margins(x=0.02)
        axes.ticklabel_format(useOffset=False)
        if len(present) > 1:
            legend_above(axes)
    return Chart(title=title, about=about, svg=svg[0])


_PHASES = ("time/generate", "time/judge", "time/update", "time/publish")


def _time_chart(lines: Sequence[Mapping[str, Any]]) -> Chart | None:
    """Seconds of each phase of a step, stacked."""
    rl = [line for line in lines if line["stage"] == "stage3"]
    phases = [p for p in _PHASES if any(p in line for line in rl)]
    if not phases:
        return None
    with axes_for(3.6, 2.1) as (axes, svg):
        axes.stackplot(
            [line["step"] for line in rl],
            [[line.get(phase) or 0.0 for line in rl] for phase in phases],
            labels=[phase.removeprefix("time/") for phase in phases],
            colors=LINES,
            alpha=0.85,
            step="mid",
        )
        axes.margins(x=0.02)
        axes.set_ylim(bottom=0)
        legend_above(axes)
    return Chart(title="Seconds per step", about="by phase, stacked", svg=svg[0])


def _smooth(values: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A centred moving average over about a tenth of the curve, shorter at its ends."""
    numbers = np.asarray(values, dtype=np.float64)
    half = len(numbers) // 20
    return np.array([numbers[max(0, i - half) : i + half + 1].mean() for i in range(len(numbers))])


def _whiskers(
    axes: Axes, results: Results, keys: Mapping[str, str], legend: Sequence[Line2D]
) -> None:
    """For each key a cluster of models: a dot at the value, a line over the interval."""
    width = 0.7 / max(1, len(results))
    colours = colours_of(results)
    for m, (name, result) in enumerate(results.items()):
        colour = colours[name]
        for k, key in enumerate(keys.values()):
            estimate: Estimate = result.estimates[key]
            if estimate.n == 0:
                continue
            x = k + (m - (len(results) - 1) / 2) * width
            axes.plot([x, x], [estimate.lo, estimate.hi], color=colour, linewidth=5, alpha=0.35)
            axes.plot([x], [estimate.value], "o", color=colour, markersize=6)
    axes.set_xticks(range(len(keys)), list(keys))
    axes.set_xlim(-0.5, len(keys) - 0.5)
    legend_above(axes, [*model_handles(results, colours), *legend], columns=6)
