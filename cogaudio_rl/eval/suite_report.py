"""The report of the suites: ``report.json`` for programs and one self-contained ``report.html``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from cogaudio_rl.eval.canvas import Chart, colours_of
from cogaudio_rl.eval.emotion_space import PairDivergence
from cogaudio_rl.eval.metrics import Estimate
from cogaudio_rl.eval.pages import render
from cogaudio_rl.eval.paper import SideBySide, model_names, side_by_side
from cogaudio_rl.eval.published import (
    CONFLICT_ACCURACY,
    CONFLICT_EMPATHY,
    CONSISTENT_ACCURACY,
    CONSISTENT_EMPATHY,
)
from cogaudio_rl.eval.result import ModelResult
from cogaudio_rl.eval.suite import Classical, SuiteResult
from cogaudio_rl.eval.suite_charts import conflict_chart, cost_chart, divergence_chart
from cogaudio_rl.eval.suite_forest import difference_forest, listening_forests
from cogaudio_rl.eval.suite_metrics import TABLE_TEXTS, chance_level
from cogaudio_rl.eval.suite_summary import SuiteResults, build_suite_report, pairs_of, size_of
from cogaudio_rl.eval.suite_words import headline
from cogaudio_rl.eval.summary import RunFacts
from cogaudio_rl.run_folder import write_whole

WHAT_TO_GIVE: Mapping[str, str] = {
    "test": "a run with trained models; the split is its recipe’s own",
    "lime": "nothing, where LIME-mini will do; or a folder of manifests or LIME-440K",
    "conflict": "nothing: it is made here",
    "emodb": "the folder with EmoDB’s recordings (Berlin Database of Emotional Speech)",
    "esd": "the folder “Emotion Speech Dataset” of ESD, which its authors send on request",
    "crema_d": "CREMA-D’s folder, with AudioWAV and processedResults/tabulatedVotes.csv",
    "ambiguity": "nothing, with the recipe ambiguity_mini; or a corpus that listeners voted on",
    "ambiguity_dev": "the same, with a split for choosing: data.dev_families=20",
    "attribution": "a finished run of the recipe ieat, whose teacher’s replies are compared with",
    "humdial": "HumDial-EIBench’s or the challenge’s jsonl files and recordings",
}
"""What somebody has to give for a suite to run."""


def write_suite_report(folder: Path, results: SuiteResults, facts: RunFacts) -> dict[str, Any]:
    """Write ``report.json`` and ``report.html`` into the folder; returns the former's content.

    Raises ValueError when two compared models of a suite were evaluated on different utterances.
    """
    report = build_suite_report(results, facts)
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(folder / "report.json", text + "\n")
    write_whole(folder / "report.html", render_html(report, results, facts))
    return report


def render_html(report: Mapping[str, Any], results: SuiteResults, facts: RunFacts) -> str:
    """The page as text; ``report`` is the content of ``report.json``."""
    names = model_names(results)
    run = {name: result for name, result in results.items() if result.models}
    return render(
        "suite_report.html.j2",
        report=report,
        facts=facts,
        headline=headline(results, {n: s["paired"] for n, s in report["suites"].items()}),
        names=names,
        colours=colours_of(names),
        suites=[_section(result, report["suites"][name]) for name, result in run.items()],
        not_run=[_missing(result) for result in results.values() if not result.models],
        listening=[
            {"suite": name, "forests": forests}
            for name, result in run.items()
            if (forests := listening_forests(result.models, names))
        ],
        conflict=_conflict_charts(results, names),
        divergence=_divergence_charts(report, names),
        cost=_cost_charts(run, names),
        number=number,
        tables=[paper_table(table) for table in side_by_side(results, backbone=facts.name)],
    )


def _section(result: SuiteResult, told: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows of one suite that was run."""
    shown = [m for m in TABLE_TEXTS if any(r.measured(m) for r in result.models.values())]
    groups = groupby(shown, key=lambda metric: TABLE_TEXTS[metric].group)
    first = next(iter(result.models.values()))
    chances = [chance_level(metric, first) for metric in shown]
    rows = [_model_row(name, model, shown) for name, model in result.models.items()]
    if result.classical is not None:
        rows.append(_classical_row(result.classical, shown))
    return {
        "name": result.name,
        "about": result.about,
        "notes": result.notes,
        "n": size_of(result),
        "texts": [TABLE_TEXTS[metric] for metric in shown],
        "groups": [(group, len(list(metrics))) for group, metrics in groups],
        "chances": chances,
        "rows": rows,
        "labels": told["labels"],
        "confusion": told["confusion"],
        "forests": [
            difference_forest(pair, told["paired"]["-".join(pair)])
            for pair in pairs_of(result.models)
            if "-".join(pair) in told["paired"]
        ],
    }


def _model_row(name: str, model: ModelResult, metrics: Sequence[str]) -> dict[str, Any]:
    return {"name": name, "note": "", "cells": [_cell(model.measured(m)) for m in metrics]}


def _classical_row(classical: Classical, metrics: Sequence[str]) -> dict[str, Any]:
    return {
        "name": None,
        "note": f"acoustics + SVM, trained on {classical.trained_on}",
        "cells": [_cell(classical.estimates.get(metric)) for metric in metrics],
    }


def _cell(estimate: Estimate | None) -> dict[str, str]:
    if estimate is None or estimate.n == 0:
        return {"value": "–", "interval": ""}
    return {
        "value": number(estimate.value),
        "interval": f"{number(estimate.lo)} – {number(estimate.hi)}",
    }


def _missing(result: SuiteResult) -> dict[str, str]:
    return {
        "name": result.name,
        "about": result.about,
        "reason": result.not_run or "no model was evaluated",
        "give": WHAT_TO_GIVE.get(result.name, ""),
    }


def _conflict_charts(results: SuiteResults, names: Sequence[str]) -> list[Chart]:
    charts = (
        conflict_chart(
            results,
            names,
            CONFLICT_ACCURACY,
            CONSISTENT_ACCURACY,
            title="Emotion accuracy, %",
            limits=(-3, 103),
        ),
        conflict_chart(
            results,
            names,
            CONFLICT_EMPATHY,
            CONSISTENT_EMPATHY,
            title="Empathy, direct route",
            limits=(0.9, 4.1),
        ),
    )
    return [chart for chart in charts if chart is not None]


def _divergence_charts(report: Mapping[str, Any], names: Sequence[str]) -> list[Chart]:
    charts: list[Chart | None] = []
    for suite, told in report["suites"].items():
        pairs = {
            name: [PairDivergence(**pair) for pair in of_model]
            for name, of_model in told["divergence_by_pair"].items()
        }
        charts.append(divergence_chart(suite, pairs, names))
    return [chart for chart in charts if chart is not None]


def _cost_charts(run: SuiteResults, names: Sequence[str]) -> list[Chart]:
    charts = [
        cost_chart(suite, result.models, names, unit)
        for suite, result in run.items()
        for unit in ("tokens", "seconds")
    ]
    return [chart for chart in charts if chart is not None]


def paper_table(table: SideBySide) -> dict[str, Any]:
    """For the page: one part per group of columns, so that none is wider than a screen need be."""
    columns = table.published.columns
    parts: list[dict[str, Any]] = []
    for group in dict.fromkeys(column.group for column in columns):
        at = [i for i, column in enumerate(columns) if column.group == group]
        parts.append(
            {
                "group": group,
                "columns": [(columns[i].title, table.sources[i]) for i in at],
                "rows": [
                    {
                        "name": row.name,
                        "ours": row.ours,
                        "cells": [(row.paper[i], row.figures[i]) for i in at],
                    }
                    for row in table.rows
                ],
            }
        )
    return {"published": table.published, "parts": parts}


def number(value: float) -> str:
    """Two decimals; one from 10 up, where two would only be noise."""
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
