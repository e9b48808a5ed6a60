"""The whole run, stage after stage, each skipped when its result is already in the run folder.

    data ─► stage I ─► stage II ─► stage III (DR-SAPO) ─► evaluation ─► report

It knows a Backend, never Ray: ``clusters/backend.py`` has the one on Ray, and
:class:`cogaudio_rl.stages.local.LocalBackend` runs the same in one process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cogaudio_rl.config import Config
from cogaudio_rl.console import Console
from cogaudio_rl.data.load import load_splits
from cogaudio_rl.data.mixture import Mixture
from cogaudio_rl.data.splits import Splits, labels
from cogaudio_rl.errors import CheckpointError, ConfigError
from cogaudio_rl.eval.ambiguity import evaluate_votes, save_rows
from cogaudio_rl.eval.console import print_suites, print_table
from cogaudio_rl.eval.report import write_report
from cogaudio_rl.eval.result import ModelResult, load_result, save_result
from cogaudio_rl.eval.run import evaluate
from cogaudio_rl.eval.scorer import check_scorable
from cogaudio_rl.eval.scoring import opened_scorer, scorer_name
from cogaudio_rl.eval.silence import silence_in
from cogaudio_rl.eval.suite import SuiteResult
from cogaudio_rl.eval.suite_report import write_suite_report
from cogaudio_rl.eval.summary import RunFacts
from cogaudio_rl.metrics import MetricsLog
from cogaudio_rl.models.checkpoint import load_adapter
from cogaudio_rl.models.pretrain import PretrainSettings, make_base
from cogaudio_rl.rewards.canaries import RunCanaries
from cogaudio_rl.run_folder import CANARIES, JUDGE_CACHE, RunFolder
from cogaudio_rl.stages.attributing import Attributing
from cogaudio_rl.stages.backend import Backend
from cogaudio_rl.stages.dictation import Dictation
from cogaudio_rl.stages.stage3 import Stage3
from cogaudio_rl.trace import FILE_NAME as TRACE
from cogaudio_rl.written import check_written

SFT_STAGES: dict[str, tuple[str, str | None, str]] = {
    "stage1": ("stage I: explicit EIPS SFT (prompt A): learn to reason from the voice", None, "B"),
    "stage2": ("stage II: prompts A and B mixed: learn to do it without saying it", "stage1", "C"),
    "direct": ("ablation A: direct replies only, no chain", None, "A"),
    "chain": ("the ambiguity chain by its text alone: cross-entropy", None, "CE"),
    "votes": ("the ambiguity chain and how votes are shared: cross-entropy and KL", None, "KL"),
    "teacher": ("teacher: reply to words whose emotion, cause and plan are stated", None, "T"),
    "distil": (
        "IEAT 1: the teacher's replies from the voice alone, nothing stated",
        "teacher",
        "I1",
    ),
    "speak": ("IEAT 2: reply and the voice that suits it, together", "distil", "I2"),
}
"""stage → what it is for, the stage it starts from, the model it makes."""

MODEL_FOLDERS = {
    "A": "direct",
    "B": "stage1",
    "C": "stage2",
    "CE": "chain",
    "KL": "votes",
    "T": "teacher",
    "I1": "distil",
    "I2": "speak",
    "D": "stage3",
}


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
        self._stage3 = Stage3(config, run, backend, metrics, console)
        self._dictation = Dictation(config, run, backend, console)
        self._attributing = Attributing(config, run, backend, console, self._dictation)

    @property
    def splits(self) -> Splits:
        """The utterances; made or read on first use."""
        if self._splits is None:
            kind = self.config.data.kind
            made = kind in ("lime_mini", "attribution_mini") and self.config.data.root is None
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
        self.run.note_start(stage, init)
        train, config = self.splits.train, getattr(self.config.sft, stage)
        if config is None:
            raise ConfigError(f"sft.{stage}=null: this recipe trains no such stage")
        if init is None:
            init = self._before(after)
        check_written(train.read() if isinstance(train, Mixture) else train, config.routes)
        if config.asks in ("dictated", "spoken"):
            train = self._dictation.train(train)
        self.console.stage(purpose)
        self.metrics.forget_after(stage, 0)
        with self._stage(stage), self.console.steps(stage) as show:

            def on_step(step: int, total: int, values: Mapping[str, float]) -> None:
                self.metrics.log(stage, step, values)
                show(step, total, values)

            self.backend.train_sft(
                stage,
                config,
                train,
                init=init,
                out=self.run.checkpoint(stage),
                on_step=on_step,
            )

    def _before(self, stage: str | None) -> Path | None:
        """What a stage starts from: the one before it, where the recipe has it."""
        if stage is None or getattr(self.config.sft, stage) is None:
            return self.config.sft.start
        return self.run.checkpoint(stage)

    def rl(self, init: Path | None = None) -> None:
        """DR-SAPO from the stage II adapter, or from the last RL checkpoint of this run."""
        if self.run.is_done("stage3"):
            return
        utterances = self.splits.rl
        self.run.note_start("stage3", init)
        with self._stage("stage3"):
            self._stage3.train(utterances, init)
        self.backend.save_trace(self.run.path / TRACE)

    def rl_rollouts_only(self, init: Path | None = None) -> None:
        """Roll out and judge with the stage II adapter, and keep all of it; nothing is trained."""
        self._stage3.rollouts_only(self.splits.rl, init)

    def rl_train_only(self, rollouts: Path, init: Path | None = None) -> None:
        """Train on rollouts that another run saved; nothing is generated and nothing judged."""
        self._stage3.train_only(self.splits.rl, rollouts, init)

    # -- evaluation and report ------------------------------------------------------------------

    def evaluate(self, models: Mapping[str, Path | None]) -> dict[str, ModelResult]:
        """Measure each model (name → adapter folder, None for the base) on the test split."""
        self.console.stage(f"evaluation on the held-out split: {self._what_is_measured}")
        results: dict[str, ModelResult] = {}
        for name, folder in models.items():
            kept = self.run.path / "eval" / f"{name}.json"
            if self.run.is_done(f"eval-{name}"):
                results[name] = load_result(kept)
                continue
            if folder is not None and not folder.is_dir():
                raise CheckpointError(f"checkpoint {str(folder)!r} of model {name} does not exist")
            # Before the bar: it may have to ask the teacher first.
            teaching = (
                self._attributing.teaching(self.splits.test)
                if self.config.is_about_attribution
                else None
            )
            with self._stage(f"eval-{name}"), self.console.progress(f"model {name}") as advance:
                if teaching is not None:
                    measuring = self._attributing.measure(
                        name, folder, self.splits.test, teaching, advance
                    )
                elif self.config.is_about_votes:
                    measuring = self._measure_votes(name, folder, advance)
                else:
                    measuring = self._measure(folder, advance)
                results[name] = asyncio.run(measuring)
                save_result(results[name], kept)
        return results

    @property
    def _what_is_measured(self) -> str:
        if self.config.is_about_votes:
            return "predicted shares beside listeners' votes"
        if self.config.is_about_attribution:
            return "replies beside the teacher's, and how they sound"
        return "by a scorer that RL never met"

    async def _measure(
        self, folder: Path | None, advance: Callable[[int, int], None]
    ) -> ModelResult:
        """One model's answers; its adapter stays published until the next one's."""
        sampler = self.backend.rollout_ports().sampler
        await sampler.publish(load_adapter(folder) if folder else None)
        async with opened_scorer(self.config.eval, self.run.path / JUDGE_CACHE) as scorer:
            return await evaluate(
                sampler,
                self.splits.test,
                scorer,
                self.config.eval,
                labels=labels(self.splits),
                silence=silence_in(self.run.path / "data", self.config.eval),
                seed=self.config.seed,
                progress=advance,
            )

    async def _measure_votes(
        self, name: str, folder: Path | None, advance: Callable[[int, int], None]
    ) -> ModelResult:
        """One model's shares; what it said stays beside its figures."""
        sampler = self.backend.rollout_ports().sampler
        await sampler.publish(load_adapter(folder) if folder else None)
        result, rows = await evaluate_votes(
            sampler, self.splits.test, self.config.eval, seed=self.config.seed, progress=advance
        )
        save_rows(rows, self.run.path / "eval" / f"{name}.votes.jsonl")
        return result

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
            scorer=scorer_name(self.config.eval),
            canaries=RunCanaries.read(self.run.path / CANARIES),
        )
        if self.config.is_about_attribution:
            suites = {"attribution": self._attributing.suite(results)}
            write_suite_report(self.run.path, suites, facts)
            print_suites(suites)
        elif self.config.is_about_votes:
            about = "the recipe's own test split: listeners' votes, voices unseen"
            if self.config.data.kind == "ambiguity_mini":
                about += "; SIMULATED voices and listeners"
            suites = {"ambiguity": SuiteResult(name="ambiguity", about=about, models=results)}
            write_suite_report(self.run.path, suites, facts)
            print_suites(suites)
        else:
            write_report(self.run.path, results, facts)
            print_table(results)
        self.console.note(f"report: {self.run.path / 'report.html'}")

    def model_folders(self) -> dict[str, Path | None]:
        """The models the recipe compares, in the order of the paper's table."""
        return {
            name: None if name == "base" else self.run.checkpoint(MODEL_FOLDERS[name])
            for name in self.config.models
        }


def stages_for(config: Config) -> list[str]:
    """The SFT stages that a recipe's models are made of, in order."""
    needed = {stage for stage, (_, _, model) in SFT_STAGES.items() if model in config.models}
    if "D" in config.models:
        needed.add(config.rl.start)
    for stage in reversed(SFT_STAGES):
        if stage in needed and (after := SFT_STAGES[stage][1]) is not None:
            needed.add(after)
    return [s for s in SFT_STAGES if s in needed and getattr(config.sft, s) is not None]


def run_all(pipeline: Pipeline, *, peak_rss_gib: Callable[[], float]) -> None:
    """Every stage the recipe's models need, then evaluation and report.

    Time and memory of an interrupted run add to those of its resumption.
    """
    run, models = pipeline.run, pipeline.config.models
    before, started = run.state.get("wall_s", 0.0), time.monotonic()

    def wall() -> float:
        return before + time.monotonic() - started

    try:
        if pipeline.config.eval.judge is None and not pipeline.config.is_about_votes:
            check_scorable(pipeline.splits.test)  # not after hours of training
        for stage in stages_for(pipeline.config):
            pipeline.sft(stage)
        if "D" in models:
            pipeline.rl()
        results = pipeline.evaluate(pipeline.model_folders())
        peak = max(peak_rss_gib(), run.state.get("peak_rss_gib", 0.0))
        pipeline.report(results, wall_s=wall(), peak_rss_gib=peak)
    finally:
        peak = max(peak_rss_gib(), run.state.get("peak_rss_gib", 0.0))
        run.update_state(wall_s=wall(), peak_rss_gib=peak)
