"""``cogaudio-rl compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clusters.cli_options import AllowMissing
from clusters.exits import reports

Runs = Annotated[
    list[str],
    typer.Argument(
        metavar="[NAME=]RUN... [KEY=VALUE]...",
        help="Run folders, or one that holds `seed-0`, `seed-1` and so on; then changes of how is "
        "measured, e.g. `eval.max_utterances=140`.",
        show_default=False,
    ),
]


@reports
def compare(
    runs: Runs,
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(
            "--checkpoint",
            "-c",
            metavar="[NAME=]FOLDER",
            help="Another adapter, or a whole Hugging Face checkpoint. Give it once for each.",
            show_default=False,
        ),
    ] = None,
    suite: Annotated[
        list[str] | None,
        typer.Option(
            "--suite",
            "-s",
            help="As of `eval`. Give it once for each.",
            show_default="lime, conflict, and ambiguity where a run learnt votes",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the table and the answers.")
    ] = Path("runs/compare"),
    other_base: Annotated[
        list[str] | None,
        typer.Option(
            "--other-base",
            metavar="NAME",
            help="Let this recipe or system stand on another base than the first run. Once for each.",
            show_default=False,
        ),
    ] = None,
    allow_missing: AllowMissing = False,
) -> None:
    """Systems of several runs in one table: same test sets, same base, budgets told, seeds grouped.

    Accuracy, distribution of votes, empathy, semantic dominance, tokens and seconds, each with `n` and
    its interval; the papers' figures stand beside them. Runs of one recipe that differ in seed are one
    system. Writes `compare.html` and `compare.json`. Answers are kept: the same command asks only what
    is new.

    - `cogaudio-rl compare runs/quickstart runs/ambiguity_mini`

    - Three seeds of each: `cogaudio-rl compare runs/ablation runs/votes -o runs/table`
    """
    from clusters.comparing import compare_runs

    compare_runs(
        runs,
        checkpoint or (),
        suite or (),
        out,
        other_bases=other_base or (),
        allow_missing=allow_missing,
    )
