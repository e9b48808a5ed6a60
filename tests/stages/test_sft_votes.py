"""SFT on vote shares: what is weighed, that it is learnt, and that no split changes it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
from tiny_world import (
    adapter_gap,
    make_checkpoint,
    make_config,
    make_policy,
    make_utterances,
    make_voted,
)

from cogaudio_rl import ambiguity
from cogaudio_rl.config import Config, SftConfig, SftStageConfig, load_config
from cogaudio_rl.errors import ConfigError, DataError
from cogaudio_rl.models.engine import LocalEngine
from cogaudio_rl.models.generate import LocalSampler
from cogaudio_rl.stages.sft import run_sft
from cogaudio_rl.stages.targets import TargetMaker
from cogaudio_rl.types import Adapter, Prefix, Prompt, Route, Utterance
from cogaudio_rl.written import check_written

Log = list[Mapping[str, float]]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return make_config(make_checkpoint(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def utterances(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    return make_voted(make_utterances(tmp_path_factory.mktemp("clips"), 6))


def train(
    config: Config, utterances: list[Utterance], *, micro_batch_tokens: int = 1024, **given: object
) -> tuple[Adapter, Log]:
    stage = SftStageConfig.model_validate({"asks": "ambiguity", "batch_size": 6, **given})
    policy, log = make_policy(config), Log()
    run_sft(
        policy,
        LocalEngine(policy, gradient_clip=1.0),
        utterances,
        stage,
        SftConfig(micro_batch_tokens=micro_batch_tokens),
        stage="votes",
        seed=0,
        log=lambda step, total, metrics: log.append(metrics),
    )
    return policy.adapter(0), log


def divergence(config: Config, adapter: Adapter | None, utterances: list[Utterance]) -> float:
    """Mean KL of the votes from what a sampler says behind the written chain."""
    sampler = LocalSampler(make_policy(config), config.model)
    if adapter is not None:
        asyncio.run(sampler.publish(adapter))
    total = 0.0
    for u in utterances:
        assert u.votes is not None
        assert u.ambiguity is not None
        prompt = Prompt(utterance=u, route=Route.AMBIGUITY)
        prefix = Prefix(text=ambiguity.render_chain(u.ambiguity))
        names = [f" {label}" for label in u.votes]
        (shares,) = asyncio.run(sampler.weigh([prompt], [prefix], names))
        pairs = zip(u.votes.values(), shares, strict=True)
        total += sum(p * math.log(p / q) for p, q in pairs if p > 0)
    return total / len(utterances)


def test_the_divergence_is_that_of_what_a_sampler_would_say(
    config: Config, utterances: list[Utterance]
) -> None:
    _, log = train(config, utterances, epochs=1, distribution_weight=2.0, learning_rate=1e-6)
    assert log[0]["sft/vote_divergence"] == pytest.approx(
        divergence(config, None, utterances), rel=1e-4
    )


def test_shares_are_learnt_and_not_by_the_text_alone(
    config: Config, utterances: list[Utterance]
) -> None:
    hard = {"epochs": 50, "learning_rate": 2e-2, "warmup_share": 0.1}
    with_votes, log = train(config, utterances, distribution_weight=3.0, **hard)
    text_alone, plain = train(config, utterances, **hard)
    assert "sft/vote_divergence" not in plain[0]
    assert log[-1]["sft/loss"] < 0.5 * log[0]["sft/loss"]
    learnt, unlearnt = (divergence(config, a, utterances) for a in (with_votes, text_alone))
    assert learnt < 0.1
    assert learnt < 0.5 * unlearnt


def test_micro_batches_change_nothing(config: Config, utterances: list[Utterance]) -> None:
    given = {"epochs": 3, "learning_rate": 1e-4, "distribution_weight": 1.5}
    whole, a = train(config, utterances, micro_batch_tokens=8192, **given)
    cut, b = train(config, utterances, micro_batch_tokens=1, **given)
    for one, other in zip(a, b, strict=True):
        for key in ("sft/loss", "sft/vote_divergence", "sft/grad_norm"):
            assert one[key] == pytest.approx(other[key], rel=1e-4)
    assert adapter_gap(whole, cut) < 1e-6


def test_the_target_is_the_chain_and_the_place_is_the_emotion_s(
    config: Config, utterances: list[Utterance]
) -> None:
    policy = make_policy(config)
    maker = TargetMaker(policy, emotion_token_weight=5.0)
    for u in utterances:
        target = maker.make(Prompt(utterance=u, route=Route.AMBIGUITY))
        assert u.ambiguity is not None
        assert policy.decode(target.token_ids) == ambiguity.render(u.ambiguity)
        assert target.token_ids[-1] == policy.eos_id
        (vote,) = target.votes
        before = policy.decode(target.token_ids[: vote.place])
        assert before == ambiguity.render_chain(u.ambiguity)
        heavy = [i for i, w in zip(target.token_ids, target.weights, strict=True) if w == 5.0]
        assert policy.decode(heavy).strip() == u.ambiguity.emotion
        assert vote.options.rows > 1, "a name of several tokens would prove more"


def test_bad_input_is_named(config: Config, utterances: list[Utterance]) -> None:
    with pytest.raises(DataError, match="'u0' has no votes; the ambiguity route needs them"):
        train(config, [replace(utterances[0], votes=None)], distribution_weight=1.0)
    with pytest.raises(DataError, match="'u0' has votes and no chain about them"):
        check_written([replace(utterances[0], ambiguity=None)], [Route.AMBIGUITY])
    with pytest.raises(ConfigError, match=r"distribution_weight=1 needs asks=ambiguity"):
        load_config("quickstart", ["sft.stage1.distribution_weight=1.0"])
