"""The learner's update is the objective's gradient step, however the batch is cut."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_world import (
    adapter_gap,
    make_checkpoint,
    make_config,
    make_policy,
    make_samples,
    make_utterances,
)

from cogaudio_rl.config import Config
from cogaudio_rl.errors import CheckpointError
from cogaudio_rl.models.engine import LocalEngine, rank_share
from cogaudio_rl.models.learner import LocalLearner, PolicyLearner, Tally, learning_rate
from cogaudio_rl.types import Group, Sample


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def samples(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    utterances = make_utterances(tmp_path_factory.mktemp("clips"), 3)
    return make_samples(make_policy(make_config(checkpoint)), utterances, group_size=3)


def learner_for(config: Config) -> PolicyLearner:
    policy = make_policy(config)
    return PolicyLearner(policy, LocalEngine(policy, gradient_clip=1.0), config)


def test_first_update_follows_the_policy_gradient(checkpoint: Path, samples: list[Sample]) -> None:
    # On-policy, SAPO's gradient is the plain policy gradient: −mean_i A_i · mean_t ∇log π.
    config = make_config(checkpoint)
    policy = make_policy(config)
    total = torch.zeros(())
    for s in samples:
        logprobs_BT, _ = policy(policy.pack([policy.sequence(s.prompt, s.rollout.token_ids)]))
        total = total - s.advantage * logprobs_BT.mean() / len(samples)
    total.backward()
    by_hand = {n: p.grad.clone() for n, p in policy.lora_parameters() if p.grad is not None}
    norm = math.sqrt(sum(float((g**2).sum()) for g in by_hand.values()))

    learner = learner_for(config)
    learner._accumulate(samples, Tally(), first_update=True)
    for name, parameter in learner.policy.lora_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, by_hand[name], rtol=1e-3, atol=1e-6)
    assert learner.engine.step(0.0) == pytest.approx(norm, rel=1e-4)


def test_micro_batches_change_nothing(checkpoint: Path, samples: list[Sample]) -> None:
    whole = learner_for(make_config(checkpoint, micro_batch_size=64))
    cut = learner_for(make_config(checkpoint, micro_batch_size=1))
    a, b = whole.update(samples), cut.update(samples)
    assert adapter_gap(whole.adapter(), cut.adapter()) < 1e-6
    assert a == pytest.approx(b, rel=1e-3, abs=2e-5)  # logprob_gap is rounding itself


def test_same_seed_same_last_digit(checkpoint: Path, samples: list[Sample]) -> None:
    runs = []
    for _ in range(2):
        learner = learner_for(make_config(checkpoint, minibatches=2))
        runs.append(([learner.update(samples) for _ in range(2)], learner.adapter()))
    assert runs[0][0] == runs[1][0]
    assert adapter_gap(runs[0][1], runs[1][1]) == 0.0


def test_metrics_of_an_on_policy_update(checkpoint: Path, samples: list[Sample]) -> None:
    learner = learner_for(make_config(checkpoint, epochs_per_batch=2, minibatches=2))
    metrics = learner.update(samples)
    assert metrics["policy/updates"] == 4
    assert metrics["policy/logprob_gap"] < 1e-4
    assert metrics["policy/ratio_mean"] == pytest.approx(1, abs=0.05)
    assert metrics["policy/ratio_max_dev"] > metrics["policy/logprob_gap"]
    assert metrics["policy/kl"] >= 0
    assert 0 < metrics["policy/entropy"] < math.log(500)
    assert 0 <= metrics["policy/attenuated"] < 0.2


def test_gap_and_gate_see_a_sampler_with_other_weights(
    checkpoint: Path, samples: list[Sample]
) -> None:
    def shifted(sample: Sample) -> Sample:
        logprobs = tuple(p + 2.0 for p in sample.rollout.logprobs)  # ratio e^-2: gate 0.4
        return replace(sample, rollout=replace(sample.rollout, logprobs=logprobs))

    metrics = learner_for(make_config(checkpoint)).update([shifted(s) for s in samples])
    assert metrics["policy/logprob_gap"] == pytest.approx(2.0, abs=1e-3)
    assert metrics["policy/attenuated"] == 1.0


def test_updates_raise_what_was_preferred(checkpoint: Path, samples: list[Sample]) -> None:
    learner = learner_for(make_config(checkpoint, learning_rate=5e-3))
    before = _margin(learner, samples)
    for _ in range(3):
        learner.update(samples)
    assert learner.version == 3
    assert _margin(learner, samples) > before + 0.1


def test_learning_rate_warms_up(checkpoint: Path, samples: list[Sample]) -> None:
    learner = learner_for(make_config(checkpoint, learning_rate=1e-3, warmup_steps=4))
    rates = [learner.update(samples[:2])["policy/learning_rate"] for _ in range(5)]
    assert rates == pytest.approx([0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3])


def test_save_and_load_equal_never_stopping(
    checkpoint: Path, samples: list[Sample], tmp_path: Path
) -> None:
    config = make_config(checkpoint)
    through = learner_for(config)
    through.update(samples)
    through.save(tmp_path)
    expected = through.update(samples)

    resumed = learner_for(config)
    resumed.update(samples[:3])  # something to forget
    resumed.load(tmp_path)
    assert resumed.version == 1
    assert resumed.update(samples) == expected
    assert adapter_gap(through.adapter(), resumed.adapter()) == 0.0


def test_bare_adapter_starts_with_a_fresh_optimiser(
    checkpoint: Path, samples: list[Sample], tmp_path: Path
) -> None:
    config = make_config(checkpoint)
    fresh = learner_for(config)
    fresh.save(tmp_path)
    (tmp_path / "optimizer-1-of-1.pt").unlink()
    used = learner_for(config)
    used.update(samples)
    used.load(tmp_path)
    assert used.update(samples) == fresh.update(samples)


def test_another_number_of_ranks_is_named(checkpoint: Path, tmp_path: Path) -> None:
    learner = learner_for(make_config(checkpoint))
    learner.save(tmp_path)
    (tmp_path / "optimizer-1-of-1.pt").rename(tmp_path / "optimizer-1-of-2.pt")
    with pytest.raises(CheckpointError, match="another number of learners than 1"):
        learner.load(tmp_path)


async def test_local_learner_is_a_learner(
    checkpoint: Path, samples: list[Sample], tmp_path: Path
) -> None:
    config = make_config(checkpoint)
    learner = LocalLearner(make_policy(config), config)
    groups = [Group(prompt=s.prompt, rollouts=(s.rollout, s.rollout)) for s in samples[:2]]
    rows = await learner.logprobs(groups)
    for group, row in zip(groups, rows, strict=True):
        for rollout, logprobs in zip(group.rollouts, row, strict=True):
            assert logprobs == pytest.approx(rollout.logprobs, abs=1e-4)
    update = await learner.update(samples)
    assert (update.policy_version, (await learner.adapter()).version) == (1, 1)
    await learner.save(tmp_path)
    await learner.load(tmp_path)
    assert (await learner.adapter()).version == 1


class _Rank:
    def __init__(self, rank: int, world_size: int) -> None:
        self.rank, self.world_size = rank, world_size


@pytest.mark.parametrize(("count", "world", "size"), [(1, 2, 4), (7, 2, 2), (9, 4, 2), (16, 3, 8)])
def test_shares_cover_the_batch_once_in_equally_many_passes(
    count: int, world: int, size: int
) -> None:
    lengths = [(7 * i) % 11 for i in range(count)]
    shares = [rank_share(lengths, _Rank(r, world), size) for r in range(world)]  # pyright: ignore[reportArgumentType]
    assert len({len(share) for share in shares}) == 1
    seen = [i for share in shares for rows in share for i in rows]
    assert sorted(seen) == list(range(count))
    assert all(len(rows) <= size for share in shares for rows in share)


def _margin(learner: PolicyLearner, samples: list[Sample]) -> float:
    groups = [Group(prompt=s.prompt, rollouts=(s.rollout,)) for s in samples]
    rows = learner.logprobs(groups)
    means = [s.advantage * float(np.mean(row[0])) for s, row in zip(samples, rows, strict=True)]
    return float(np.mean(means))


def test_the_rate_warms_up_and_falls_to_the_end(checkpoint: Path) -> None:
    linear = make_config(checkpoint, steps=10, warmup_steps=3, schedule="linear").rl
    rates = [learning_rate(version, linear) / linear.learning_rate for version in range(10)]
    assert rates == pytest.approx(
        [1 / 3, 2 / 3, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]
    )
    constant = make_config(checkpoint, steps=10, warmup_steps=3).rl
    assert [learning_rate(v, constant) / constant.learning_rate for v in (0, 2, 9)] == [1 / 3, 1, 1]
