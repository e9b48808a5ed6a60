"""What SFT is fed: from a list and from a mixture, whole for every number of ranks."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_world import adapter_gap, make_checkpoint, make_config, make_policy, make_utterances

from cogaudio_rl.config import Config, SftConfig, SftStageConfig
from cogaudio_rl.data.manifest import write_manifest
from cogaudio_rl.data.mixture import Mixture
from cogaudio_rl.data.shards import write_shards
from cogaudio_rl.errors import DataError
from cogaudio_rl.models import policy as policy_module
from cogaudio_rl.models.engine import LocalEngine
from cogaudio_rl.models.policy import Policy
from cogaudio_rl.stages.feeds import Feed, Share, make_feed
from cogaudio_rl.stages.sft import run_sft
from cogaudio_rl.types import Route, Utterance

STAGE = SftStageConfig(epochs=2, batch_size=4, learning_rate=1e-3, explicit_share=0.5)


@dataclass
class OneOf:
    """Where a rank stands; the rest of an engine is not asked for."""

    rank: int
    world_size: int


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return make_config(make_checkpoint(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def utterances(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    return make_utterances(tmp_path_factory.mktemp("clips"), 8)


@pytest.fixture(scope="module")
def mixture(utterances: list[Utterance], tmp_path_factory: pytest.TempPathFactory) -> Mixture:
    """Six utterances in a manifest, two in shards."""
    root = tmp_path_factory.mktemp("mixture")
    write_manifest(root / "train.jsonl", utterances[:6])
    write_shards(utterances[6:], root / "shards", rows_per_shard=1)
    return Mixture({root / "train.jsonl": 3.0, root / "shards": 1.0})


def a_feed(train: Any, policy: Policy, rank: int = 0, world: int = 1, **stage: Any) -> Feed:
    engine: Any = OneOf(rank, world)
    wanted = STAGE.model_copy(update=stage)
    return make_feed(train, policy, engine, wanted, stage="stage2", seed=0)


def ids(share: Share) -> list[str]:
    return [target.prompt.id for target in share.targets]


@pytest.mark.parametrize("kind", ["listed", "streamed"])
def test_ranks_share_out_the_same_batches(
    kind: str, config: Config, utterances: list[Utterance], mixture: Mixture
) -> None:
    policy, train = make_policy(config), utterances if kind == "listed" else mixture
    with closing(a_feed(train, policy)) as whole:
        batches = [Counter(ids(whole.next())) for _ in range(6)]
    for world in (2, 4):
        found = [Counter[str]() for _ in batches]
        for rank in range(world):
            with closing(a_feed(train, policy, rank, world)) as feed:
                for batch in found:
                    share = ids(feed.next())
                    assert len(share) == 4 // world
                    batch.update(share)
        assert found == batches


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_a_mixture_takes_every_utterance_through_its_routes(
    share: float, config: Config, mixture: Mixture
) -> None:
    epochs, routes = 4, dict[str, list[Route]]()
    with closing(a_feed(mixture, make_policy(config), explicit_share=share)) as feed:
        assert feed.utterances == 8
        for _ in range(2 * epochs):
            for target in feed.next().targets:
                prompt = target.prompt
                routes.setdefault(prompt.utterance.id, []).append(prompt.route)
    assert {len(seen) for seen in routes.values()} == {epochs}
    for seen in routes.values():
        assert seen.count(Route.EXPLICIT) == math.floor(epochs * share)


def test_a_mixture_is_heard_as_its_files_are(
    config: Config, utterances: list[Utterance], mixture: Mixture
) -> None:
    policy, plain = make_policy(config), make_policy(config)
    with closing(a_feed(mixture, policy)) as feed:
        targets = [target for _ in range(2) for target in feed.next().targets]
    files = {u.id: u for u in utterances}
    for target in targets:
        (heard,) = policy.hear([target.prompt.utterance])
        (expected,) = plain.hear([files[target.prompt.utterance.id]])
        torch.testing.assert_close(heard, expected, rtol=0, atol=0)


def test_a_small_memory_of_what_was_heard_is_enough(
    config: Config, mixture: Mixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a share needs must not be forgotten for the sake of what is new in it."""
    monkeypatch.setattr(policy_module, "CACHED_CLIPS", 5)
    policy = make_policy(config)
    with closing(a_feed(mixture, policy)) as feed:
        for _ in range(8):  # four passes
            targets = feed.next().targets
            assert all(policy.hear([t.prompt.utterance]) for t in targets)


def test_training_from_a_mixture_repeats_to_the_last_digit(
    config: Config, mixture: Mixture
) -> None:
    def train() -> tuple[Any, list[float]]:
        policy, losses = make_policy(config), list[float]()
        run_sft(
            policy, LocalEngine(policy, gradient_clip=1.0), mixture, STAGE, SftConfig(),
            stage="stage2", seed=0, log=lambda _step, _total, m: losses.append(m["sft/loss"]),
        )  # fmt: skip
        return policy.adapter(0), losses

    (first, a), (second, b) = train(), train()
    assert len(a) == 4
    assert (a, adapter_gap(first, second)) == (b, 0.0)


def test_what_cannot_be_fed_is_said(
    config: Config, utterances: list[Utterance], mixture: Mixture, tmp_path: Path
) -> None:
    policy = make_policy(config)
    with pytest.raises(DataError, match="stage 'stage2' has no utterances"):
        a_feed([], policy)
    with pytest.raises(DataError, match="batch_size 4 leaves some of 8 learners without"):
        a_feed(mixture, policy, 0, 8)
    with pytest.raises(DataError, match=r"gone\.jsonl' does not exist"):
        a_feed(Mixture({tmp_path / "gone.jsonl": 1.0}), policy)
    write_manifest(tmp_path / "bare.jsonl", [replace(utterances[0], annotation=None)])
    with (
        closing(a_feed(Mixture({tmp_path / "bare.jsonl": 1.0}), policy)) as feed,
        pytest.raises(DataError, match="has no annotation to learn from"),
    ):
        feed.next()
