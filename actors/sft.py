"""Stages I and II on Ray Train: every worker is one DeepSpeed rank of ``stages.sft.run_sft``."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from actors.describe import report_in
from cogaudio_rl.config import Config, SftStageConfig
from cogaudio_rl.data.mixture import Mixture
from cogaudio_rl.errors import CogAudioError, RunError, WaitTimeout
from cogaudio_rl.models.checkpoint import load_adapter, save_adapter
from cogaudio_rl.seeding import seed_for
from cogaudio_rl.stages.sft import LogStep, run_sft
from cogaudio_rl.types import Utterance

_PROGRESS = "progress.jsonl"
_POLL_S = 0.2


def train_sft(
    config: Config,
    stage: str,
    stage_config: SftStageConfig,
    train: Sequence[Utterance] | Mixture,
    *,
    init: Path | None,
    out: Path,
    storage: Path,
    on_step: LogStep,
    env: Mapping[str, str],
) -> None:
    """Train one SFT stage from the adapter in ``init`` (None: a fresh one) into ``out``.

    ``storage`` is Ray Train's own folder, which would else be ``~/ray_results``; ``env`` is the
    environment of the workers' processes. Both folders must be visible to every node.
    Raises the worker's own CogAudioError, RunError when a worker died and WaitTimeout when no step
    ends within ``cluster.step_timeout_s``.
    """
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    cluster, out, storage = config.cluster, out.absolute(), storage.absolute()
    for folder in (out, storage / stage):  # what an interrupted attempt left
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    # Ray Train would move its workers into its storage folder, away from relative paths.
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
    resources = {"CPU": cluster.cpus_per_learner, "GPU": cluster.gpus_per_learner}
    trainer = TorchTrainer(
        _train_worker,
        train_loop_config={
            "config": config,
            "stage": stage,
            "stage_config": stage_config,
            "train": train,
            "init": init.absolute() if init else None,
            "out": out,
        },
        scaling_config=ScalingConfig(
            num_workers=cluster.learner_workers,
            use_gpu=cluster.gpus_per_learner > 0,
            resources_per_worker={name: n for name, n in resources.items() if n > 0},
            label_selector=dict(cluster.node_labels.get("learner", {})) or None,
        ),
        torch_config=TorchConfig(timeout_s=int(cluster.step_timeout_s)),
        run_config=RunConfig(
            name=stage,
            storage_path=str(storage),
            worker_runtime_env={"env_vars": dict(env)},
        ),
    )
    _follow(trainer, out / _PROGRESS, on_step, stage=stage, config=config)
    (out / _PROGRESS).unlink(missing_ok=True)


def _train_worker(job: dict[str, Any]) -> None:
    """What each Ray Train worker runs; the process group is already there."""
    import torch
    from ray.train import get_context

    from actors.engine import DeepSpeedEngine
    from cogaudio_rl.models.policy import Policy

    report_in("learner")
    config: Config = job["config"]
    torch.set_num_threads(config.cluster.threads_per_learner)
    # LoRA's A is drawn when it is attached, the same on every rank.
    torch.manual_seed(seed_for(config.seed, "lora", job["stage"]))
    policy = Policy.load(config.model)
    policy.recompute_activations(config.model.gradient_checkpointing)
    if job["init"] is not None:
        policy.load_adapter(load_adapter(job["init"]))
    engine = DeepSpeedEngine(policy, config.cluster, gradient_clip=config.sft.gradient_clip)
    first = get_context().get_world_rank() == 0
    with (job["out"] / _PROGRESS if first else Path(os.devnull)).open("a") as file:

        def log(step: int, total: int, metrics: Mapping[str, float]) -> None:
            file.write(json.dumps([step, total, dict(metrics)]) + "\n")
            file.flush()

        run_sft(
            policy,
            engine,
            job["train"],
            job["stage_config"],
            config.sft,
            stage=job["stage"],
            seed=config.seed,
            log=log,
        )
    with engine.whole():
        adapter = policy.adapter(0)
    if first:
        save_adapter(adapter, job["out"], lora=config.model.lora, base=policy.name)


def _follow(trainer: Any, progress: Path, on_step: LogStep, *, stage: str, config: Config) -> None:
    """Run the trainer in a thread and hand on rank 0's steps as they come.

    In the main thread Ray Train would take over Ctrl-C; ``ray.train.report`` would make every step
    wait for the slowest worker and the controller.
    """
    failure: list[BaseException] = []

    def fit() -> None:
        try:
            trainer.fit()
        except BaseException as error:  # handed over to the thread that waits
            failure.append(error)

    thread = threading.Thread(target=fit, daemon=True, name=f"ray-train-{stage}")
    thread.start()
    lines = _Tail(progress)
    limit = config.cluster.start_timeout_s + config.cluster.step_timeout_s
    deadline = time.monotonic() + limit
    while True:
        alive = thread.is_alive()  # asked first: what is written until its end is then read below
        for step, total, metrics in lines.new():
            on_step(step, total, metrics)
            limit = config.cluster.step_timeout_s
            deadline = time.monotonic() + limit
        if not alive:
            break
        if time.monotonic() > deadline:
            raise WaitTimeout(f"waited {limit:g} s for the next step of {stage}, in vain")
        thread.join(_POLL_S)
    if failure:
        raise _own_error(failure[0], stage)


class _Tail:
    """The whole lines that were added to a file since it was last asked."""

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0

    def new(self) -> Iterator[tuple[int, int, dict[str, float]]]:
        if not self._path.is_file():
            return
        with self._path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # still being written
                self._read += len(line)
                step, total, metrics = json.loads(line)
                yield step, total, metrics


def _own_error(error: BaseException, stage: str) -> BaseException:
    """The error a worker raised on purpose, out of Ray Train's wrapping."""
    failures = getattr(error, "worker_failures", {})
    for failure in failures.values():
        cause: BaseException | None = failure
        while cause is not None:
            if isinstance(cause, CogAudioError):
                return cause
            cause = getattr(cause, "cause", None) or cause.__cause__
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return RunError(f"{stage} failed on Ray Train: {lines[-1]}")
