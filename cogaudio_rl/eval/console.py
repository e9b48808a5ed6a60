"""The ablation table on the terminal."""

from __future__ import annotations

import rich.box
from rich.console import Console
from rich.table import Table

from cogaudio_rl.eval.metrics import Estimate
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


def _cell(estimate: Estimate) -> str:
    if estimate.n == 0:
        return "–"
    return f"{estimate.value:.2f}[dim]±{(estimate.hi - estimate.lo) / 2:.2f}[/dim]"
