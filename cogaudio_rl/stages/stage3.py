"""Stage III in its folder: the loop of ``rl.py`` with what a run keeps, shows and takes up again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

from cogaudio_rl.config import Config
from cogaudio_rl.console import Console
from cogaudio_rl.data.stream import UtteranceStream
from cogaudio_rl.errors import WorkerDied
from cogaudio_rl.eval.calibration_report import headline
from cogaudio_rl.eval.judge_trial import stand_trial
from cogaudio_rl.metrics import MetricsLog
from cogaudio_rl.models.checkpoint import load_adapter
from cogaudio_rl.ports import Judge, Ports
from cogaudio_rl.rewards.alarms import alarms
from cogaudio_rl.rewards.canaries import (
    FAMILIES,
    RunCanaries,
    max_score,
    sample_families,
    try_canaries,
)
from cogaudio_rl.rewards.held_out import HeldOut
from cogaudio_rl.rewards.judge import judge_digest, make_judge
from cogaudio_rl.rl_checkpoints import RlCheckpoints
from cogaudio_rl.rollout_file import write_rollouts
from cogaudio_rl.run_folder import CANARIES, JUDGE_CACHE, RunFolder
from cogaudio_rl.stages.backend import Backend
from cogaudio_rl.stages.readiness import Readiness
from cogaudio_rl.stages.rl import RlHooks, run_rl
from cogaudio_rl.stages.rl_halves import rollouts_only, train_only
from cogaudio_rl.stages.rl_pipelined import run_rl_pipelined
from cogaudio_rl.stages.routes import RouteMix
from cogaudio_rl.types import Prompt, Utterance
from cogaudio_rl.written import check_written


class Stage3:
    """DR-SAPO for one run, whole or one half of it."""

    def __init__(
        self,
        config: Config,
        run: RunFolder,
        backend: Backend,
        metrics: MetricsLog,
        console: Console,
    ) -> None:
        self._config, self._run, self._backend = config, run, backend
        self._metrics, self._console = metrics, console

    def train(self, utterances: Sequence[Utterance], init: Path | None) -> None:
        """From the adapter in ``init`` (None: that of the SFT stage before), or from the run's last
        checkpoint."""
        config = self._config
        if config.rl.asks_for_references:
            check_written(utterances, config.rl.routes)
        self._console.stage(
            f"RL ({config.rl.objective.name}) on the ambiguity route: come nearer to listeners' votes"
            if config.rl.route_mix == "ambiguity"
            else "stage III: DR-SAPO on both routes: prefer replies that meet the need behind the voice"
        )
        canaries = tuple(Prompt(utterance=utterances[0], route=r) for r in config.rl.routes)
        checkpoints = self._run.rl_checkpoints(keep=config.rl.keep_checkpoints)
        with self._hooks(config.rl.steps) as hooks:
            asyncio.run(self._begin(utterances, init, canaries, checkpoints, hooks))

    def rollouts_only(self, utterances: Sequence[Utterance], init: Path | None) -> None:
        """Roll out and judge, and keep all of it."""
        config = self._config
        self._console.stage("stage III without training: rollouts and their rewards alone")
        adapter = load_adapter(init or self._run.checkpoint(config.rl.start))
        self._metrics.forget_after("rollouts_only", 0)
        with self._hooks(config.rl.steps, "rollouts_only") as hooks:
            asyncio.run(
                rollouts_only(
                    self._backend.rollout_ports(),
                    adapter,
                    UtteranceStream(utterances, config.seed),
                    RouteMix(config.rl, config.seed),
                    config.rl,
                    seed=config.seed,
                    hooks=hooks,
                )
            )
        self._console.note(f"rollouts: {self._run.rollouts('rollouts_only', 1).parent}")

    def train_only(
        self, utterances: Sequence[Utterance], rollouts: Path, init: Path | None
    ) -> None:
        """Train on the rollouts in a folder."""
        files = sorted(rollouts.glob("*.jsonl"))
        self._console.stage(f"stage III without rollouts: training on {len(files)} saved steps")
        self._metrics.forget_after("train_only", 0)
        with self._hooks(len(files), "train_only") as hooks:
            asyncio.run(
                train_only(
                    self._backend.learner(),
                    init or self._run.checkpoint(self._config.rl.start),
                    files,
                    utterances,
                    self._config.rl,
                    hooks=hooks,
                )
            )

    @contextmanager
    def _hooks(self, steps: int, stage: str = "stage3") -> Iterator[RlHooks]:
        """What the loop does at its marks, in this run's folder and before the user's eyes."""
        checkpoints = self._run.rl_checkpoints(keep=self._config.rl.keep_checkpoints)
        rung: set[str] = set()
        with self._console.steps(stage) as show:

            def log(step: int, values: Mapping[str, float]) -> None:
                self._metrics.log(stage, step, values)
                show(step, steps, values)
                for name, sentence in alarms(values, self._config.rl.alarms).items():
                    if name not in rung:
                        self._console.note(f"step {step}: {sentence}", warn=True)
                    rung.add(name)

            def ready(readiness: Readiness) -> None:
                self._console.note(readiness.line(), warn=not readiness.ready)
                self._run.update_state(ready_for_rl=readiness.ready)

            yield RlHooks(
                log=log,
                rollouts=lambda step, groups, scores: write_rollouts(
                    self._run.rollouts(stage, step), groups, scores
                ),
                ready=ready,
                trained=self._run.trained,
                checkpoint_folder=checkpoints.draft,
                saved=lambda step, folder, state, reward: checkpoints.seal(
                    folder, step=step, state=state, reward=reward
                ),
            )

    async def _begin(
        self,
        utterances: Sequence[Utterance],
        init: Path | None,
        canaries: tuple[Prompt, ...],
        checkpoints: RlCheckpoints,
        hooks: RlHooks,
    ) -> None:
        """Try the judge, then train, with a held-out judge beside it where the recipe has one.

        All in one event loop: a judge's connections belong to the loop that opened them.
        """
        ports = self._backend.ports()
        await self._stand_trial(ports.judge)
        await self._try_canaries(ports.judge, utterances)
        async with self._held_out(hooks) as hooks:
            await self._train(ports, utterances, init, canaries, checkpoints, hooks)

    async def _stand_trial(self, judge: Judge) -> None:
        """Hold the judge against people's ratings where the recipe demands it."""
        config, trial = self._config, self._config.judge.trial
        if trial is not None:
            samples = config.eval.bootstrap_samples
            found = await stand_trial(judge, trial, samples=samples, seed=config.seed)
            self._console.note(f"the judge, held against people's ratings: {headline(found)}")

    async def _try_canaries(self, judge: Judge, utterances: Sequence[Utterance]) -> None:
        """Put what no judge may like before this one, unless this run has done so."""
        config, path = self._config, self._run.path / CANARIES
        if config.judge.kind == "votes":
            return  # it has no opinion that could be won
        digest = judge_digest(config.judge)
        if (before := RunCanaries.read(path)) is not None and before.digest == digest:
            return
        asked = sample_families(utterances, FAMILIES, seed=config.seed)
        kinds = await try_canaries(judge, asked)
        found = RunCanaries(judge=config.judge.name, digest=digest, kinds=kinds)
        if max_score(kinds) is not None:  # nothing scored, nothing tried: next time again
            found.write(path)
        self._console.note(found.line(), warn=found.alarming)

    @asynccontextmanager
    async def _held_out(self, hooks: RlHooks) -> AsyncGenerator[RlHooks]:
        """The same hooks, with a second opinion where the recipe names a judge for it."""
        rl = self._config.rl
        if rl.held_out_judge is None:
            yield hooks
            return
        # In a folder of its own: two servers may call different models by one name.
        kept = rl.held_out_judge.kept_in(self._run.path / JUDGE_CACHE / "held_out")
        judge = make_judge(kept, rl.reward)
        held_out = HeldOut(
            judge,
            every=rl.held_out_every,
            seed=self._config.seed,
            note=lambda text: self._console.note(text, warn=True),
        )
        try:
            yield replace(hooks, second_opinion=held_out.opinion)
        finally:
            await judge.close()

    async def _train(
        self,
        ports: Ports,
        utterances: Sequence[Utterance],
        init: Path | None,
        canaries: tuple[Prompt, ...],
        checkpoints: RlCheckpoints,
        hooks: RlHooks,
    ) -> None:
        """The loop, from its last checkpoint; again from there when a worker died."""
        config, restarts = self._config, 0
        loop = run_rl_pipelined if config.rl.max_staleness else run_rl
        while True:
            start, stream = 1, UtteranceStream(utterances, config.seed)
            mix = RouteMix(config.rl, config.seed)
            if (newest := checkpoints.newest()) is not None:
                start = newest.step + 1
                stream = UtteranceStream.restore(utterances, config.seed, newest.state["stream"])
                mix.restore(newest.state["mix"])
            self._metrics.forget_after("stage3", start - 1)
            self._run.forget_trained_after(start - 1)
            try:
                if newest is None:
                    await ports.learner.begin(init or self._run.checkpoint(config.rl.start))
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
                await ports.learner.save(self._run.checkpoint("stage3"))
                return
            except WorkerDied as died:
                restarts += 1
                if restarts > config.rl.max_restarts:
                    raise
                self._console.note(f"{died}; going on from the last checkpoint", warn=True)
                await ports.learner.restart()
