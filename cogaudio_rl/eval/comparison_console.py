"""The comparison on the terminal: what matters most, a small table for each test set."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import rich.box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cogaudio_rl.eval.comparison import Cell
from cogaudio_rl.eval.comparison_report import Comparison, trained_seeds
from cogaudio_rl.eval.console import TOO_NARROW, print_fitting
from cogaudio_rl.eval.metrics import Estimate
from cogaudio_rl.eval.suite_metrics import text_of
from cogaudio_rl.eval.suite_report import number
from cogaudio_rl.eval.suite_summary import size_of

SHOWN = (
    "emotion_accuracy",
    "votes_js",
    "votes_bhattacharyya",
    "votes_top1",
    "empathy_direct",
    "empathy_explicit",
    "s_audio",
    "conflict_accuracy",
    "tokens_direct",
    "seconds_direct",
)
"""What the terminal has room for."""


def print_comparison(comparison: Comparison, console: Console | None = None) -> None:
    """A table for each suite: systems down, what matters most across."""
    out = console or Console()
    for sentence in comparison.told:
        out.print(escape(sentence))
    for name, cells in comparison.cells.items():
        print_fitting(out, partial(_terminal_table, name, comparison, cells))


def _terminal_table(
    name: str,
    comparison: Comparison,
    cells: Mapping[str, Mapping[str, Cell]],
    intervals: bool,
) -> Table:
    shown = [m for m in SHOWN if any(of[m].estimate is not None for of in cells.values())]
    told = "± is half a 95 % interval" if intervals else TOO_NARROW
    table = Table(
        title=f"{escape(name)}: {size_of(comparison.results[name])} items",
        caption=f"{told}; n/a: compare.json says why",
        box=rich.box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("", overflow="fold")
    table.add_column("seeds", justify="right")
    for metric in shown:
        table.add_column(f"{text_of(metric).group}\n{text_of(metric).title}", justify="right")
    for system in comparison.systems:
        seeds = trained_seeds(system)
        of = cells[system.name]
        row = (_terminal_cell(of[metric].estimate, intervals) for metric in shown)
        table.add_row(escape(system.name), str(len(seeds)) if seeds else "–", *row)
    return table


def _terminal_cell(estimate: Estimate | None, interval: bool) -> str:
    if estimate is None:
        return "n/a"
    half = f"±{number((estimate.hi - estimate.lo) / 2)}" if interval else ""
    return f"{number(estimate.value)}[dim]{half}[/dim]"
