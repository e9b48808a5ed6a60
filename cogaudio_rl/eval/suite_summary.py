"""What the suites showed, as numbers and in words: the content of the suites' ``report.json``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from cogaudio_rl.eval.emotion_space import divergence_by_pair
from cogaudio_rl.eval.metrics import Estimate, confusion_matrix, estimate_json
from cogaudio_rl.eval.paired import compare, compare_accuracies, compare_votes
from cogaudio_rl.eval.paper import PAPER_MODELS, side_by_side
from cogaudio_rl.eval.result import ModelResult
from cogaudio_rl.eval.suite import Classical, SuiteResult
from cogaudio_rl.eval.suite_words import Paired, headline
from cogaudio_rl.eval.summary import RunFacts

SuiteResults = Mapping[str, SuiteResult]

PAIRS: tuple[tuple[str, str], ...] = (
    *(("D", "C"), ("D", "base"), ("C", "base"), ("D", "A")),
    *(("KL", "CE"), ("KL", "base"), ("CE", "base")),
)
"""Compared utterance by utterance; beside them every other model against D."""

OTHER = "no label"
"""What an answer that is none of the labels counts as."""


def build_suite_report(results: SuiteResults, facts: RunFacts) -> dict[str, Any]:
    """The content of ``report.json``: plain numbers, each with ``ci95`` and ``n``.

    Raises ValueError when two compared models of a suite were evaluated on different utterances.
    """
    differences = {name: paired(r.models, seed=facts.seed) for name, r in results.items()}
    return {
        "name": facts.name,
        "headline": " ".join(headline(results, differences)),
        "suites": {name: _suite(result, differences[name]) for name, result in results.items()},
        "paper": {
            beside.published.key: beside.to_json()
            for beside in side_by_side(results, backbone=facts.name)
        },
        "scorer": facts.scorer,
        "seed": facts.seed,
        "wall_s": facts.wall_s,
        "prompt_digests": dict(facts.prompt_digests),
        "versions": dict(facts.versions),
        "git_revision": facts.git_revision,
    }


def pairs_of(names: Iterable[str]) -> list[tuple[str, str]]:
    """Which of these models are compared: :data:`PAIRS`, then whatever else against D."""
    known = list(names)
    others = [(name, "D") for name in known if name not in PAPER_MODELS]
    return [pair for pair in (*PAIRS, *others) if set(pair) <= set(known)]


def labels_of(result: SuiteResult) -> tuple[str, ...]:
    """What the models chose among; empty where the suite was not run."""
    return next((m.labels for m in result.models.values()), ())


def size_of(result: SuiteResult) -> int:
    """Utterances of the suite; where no rows were kept, the most that any metric rests on."""
    models = result.models.values()
    rows = max((len(m.rows) for m in models), default=0)
    return rows or max((e.n for m in models for e in m.estimates.values()), default=0)


def confusion(result: ModelResult) -> tuple[tuple[str, ...], list[list[int]]]:
    """Columns, and counts [true label][column] of constrained choice.

    The columns are the labels, and :data:`OTHER` last where an answer was none of them.
    """
    answers = [r.chosen if r.chosen in result.labels else OTHER for r in result.rows]
    columns = result.labels if OTHER not in answers else (*result.labels, OTHER)
    counts = confusion_matrix([r.emotion for r in result.rows], answers, columns)
    return columns, counts[: len(result.labels)].tolist()


def _suite(result: SuiteResult, differences: Paired) -> dict[str, Any]:
    labels = labels_of(result)
    return {
        "about": result.about,
        "status": "run" if result.models else "not run",
        "reason": None if result.models else (result.not_run or "no model was evaluated"),
        "notes": list(result.notes),
        "n": size_of(result),
        "labels": list(labels),
        "chance": 1 / len(labels) if labels else None,
        "models": {name: _estimates(m.estimates) for name, m in result.models.items()},
        "classical": None if result.classical is None else _classical(result.classical),
        "paired": differences,
        "confusion": {
            name: dict(zip(("columns", "counts"), confusion(m), strict=True))
            for name, m in result.models.items()
            if m.rows
        },
        "divergence_by_pair": {
            name: [asdict(pair) for pair in divergence_by_pair(m.rows)]
            for name, m in result.models.items()
        },
    }


def paired(models: Mapping[str, ModelResult], *, seed: int) -> Paired:
    """``{"D-C": {metric: {mean, ci95, n, mcnemar}}}``, the last for accuracies alone.

    Models whose rows were not kept are left out. Raises ValueError for different utterances.
    """
    voted = {name: m for name, m in models.items() if m.votes}
    found: Paired = {
        "-".join(pair): {
            metric: _difference(e) for metric, e in compare_votes(pair, voted, seed=seed).items()
        }
        for pair in pairs_of(voted)
    }
    kept = {name: m for name, m in models.items() if m.rows}
    for pair in pairs_of(kept):
        tests = compare_accuracies(pair, kept)
        found["-".join(pair)] = {
            metric: _difference(estimate)
            | ({"mcnemar": asdict(tests[metric])} if metric in tests else {})
            for metric, estimate in compare(pair, kept, seed=seed).items()
        }
    return found


def _difference(estimate: Estimate) -> dict[str, Any]:
    told = estimate_json(estimate)
    return {"mean": told["value"], "ci95": told["ci95"], "n": told["n"]}


def _estimates(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    return {metric: estimate_json(e) for metric, e in estimates.items()}


def _classical(classical: Classical) -> dict[str, Any]:
    return {"trained_on": classical.trained_on, "metrics": _estimates(classical.estimates)}
