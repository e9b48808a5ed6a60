"""The whole run, stage after stage, each skipped when its result is already in the run folder.

    data ─► stage I ─► stage II ─► stage III (DR-SAPO) ─► evaluation ─► report

It knows a Backend, never Ray: ``clusters/launch.py`` gives it the one on Ray, and
:class:`cogaudio_rl.stages.local.LocalBackend` runs the same in one process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np

from cogaudio_rl.config import Config, SftStageConfig
from cogaudio_rl.console import Console
from cogaudio_rl.data.audio import SAMPLE_RATE_HZ, write_audio
from cogaudio_rl.data.load import Splits, labels, load_splits
from cogaudio_rl.data.stream import UtteranceStream
from cogaudio_rl.errors import CheckpointError, WorkerDied
from cogaudio_rl.eval.console import print_table
from cogaudio_rl.eval.report import write_report
from cogaudio_rl.eval.result import ModelResult, load_result, save_result
from cogaudio_rl.eval.run import Scorer, evaluate
from cogaudio_rl.eval.scorer import TestScorer
from cogaudio_rl.eval.summary import RunFacts
from cogaudio_rl.metrics import MetricsLog
from cogaudio_rl.models.checkpoint import load_adapter
from cogaudio_rl.models.pretrain import PretrainSettings, make_base
from cogaudio_rl.ports import Learner, Ports, RolloutPorts
from cogaudio_rl.rl_checkpoints import RlCheckpoints
from cogaudio_rl.rollout_file import write_rollouts
from cogaudio_rl.run_folder import RunFolder
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.stages.readiness import Readiness
from cogaudio_rl.stages.rl import RlHooks, run_rl
from cogaudio_rl.stages.rl_halves import rollouts_only, train_only
from cogaudio_rl.stages.rl_pipelined import run_rl_pipelined
from cogaudio_rl.stages.routes import RouteMix, route_prompts
from cogaudio_rl.trace import FILE_NAME as TRACE
from cogaudio_rl.types import AudioRef, Prompt, Utterance

OnStep = Callable[[int, int, Mapping[str, float]], None]
"""(step, of how many, metrics)"""


class Backend(Protocol):
    """Where the heavy work happens."""

    def train_sft(
        self,
        stage: str,
        config: SftStageConfig,
        utterances: Sequence[Utterance],
        *,
        init: Path | None,
        out: Path,
        on_step: OnStep,
    ) -> None:
        """Train one SFT stage from the adapter in ``init`` (None: a fresh one) into ``out``."""
        ...

    def ports(self) -> Ports:
        """Start sampler, judge and learner, or give those already running."""
        ...

    def rollout_ports(self) -> RolloutPorts:
        """Sampler and judge alone."""
        ...

    def learner(self) -> Learner:
        """The learner alone."""
        ...

    def versions(self) -> dict[str, str]:
        """Versions of what ran, for the report."""
        ...

    def save_trace(self, path: Path) -> None:
        """Write who did what when, where that is known."""
        ...

    def close(self) -> None:
        """End every process that was started."""
        ...


SFT_STAGES: dict[str, tuple[str, str | None, str]] = {
    "stage1": ("stage I: explicit EIPS SFT (prompt A): learn to reason from the voice", None, "B"),
    "stage2": ("stage II: prompts A and B mixed: learn to do it without saying it", "stage1", "C"),
    "direct": ("ablation A: direct replies only, no chain", None, "A"),
}
"""stage → what it is for, the stage it starts from, the model it makes."""

MODEL_FOLDERS = {"A": "direct", "B": "stage1", "C": "stage2", "D": "stage3"}


class Pipeline:
    """One run in its folder."""

    def __init__(
        self,
        config: Config,
        run: RunFolder,
        backend: Backend,
        metrics: MetricsLog,
        console: Console,
    ) -> None:
        self.config, self.run, self.backend = config, run, backend
        self.metrics, self.console = metrics, console
        self._splits: Splits | None = None

    @property
    def splits(self) -> Splits:
        """The utterances; made or read on first use."""
        if self._splits is None:
            made = self.config.data.kind == "lime_mini" and self.config.data.root is None
            self.console.stage(
                "data: the same words in seven tones of voice, split by text and by voice"
                if made
                else "data: read the manifests and look at every sound"
            )
            with self.console.progress("utterances") as advance:
                self._splits = load_splits(self.config, self.run.path, progress=advance)
        return self._splits

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.run.mark_done(name, time.monotonic() - started)

    def make_base(self, folder: Path) -> None:
        """Make the backbone from nothing, where it is not there yet."""
        if self.run.is_done("base"):
            return
        self.console.stage(
            "base: a small thinker that learns to hear and read, never emotion (about 40 minutes)"
        )
        with self._stage("base"):
            make_base(folder, PretrainSettings(), self.console.note)

    # -- stages I and II ------------------------------------------------------------------------

    def sft(self, stage: str, init: Path | None = None) -> None:
        """Train one SFT stage unless its checkpoint is there."""
        if self.run.is_done(stage):
            return
        purpose, after, _model = SFT_STAGES[stage]
        if init is None and after is not None:
            init = self.run.checkpoint(after)
        train = self.splits.train
        self.console.stage(purpose)
        self.metrics.forget_after(stage, 0)
        with self._stage(stage), self.console.steps(stage) as show:

            def on_step(step: int, total: int, values: Mapping[str, float]) -> None:
                self.metrics.log(stage, step, values)
                show(step, total, values)

            self.backend.train_sft(
                stage,
                getattr(self.config.sft, stage),
                train,
                init=init,
                out=self.run.checkpoint(stage),
                on_step=on_step,
            )

    # -- stage III ------------------------------------------------------------------------------

    def rl(self, init: Path | None = None) -> None:
        """DR-SAPO from the stage II adapter, or from the last RL checkpoint of this run."""
        if self.run.is_done("stage3"):
            return
        config, utterances = self.config, self.splits.rl
        self.console.stage(
            "stage III: DR-SAPO on both routes: prefer replies that meet the need behind the voice"
        )
        canaries = tuple(route_prompts([utterances[0]], "both"))
        checkpoints = self.run.rl_checkpoints(keep=config.rl.keep_checkpoints)
        with self._stage("stage3"), self._rl_hooks(config.rl.steps) as hooks:
            asyncio.run(self._train_rl(utterances, init, canaries, checkpoints, hooks))
        self.backend.save_trace(self.run.path / TRACE)

    def rl_rollouts_only(self, init: Path | None = None) -> None:
        """Roll out and judge with the stage II adapter, and keep all of it; nothing is trained."""
        config, utterances = self.config, self.splits.rl
        self.console.stage("stage III without training: rollouts and their rewards alone")
        adapter = load_adapter(init or self.run.checkpoint("stage2"))
        self.metrics.forget_after("rollouts_only", 0)
        with self._rl_hooks(config.rl.steps, "rollouts_only") as hooks:
            asyncio.run(
                rollouts_only(
                    self.backend.rollout_ports(),
                    adapter,
                    UtteranceStream(utterances, config.seed),
                    RouteMix(config.rl, config.seed),
                    config.rl,
                    seed=config.seed,
                    hooks=hooks,
                )
            )
        self.console.note(f"rollouts: {self.run.rollouts('rollouts_only', 1).parent}")

    def rl_train_only(self, rollouts: Path, init: Path | None = None) -> None:
        """Train on rollouts that another run saved; nothing is generated and nothing judged."""
        files = sorted(rollouts.glob("*.jsonl"))
        self.console.stage(f"stage III without rollouts: training on {len(files)} saved steps")
        self.metrics.forget_after("train_only", 0)
        with self._rl_hooks(len(files), "train_only") as hooks:
            asyncio.run(
                train_only(
                    self.backend.learner(),
                    init or self.run.checkpoint("stage2"),
                    files,
                    self.splits.rl,
                    self.config.rl,
                    hooks=hooks,
                )
            )

    @contextmanager
    def _rl_hooks(self, steps: int, stage: str = "stage3") -> Iterator[RlHooks]:
        """What the loop does at its marks, in this run's folder and before the user's eyes."""
        checkpoints = self.run.rl_checkpoints(keep=self.config.rl.keep_checkpoints)
        with self.console.steps(stage) as show:

            def log(step: int, values: Mapping[str, float]) -> None:
                self.metrics.log(stage, step, values)
                show(step, steps, values)

            def ready(readiness: Readiness) -> None:
                self.console.note(readiness.line(), warn=not readiness.ready)
                self.run.update_state(ready_for_rl=readiness.ready)

            yield RlHooks(
                log=log,
                rollouts=lambda step, groups, scores: write_rollouts(
                    self.run.rollouts(stage, step), groups, scores
                ),
                ready=ready,
                trained=self.run.trained,
                checkpoint_folder=checkpoints.draft,
                saved=lambda step, folder, state, reward: checkpoints.seal(
                    folder, step=step, state=state, reward=reward
                ),
            )

    async def _train_rl(
        self,
        utterances: Sequence[Utterance],
        init: Path | None,
        canaries: tuple[Prompt, ...],
        checkpoints: RlCheckpoints,
        hooks: RlHooks,
    ) -> None:
        """The loop, from its last checkpoint; again from there when a worker died."""
        config, restarts = self.config, 0
        ports = self.backend.ports()
        loop = run_rl_pipelined if config.rl.max_staleness else run_rl
        while True:
            start, stream = 1, UtteranceStream(utterances, config.seed)
            mix = RouteMix(config.rl, config.seed)
            if (newest := checkpoints.newest()) is not None:
                start = newest.step + 1
                stream = UtteranceStream.restore(utterances, config.seed, newest.state["stream"])
                mix.restore(newest.state["mix"])
            self.metrics.forget_after("stage3", start - 1)
            self.run.forget_trained_after(start - 1)
            try:
                if newest is None:
                    await ports.learner.begin(init or self.run.checkpoint("stage2"))
                else:
                    await ports.learner.load(newest.path)
                await loop(
                    ports,
                    stream,
                    mix,
                    canaries,
                    config.rl,
                    seed=config.seed,
                    hooks=hooks,
                    start=start,
                )
                await ports.learner.save(self.run.checkpoint("stage3"))
                return
            except WorkerDied as died:
                restarts += 1
                if restarts > config.rl.max_restarts:
                    raise
                self.console.note(f"{died}; going on from the last checkpoint", warn=True)
                await ports.learner.restart()

    # -- evaluation and report ------------------------------------------------------------------

    def evaluate(self, models: Mapping[str, Path | None]) -> dict[str, ModelResult]:
        """Measure each model (name → adapter folder, None for the base) on the test split."""
        self.console.stage("evaluation on the held-out split, by a scorer that RL never met")
        names, silence, scorer = labels(self.splits), self._silence(), TestScorer()
        results: dict[str, ModelResult] = {}
        for name, folder in models.items():
            kept = self.run.path / "eval" / f"{name}.json"
            if self.run.is_done(f"eval-{name}"):
                results[name] = load_result(kept)
                continue
            if folder is not None and not folder.is_dir():
                raise CheckpointError(f"checkpoint {str(folder)!r} of model {name} does not exist")
            with self._stage(f"eval-{name}"), self.console.progress(f"model {name}") as advance:
                results[name] = asyncio.run(self._measure(folder, scorer, names, silence, advance))
                save_result(results[name], kept)
        return results

    async def _measure(
        self,
        folder: Path | None,
        scorer: Scorer,
        names: Sequence[str],
        silence: AudioRef,
        advance: Callable[[int, int], None],
    ) -> ModelResult:
        """One model's answers; its adapter stays published until the next one's."""
        sampler = self.backend.rollout_ports().sampler
        await sampler.publish(load_adapter(folder) if folder else None)
        return await evaluate(
            sampler,
            self.splits.test,
            scorer,
            self.config.eval,
            labels=names,
            silence=silence,
            seed=self.config.seed,
            progress=advance,
        )

    def report(
        self, results: Mapping[str, ModelResult], *, wall_s: float, peak_rss_gib: float
    ) -> None:
        """Write report.json and report.html and show the table."""
        facts = RunFacts(
            name=self.config.name,
            seed=self.config.seed,
            wall_s=wall_s,
            peak_rss_gib=peak_rss_gib,
            versions=self.backend.versions(),
            seconds=self.run.state.get("seconds", {}),
            ready_for_rl=self.run.state.get("ready_for_rl"),
        )
        write_report(self.run.path, results, facts)
        print_table(results)
        self.console.note(f"report: {self.run.path / 'report.html'}")

    def model_folders(self) -> dict[str, Path | None]:
        """The models the recipe compares, in the order of the paper's table."""
        return {
            name: None if name == "base" else self.run.checkpoint(MODEL_FOLDERS[name])
            for name in self.config.models
        }

    def _silence(self) -> AudioRef:
        """A recording of an empty room, of one fixed length for every utterance."""
        path = self.run.path / "data" / "silence.flac"
        size = int(self.config.eval.silence_seconds * SAMPLE_RATE_HZ)
        if path.is_file():
            return AudioRef(path=str(path), sample_rate_hz=SAMPLE_RATE_HZ, num_samples=size)
        hiss = rng_for(0, "silence").standard_normal(size) * 5e-4
        return write_audio(path, hiss.astype(np.float32))


def run_all(pipeline: Pipeline, *, peak_rss_gib: Callable[[], float]) -> None:
    """Every stage the recipe's models need, then evaluation and report.

    Time and memory of an interrupted run add to those of its resumption.
    """
    run, models = pipeline.run, pipeline.config.models
    before, started = run.state.get("wall_s", 0.0), time.monotonic()

    def wall() -> float:
        return before + time.monotonic() - started

    try:
        _ = pipeline.splits
        for stage, (_, _, model) in SFT_STAGES.items():
            needed = model in models or (stage in ("stage1", "stage2") and {"C", "D"} & set(models))
            if needed:
                pipeline.sft(stage)
        if "D" in models:
            pipeline.rl()
        results = pipeline.evaluate(pipeline.model_folders())
        peak = max(peak_rss_gib(), run.state.get("peak_rss_gib", 0.0))
        pipeline.report(results, wall_s=wall(), peak_rss_gib=peak)
    finally:
        peak = max(peak_rss_gib(), run.state.get("peak_rss_gib", 0.0))
        run.update_state(wall_s=wall(), peak_rss_gib=peak)
