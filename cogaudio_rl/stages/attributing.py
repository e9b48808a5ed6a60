"""IEAT's models measured in their run folder: held against the teacher, and heard."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from cogaudio_rl.config import Config
from cogaudio_rl.console import Console
from cogaudio_rl.eval.attribution import (
    Teaching,
    evaluate_attribution,
    save_rows,
    with_gains,
)
from cogaudio_rl.eval.reply_voices import Listener, train_listener
from cogaudio_rl.eval.result import ModelResult
from cogaudio_rl.eval.scoring import opened_scorer
from cogaudio_rl.eval.suite import SuiteResult
from cogaudio_rl.models.checkpoint import load_adapter
from cogaudio_rl.run_folder import JUDGE_CACHE, RunFolder
from cogaudio_rl.stages.backend import Backend
from cogaudio_rl.stages.dictation import Dictation
from cogaudio_rl.types import Utterance


class Attributing:
    """One run's evaluation."""

    def __init__(
        self,
        config: Config,
        run: RunFolder,
        backend: Backend,
        console: Console,
        dictation: Dictation,
    ) -> None:
        self._config, self._run, self._backend = config, run, backend
        self._console, self._dictation = console, dictation

    @cached_property
    def _listener(self) -> Listener:
        self._console.stage("listener: learns to tell the voices of replies apart")
        with self._console.progress("replies") as advance:
            return train_listener(
                self._run.path / "data" / "listener",
                samples=self._config.eval.bootstrap_samples,
                seed=self._config.seed,
                progress=advance,
            )

    async def measure(
        self,
        name: str,
        folder: Path | None,
        test: Sequence[Utterance],
        teaching: Teaching,
        advance: Callable[[int, int], None],
    ) -> ModelResult:
        """One model's figures; what it said stays beside them, and its spoken replies as sound."""
        sampler = self._backend.rollout_ports().sampler
        await sampler.publish(load_adapter(folder) if folder else None)
        async with opened_scorer(self._config.eval, self._run.path / JUDGE_CACHE) as scorer:
            result, rows = await evaluate_attribution(
                sampler,
                test,
                replace(teaching, sounds=self._run.path / "eval" / f"{name}.spoken"),
                scorer,
                self._config.eval,
                seed=self._config.seed,
                progress=advance,
            )
        save_rows(rows, self._rows(name))
        return result

    def teaching(self, test: Sequence[Utterance]) -> Teaching:
        """The teacher's replies to the test split, and who listens."""
        replies = self._dictation.test(test)
        return Teaching(replies=replies, listener=self._listener, sounds=self._run.path)

    def suite(self, results: Mapping[str, ModelResult]) -> SuiteResult:
        """With what each model's replies gain on those of SFT on the same data."""
        heard, samples = self._listener.accuracy, self._config.eval.bootstrap_samples
        return SuiteResult(
            name="attribution",
            about=f"the recipe's own test split: {self._unseen}; replies are held against a teacher "
            "that is told emotion and cause, and heard",
            models=with_gains(results, self._rows, samples=samples, seed=self._config.seed),
            notes=(
                f"the listener tells voices as they are meant, by unheard speakers, in "
                f"{heard.value:.2f} [{heard.lo:.2f}, {heard.hi:.2f}] of {heard.n} replies",
            ),
        )

    @property
    def _unseen(self) -> str:
        if self._config.data.kind == "emodb":
            return "voices unseen, the same ten sentences (a cause in the words is no news then)"
        return "texts and voices unseen"

    def _rows(self, name: str) -> Path:
        return self._run.path / "eval" / f"{name}.replies.jsonl"
