"""All folds of a protocol as one test: every utterance is tested once, by a model that never heard it.

fold/eval/<model>.votes.jsonl, fold after fold ─► one table of votes and predictions ─► estimates
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cogaudio_rl.errors import DataError
from cogaudio_rl.eval.distribution import distribution_estimates
from cogaudio_rl.eval.metrics import estimate_json, mean_estimate
from cogaudio_rl.eval.result import load_result
from cogaudio_rl.run_folder import read_lines, write_whole


def summarise_folds(
    folder: Path, folds: Sequence[str], models: Sequence[str], *, samples: int, seed: int
) -> dict[str, Any]:
    """Write ``folds.json`` beside the folds' runs: per model every metric over all their utterances,
    with ``ci95`` and ``n``, and by fold. Returns its content.

    Raises DataError for a fold whose models were not evaluated, one that had other labels, and an
    utterance that was tested in two.
    """
    report = {
        "folds": list(folds),
        "seed": seed,
        "models": {
            name: _model(folder, folds, name, samples=samples, seed=seed) for name in models
        },
    }
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(folder / "folds.json", text + "\n")
    return report


def _model(
    folder: Path, folds: Sequence[str], model: str, *, samples: int, seed: int
) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    by_fold: dict[str, dict[str, float | None]] = {}
    labels: tuple[str, ...] | None = None
    for fold in folds:
        result = folder / fold / "eval" / f"{model}.json"
        said = read_lines(result.with_suffix(".votes.jsonl"))
        if not result.is_file() or not said:
            raise DataError(f"fold {fold}: model {model} was not evaluated; finish its run first")
        found = load_result(result)
        labels = labels or found.labels
        if found.labels != labels:
            raise DataError(f"fold {fold} has labels {', '.join(found.labels)}, not {labels}")
        rows += said
        by_fold[fold] = {
            metric: estimate_json(estimate)["value"] for metric, estimate in found.estimates.items()
        }
    twice = len(rows) - len({row["utterance_id"] for row in rows})
    if twice:
        raise DataError(f"{twice} utterances are tested in two folds; folds hold speakers apart")
    estimates = distribution_estimates(
        [row["votes"] for row in rows],
        [row["predicted"] for row in rows],
        samples=samples,
        seed=seed,
        # A fold from before it was noted whose voice it is: each clip counts as one.
        voices=[row.get("speaker", row["utterance_id"]) for row in rows],
    )
    told = {f"votes_{name}": estimate_json(e) for name, e in estimates.items()}
    valid = [float(row["failure"] is None) for row in rows]
    told["format_ambiguity"] = estimate_json(mean_estimate(valid, samples=samples, seed=seed))
    return {
        metric: figure | {"by_fold": {fold: of.get(metric) for fold, of in by_fold.items()}}
        for metric, figure in told.items()
    }
