"""``cogaudio-rl eval`` and ``cogaudio-rl ablate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clusters.cli_options import AllowMissing, Overrides, Recipe
from clusters.exits import reports
from cogaudio_rl.config import load_config
from cogaudio_rl.errors import ConfigError


@reports
def evaluate(
    overrides: Overrides = None,
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(
            "--checkpoint",
            "-c",
            metavar="[NAME=]FOLDER",
            help="An adapter, or a whole Hugging Face checkpoint; `base` is the bare backbone. "
            "Give it once for each model.",
            show_default=False,
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(help="All models of a finished run, by its own recipe.", show_default=False),
    ] = None,
    suite: Annotated[
        list[str] | None,
        typer.Option(
            "--suite",
            "-s",
            help="test (the recipe's own), lime, conflict, esd, emodb, crema_d, humdial, ambiguity, "
            "ambiguity_dev (to choose settings on), attribution; or all. Give it once for each.",
            show_default="test",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder for the report and the answers.",
            show_default="`suites` in the run's folder",
        ),
    ] = None,
    allow_missing: AllowMissing = False,
    recipe: Recipe = "quickstart",
) -> None:
    """Models on test sets, side by side: what they hear, how they answer, and what they follow.

    Emotion accuracy, UAR and F1, empathy on both routes, and the measures of semantic dominance, each
    with its interval; a classical classifier and the paper's figures stand beside them. Writes
    `report.html` and `report.json`. Answers are kept: the same command goes on where it stopped.

    - A run's models where words and voice disagree: `cogaudio-rl eval --run runs/quickstart -s test
      -s conflict`

    - Corpora on disk: `… -s esd -s emodb eval.suites.esd.root=PATH eval.suites.emodb.root=PATH`

    - Somebody else's model: `… 'eval.baselines=[{name: other, base_url: URL, model: NAME}]'`
    """
    from clusters.contestants import model_of, run_of
    from clusters.evaluating import evaluate_models
    from cogaudio_rl.eval.suites import SUITES

    if run is not None:
        config, models = run_of(run, overrides or ())
    else:
        config, models = load_config(recipe, overrides or ()), []
    models += [model_of(given, config) for given in checkpoint or ()]
    if not models and not config.eval.baselines:
        raise ConfigError("nothing to evaluate; give --run FOLDER or --checkpoint [NAME=]FOLDER")
    names = list(SUITES) if suite == ["all"] else suite or ["test"]
    folder = out or (run or config.out_dir) / "suites"
    evaluate_models(config, models, names, folder, allow_missing=allow_missing)


@reports
def ablate_run(
    run: Annotated[
        Path | None,
        typer.Option(help="The run to vary; without it, show what can be varied."),
    ] = None,
    overrides: Overrides = None,
    variant: Annotated[
        list[str] | None,
        typer.Option("--variant", help="By name; once for each.", show_default="all of them"),
    ] = None,
    variants: Annotated[
        str, typer.Option(help="Shipped variants by name, or a YAML file of your own.")
    ] = "paper",
) -> None:
    """What is each part of the method worth? Model D again, with one thing done otherwise.

    Each variant is stage III from the run's own adapter, in `variants/NAME` of its folder;
    `cogaudio-rl eval --run` then shows it beside the others as `D/NAME`.

    - `cogaudio-rl ablate` lists them

    - `cogaudio-rl ablate --run runs/quickstart --variant grpo --variant direct_only`
    """
    from clusters.ablating import ablate, list_variants

    if run is None:
        list_variants(variants)
    else:
        ablate(run, variant or (), variants, overrides or ())
