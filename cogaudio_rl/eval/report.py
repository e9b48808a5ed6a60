"""The report of a run: ``report.json`` for programs and one self-contained ``report.html``.

Replies are untrusted model output: the template escapes everything, and the page's own content
policy forbids scripts and every outside resource.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import soundfile

from cogaudio_rl.data.audio import SAMPLE_RATE_HZ, read_audio
from cogaudio_rl.errors import DataError
from cogaudio_rl.eval import charts
from cogaudio_rl.eval.canvas import colours_of
from cogaudio_rl.eval.metrics import Estimate
from cogaudio_rl.eval.pages import render
from cogaudio_rl.eval.result import ModelResult, Row
from cogaudio_rl.eval.summary import (
    METRIC_TEXTS,
    SPEAKER_METRICS,
    Results,
    RunFacts,
    build_report,
    chance,
    headline,
    paired_differences,
)
from cogaudio_rl.metrics import read_metrics
from cogaudio_rl.run_folder import write_whole
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.trace import FILE_NAME as TRACE
from cogaudio_rl.trace import Span, read_trace

SAMPLE_FAMILIES = 3

MODEL_TEXTS: Mapping[str, str] = {
    "base": "the backbone as it came",
    "A": "direct SFT only",
    "B": "Stage I: explicit SFT",
    "C": "Stages I + II: explicit, then both routes",
    "D": "Stages I + II + III: with DR-SAPO",
}
_FOREST_METRICS = (
    "empathy_direct",
    "empathy_direct_t1",
    "empathy_explicit",
    "empathy_explicit_t1",
    "emotion_accuracy",
    "emotion_accuracy_as_written",
    "format_validity",
)


def write_report(run_dir: Path, results: Results, facts: RunFacts) -> dict[str, Any]:
    """Write ``report.json`` and ``report.html`` into the run folder; returns the former's content.

    Curves come from the folder's ``metrics.jsonl``. Raises ValueError when there are no results or
    two compared models were evaluated on different utterances.
    """
    report = build_report(results, facts)
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(run_dir / "report.json", text + "\n")
    spans = read_trace(run_dir) if (run_dir / TRACE).is_file() else []
    page = render_html(report, results, facts, read_metrics(run_dir), spans)
    write_whole(run_dir / "report.html", page)
    return report


def render_html(
    report: Mapping[str, Any],
    results: Results,
    facts: RunFacts,
    lines: Sequence[Mapping[str, Any]],
    spans: Sequence[Span],
) -> str:
    """The page as text; ``lines`` are those of ``metrics.jsonl``, ``spans`` those of the trace."""
    paired = paired_differences(results, facts)
    return render(
        "report.html.j2",
        report=report,
        facts=facts,
        names=list(results),
        colours=colours_of(results),
        model_texts={name: MODEL_TEXTS.get(name, "the checkpoint given") for name in results},
        metrics=METRIC_TEXTS,
        chance=chance(results),
        headline=headline(results, paired),
        groups=[(g, len(list(k))) for g, k in groupby(t.group for t in METRIC_TEXTS.values())],
        cards=_cards(results),
        overview=[charts.accuracy_chart(results), charts.empathy_chart(results)],
        table=_table(results),
        forests=[
            {"pair": pair, "rows": _forest(differences)} for pair, differences in paired.items()
        ],
        curves=charts.training_charts(lines),
        timeline=charts.timeline_chart(spans),
        speakers=sorted(report["per_speaker"][next(iter(results))]),
        speaker_metrics=SPEAKER_METRICS,
        families=sample_families(results, seed=facts.seed),
        shown=_shown(results),
        bootstrap_samples=next(iter(results.values())).bootstrap_samples,
    )


def _cards(results: Results) -> list[dict[str, Any]]:
    """The four numbers at the top, each for every model that has it."""
    keys = ("empathy_direct", "empathy_explicit", "emotion_accuracy", "format_validity")
    best = list(results)[-1]
    return [
        {
            "title": METRIC_TEXTS[key].group,
            "about": METRIC_TEXTS[key].about,
            "model": best,
            "value": _text(results[best].estimates[key].value),
            "highest": METRIC_TEXTS[key].highest,
            "all": [(name, _text(r.estimates[key].value)) for name, r in results.items()],
        }
        for key in keys
    ]


def _table(results: Results) -> list[dict[str, Any]]:
    """One entry per model: its cells in the order of METRIC_TEXTS, the best of a column marked."""
    best: dict[str, float] = {}
    for key in METRIC_TEXTS:
        if key != "emotion_accuracy_silenced":  # more is not better there
            found = [r.estimates[key].value for r in results.values() if r.estimates[key].n]
            best[key] = max(found, default=float("nan"))
    return [
        {
            "name": name,
            "cells": [
                _cell(result.estimates[key])
                | {"best": result.estimates[key].value == best.get(key)}
                for key in METRIC_TEXTS
            ],
        }
        for name, result in results.items()
    ]


def _cell(estimate: Estimate) -> dict[str, Any]:
    if estimate.n == 0:
        return {"value": "–", "interval": ""}
    return {
        "value": _text(estimate.value),
        "interval": f"{_text(estimate.lo)} – {_text(estimate.hi)}",
    }


def _forest(differences: Mapping[str, Estimate]) -> list[dict[str, Any]]:
    """Rows of one forest plot; ``left``, ``right``, ``at``, ``zero`` are percent of its width."""
    shown = {key: differences[key] for key in _FOREST_METRICS}
    low = min(0.0, *(e.lo for e in shown.values()))
    high = max(0.0, *(e.hi for e in shown.values()))
    span = (high - low) or 1.0
    place = lambda x: round(3 + 94 * (x - low) / span, 2)  # noqa: E731
    return [
        {
            "title": METRIC_TEXTS[key].full,
            "value": _signed(e.value),
            "interval": f"{_signed(e.lo)} … {_signed(e.hi)}",
            "certain": e.excludes_zero,
            "up": e.value > 0,
            "zero": place(0.0),
            "left": place(e.lo),
            "right": place(e.hi),
            "at": place(e.value),
        }
        for key, e in shown.items()
    ]


def _shown(results: Results) -> list[str]:
    """The models whose replies are laid side by side."""
    wanted = [name for name in ("base", "C", "D") if name in results]
    return wanted or list(results)[-3:]


def sample_families(results: Results, *, seed: int) -> list[dict[str, Any]]:
    """A few lexical families with every model's direct replies, drawn at random, not picked.

    Drawn among the families with the most emotions; each emotion shows its first utterance.
    """
    shown = _shown(results)
    rows = {name: {r.utterance_id: r for r in results[name].rows} for name in shown}
    first = results[shown[0]]
    families: dict[str, dict[str, Row]] = {}
    for row in first.rows:
        families.setdefault(row.text_id, {}).setdefault(row.emotion, row)
    widest = max((len(f) for f in families.values()), default=0)
    full = sorted(text_id for text_id, f in families.items() if len(f) == widest)
    order = rng_for(seed, "report", "families").permutation(len(full))
    return [_family(families[full[int(i)]], first, rows) for i in order[:SAMPLE_FAMILIES]]


def _family(
    members: Mapping[str, Row], first: ModelResult, rows: Mapping[str, Mapping[str, Row]]
) -> dict[str, Any]:
    turns = [members[label] for label in first.labels if label in members]
    return {
        "sentence": turns[0].transcript,
        "turns": [
            {
                "emotion": turn.emotion,
                "intensity": turn.intensity,
                "speaker": turn.speaker,
                "audio": audio_data_uri(turn.audio_path),
                "rows": [(name, by_id[turn.utterance_id]) for name, by_id in rows.items()],
            }
            for turn in turns
        ],
    }


def audio_data_uri(path: str) -> str | None:
    """A clip as a FLAC data URI, or None when its file is gone (a report may outlive its data)."""
    try:
        sound, _notes = read_audio(path)
    except DataError:
        return None
    packed = io.BytesIO()
    soundfile.write(packed, sound, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return "data:audio/flac;base64," + base64.b64encode(packed.getvalue()).decode("ascii")


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _text(value: float) -> str:
    return "–" if value != value else f"{value:.2f}"
