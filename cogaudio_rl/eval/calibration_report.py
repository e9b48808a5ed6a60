"""The report of a judge's calibration: ``calibration.json`` and one self-contained page.

Names of judges, files and raters come from outside: the template escapes everything, and the page's
own content policy forbids scripts and every outside resource.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from cogaudio_rl.eval.agreement import Agreement
from cogaudio_rl.eval.labels import JudgeCalibration
from cogaudio_rl.eval.metrics import Estimate
from cogaudio_rl.eval.pages import render
from cogaudio_rl.rewards.terms import RUBRIC
from cogaudio_rl.run_folder import write_whole

_MEASURES: Mapping[str, str] = {"weighted kappa": "kappa", "ICC(2,1)": "icc"}


def write_calibration(
    folder: Path,
    calibration: JudgeCalibration,
    *,
    judge: str,
    labelled_file: str,
    samples: int,
    seed: int,
) -> dict[str, Any]:
    """Write ``calibration.json`` and ``calibration.html``; returns the former's content.

    ``judge`` names the judge, ``labelled_file`` what it was held against; ``samples`` and ``seed``
    are those of the bootstrap.
    """
    content: dict[str, Any] = {
        "judge_name": judge,
        "labelled_file": labelled_file,
        "bootstrap_samples": samples,
        "seed": seed,
        **calibration.to_json(),
    }
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(folder / "calibration.json", text + "\n")
    write_whole(folder / "calibration.html", render_html(content, calibration))
    return content


def render_html(content: Mapping[str, Any], calibration: JudgeCalibration) -> str:
    """The page as text; ``content`` is that of ``calibration.json``."""
    return render(
        "calibration.html.j2",
        content=content,
        headline=headline(calibration),
        levels=RUBRIC,
        forests=_forests(calibration),
    )


def headline(calibration: JudgeCalibration) -> str:
    """One sentence: the judge's agreement with one person beside that of people with each other.

    Rater by rater, since a median of several is steadier than any of them and flatters the judge.
    """
    judge, humans = calibration.judge.kappa, calibration.humans
    if judge.n == 0:
        return "Agreement cannot be told: judge and people gave every reply one and the same level."
    if humans is None:
        return (
            f"The judge agrees with the one rater at a weighted kappa of {_text(judge.value)};"
            " how far people agree with each other is not known."
        )
    single = fmean(found.kappa.value for found in calibration.per_rater.values())
    return (
        f"With one person the judge agrees at a weighted kappa of {_text(single)} on average,"
        f" people with each other at {_text(humans.kappa.value)};"
        f" with their median the judge agrees at {_text(judge.value)}."
    )


def _forests(calibration: JudgeCalibration) -> list[dict[str, Any]]:
    """A plot for each measure: who against whom, with intervals, on one axis."""
    who: dict[str, Agreement] = {"judge · median human": calibration.judge}
    if calibration.humans is not None:
        who["human · human"] = calibration.humans
    who |= {f"judge · {rater}": found for rater, found in calibration.per_rater.items()}
    return [
        _forest(title, {name: getattr(found, field) for name, found in who.items()})
        for title, field in _MEASURES.items()
    ]


def _forest(title: str, estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    """Places are percent of an axis that ends at 1 and begins at 0 or below."""
    # A float's last digit may put a perfect interval above 1; one of few draws may not exist.
    ends = [e.lo for e in estimates.values() if not math.isnan(e.lo)]
    low = min(0.0, *ends) if ends else 0.0

    def place(value: float, otherwise: float) -> float:
        at = otherwise if math.isnan(value) else value
        return round(3 + 94 * (min(1.0, at) - low) / (1 - low), 2)

    return {
        "title": title,
        "zero": place(0.0, 0.0),
        "rows": [
            {
                "name": name,
                "n": e.n,
                "value": _text(e.value),
                "interval": f"{_text(e.lo)} … {_text(e.hi)}",
                "left": place(e.lo, e.value),
                "right": place(e.hi, e.value),
                "at": place(e.value, e.value),
            }
            for name, e in estimates.items()
            if e.n
        ],
        "missing": [name for name, e in estimates.items() if not e.n],
    }


def _text(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}".replace("-", "−")
