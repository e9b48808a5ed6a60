"""The comparison as ``compare.json`` for programs and one self-contained ``compare.html``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from cogaudio_rl.eval.canvas import colours_of
from cogaudio_rl.eval.comparison import (
    GROUPS,
    Balance,
    Cell,
    Cells,
    System,
    balance_of,
    cells_of,
    spent_of,
    tables_for,
)
from cogaudio_rl.eval.comparison_pairs import Leaders, leaders_of
from cogaudio_rl.eval.comparison_words import headline
from cogaudio_rl.eval.metrics import Estimate, estimate_json
from cogaudio_rl.eval.pages import render
from cogaudio_rl.eval.paper import SideBySide, side_by_side
from cogaudio_rl.eval.result import ModelResult
from cogaudio_rl.eval.suite import SuiteResult
from cogaudio_rl.eval.suite_metrics import chance_level, text_of
from cogaudio_rl.eval.suite_report import number, paper_table
from cogaudio_rl.eval.suite_summary import labels_of, size_of
from cogaudio_rl.eval.summary import prompt_digests
from cogaudio_rl.revision import git_revision
from cogaudio_rl.run_folder import write_whole

SCHEMA = 1
"""Of ``compare.json``; it grows when a key changes its meaning."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All that was measured, and how."""

    systems: tuple[System, ...]
    results: Mapping[str, SuiteResult]
    """By suite; the models in them are systems in one of their seeds."""
    named: Mapping[str, str]
    """See :func:`~cogaudio_rl.eval.comparison.cells_of`."""
    folders: Mapping[str, tuple[str, int]]
    """Run folder → what its systems are called after, and its seed."""
    scorer: str
    seed: int
    """Of the test sets and of what is drawn from them."""
    wall_s: float
    limits: Mapping[str, int]
    """The longest answers that all systems were allowed."""
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    git_revision: str = field(default_factory=git_revision)

    @cached_property
    def cells(self) -> Cells:
        return cells_of(self.systems, self.results, named=self.named)

    @cached_property
    def leaders(self) -> Leaders:
        return leaders_of(self.systems, self.results, self.cells, named=self.named, seed=self.seed)

    @cached_property
    def balance(self) -> Balance:
        return balance_of(self.systems)

    @cached_property
    def told(self) -> list[str]:
        """The figures in sentences."""
        return headline(self.systems, self.leaders, self.balance)

    @cached_property
    def papers(self) -> dict[str, tuple[SideBySide, ...]]:
        """Each recipe's systems in the published tables of their kind."""
        return {
            recipe: self._beside(recipe)
            for recipe in dict.fromkeys(s.recipe for s in self.systems if s.recipe)
        }

    def _beside(self, recipe: str) -> tuple[SideBySide, ...]:
        own = next(s for s in self.systems if s.recipe == recipe)
        bases = [s for s in self.systems if s.stands_for == "base" and s.base == own.base]
        ours = [*bases, *(s for s in self.systems if s.recipe == recipe)]
        results = {
            name: SuiteResult(
                name=name,
                about="",
                models={s.stands_for or s.name: _as_result(self.cells[name][s.name]) for s in ours},
            )
            for name in self.cells
        }
        keys = {table.key for table in tables_for(own)}
        found = side_by_side(results, backbone=recipe)
        return tuple(beside for beside in found if beside.published.key in keys)


def write_comparison(folder: Path, comparison: Comparison) -> dict[str, Any]:
    """Write ``compare.json`` and ``compare.html`` into the folder; returns the former's content."""
    report = comparison_json(comparison)
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(folder / "compare.json", text + "\n")
    write_whole(folder / "compare.html", render_comparison(comparison))
    return report


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """The content of ``compare.json``: every figure with ``n`` and ``ci95``, or why there is none."""
    return {
        "schema": SCHEMA,
        "headline": comparison.told,
        "systems": {s.name: _system_json(s, comparison) for s in comparison.systems},
        "suites": {name: _suite_json(result) for name, result in comparison.results.items()},
        "leaders": {
            suite: {metric: leader.to_json() for metric, leader in of_suite.items()}
            for suite, of_suite in comparison.leaders.items()
        },
        "budget": asdict(comparison.balance),
        "paper": {
            recipe: {beside.published.key: beside.to_json() for beside in tables}
            for recipe, tables in comparison.papers.items()
        },
        "runs": {
            folder: {"name": name, "seed": seed}
            for folder, (name, seed) in comparison.folders.items()
        },
        "scorer": comparison.scorer,
        "seed": comparison.seed,
        "limits": dict(comparison.limits),
        "wall_s": comparison.wall_s,
        "prompt_digests": prompt_digests(),
        "versions": dict(comparison.versions),
        "git_revision": comparison.git_revision,
    }


def render_comparison(comparison: Comparison) -> str:
    """The page as text."""
    names = [system.name for system in comparison.systems]
    run = [result for result in comparison.results.values() if result.models]
    return render(
        "comparison.html.j2",
        comparison=comparison,
        headline=comparison.told,
        colours=colours_of(names),
        suites=[_section(result, comparison) for result in run],
        not_run=[result for result in comparison.results.values() if not result.models],
        spent={system.name: spent_of(system) for system in comparison.systems},
        seeds={system.name: trained_seeds(system) for system in comparison.systems},
        number=number,
        papers={
            recipe: [paper_table(table) for table in tables if any(table.sources)]
            for recipe, tables in comparison.papers.items()
        },
        digests=prompt_digests(),
    )


def trained_seeds(system: System) -> list[int]:
    """In which seeds it was trained; none, where nothing was."""
    return [seed for seed, spent in system.spent.items() if spent.steps or not spent.is_whole]


def _system_json(system: System, comparison: Comparison) -> dict[str, Any]:
    return {
        "recipe": system.recipe,
        "about": system.about,
        "base": system.base,
        "seeds": trained_seeds(system),
        "stands_for": system.stands_for,
        "budget": {
            "mean": dict(spent_of(system)),
            "by_seed": {str(seed): asdict(spent) for seed, spent in system.spent.items()},
        },
        "suites": {
            suite: {metric: cell.to_json() for metric, cell in of_suite[system.name].items()}
            for suite, of_suite in comparison.cells.items()
        },
    }


def _suite_json(result: SuiteResult) -> dict[str, Any]:
    labels = labels_of(result)
    first = next(iter(result.models.values()), None)
    measured = [] if first is None else [m for m in first.estimates if first.measured(m)]
    classical = result.classical
    return {
        "about": result.about,
        "status": "run" if result.models else "not run",
        "reason": None if result.models else (result.not_run or "no system was asked"),
        "n": size_of(result),
        "labels": list(labels),
        "chance": {
            metric: level
            for metric in measured
            if first is not None and (level := chance_level(metric, first)) is not None
        },
        "classical": None
        if classical is None
        else {
            "trained_on": classical.trained_on,
            "metrics": {m: estimate_json(e) for m, e in classical.estimates.items()},
        },
        "notes": list(result.notes),
    }


def _section(result: SuiteResult, comparison: Comparison) -> dict[str, Any]:
    """What the page shows of one suite: columns that somebody has, and why nobody has the others."""
    cells = comparison.cells[result.name]
    grouped = [(group, metric) for group, metrics in GROUPS.items() for metric in metrics]
    core = {metric for _, metric in grouped}
    rest = [metric for metric in next(iter(cells.values())) if metric not in core]
    columns = [
        (group, metric)
        for group, metric in [*grouped, *((text_of(m).group, m) for m in rest)]
        if any(of[metric].estimate is not None for of in cells.values())
    ]
    first = next(iter(result.models.values()))
    return {
        "name": result.name,
        "about": result.about,
        "n": size_of(result),
        "labels": labels_of(result),
        "notes": result.notes,
        "groups": _runs_of([group for group, _ in columns]),
        "texts": [text_of(metric) for _, metric in columns],
        "chances": [chance_level(metric, first) for _, metric in columns],
        "rows": [
            {"system": system, "cells": [_shown(cells[system.name][m]) for _, m in columns]}
            for system in comparison.systems
        ],
        "classical": result.classical
        and [_of_classical(result.classical.estimates.get(metric)) for _, metric in columns],
        "trained_on": result.classical and result.classical.trained_on,
        "missing": _missing(cells, [m for _, m in grouped if (_, m) not in columns]),
    }


def _missing(cells: Mapping[str, Mapping[str, Cell]], metrics: Sequence[str]) -> dict[str, str]:
    """Why → the metrics that no system has for that reason."""
    found: dict[str, list[str]] = {}
    for metric in metrics:
        text = text_of(metric)
        why = "; ".join(dict.fromkeys(of[metric].why for of in cells.values()))
        found.setdefault(why, []).append(f"{text.group.lower()}, {text.title}")
    return {why: "; ".join(of) for why, of in found.items()}


def _shown(cell: Cell) -> dict[str, Any]:
    estimate = cell.estimate
    return {
        "value": None if estimate is None else number(estimate.value),
        "interval": ""
        if estimate is None
        else f"{number(estimate.lo)} – {number(estimate.hi)}, n {estimate.n}",
        "why": cell.why,
        "seeds": ", ".join(f"{seed}: {number(v)}" for seed, v in cell.by_seed.items()),
        "paper": [
            (number(figure.value), f"{figure.row}; {figure.table}; {figure.column}")
            for figure in cell.paper
        ],
    }


def _of_classical(estimate: Estimate | None) -> str:
    if estimate is None or not estimate.n:
        return ""
    return f"{number(estimate.value)} ({number(estimate.lo)} – {number(estimate.hi)})"


def _runs_of(groups: Sequence[str]) -> list[tuple[str, int]]:
    """Each group and how many columns in a row it has."""
    found: list[tuple[str, int]] = []
    for group in groups:
        if found and found[-1][0] == group:
            found[-1] = (group, found[-1][1] + 1)
        else:
            found.append((group, 1))
    return found


def _as_result(cells: Mapping[str, Cell]) -> ModelResult:
    """Figures over seeds where one model's would stand."""
    return ModelResult(
        labels=(),
        rows=(),
        estimates={m: cell.estimate for m, cell in cells.items() if cell.estimate is not None},
        bootstrap_samples=0,
    )
