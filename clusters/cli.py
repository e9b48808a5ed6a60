"""The one command, ``cogaudio-rl``.

Every command reads a recipe and its overrides. The work itself is in ``clusters/launch.py``,
imported only when it starts, so that ``--help`` is quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import cogaudio_rl
from clusters.cli_compare import compare
from clusters.cli_data import data_app
from clusters.cli_eval import ablate_run, evaluate
from clusters.cli_humdial import humdial_app
from clusters.cli_jobs import jobs_app, submit
from clusters.cli_judge import judge_app
from clusters.cli_manifest import manifest
from clusters.cli_options import Overrides, Recipe
from clusters.cli_serve import serve
from clusters.exits import reports
from cogaudio_rl.config import Config, load_config
from cogaudio_rl.errors import ConfigError

app = typer.Typer(
    name="cogaudio-rl",
    help="Teach audio language models to answer how something is said.\n\n"
    "Start with `cogaudio-rl quickstart`: the whole method in miniature on a laptop. "
    "`cogaudio-rl doctor` says what this machine lacks.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
base_app = typer.Typer(
    help="The small base model that ships with the package.", no_args_is_help=True
)
app.add_typer(data_app, name="data")
app.add_typer(judge_app, name="judge")
app.add_typer(humdial_app, name="humdial")
app.add_typer(base_app, name="base")
app.add_typer(jobs_app, name="jobs")

Resume = Annotated[bool, typer.Option("--resume", help="Go on in the run folder that is there.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Delete the run folder that is there, and start anew.")
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Only show: resolved config, placement, memory per role, what this machine lacks.",
    ),
]
From = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="CHECKPOINT",
        help="Adapter folder to start from; without it, the stage before in the same run folder.",
        show_default=False,
    ),
]


class SftStage(StrEnum):
    """What ``sft`` can train."""

    STAGE1 = "stage1"
    STAGE2 = "stage2"
    DIRECT = "direct"
    CHAIN = "chain"
    VOTES = "votes"
    TEACHER = "teacher"
    DISTIL = "distil"
    SPEAK = "speak"


@app.command()
@reports
def quickstart(
    overrides: Overrides = None,
    from_scratch: Annotated[
        bool,
        typer.Option(
            "--from-scratch", help="First make the base's weights too (about 40 minutes)."
        ),
    ] = False,
    resume: Resume = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> None:
    """The whole method in miniature: data, stages I to III, evaluation and a report.

    15 to 20 minutes on 2 cores, without a GPU; it leaves `runs/quickstart/report.html`.

    The small base hears well and answers blandly. Stage I teaches it to reason from the voice to a
    reply, stage II to reply so without saying the reasoning, stage III (DR-SAPO) to prefer replies
    that meet the need behind the voice. The report compares them on unseen words and voices.
    """
    config = load_config("quickstart", overrides or ())
    _start(config, None, resume, overwrite, dry_run, from_scratch=from_scratch)


@app.command()
@reports
def run(
    overrides: Overrides = None,
    recipe: Recipe = "quickstart",
    folds: Annotated[
        Path | None,
        typer.Option(
            help="Folder of `data voted`: one run for each of its folds, then all as one test.",
            show_default=False,
        ),
    ] = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> None:
    """All stages of a recipe, then evaluation and report.

    Each finished stage stays in the run folder (the recipe's `out_dir`); `--resume` skips it.

    - Look before you leap: `cogaudio-rl run --recipe qwen2_5_omni_7b --dry-run`
    - Real voices: `cogaudio-rl run --recipe emodb data.root=PATH`

    - Leave one session out: `cogaudio-rl run --recipe ambiguity_iemocap --folds data/iemocap_voted`
    """
    config = load_config(recipe, overrides or ())
    if folds is None or dry_run:
        _start(config, None, resume, overwrite, dry_run)
        return
    from clusters.launch import run_folds

    _refuse_both(resume, overwrite)
    run_folds(config, folds, resume=resume, overwrite=overwrite)


@app.command()
@reports
def sft(
    overrides: Overrides = None,
    stage: Annotated[
        SftStage | None,
        typer.Option(
            show_default="the recipe's first",
            help="stage1: reason, then reply (prompt A). stage2: prompts A and B mixed. "
            "direct: replies only, the ablation. chain, votes: how listeners' votes are shared, by the "
            "text alone or with their divergence. teacher, distil, speak: IEAT's teacher and its two "
            "stages.",
        ),
    ] = None,
    recipe: Recipe = "quickstart",
    init: From = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> None:
    """One supervised stage.

    The adapter is left in `checkpoints/STAGE` of the run folder.

    - Stage II after stage I in the same folder: `cogaudio-rl sft --stage stage2 --resume`
    - From elsewhere: `cogaudio-rl sft --stage stage2 --from runs/a/checkpoints/stage1
      out_dir=runs/b`
    """
    from cogaudio_rl.stages.pipeline import stages_for

    config = load_config(recipe, overrides or ())
    stages = [stage.value] if stage else stages_for(config)[:1]
    if not stages:
        raise ConfigError(f"recipe {config.name!r} has no model that SFT makes; give --stage")
    _start(config, tuple(stages), resume, overwrite, dry_run, init=init)


@app.command()
@reports
def rl(
    overrides: Overrides = None,
    recipe: Recipe = "quickstart",
    init: From = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    debug_rollouts_only: Annotated[
        bool,
        typer.Option(
            "--debug-rollouts-only",
            help="Roll out and judge every step, keep all of it in `rollouts_only/`, train nothing.",
        ),
    ] = False,
    debug_train_only: Annotated[
        Path | None,
        typer.Option(
            "--debug-train-only",
            metavar="ROLLOUTS",
            help="Train on the rollouts another run saved; no sampler and no judge is started.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Stage III alone: DR-SAPO on both routes.

    Before its first step it measures whether the policy is ready: RL makes a weak policy worse.

    - After stage II in the same folder: `cogaudio-rl rl --resume`
    - From elsewhere: `cogaudio-rl rl --from runs/a/checkpoints/stage2 out_dir=runs/b rl.steps=50`

    Looking for a fault, take one half at a time: `--debug-rollouts-only`, then
    `--debug-train-only runs/b/rollouts_only`.
    """
    if debug_rollouts_only and debug_train_only is not None:
        raise ConfigError("--debug-rollouts-only and --debug-train-only exclude each other")
    if debug_train_only is not None and not any(debug_train_only.glob("*.jsonl")):
        raise ConfigError(f"--debug-train-only {str(debug_train_only)!r} holds no *.jsonl")
    stage = "rl"
    if debug_rollouts_only:
        stage = "rl_rollouts_only"
    elif debug_train_only is not None:
        stage = "rl_train_only"
    config = load_config(recipe, overrides or ())
    _start(config, (stage,), resume, overwrite, dry_run, init=init, rollouts=debug_train_only)


app.command("eval")(evaluate)
app.command()(compare)
app.command("ablate")(ablate_run)


@app.command()
@reports
def export(
    checkpoint: Annotated[
        Path,
        typer.Option(
            "--checkpoint", "-c", help="Adapter folder, e.g. `runs/a/checkpoints/stage3`."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder to write; must not be there yet.")
    ],
    base: Annotated[
        str | None,
        typer.Option(
            help="Backbone to merge into; without it, the one the adapter was trained on.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Merge an adapter into its backbone: a folder that transformers and vLLM open without PEFT.

    The checkpoint itself is a PEFT adapter already; use it as it is where PEFT is at hand.

    - `cogaudio-rl export -c runs/quickstart/checkpoints/stage3 -o exported`
    """
    from clusters.launch import export_merged

    export_merged(checkpoint, out, base)


@app.command()
@reports
def trace(
    run: Annotated[Path, typer.Argument(help="A run folder, e.g. `runs/quickstart`.")],
) -> None:
    """Who did what when in stage III: generation, judging, training, publishing, idle.

    Prints each worker's share of busy time. The run's `trace.json` has every call, in the format
    that Perfetto opens.
    """
    from clusters.launch import show_trace

    show_trace(run)


@base_app.command("make")
@reports
def make(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the checkpoint.")] = Path(
        "runs/base"
    ),
    steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
) -> None:
    """Make the base's weights again, from nothing. It takes about 40 minutes on one core.

    It learns to transcribe, to describe a voice, and to answer the words blandly: never emotion.
    Use the result with `model.path=runs/base`.
    """
    from cogaudio_rl.models.pretrain import PretrainSettings, make_base

    settings = PretrainSettings(seed=seed, threads=threads)
    make_base(out, replace(settings, steps=steps) if steps else settings, typer.echo)


@app.command()
@reports
def doctor(
    as_json: Annotated[
        bool, typer.Option("--json", help="As JSON, for a program to read.")
    ] = False,
) -> None:
    """Look at this machine: versions, devices, free memory, what would fail and how to mend it.

    Exit code 1 when something would fail.
    """
    from clusters.doctor import doctor as look

    if not look(as_json=as_json):
        raise SystemExit(1)


# After its own options everything is the job's, also without the --.
app.command("submit", context_settings={"allow_interspersed_args": False})(submit)
app.command()(serve)
app.command()(manifest)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"cogaudio-rl {cogaudio_rl.__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def _refuse_both(resume: bool, overwrite: bool) -> None:
    if resume and overwrite:
        raise ConfigError("--resume and --overwrite exclude each other")


def _start(
    config: Config,
    stages: Sequence[str] | None,
    resume: bool,
    overwrite: bool,
    dry_run: bool,
    *,
    from_scratch: bool = False,
    init: Path | None = None,
    rollouts: Path | None = None,
) -> None:
    _refuse_both(resume, overwrite)
    if dry_run:
        from clusters.dryrun import dry_run as show

        show(config)
        return
    from clusters.launch import run_pipeline

    run_pipeline(
        config,
        stages=stages,
        resume=resume,
        overwrite=overwrite,
        from_scratch=from_scratch,
        init=init,
        rollouts=rollouts,
    )
