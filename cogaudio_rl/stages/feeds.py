"""What SFT sees, step after step: a global batch of targets, dealt out to the ranks.

From a list in memory every rank draws alike, and keeps its hand. A mixture is of any size: each rank
reads and decodes its own share of it, off the training thread.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from cogaudio_rl.config import SftStageConfig
from cogaudio_rl.data.loader import Loader, LoaderConfig
from cogaudio_rl.data.mixture import Mixture
from cogaudio_rl.data.sources import Sound
from cogaudio_rl.errors import DataError
from cogaudio_rl.models.engine import Engine, deal
from cogaudio_rl.models.policy import Policy
from cogaudio_rl.seeding import rng_for, seed_for
from cogaudio_rl.stages.targets import Target, TargetMaker, target_length
from cogaudio_rl.types import Prompt, Route, Utterance

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
) -> Feed:
    """Raises DataError for an empty list, and what opening a mixture raises."""
    if isinstance(train, Mixture):
        return StreamedFeed(train, policy, engine, config, stage=stage, seed=seed)
    return ListedFeed(train, policy, engine, config, stage=stage, seed=seed)


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
    ) -> None:
        if not train:
            raise DataError(f"stage {stage!r} has no utterances to train on")
        self.utterances = len(train)
        self._policy, self._engine, self._batch_size = policy, engine, config.batch_size
        self._maker = TargetMaker(policy, emotion_token_weight=config.emotion_token_weight)
        self._prompts = draw_prompts(train, config.explicit_share, stage=stage, seed=seed)

    def next(self) -> Share:
        targets = [self._maker.make(next(self._prompts)) for _ in range(self._batch_size)]
        hands = deal([target_length(self._policy, t) for t in targets], self._engine.world_size)
        return Share([targets[i] for i in hands[self._engine.rank]], spare=targets[0])

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
        self._explicit_share, self._routes = config.explicit_share, (seed, "sft", stage, "routes")
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
            route = self._route(item.utterance, item.epoch)
            targets.append(self._maker.make(Prompt(utterance=item.utterance, route=route)))
        return Share(targets, spare=targets[0])

    def close(self) -> None:
        self._loader.close()

    def _frames(self, utterance: Utterance, sound: Sound) -> Tensor | None:
        """In a loader's thread."""
        heard = self._policy.chat.hears and utterance.audio is not None
        return self._policy.log_mel(sound) if heard else None

    def _length(self, utterance: Utterance) -> float:
        return self._policy.length(Prompt(utterance=utterance, route=Route.DIRECT), 0)

    def _route(self, utterance: Utterance, epoch: int) -> Route:
        phase = seed_for(*self._routes, utterance.id) / 2**63
        return route_in(epoch, phase, self._explicit_share)


def draw_prompts(
    utterances: Sequence[Utterance], explicit_share: float, *, stage: str, seed: int
) -> Iterator[Prompt]:
    """Prompts without end, epoch after epoch, each epoch in its own order.

    Every epoch sees every utterance once, and ``explicit_share`` of them through prompt A. Which
    ones moves on from epoch to epoch: at a share of 1/2 an utterance takes both routes in turn.
    """
    count, epoch = len(utterances), 0
    places = rng_for(seed, "sft", stage, "routes").permutation(count)
    while True:
        for i in rng_for(seed, "sft", stage, epoch).permutation(count):
            route = route_in(epoch, (float(places[i]) + 0.5) / count, explicit_share)
            yield Prompt(utterance=utterances[i], route=route)
        epoch += 1


def route_in(epoch: int, phase: float, explicit_share: float) -> Route:
    """Bresenham's line: the whole parts of share x epoch + phase rise in ``share`` of the epochs."""
    rises = math.floor((epoch + 1) * explicit_share + phase)
    explicit = rises > math.floor(epoch * explicit_share + phase)
    return Route.EXPLICIT if explicit else Route.DIRECT
