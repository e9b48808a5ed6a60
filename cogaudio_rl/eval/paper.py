"""The paper's figures and ours side by side.

What nobody measured here is "not run". A row says whose model a figure of ours is of, a column where
it comes from: never does our miniature stand for the paper's model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cogaudio_rl.config import OWN_MODELS
from cogaudio_rl.eval.metrics import Estimate, estimate_json
from cogaudio_rl.eval.published import TABLES, Column, Published, Source
from cogaudio_rl.eval.suite import SuiteResult

PAPER_MODELS: tuple[str, ...] = ("base", "A", "B", "C", "D")
"""Our names of the ablation's models; any other name is a variant or somebody else's model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One row: the paper's figures and ours, one of each for a column, None where there is none."""

    name: str | None
    """Of the paper; None for a model that it does not have."""
    paper: tuple[float | None, ...]
    ours: str | None
    """``ours: D, quickstart``: the model, and the recipe whose backbone it is."""
    figures: tuple[Estimate | None, ...]
    """In the paper's unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide:
    """A published table with ours in it."""

    published: Published
    sources: tuple[Source | None, ...]
    """For each column where ours comes from; None: not run."""
    rows: tuple[Side, ...]

    def to_json(self) -> dict[str, Any]:
        """As it stands in ``report.json``; null where there is no figure."""
        columns = self.published.columns
        return {
            "title": self.published.title,
            "source": self.published.source,
            "columns": [
                {
                    "key": c.key,
                    "group": c.group,
                    "title": c.title,
                    "ours_from": None if source is None else source.suite,
                }
                for c, source in zip(columns, self.sources, strict=True)
            ],
            "rows": [
                {
                    "name": row.name,
                    "paper": {c.key: f for c, f in zip(columns, row.paper, strict=True)},
                    "ours_name": row.ours,
                    "ours": {
                        c.key: None if e is None else estimate_json(e)
                        for c, e in zip(columns, row.figures, strict=True)
                    },
                }
                for row in self.rows
            ],
        }


def side_by_side(results: Mapping[str, SuiteResult], *, backbone: str) -> tuple[SideBySide, ...]:
    """Every published table with our figures in it; ``backbone`` is the recipe ours was made with.

    A column of ours comes from one suite: HumDial's Task 4 where it was run, else the made conflict
    set.
    """
    return tuple(_beside(table, results, backbone) for table in TABLES)


def ours_from(column: Column, results: Mapping[str, SuiteResult]) -> Source | None:
    """Where a column of ours comes from; None when nothing of it was run."""
    for source in column.ours:
        models = results[source.suite].models.values() if source.suite in results else ()
        if any(model.measured(source.metric) for model in models):
            return source
    return None


def figure(
    column: Column, model: str | None, results: Mapping[str, SuiteResult]
) -> Estimate | None:
    """Our figure for a column in the paper's unit; None when it was not measured."""
    source = ours_from(column, results)
    if source is None or model is None or model not in results[source.suite].models:
        return None
    found = results[source.suite].models[model].measured(source.metric)
    if found is None:
        return None
    return Estimate(
        value=found.value * column.scale,
        lo=found.lo * column.scale,
        hi=found.hi * column.scale,
        n=found.n,
    )


def model_names(results: Mapping[str, SuiteResult]) -> list[str]:
    """Every model of any suite, in the order they came."""
    return list(dict.fromkeys(name for result in results.values() for name in result.models))


def _beside(table: Published, results: Mapping[str, SuiteResult], backbone: str) -> SideBySide:
    def side(name: str | None, model: str | None, paper: tuple[float | None, ...]) -> Side:
        return Side(
            name=name,
            paper=paper,
            ours=None if model is None else _label(model, backbone),
            figures=tuple(figure(c, model, results) for c in table.columns),
        )

    rows = [side(name, table.ours.get(name), paper) for name, paper in table.rows.items()]
    if table.takes_others:
        nothing: tuple[float | None, ...] = (None,) * len(table.columns)
        rows += [
            side(None, name, nothing)
            for name in model_names(results)
            if name not in table.ours.values()
        ]
    return SideBySide(
        published=table,
        sources=tuple(ours_from(column, results) for column in table.columns),
        rows=tuple(rows),
    )


def _label(model: str, backbone: str) -> str:
    """Somebody else's model has its own backbone; ours has the recipe's."""
    own = model.partition("/")[0] in OWN_MODELS
    return f"ours: {model}, {backbone}" if own else f"ours: {model}"
