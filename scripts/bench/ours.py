"""Our side: the real loop on Ray, vLLM and DeepSpeed, with a judge that takes a stated time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from world import lottery, make_utterances

from clusters.backend import RayBackend
from cogaudio_rl.config import Config, RlConfig
from cogaudio_rl.data.stream import UtteranceStream
from cogaudio_rl.models.checkpoint import save_adapter
from cogaudio_rl.models.policy import Policy
from cogaudio_rl.ports import Judge, Ports
from cogaudio_rl.stages.rl import RlHooks, run_rl
from cogaudio_rl.stages.rl_pipelined import run_rl_pipelined
from cogaudio_rl.stages.routes import RouteMix, route_prompts
from cogaudio_rl.types import Adapter, Group, Score, Unscored, Utterance


class Lottery:
    """A reward that cannot be learnt."""

    async def score(self, groups_P: Sequence[Group]) -> list[list[Score | Unscored]]:
        return [[Score(reward=lottery(r.token_ids)) for r in g.rollouts] for g in groups_P]

    async def spent(self) -> dict[str, float]:
        return {}


class SlowJudge:
    """Judges one group at a time; a whole step takes ``seconds``, whoever waits for it."""

    def __init__(self, judge: Judge, groups_per_step: int) -> None:
        self.seconds = 0.0
        self._judge, self._groups = judge, groups_per_step
        self._turn = asyncio.Lock()

    async def score(self, groups_P: Sequence[Group]) -> list[list[Score | Unscored]]:
        if self.seconds:
            async with self._turn:
                await asyncio.sleep(self.seconds * len(groups_P) / self._groups)
        return await self._judge.score(groups_P)

    async def spent(self) -> dict[str, float]:
        return await self._judge.spent()


class _Enough(Exception):
    """The loop has made the steps that were asked for."""


class Engine:
    """Workers that stay up while stretches of the loop run on them."""

    def __init__(
        self, config: Config, folder: Path, utterances: Sequence[Utterance] | None = None
    ) -> None:
        """Utterances are scored by the recipe's own judge; without any, sentences by a lottery."""
        self.config = config
        self._backend = RayBackend(config, folder)
        ports = self._backend.ports()
        judge = ports.judge if utterances else Lottery()
        self.judge = SlowJudge(judge, 2 * config.rl.utterances_per_step)
        self.ports = Ports(sampler=ports.sampler, judge=self.judge, learner=ports.learner)
        self._folder = folder
        self._utterances = utterances or make_utterances(64)
        self._stream = UtteranceStream(self._utterances, config.seed)
        self.canaries = tuple(route_prompts(self._stream.peek(1), "both"))
        self._next = 2  # 1 would measure readiness
        self._loop = asyncio.new_event_loop()

    def begin(self, adapter: Adapter) -> None:
        """Start from these weights."""
        model, start = self.config.model, self._folder / "start"
        save_adapter(adapter, start, lora=model.lora, base=model.path)
        self._loop.run_until_complete(self.ports.learner.begin(start))
        self._stream = UtteranceStream(self._utterances, self.config.seed)

    def steps(
        self, count: int, *, judge_s: float = 0.0, stop_after_s: float | None = None, **rl: Any
    ) -> list[dict[str, float]]:
        """Metrics of ``count`` steps, each with ``wall``: when it was over, in seconds.

        A pipelined stretch ends with coming steps under way, as in the middle of a long run.
        """
        config: RlConfig = self.config.rl.model_copy(update=rl)
        found: list[dict[str, float]] = []
        self.judge.seconds = judge_s
        started = time.perf_counter()

        def log(step: int, metrics: Mapping[str, float]) -> None:
            wall = time.perf_counter() - started
            found.append(dict(metrics) | {"wall": wall})
            self._next = step + 1
            if len(found) == count or (stop_after_s is not None and wall > stop_after_s):
                raise _Enough

        hooks = RlHooks(
            log=log,
            rollouts=lambda *_: None,
            ready=lambda _: None,
            trained=lambda *_: None,
            checkpoint_folder=lambda step: self._folder / f"step-{step}",
            saved=lambda *_: None,
        )
        loop = run_rl_pipelined if config.max_staleness else run_rl
        mix = RouteMix(config, 0)
        with suppress(_Enough):
            self._loop.run_until_complete(
                loop(
                    self.ports, self._stream, mix, self.canaries, config,
                    seed=self.config.seed, hooks=hooks, start=self._next,
                )
            )  # fmt: skip
        return found

    def run(self, coroutine: Any) -> Any:
        """Something else that is asked of the ports."""
        return self._loop.run_until_complete(coroutine)

    def close(self) -> None:
        self._backend.close()
        self._loop.close()


@contextmanager
def engine(
    config: Config, folder: Path, utterances: Sequence[Utterance] | None = None
) -> Iterator[Engine]:
    """Workers of our own, ended on the way out."""
    found = Engine(config, folder, utterances)
    try:
        yield found
    finally:
        found.close()


def fresh_adapter(config: Config) -> Adapter:
    """A LoRA as it is attached: it changes nothing yet."""
    import torch

    torch.manual_seed(0)
    return Policy.load(config.model).adapter(0)


def check_trained(found: Sequence[Mapping[str, float]], updates: int) -> None:
    """Every step made all its updates on all its samples; else its time would flatter us."""
    for step in found:
        dropped = sum(value for key, value in step.items() if key.startswith("drop/"))
        if dropped or step.get("policy/updates") != updates:
            raise SystemExit(f"a timed step did not train on all it had: {dict(step)}")


def seconds_per_step(found: Sequence[Mapping[str, float]], *, skip: int) -> float:
    """Between the end of step ``skip`` and the last one's."""
    return (found[-1]["wall"] - found[skip - 1]["wall"]) / (len(found) - skip)
