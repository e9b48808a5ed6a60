"""SFT: what is seen, what weighs, and that it learns the same whatever the split."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import pytest
from tiny_world import adapter_gap, make_checkpoint, make_config, make_policy, make_utterances

from cogaudio_rl import eips
from cogaudio_rl.config import Config, SftConfig, SftStageConfig
from cogaudio_rl.errors import DataError
from cogaudio_rl.models.engine import LocalEngine
from cogaudio_rl.stages.feeds import draw_prompts
from cogaudio_rl.stages.sft import learning_rate, run_sft, total_steps
from cogaudio_rl.stages.targets import TargetMaker
from cogaudio_rl.types import Adapter, Prompt, Route, Utterance


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return make_config(make_checkpoint(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def utterances(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    return make_utterances(tmp_path_factory.mktemp("clips"), 8)


def train(
    config: Config,
    utterances: list[Utterance],
    stage: SftStageConfig,
    *,
    micro_batch_tokens: int = 1024,
    seed: int = 0,
) -> tuple[Adapter, list[float]]:
    policy, losses = make_policy(config), list[float]()

    def log(step: int, total: int, metrics: Mapping[str, float]) -> None:
        assert step == len(losses) + 1 <= total
        losses.append(metrics["sft/loss"])

    run_sft(
        policy,
        LocalEngine(policy, gradient_clip=1.0),
        utterances,
        stage,
        SftConfig(micro_batch_tokens=micro_batch_tokens),
        stage="stage1",
        seed=seed,
        log=log,
    )
    return policy.adapter(0), losses


def test_learns_four_utterances(config: Config, utterances: list[Utterance]) -> None:
    stage = SftStageConfig(epochs=40, batch_size=4, learning_rate=2e-2, explicit_share=0.5)
    _, losses = train(config, utterances[:4], stage)
    assert len(losses) == 40
    assert losses[-1] < 0.35 * losses[0]


def test_micro_batches_change_nothing(config: Config, utterances: list[Utterance]) -> None:
    stage = SftStageConfig(
        epochs=2, batch_size=6, learning_rate=1e-4, explicit_share=0.5, emotion_token_weight=10
    )
    whole, a = train(config, utterances, stage, micro_batch_tokens=4096)
    cut, b = train(config, utterances, stage, micro_batch_tokens=1)
    assert a == pytest.approx(b, abs=1e-5)
    assert adapter_gap(whole, cut) < 1e-6


def test_same_seed_same_last_digit(config: Config, utterances: list[Utterance]) -> None:
    stage = SftStageConfig(epochs=1.5, batch_size=4, learning_rate=1e-3, explicit_share=0.5)
    first, a = train(config, utterances, stage)
    second, b = train(config, utterances, stage)
    other, c = train(config, utterances, stage, seed=1)
    assert (a, adapter_gap(first, second)) == (b, 0.0)
    assert a != c
    assert adapter_gap(first, other) > 0


def test_emotion_label_alone_weighs_more(config: Config, utterances: list[Utterance]) -> None:
    policy = make_policy(config)
    maker = TargetMaker(policy, emotion_token_weight=10.0)
    for utterance in utterances:
        target = maker.make(Prompt(utterance=utterance, route=Route.EXPLICIT))
        heavy = [i for i, w in zip(target.token_ids, target.weights, strict=True) if w == 10.0]
        assert policy.decode(heavy) == f" {utterance.emotion}"
        assert target.token_ids[-1] == policy.eos_id
        assert utterance.annotation is not None
        assert policy.decode(target.token_ids) == eips.render(utterance.annotation.eips)
        direct = maker.make(Prompt(utterance=utterance, route=Route.DIRECT))
        assert set(direct.weights) == {1.0}
        reply = eips.render_direct(utterance.annotation.eips.response)
        assert policy.decode(direct.token_ids) == reply


def test_both_routes_in_turn(utterances: list[Utterance]) -> None:
    prompts = draw_prompts(utterances, 0.5, stage="stage2", seed=3)
    epochs = [list(itertools.islice(prompts, len(utterances))) for _ in range(4)]
    for epoch in epochs:
        assert Counter(p.utterance.id for p in epoch) == Counter(u.id for u in utterances)
        assert sum(p.route is Route.EXPLICIT for p in epoch) == len(utterances) // 2
    for pair in (epochs[:2], epochs[2:]):
        assert len({p.id for epoch in pair for p in epoch}) == 2 * len(utterances)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.25, 8), (1.0, 32)])
def test_explicit_share(utterances: list[Utterance], share: float, expected: int) -> None:
    seen = itertools.islice(draw_prompts(utterances, share, stage="s", seed=0), 32)
    assert sum(p.route is Route.EXPLICIT for p in seen) == expected


def test_schedule() -> None:
    stage = SftStageConfig(epochs=2.5, batch_size=4, learning_rate=1e-2, warmup_share=0.1)
    total = total_steps(160, stage)
    assert total == 100
    rates = [learning_rate(step, total, stage) for step in range(1, total + 1)]
    assert rates[:2] == pytest.approx([1e-3, 2e-3])
    assert max(rates) == rates[9] == rates[10] == pytest.approx(1e-2)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(2e-4)


def test_bad_input_is_named(config: Config, utterances: list[Utterance]) -> None:
    with pytest.raises(DataError, match="'stage1' has no utterances"):
        train(config, [], SftStageConfig())
    bare = replace(utterances[0], annotation=None)
    with pytest.raises(DataError, match="'u0' has no annotation"):
        train(config, [bare], SftStageConfig(batch_size=1))
