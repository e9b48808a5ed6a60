"""One table over several seeds: the mean of each number, and how far apart the seeds lie."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import rich.box
from rich.console import Console
from rich.table import Table

from cogaudio_rl.run_folder import write_whole

COLUMNS: Mapping[str, str] = {
    "emotion_accuracy": "emotion accuracy",
    "emotion_accuracy_as_written": "as written",
    "emotion_accuracy_silenced": "silenced",
    "format_validity": "valid format",
    "empathy_direct": "empathy, direct",
    "empathy_explicit": "empathy, explicit",
    "response_divergence": "divergence",
}


def summarise_seeds(folder: Path, seeds: Sequence[int]) -> None:
    """Read every ``seed-N/report.json``; write ``table.md`` and ``report.json`` and show the table."""
    reports = {
        seed: json.loads((folder / f"seed-{seed}" / "report.json").read_text("utf-8"))
        for seed in seeds
    }
    table = markdown_table(list(reports.values()))
    write_whole(folder / "table.md", table)
    write_whole(folder / "report.json", json.dumps({"seeds": reports}, indent=2))
    Console().print(terminal_table(list(reports.values())))


def markdown_table(reports: Sequence[Mapping[str, Any]]) -> str:
    """Mean over the runs, with smallest and largest in brackets; a dash where nothing was said."""
    names = list(reports[0]["models"])
    lines = [
        "| model | " + " | ".join(COLUMNS.values()) + " |",
        "|---" + "|---:" * len(COLUMNS) + "|",
    ]
    for name in names:
        cells = [_cell([report["models"][name][key] for report in reports]) for key in COLUMNS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def terminal_table(reports: Sequence[Mapping[str, Any]]) -> Table:
    """The same, a metric a row and a model a column, so that it fits a narrow terminal."""
    names = list(reports[0]["models"])
    table = Table(
        title=f"mean over {len(reports)} seeds (smallest–largest)",
        box=rich.box.SIMPLE_HEAD,
        title_justify="left",
    )
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    for key, title in COLUMNS.items():
        cells = [_cell([r["models"][name][key] for r in reports]) for name in names]
        table.add_row(title, *(cell.replace(" (", "\n").rstrip(")") for cell in cells))
    return table


def _cell(values: Sequence[float | None]) -> str:
    known = [v for v in values if v is not None]
    if not known:
        return "–"
    if len(known) == 1:
        return f"{known[0]:.2f}"
    return f"{mean(known):.2f} ({min(known):.2f}–{max(known):.2f})"
