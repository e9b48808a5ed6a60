"""The ablation table and the suites on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import rich.box
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from cogaudio_rl.eval.metrics import Estimate
from cogaudio_rl.eval.suite import SuiteResult
from cogaudio_rl.eval.suite_metrics import chance_level
from cogaudio_rl.eval.suite_summary import SuiteResults, size_of
from cogaudio_rl.eval.summary import METRIC_TEXTS, Results, chance


def print_table(results: Results, console: Console | None = None) -> None:
    """Print one column per model, each number with half the width of its 95 % interval."""
    n = len(next(iter(results.values())).rows)
    table = Table(
        title=f"{n} test utterances; chance {chance(results):.3f}",
        caption="± is half a 95 % bootstrap interval",
        box=rich.box.SIMPLE_HEAD,
        pad_edge=False,
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("", no_wrap=True)
    for name in results:
        table.add_column(name, justify="right", no_wrap=True)
    group = ""
    for key, text in METRIC_TEXTS.items():
        if text.group != group:
            group = text.group
            table.add_row(f"[bold]{group}[/bold]")
        table.add_row(f"  {text.title}", *(_cell(r.estimates[key]) for r in results.values()))
    (console or Console()).print(table)


SUITE_COLUMNS: Mapping[str, str] = {
    "emotion_accuracy": "emotion",
    "emotion_accuracy_silenced": "silenced",
    "emotion_accuracy_text_only": "text only",
    "conflict_accuracy": "conflict",
    "consistent_accuracy": "agree",
    "t1_accuracy": "T1",
    "t2_accuracy": "T2",
    "t4_conflict_accuracy": "T4 conflict",
    "t4_consistent_accuracy": "T4 agree",
    "challenge_final": "final",
    "empathy_direct": "empathy",
    "votes_js": "JS",
    "votes_bhattacharyya": "BC",
    "votes_r2": "R²",
    "votes_brier": "Brier",
    "votes_calibration_error": "ECE",
    "votes_top1": "top 1",
    "votes_top2": "top 2",
    "format_ambiguity": "format",
    "empathy_gain": "over A",
    "teacher_excess": "excess",
    "thought_emotion": "infers",
    "voice_suits_reply": "suits",
}
"""What the terminal shows of a suite, where it was measured; the report has the rest."""


TOO_NARROW = "too narrow for intervals: the report has them"
_ENDLESS = 10_000
"""Characters; in what there is a table that does not fit says that it would."""


def print_suites(results: SuiteResults, console: Console | None = None) -> None:
    """Print a small table for each suite, and a line for one that was not run."""
    out = console or Console()
    for result in results.values():
        if result.models:
            print_fitting(out, partial(_suite_table, result))
        else:
            reason = result.not_run or "no model was evaluated"
            out.print(f"[bold]{escape(result.name)}[/bold]: not run: {escape(reason)}")


def print_fitting(out: Console, table: Callable[[bool], Table]) -> None:
    """``table(intervals)``, with intervals where the terminal has room for them."""
    whole = table(True)
    at_ease = Measurement.get(out, out.options.update(width=_ENDLESS), whole)
    out.print(whole if at_ease.maximum <= out.width else table(False))


def _suite_table(result: SuiteResult, intervals: bool) -> Table:
    """Models down; the classical baseline and chance below them, where there are any."""
    models = result.models
    shown = [m for m in SUITE_COLUMNS if any(r.measured(m) for r in models.values())]
    table = Table(
        title=f"{escape(result.name)}: {size_of(result)} items",
        box=rich.box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        title_justify="left",
        caption=None if intervals else TOO_NARROW,
        caption_justify="left",
    )
    table.add_column("", overflow="fold")
    for metric in shown:
        table.add_column(SUITE_COLUMNS[metric], justify="right", no_wrap=True)
    for name, model in models.items():
        table.add_row(escape(name), *(_cell(model.measured(m), intervals) for m in shown))
    if result.classical is not None:
        estimates = result.classical.estimates
        table.add_row("SVM", *(_cell(estimates.get(m), intervals) for m in shown))
    levels = [chance_level(metric, next(iter(models.values()))) for metric in shown]
    if any(level is not None for level in levels):
        told = ("" if level is None else f"{level:.2f}" for level in levels)
        table.add_row("chance", *told, style="dim")
    return table


def _cell(estimate: Estimate | None, interval: bool = True) -> str:
    if estimate is None or estimate.n == 0:
        return "–"
    told = f"±{(estimate.hi - estimate.lo) / 2:.2f}" if interval else ""
    return f"{estimate.value:.2f}[dim]{told}[/dim]"
