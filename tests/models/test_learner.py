"""The learner's update is the objective's gradient step, however the batch is cut."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_world import (
    adapter_gap,
    make_checkpoint,
    make_config,
    make_policy,
    make_samples,
    make_utterances,
)

from cogaudio_rl.config import Config, ObjectiveConfig
from cogaudio_rl.errors import CheckpointError
from cogaudio_rl.models.engine import LocalEngine, rank_share
from cogaudio_rl.models.learner import PolicyLearner, learning_rate
from cogaudio_rl.models.tally import Tally
from cogaudio_rl.stages.local import LocalLearner
from cogaudio_rl.types import Group, Sample, StopReason
from cogaudio_rl.written import answer_to


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
    by_hand = {n: p.grad.clone() for n, p in policy.trained_parameters() if p.grad is not None}
    norm = math.sqrt(sum(float((g**2).sum()) for g in by_hand.values()))

    learner = learner_for(config)
    learner._accumulate(learner._anchor(samples), Tally(), first_update=True)
    for name, parameter in learner.policy.trained_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, by_hand[name], rtol=1e-3, atol=1e-6)
    assert learner.engine.step(0.0) == pytest.approx(norm, rel=1e-4)


def test_micro_batches_change_nothing(checkpoint: Path, samples: list[Sample]) -> None:
    whole = learner_for(make_config(checkpoint, micro_batch_tokens=8192))
    cut = learner_for(make_config(checkpoint, micro_batch_tokens=1))
    a, b = whole.update(samples), cut.update(samples)
    assert adapter_gap(whole.adapter(), cut.adapter()) < 1e-6
    assert a == pytest.approx(b, rel=1e-3, abs=2e-5)  # logprob_gap is rounding itself


def test_recomputing_activations_changes_nothing_and_does_recompute(
    checkpoint: Path, samples: list[Sample]
) -> None:
    metrics, calls = [], []
    for recompute in (False, True):
        config = make_config(checkpoint)
        model = config.model.model_copy(update={"gradient_checkpointing": recompute})
        learner, count = learner_for(config.model_copy(update={"model": model})), [0]

        def counted(*_: object, count: list[int] = count) -> None:
            count[0] += 1

        # Of what is inside the block, and at its begin: recomputation stops where it has enough.
        learner.policy.inner().model.layers[0].mlp.register_forward_pre_hook(counted)
        metrics.append(learner.update(samples))
        calls.append(count[0])
    assert metrics[1] == pytest.approx(metrics[0], rel=1e-5, abs=1e-7)
    assert calls[1] == 2 * calls[0]


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


@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=40),
    world=st.integers(1, 5),
    budget=st.integers(1, 200),
)
def test_shares_cover_the_batch_once_within_the_budget_in_equally_many_passes(
    lengths: list[int], world: int, budget: int
) -> None:
    shares = [rank_share(lengths, _Rank(r, world), budget) for r in range(world)]  # pyright: ignore[reportArgumentType]
    assert len({len(share) for share in shares}) == 1
    seen = [i for share in shares for rows in share for i in rows]
    assert sorted(seen) == list(range(len(lengths)))
    for rows in (rows for share in shares for rows in share if rows):
        padded = len(rows) * max(lengths[i] for i in rows)
        assert padded <= budget or len(rows) == 1, "only a single long sequence may be above it"
    sizes = [sum(len(rows) for rows in share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


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


def shifted(sample: Sample, by: float) -> Sample:
    """The same rollout from a sampler whose log-probs are all off by ``by``."""
    logprobs = tuple(lp + by for lp in sample.rollout.logprobs)
    return replace(sample, rollout=replace(sample.rollout, logprobs=logprobs))


async def test_from_the_learners_own_log_probs_a_faithful_sampler_changes_nothing(
    checkpoint: Path, samples: list[Sample]
) -> None:
    configs = [make_config(checkpoint, old_logprobs=whose) for whose in ("sampler", "learner")]
    updates = [await LocalLearner(make_policy(c), c).update(samples) for c in configs]
    ours, theirs = (dict(u.metrics) for u in updates)
    assert theirs.pop("policy/importance_mean") == pytest.approx(1, abs=1e-5)
    assert theirs.pop("policy/importance_truncated") == 0
    assert theirs.pop("policy/sampler_kl") == pytest.approx(0, abs=1e-8)
    assert theirs == pytest.approx(ours, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(
    ("by", "weight", "truncated"), [(math.log(3), 1 / 3, 0.0), (-math.log(10), 2.0, 1.0)]
)
async def test_the_gap_to_the_sampler_is_a_truncated_weight_and_not_part_of_the_ratio(
    by: float, weight: float, truncated: float, checkpoint: Path, samples: list[Sample]
) -> None:
    once = {"epochs_per_batch": 1, "objective": {"name": "grpo"}, "old_logprobs": "learner"}
    config = make_config(checkpoint, **once)
    fair = await LocalLearner(make_policy(config), config).update(samples)
    off = await LocalLearner(make_policy(config), config).update([shifted(s, by) for s in samples])
    assert off.metrics["policy/ratio_mean"] == pytest.approx(1, abs=1e-5)
    assert off.metrics["policy/importance_mean"] == pytest.approx(weight, rel=1e-4)
    assert off.metrics["policy/importance_truncated"] == truncated
    # Every token has one weight here, so the gradient is the fair one times that weight.
    expected = weight * fair.metrics["policy/grad_norm"]
    assert off.metrics["policy/grad_norm"] == pytest.approx(expected, rel=1e-3)
    # k3 of the gap itself: exp(x) - 1 - x at x = learner - sampler = -by.
    assert off.metrics["policy/sampler_kl"] == pytest.approx(math.exp(-by) - 1 + by, rel=1e-3)


async def test_kl_holds_the_policy_to_where_it_began(
    checkpoint: Path, samples: list[Sample], tmp_path: Path
) -> None:
    free, held = make_config(checkpoint), make_config(checkpoint, kl_coefficient=50.0)
    learners = [LocalLearner(make_policy(c), c) for c in (free, held)]
    await learners[0].save(tmp_path / "start")
    drifts, kls = list[float](), list[float]()
    for learner in learners:
        await learner.load(tmp_path / "start")
        update = [await learner.update(samples) for _ in range(3)][-1]
        groups = [Group(prompt=s.prompt, rollouts=(s.rollout,)) for s in samples]
        now = await learner.logprobs(groups)
        gaps = [
            abs(a - b)
            for s, row in zip(samples, now, strict=True)
            for a, b in zip(s.rollout.logprobs, row[0], strict=True)
        ]
        drifts.append(sum(gaps) / len(gaps))
        kls.append(update.metrics.get("policy/reference_kl", 0.0))
    assert drifts[1] < 0.5 * drifts[0]
    assert kls[0] == 0 < kls[1]
    # Resuming keeps the reference: the policy RL began with, not the one it had come to.
    await learners[1].save(tmp_path / "later")
    again = LocalLearner(make_policy(held), held)
    await again.load(tmp_path / "later")
    resumed, gone_on = await again.update(samples), await learners[1].update(samples)
    assert resumed.metrics == gone_on.metrics


async def test_beginning_from_another_runs_end_is_a_beginning(
    checkpoint: Path, samples: list[Sample], tmp_path: Path
) -> None:
    """Not a resumption: version 0, a fresh optimiser, the learning rate of a first step."""
    config = make_config(checkpoint, steps=2, schedule="linear")
    done = LocalLearner(make_policy(config), config)
    for _ in range(2):
        await done.update(samples)
    await done.save(tmp_path)
    fresh = LocalLearner(make_policy(config), config)
    await fresh.begin(tmp_path)
    assert (await fresh.adapter()).version == 0
    assert adapter_gap(await fresh.adapter(), await done.adapter()) == 0
    update = await fresh.update(samples)
    assert update.metrics["policy/learning_rate"] == config.rl.learning_rate
    assert update.policy_version == 1


DPO = {"name": "dpo", "beta": 0.3}


def dpo_config(checkpoint: Path, **rl: object) -> Config:
    config = make_config(checkpoint, objective={"name": "grpo"}, **rl)
    # The route it is meant for needs votes; to the learner a pair is a pair.
    objective = ObjectiveConfig.model_validate(DPO)
    return config.model_copy(update={"rl": config.rl.model_copy(update={"objective": objective})})


@pytest.fixture(scope="module")
def pairs(samples: list[Sample]) -> list[Sample]:
    """The first two samples of each prompt: chosen, rejected."""
    firsts = [samples[i : i + 2] for i in range(0, len(samples), 3)]
    return [
        replace(s, advantage=sign)
        for pair in firsts
        for s, sign in zip(pair, (1.0, -1.0), strict=True)
    ]


def moved_learner(config: Config, folder: Path, samples: list[Sample]) -> PolicyLearner:
    """Begun from one adapter, and gone from there to another: margins are not 0."""
    start = learner_for(config)
    start.save(folder)
    learner = learner_for(config)
    learner.begin(folder)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for _, parameter in learner.policy.trained_parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    learner.engine.reset()
    return learner


def test_pairs_give_dpo_s_gradient_though_no_pass_holds_a_whole_one(
    checkpoint: Path, pairs: list[Sample], tmp_path: Path
) -> None:
    """Against autograd through the loss itself, all pairs in one graph."""
    config = dpo_config(checkpoint, micro_batch_tokens=1, epochs_per_batch=1)
    learner = moved_learner(config, tmp_path, pairs)
    policy = learner.policy
    anchored = learner._anchor(pairs)
    total, losses = torch.zeros(()), list[float]()
    for chosen, rejected in zip(anchored[0::2], anchored[1::2], strict=True):
        gained: list[torch.Tensor] = []
        for a in (chosen, rejected):
            row = policy.sequence(a.sample.prompt, a.sample.rollout.token_ids)
            logprobs_BT, _ = policy(policy.pack([row]))
            assert a.reference is not None
            gained.append(logprobs_BT.sum() - sum(a.reference))
        loss = -torch.nn.functional.logsigmoid(0.3 * (gained[0] - gained[1]))
        losses.append(float(loss.detach()))
        total = total + loss / (len(pairs) // 2)
    total.backward()
    by_hand = {n: p.grad.clone() for n, p in policy.trained_parameters() if p.grad is not None}
    assert max(losses) - min(losses) > 0.05, "margins that are all alike would prove little"
    policy.zero_grad(set_to_none=True)

    margins = learner._margins(anchored)
    learner._accumulate(learner._weighed(anchored, margins), Tally(), first_update=True)
    for name, parameter in policy.trained_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, by_hand[name], rtol=2e-3, atol=1e-5)
    told = learner._pair_metrics([margins])
    assert told["policy/loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-4)


def test_pairs_are_learnt_and_stay_together(checkpoint: Path, pairs: list[Sample], tmp_path: Path):
    config = dpo_config(checkpoint, minibatches=2, epochs_per_batch=4, learning_rate=3e-3)
    learner = learner_for(config)
    learner.save(tmp_path)
    learner.begin(tmp_path)
    first, *_, last = [learner.update(pairs) for _ in range(5)]
    assert last["policy/loss"] < first["policy/loss"] < math.log(2)
    assert last["policy/pair_accuracy"] == 1.0
    assert last["policy/pair_margin"] > first["policy/pair_margin"] > 0
    for minibatch in learner._minibatches(learner._anchor(pairs)):
        ids = [a.sample.prompt.id for a in minibatch]
        assert ids[0::2] == ids[1::2]
    with pytest.raises(ValueError, match="pairs need an even number of samples, got 3"):
        learner.update(pairs[:3])
    with pytest.raises(ValueError, match="a pair is what was chosen and what was rejected"):
        learner.update([pairs[0], pairs[2]])


def test_what_was_written_comes_with_the_learner_s_own_logprobs(
    checkpoint: Path, samples: list[Sample]
) -> None:
    learner = learner_for(make_config(checkpoint))
    prompts = list(dict.fromkeys(s.prompt for s in samples))
    references = learner.references(prompts)
    for prompt, reference in zip(prompts, references, strict=True):
        assert reference.text == answer_to(prompt)
        assert reference.token_ids == learner.policy.response_ids(reference.text)
        assert reference.stop is StopReason.WRITTEN
    groups = [Group(prompt=p, rollouts=(r,)) for p, r in zip(prompts, references, strict=True)]
    again = [row[0] for row in learner.logprobs(groups)]
    for reference, row in zip(references, again, strict=True):
        assert reference.logprobs == pytest.approx(row, abs=1e-5)
    # As one more sample of its group its ratio begins at 1.
    told = learner.update([Sample(prompt=prompts[0], rollout=references[0], advantage=1.0)])
    assert told["policy/logprob_gap"] < 1e-4
