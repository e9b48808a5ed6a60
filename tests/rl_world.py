"""A coin instead of a policy: fakes of the RL loop's ports, in which learning is one number."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cogaudio_rl.config import RlConfig
from cogaudio_rl.data.stream import UtteranceStream
from cogaudio_rl.ports import Ports
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.stages.readiness import Readiness
from cogaudio_rl.stages.rl import RlHooks, run_rl
from cogaudio_rl.stages.routes import RouteMix
from cogaudio_rl.types import (
    Adapter,
    AudioRef,
    Group,
    Prefix,
    Prompt,
    Rollout,
    Route,
    Sample,
    Score,
    StopReason,
    Unscored,
    Update,
    Utterance,
)

GOOD, BAD = "<response>I stay with you.</response>", "<response>Fine.</response>"


def utterance(i: int) -> Utterance:
    return Utterance(
        id=f"u{i}",
        text_id=f"t{i}",
        audio=AudioRef(path=f"{i}.flac", sample_rate_hz=16_000, num_samples=16_000),
        transcript="My brother called me this morning.",
        emotion="sad",
        intensity="mid",
        speaker="f1",
        language="en",
    )


class CoinSampler:
    """Says the good reply with a probability that the adapter carries."""

    def __init__(self) -> None:
        self.version, self.skill, self.published = 0, 0.0, 0

    async def publish(self, adapter: Adapter | None) -> None:
        assert adapter is not None
        self.version = adapter.version
        self.skill = float(adapter.tensors["skill"])  # type: ignore[arg-type]
        self.published += 1

    async def sample(
        self, prompts_P: Sequence[Prompt], *, n: int, temperature: float, seed: int
    ) -> list[Group]:
        return [
            Group(prompt=p, rollouts=tuple(self._say(p, seed, i) for i in range(n)))
            for p in prompts_P
        ]

    async def stream(
        self, prompts_P: Sequence[Prompt], *, n: int, temperature: float, seed: int
    ) -> AsyncGenerator[tuple[int, Group]]:
        groups = await self.sample(prompts_P, n=n, temperature=temperature, seed=seed)
        # Whole groups come in any order.
        for i in rng_for(seed).permutation(len(groups)):
            yield int(i), groups[i]

    async def probe(self, prompts_P: Sequence[Prompt]) -> list[Group]:
        return await self.sample(prompts_P, n=1, temperature=0.0, seed=0)

    async def choose(
        self, prompts_P: Sequence[Prompt], *, prefix: str, options: Sequence[str]
    ) -> list[str]:
        raise AssertionError("the loop never chooses")

    async def weigh(
        self, prompts_P: Sequence[Prompt], prefixes_P: Sequence[Prefix], options: Sequence[str]
    ) -> list[tuple[float, ...]]:
        raise AssertionError("the loop never weighs")

    def _say(self, prompt: Prompt, seed: int, i: int) -> Rollout:
        text = GOOD if rng_for(seed, prompt.id, i).random() < self.skill else BAD
        return Rollout(
            token_ids=(len(text),),
            logprobs=(-self.skill,),
            text=text,
            stop=StopReason.EOS,
            policy_version=self.version,
        )


class TasteJudge:
    """Likes the good reply; leaves every ``silent_every``-th rollout unscored."""

    def __init__(self, silent_every: int = 0) -> None:
        self.silent_every, self.seen = silent_every, 0

    async def score(self, groups_P: Sequence[Group]) -> list[list[Score | Unscored]]:
        return [[self._one(r) for r in g.rollouts] for g in groups_P]

    async def spent(self) -> dict[str, float]:
        return {"judge/requests": 1.0}

    def _one(self, rollout: Rollout) -> Score | Unscored:
        self.seen += 1
        if self.silent_every and self.seen % self.silent_every == 0:
            return Unscored(reason="timeout")
        value = float(rollout.text == GOOD)
        return Score(reward=value, terms={"empathy": value})


class CountingLearner:
    """Grows its skill by the advantage-weighted good replies it is shown."""

    def __init__(self, *, lies_from: int = 10**9) -> None:
        self.version, self.skill, self.lies_from = 1, 0.5, lies_from
        self.trained: list[str] = []

    async def update(self, samples: Sequence[Sample]) -> Update:
        push = sum(s.advantage * (s.rollout.text == GOOD) for s in samples) / len(samples)
        self.skill = min(0.95, self.skill + 0.05 * push)
        self.version += 1
        self.trained += [s.prompt.id for s in samples]
        return Update(policy_version=self.version, metrics={"policy/skill": self.skill})

    async def adapter(self) -> Adapter:
        return Adapter(version=self.version, tensors={"skill": np.float64(self.skill)})

    async def logprobs(self, groups_P: Sequence[Group]) -> list[list[tuple[float, ...]]]:
        own = self.skill + (1.0 if self.version >= self.lies_from else 0.0)
        return [[(-own,) for _ in g.rollouts] for g in groups_P]

    async def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "fake.json").write_text(json.dumps([self.version, self.skill]))

    async def begin(self, folder: Path) -> None:
        raise AssertionError("the loop is given a learner that is ready")

    async def references(self, prompts_P: Sequence[Prompt]) -> list[Rollout]:
        raise AssertionError("the loop asks for references where the recipe does")

    async def restart(self) -> None:
        raise AssertionError("the loop never restarts")

    async def load(self, folder: Path) -> None:
        self.version, self.skill = json.loads((folder / "fake.json").read_text())


class Log:
    """What the hooks saw."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.steps: dict[int, dict[str, float]] = {}
        self.readiness: list[Readiness] = []
        self.saved: dict[int, dict[str, Any]] = {}
        self.ledger: dict[int, list[str]] = {}

    def hooks(self) -> RlHooks:
        return RlHooks(
            log=lambda step, values: self.steps.__setitem__(step, dict(values)),
            rollouts=lambda step, groups, scores: None,
            ready=self.readiness.append,
            trained=lambda step, ids: self.ledger.__setitem__(step, list(ids)),
            checkpoint_folder=lambda step: self.folder / str(step),
            saved=lambda step, folder, state, reward: self.saved.__setitem__(step, state),
        )

    def untimed(self) -> dict[int, dict[str, float]]:
        return {
            step: {k: v for k, v in values.items() if not k.startswith("time/")}
            for step, values in self.steps.items()
        }


CONFIG = RlConfig(steps=6, utterances_per_step=3, group_size=4, save_every=3)
UTTERANCES = [utterance(i) for i in range(7)]
CANARIES = (Prompt(utterance=UTTERANCES[0], route=Route.DIRECT),)


async def run(
    log: Log,
    *,
    learner: CountingLearner | None = None,
    judge: TasteJudge | None = None,
    sampler: CoinSampler | None = None,
    config: RlConfig = CONFIG,
    stream: UtteranceStream | None = None,
    start: int = 1,
    loop: Any = run_rl,
    mix: RouteMix | None = None,
) -> None:
    await loop(
        Ports(
            sampler=sampler or CoinSampler(),
            judge=judge or TasteJudge(),
            learner=learner or CountingLearner(),
        ),
        stream or UtteranceStream(UTTERANCES, 0),
        mix or RouteMix(config, 0),
        CANARIES,
        config,
        seed=0,
        hooks=log.hooks(),
        start=start,
    )


def group(
    rewards: Sequence[float | None], *, version: int = 5
) -> tuple[Group, list[Score | Unscored]]:
    rollouts = tuple(
        Rollout(
            token_ids=(1,), logprobs=(-1.0,), text="", stop=StopReason.EOS, policy_version=version
        )
        for _ in rewards
    )
    scores: list[Score | Unscored] = [
        Unscored(reason="timeout") if r is None else Score(reward=r) for r in rewards
    ]
    return Group(prompt=CANARIES[0], rollouts=rollouts), scores
