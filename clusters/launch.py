"""What the commands do: open a run in its folder, run the stages, close."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from clusters.backend import logical_cpus, make_backend
from clusters.in_job import check_kept, in_a_job
from clusters.layout import Node, Role, layout, reserved, shortage
from clusters.memory_watch import MemoryWatch
from cogaudio_rl.config import ClusterConfig, Config
from cogaudio_rl.console import Console
from cogaudio_rl.data.lime.build import build_lime_mini
from cogaudio_rl.data.manifest import read_manifest
from cogaudio_rl.errors import ConfigError
from cogaudio_rl.eval.over_folds import summarise_folds
from cogaudio_rl.eval.seeds import summarise_seeds
from cogaudio_rl.metrics import MetricsLog
from cogaudio_rl.models.architecture import resolve_checkpoint
from cogaudio_rl.models.checkpoint import load_adapter
from cogaudio_rl.rewards.judge import probe_judge
from cogaudio_rl.run_folder import RunFolder
from cogaudio_rl.sinks import sinks_from_environment
from cogaudio_rl.stages.pipeline import Pipeline, run_all
from cogaudio_rl.trace import FILE_NAME as TRACE
from cogaudio_rl.trace import busy, read_trace

_SCRATCH_BASE = "base"
_ROLES: Mapping[str, tuple[Role, ...]] = {
    "rl_rollouts_only": (Role.ROLLOUT, Role.JUDGE),
    "rl_train_only": (Role.LEARNER,),
}
"""Who takes part in a stage that does not need everybody."""


@contextmanager
def opened(
    config: Config, *, resume: bool, overwrite: bool, roles: Collection[Role] = tuple(Role)
) -> Iterator[tuple[Pipeline, MemoryWatch]]:
    """A pipeline in its run folder, with its backend; everything started is ended on the way out.

    ``roles`` are those the stages will start.
    """
    check_before_start(config, roles)
    run = RunFolder.open(config, resume=resume, overwrite=overwrite)
    backend = make_backend(config, run.path)
    console = Console()
    sinks = sinks_from_environment(
        run.path, config.model_dump(mode="json"), warn=lambda text: console.note(text, warn=True)
    )
    with MemoryWatch() as watch, MetricsLog(run.path, sinks) as metrics:
        try:
            yield Pipeline(config, run, backend, metrics, console), watch
        finally:
            backend.close()


def check_before_start(config: Config, roles: Collection[Role]) -> None:
    """Fail before anything is written: no backbone, no judge, no room for the workers."""
    check_kept(config.out_dir)
    _check_room(config.cluster, roles)
    if Path(config.model.path) != config.out_dir / _SCRATCH_BASE:
        resolve_checkpoint(config.model.path)
    if config.sft.start is not None:
        load_adapter(config.sft.start)
    if Role.JUDGE in roles:
        asyncio.run(_probe_judges(config))


async def _probe_judges(config: Config) -> None:
    await probe_judge(config.judge)
    if config.rl.held_out_judge is not None:
        await probe_judge(config.rl.held_out_judge)


def _check_room(cluster: ClusterConfig, roles: Collection[Role]) -> None:
    """On this machine alone, what does not fit never will; a cluster may grow, and is waited for."""
    if cluster.backend != "ray" or cluster.address or in_a_job():
        return
    import torch

    here = Node(free={"CPU": float(logical_cpus()), "GPU": float(torch.cuda.device_count())})
    why = shortage([b for b in reserved(layout(cluster)) if b.role in roles], [here])
    if why:
        raise ConfigError(
            f"the workers do not fit on this machine: {why}; ask for less under cluster, or name a "
            "running cluster with cluster.address"
        )


def run_pipeline(
    config: Config,
    *,
    stages: Sequence[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    from_scratch: bool = False,
    init: Path | None = None,
    rollouts: Path | None = None,
) -> None:
    """Run the named stages, or all that the recipe's models need with evaluation and report.

    With ``config.seeds`` the whole run is repeated, one folder per seed, and summed up in a table.
    """
    if config.seeds and stages is None:
        run_seeds(config, resume=resume, overwrite=overwrite)
        return
    if from_scratch:
        model = config.model.model_copy(update={"path": str(config.out_dir / _SCRATCH_BASE)})
        config = config.model_copy(update={"model": model})
    if init is not None:
        load_adapter(init)  # a missing or damaged one is an error before the folder is made
    roles = {r for stage in stages or ("all",) for r in _ROLES.get(stage, tuple(Role))}
    with opened(config, resume=resume, overwrite=overwrite, roles=roles) as (pipeline, watch):
        if from_scratch:
            pipeline.make_base(config.out_dir / _SCRATCH_BASE)
        if stages is None:
            run_all(pipeline, peak_rss_gib=watch.peak_gib)
        for stage in stages or ():
            if stage == "rl":
                pipeline.rl(init)
            elif stage == "rl_rollouts_only":
                pipeline.rl_rollouts_only(init)
            elif stage == "rl_train_only" and rollouts is not None:
                pipeline.rl_train_only(rollouts, init)
            else:
                pipeline.sft(stage, init)


def run_seeds(config: Config, *, resume: bool, overwrite: bool) -> None:
    """One run per seed, then the table of all of them. A finished seed is not run again."""
    for seed in config.seeds:
        one = config.model_copy(
            update={"seed": seed, "seeds": (), "out_dir": config.out_dir / f"seed-{seed}"}
        )
        if resume and (one.out_dir / "report.json").is_file():
            continue
        run_pipeline(one, resume=resume, overwrite=overwrite)
    summarise_seeds(config.out_dir, config.seeds)


def run_folds(config: Config, folder: Path, *, resume: bool, overwrite: bool) -> None:
    """One run for each fold that ``data voted`` wrote, then all of them as one test.

    Raises ConfigError for a recipe that is not about votes, or a folder without folds.
    """
    if not config.is_about_votes:
        raise ConfigError(f"--folds takes a recipe about votes, and {config.name} is about replies")
    folds = sorted(path.parent for path in folder.glob("*/test.jsonl"))
    if not folds:
        raise ConfigError(f"--folds {str(folder)!r} holds no <fold>/test.jsonl; see `data voted`")
    _refuse_folds(config, folds)
    for fold in folds:
        data = config.data.model_copy(update={"root": fold})
        out = config.out_dir / fold.name
        one = config.model_copy(update={"data": data, "seeds": (), "out_dir": out})
        if resume and (out / "report.json").is_file():
            continue
        run_pipeline(one, resume=resume, overwrite=overwrite)
    report = summarise_folds(
        config.out_dir,
        [fold.name for fold in folds],
        config.models,
        samples=config.eval.bootstrap_samples,
        seed=config.seed,
    )
    console = Console()
    for name, told in report["models"].items():
        js = told["votes_js"]
        low, high = js["ci95"]
        console.note(f"{name}: JS {js['value']:.3f} ({low:.3f} to {high:.3f}), n {js['n']}")
    console.note(f"all folds: {config.out_dir / 'folds.json'}")


def _refuse_folds(config: Config, folds: Sequence[Path]) -> None:
    """Before anything trains: every utterance is to be tested, and once."""
    tested: dict[str, Path] = {}
    for fold in folds:
        ids = [utterance.id for utterance in read_manifest(fold / "test.jsonl")]
        if len(ids) > config.eval.max_utterances:
            raise ConfigError(
                f"fold {fold.name} has {len(ids)} utterances to test and eval.max_utterances is "
                f"{config.eval.max_utterances}; set it to {len(ids)} or more"
            )
        for name in ids:
            if name in tested:
                raise ConfigError(
                    f"utterance {name!r} is tested in {tested[name].name} and in {fold.name}; folds of "
                    "two protocols lie in one folder, write them again into an empty one"
                )
            tested[name] = fold


def export_merged(checkpoint: Path, out: Path, base: str | None) -> None:
    """Merge an adapter into the backbone it was trained on, or into ``base``."""
    from cogaudio_rl.models.checkpoint import adapter_base
    from cogaudio_rl.models.export import merge

    console = Console()
    console.stage("export: W + (alpha / r) * B @ A for every layer the adapter touches")
    with console.progress("shards") as advance:
        layers = merge(base or adapter_base(checkpoint), checkpoint, out, progress=advance)
    console.note(f"{layers} layers merged; {out} opens without PEFT")


def show_trace(run: Path) -> None:
    """A table of who was busy with what, and how to look at it."""
    from rich.console import Console as Terminal
    from rich.table import Table

    found = busy(read_trace(run))
    table = Table("worker", "busy", "seconds by call", title="Stage III, worker by worker")
    for track, one in found.items():
        longest = sorted(one.seconds.items(), key=lambda item: -item[1])
        calls = ", ".join(f"{name} {seconds:.1f}" for name, seconds in longest)
        table.add_row(track, f"{one.share:.0%}", calls)
    Terminal().print(table)
    Console().note(f"open {run / TRACE} in Perfetto or chrome://tracing for the timeline")


def build_lime(config: Config, out: Path) -> None:
    """Write and speak a LIME-mini corpus."""
    console = Console()
    console.stage("LIME-mini: the same words in seven tones of voice, split by text and by voice")
    with console.progress("utterances") as advance:
        corpus = build_lime_mini(config.data, config.seed, out, progress=advance)
    console.note(
        f"{len(corpus.train)} train, {len(corpus.rl)} rl, {len(corpus.test)} test and "
        f"{len(corpus.chinese)} Chinese utterances in {out}"
    )
