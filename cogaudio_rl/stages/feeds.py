"""What SFT sees, step after step: a global batch of targets, dealt out to the ranks.

From a list in memory every rank draws alike, and keeps its hand. A mixture is of any size: each rank
reads and decodes its own share of it, off the training thread.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Protocol

from torch import Tensor

from cogaudio_rl.config import ROUTES, SftStageConfig
from cogaudio_rl.data.loader import Loader, LoaderConfig
from cogaudio_rl.data.mixture import Mixture
from cogaudio_rl.data.sources import Sound
from cogaudio_rl.errors import DataError
from cogaudio_rl.models.engine import Engine, deal
from cogaudio_rl.models.policy import Policy
from cogaudio_rl.seeding import rng_for, seed_for
from cogaudio_rl.stages.targets import Lesson, Target, TargetMaker, target_length
from cogaudio_rl.types import Prompt, Route, Utterance
from cogaudio_rl.written import stated

WINDOW_BATCHES = 16
"""Among so many batches of a mixture, but no more than a pass has, those of like length are put
together."""


@dataclass(frozen=True, slots=True)
class Share:
    """One rank's part of a global batch."""

    targets: Sequence[Target]
    spare: Target
    """To pass through the model where another rank has one more micro-batch."""


class Feed(Protocol):
    """Global batches without end, pass after pass."""

    @property
    def utterances(self) -> int:
        """How many there are in one pass."""
        ...

    def next(self) -> Share:
        """This rank's share of the next global batch."""
        ...

    def close(self) -> None: ...


def make_feed(
    train: Sequence[Utterance] | Mixture,
    policy: Policy,
    engine: Engine,
    config: SftStageConfig,
    *,
    stage: str,
    seed: int,
    lessons: Mapping[str, Lesson] = MappingProxyType({}),
) -> Feed:
    """``lessons`` by utterance's id, for direct replies from a list in memory.

    Raises DataError for an empty list, and what opening a mixture raises.
    """
    if isinstance(train, Mixture):
        return StreamedFeed(train, policy, engine, config, stage=stage, seed=seed)
    return ListedFeed(train, policy, engine, config, stage=stage, seed=seed, lessons=lessons)


class ListedFeed:
    """Every rank draws the same batches and keeps its hand of each."""

    def __init__(
        self,
        train: Sequence[Utterance],
        policy: Policy,
        engine: Engine,
        config: SftStageConfig,
        *,
        stage: str,
        seed: int,
        lessons: Mapping[str, Lesson] = MappingProxyType({}),
    ) -> None:
        if not train:
            raise DataError(f"stage {stage!r} has no utterances to train on")
        self.utterances = len(train)
        self._policy, self._engine, self._batch_size = policy, engine, config.batch_size
        self._maker = TargetMaker(policy, emotion_token_weight=config.emotion_token_weight)
        self._lessons = lessons
        self._prompts = draw_prompts(
            train, config.explicit_share, stage=stage, seed=seed, asks=config.asks
        )

    def next(self) -> Share:
        targets = [self._target(next(self._prompts)) for _ in range(self._batch_size)]
        hands = deal([target_length(self._policy, t) for t in targets], self._engine.world_size)
        return Share([targets[i] for i in hands[self._engine.rank]], spare=targets[0])

    def _target(self, prompt: Prompt) -> Target:
        target = self._maker.make(prompt)
        if prompt.route is not Route.DIRECT:
            return target
        return replace(target, lesson=self._lessons.get(prompt.utterance.id))

    def close(self) -> None:
        """Nothing was opened."""


class StreamedFeed:
    """Every rank loads its own share; which utterances make a batch does not depend on the ranks."""

    def __init__(
        self,
        train: Mixture,
        policy: Policy,
        engine: Engine,
        config: SftStageConfig,
        *,
        stage: str,
        seed: int,
    ) -> None:
        if config.batch_size < engine.world_size:
            raise DataError(
                f"batch_size {config.batch_size} leaves some of {engine.world_size} learners without "
                "an utterance; make it larger"
            )
        mixture = train.open()
        self.utterances = sum(len(part.source) for part in mixture)
        batches = self.utterances // config.batch_size
        self._policy = policy
        self._maker = TargetMaker(policy, emotion_token_weight=config.emotion_token_weight)
        self._explicit_share, self._phases = config.explicit_share, (seed, "sft", stage, "routes")
        self._asks = config.asks
        self._loader = Loader(
            mixture,
            self._frames,
            LoaderConfig(
                seed=seed_for(seed, "sft", stage, "stream"),
                budget=math.inf,
                window=config.batch_size * min(WINDOW_BATCHES, max(1, batches)),
                max_items=config.batch_size,
                rank=engine.rank,
                world_size=engine.world_size,
            ),
            length=self._length,
        )

    def next(self) -> Share:
        targets: list[Target] = []
        for item in next(self._loader):
            if item.features is not None:
                self._policy.hear_frames(item.utterance, item.features)
            prompt = self._prompt(item.utterance, item.epoch)
            targets.append(self._maker.make(prompt))
        return Share(targets, spare=targets[0])

    def close(self) -> None:
        self._loader.close()

    def _frames(self, utterance: Utterance, sound: Sound) -> Tensor | None:
        """In a loader's thread."""
        reads = self._asks == "stated" or not self._policy.chat.hears
        heard = not reads and utterance.audio is not None
        return self._policy.log_mel(sound) if heard else None

    def _length(self, utterance: Utterance) -> float:
        # By the route of most, whatever an utterance's own turns out to be.
        return self._policy.length(ask(self._asks, utterance, more=False), 0)

    def _prompt(self, utterance: Utterance, epoch: int) -> Prompt:
        place = seed_for(*self._phases, utterance.id)
        more = asks_more(epoch, place / 2**63, self._explicit_share)
        return ask(self._asks, utterance, more=more, turn=place + epoch)


def draw_prompts(
    utterances: Sequence[Utterance],
    explicit_share: float,
    *,
    stage: str,
    seed: int,
    asks: str = "replies",
) -> Iterator[Prompt]:
    """Prompts without end, epoch after epoch, each epoch in its own order.

    Every epoch sees every utterance once, and ``explicit_share`` of them is asked for more than the
    reply. Which ones moves on from epoch to epoch: at a share of 1/2 an utterance takes both routes in
    turn.
    """
    count, epoch = len(utterances), 0
    places = rng_for(seed, "sft", stage, "routes").permutation(count)
    while True:
        for i in rng_for(seed, "sft", stage, epoch).permutation(count):
            phase = (float(places[i]) + 0.5) / count
            more = asks_more(epoch, phase, explicit_share)
            yield ask(asks, utterances[i], more=more, turn=int(places[i]) + epoch)
        epoch += 1


def ask(asks: str, utterance: Utterance, *, more: bool, turn: int = 0) -> Prompt:
    """The prompt of a stage that ``asks`` for this; its first route where ``more`` is asked for, else
    whose ``turn`` it is among the others.

    Raises DataError where a thought is to be stated that nobody wrote.
    """
    if asks == "stated":
        # The plan that the written reply follows: the teacher learns to do as it is told.
        written = utterance.annotation
        return stated(utterance, written.eips.strategy if written else "")
    routes = ROUTES[asks]
    others = routes[1:] or routes
    return Prompt(utterance=utterance, route=routes[0] if more else others[turn % len(others)])


def asks_more(epoch: int, phase: float, share: float) -> bool:
    """Bresenham's line: the whole parts of share x epoch + phase rise in ``share`` of the epochs."""
    return math.floor((epoch + 1) * share + phase) > math.floor(epoch * share + phase)
