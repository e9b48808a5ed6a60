"""``cogaudio-rl judge``: is the judge that a recipe names worth its word?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clusters.cli_options import Overrides, Recipe
from clusters.exits import reports
from cogaudio_rl.config import load_config

judge_app = typer.Typer(help="Try a judge before it is trusted.", no_args_is_help=True)
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for what was found.")]


@judge_app.command()
@reports
def calibrate(
    labels: Annotated[
        Path,
        typer.Option("--labels", help="JSON lines: words, emotion, language, reply, labels."),
    ],
    out: Out,
    overrides: Overrides = None,
    recipe: Recipe = "quickstart",
) -> None:
    """Hold the recipe's judge against people who rated the same replies from 1 to 4.

    Weighted kappa and ICC(2,1) with 95 % intervals, judge against people and people among themselves,
    and where the judge errs: `calibration.html` and `calibration.json`.

    - a line: `{"words": "I passed.", "emotion": "happy", "language": "en", "reply": "Good for you!",
      "labels": {"anna": 3, "ben": 2}}`

    - `cogaudio-rl judge calibrate --labels labels.jsonl -o trial judge.kind=llm judge.base_url=URL
      judge.model=NAME`
    """
    from clusters.judging import calibrate_judge

    calibrate_judge(load_config(recipe, overrides or ()), labels, out)


@judge_app.command()
@reports
def canaries(out: Out, overrides: Overrides = None, recipe: Recipe = "quickstart") -> None:
    """Put replies before the recipe's judge that none may like: empty, begging, for another emotion.

    Writes `canaries.json`; ends with 1 where one of them reached a 2.
    """
    from clusters.judging import try_judge_with_canaries

    try_judge_with_canaries(load_config(recipe, overrides or ()), out)
