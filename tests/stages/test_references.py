"""What was written beside a group's rollouts: GRPO_z's statistics and DPO's pairs, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from rl_world import CoinSampler, CountingLearner, Log, TasteJudge, group, run

from cogaudio_rl.config import ObjectiveConfig, RlConfig, load_config
from cogaudio_rl.errors import ConfigError
from cogaudio_rl.rollout_file import read_rollouts, write_rollouts
from cogaudio_rl.stages.rl import reward_metrics, to_samples
from cogaudio_rl.types import (
    Group,
    Prompt,
    Rollout,
    Sample,
    Score,
    StopReason,
    Unscored,
    Update,
)

WRITTEN = Rollout(
    token_ids=(9, 9), logprobs=(-2.0, -1.0), text="gold", stop=StopReason.WRITTEN, policy_version=5
)


def with_written(rewards: Sequence[float], written: float) -> tuple[Group, list[Score | Unscored]]:
    of_group, scores = group(rewards)
    return (
        Group(prompt=of_group.prompt, rollouts=(*of_group.rollouts, WRITTEN)),
        [*scores, Score(reward=written)],
    )


def test_group_statistics_by_hand() -> None:
    # Rewards 0.2, 0.4, 0.6 and, written, 1.0: mean 0.55, squares .1225 + .0225 + .0025 + .2025 = .35,
    # standard deviation sqrt(0.35 / 3) = 0.3415650.
    of_group, scores = with_written([0.2, 0.4, 0.6], 1.0)
    samples, _ = to_samples(
        [of_group], [scores], RlConfig(objective=ObjectiveConfig(name="grpo")), newest=5
    )
    assert [s.advantage for s in samples] == pytest.approx(
        [-1.0246951, -0.4391550, 0.1463850, 1.3174651], rel=1e-5
    )
    assert samples[-1].rollout is WRITTEN
    # Without it the same three would have been -1, 0 and 1.
    same, their_scores = group([0.2, 0.4, 0.6])
    alone, _ = to_samples([same], [their_scores], RlConfig(), newest=5)
    assert [s.advantage for s in alone] == pytest.approx([-1.0, 0.0, 1.0], abs=1e-5)


def test_a_group_that_agrees_learns_from_what_was_written() -> None:
    of_group, scores = with_written([0.3, 0.3, 0.3], 0.9)
    samples, dropped = to_samples([of_group], [scores], RlConfig(), newest=5)
    assert [s.advantage for s in samples] == pytest.approx([-0.5, -0.5, -0.5, 1.5], rel=1e-4)
    assert dropped["drop/zero_spread"] == 0


def test_the_mean_reward_is_that_of_what_was_said() -> None:
    of_group, scores = with_written([0.2, 0.4], 1.0)
    metrics = reward_metrics([of_group], [scores])
    assert metrics["reward/direct/mean"] == pytest.approx(0.3)
    assert metrics["reward/direct/reference"] == 1.0
    assert metrics["rollout/count"] == 2
    assert metrics["rollout/direct/tokens"] == 1.0


def test_what_was_written_is_kept_with_the_rollouts(tmp_path: Path) -> None:
    of_group, scores = with_written([0.2, 0.4], 1.0)
    write_rollouts(tmp_path / "r.jsonl", [of_group], [scores])
    read, read_scores = read_rollouts(tmp_path / "r.jsonl", [of_group.prompt.utterance])
    assert read == [of_group]
    assert read_scores == [scores]


DPO = load_config(
    "quickstart",
    ["models=[base, D]", "judge.kind=votes", "rl.route_mix=ambiguity", "rl.objective={name: dpo}"],
).rl


def matching(*matches: float | None) -> tuple[Group, list[Score | Unscored]]:
    """A group whose rollouts match the votes so well; the written one is last."""
    of_group, _ = with_written([0.0] * len(matches), 0.0)
    scores: list[Score | Unscored] = [
        Unscored(reason="aborted") if m is None else Score(reward=m, terms={"match": m})
        for m in matches
    ]
    return of_group, [*scores, Score(reward=0.95, terms={"match": 0.95})]


def test_the_farthest_is_rejected_and_what_was_written_is_chosen() -> None:
    of_group, scores = matching(0.8, 0.4, None, 0.6)
    samples, dropped = to_samples([of_group], [scores], DPO, newest=5)
    assert [(s.rollout, s.advantage) for s in samples] == [
        (WRITTEN, 1.0),
        (of_group.rollouts[1], -1.0),
    ]
    assert dropped == {
        "drop/unscored": 1.0,
        "drop/stale": 0.0,
        "drop/empty": 0.0,
        "drop/unpaired": 0.0,
        "drop/near": 0.0,
    }


def test_a_group_near_the_votes_makes_no_pair() -> None:
    of_group, scores = matching(0.95, 0.92)
    samples, dropped = to_samples([of_group], [scores], DPO, newest=5)
    assert samples == []
    assert dropped["drop/near"] == 2
    without = Group(prompt=of_group.prompt, rollouts=of_group.rollouts[:2])
    samples, dropped = to_samples([without], [scores[:2]], DPO, newest=5)
    assert samples == []
    assert dropped["drop/unpaired"] == 2


class WritingLearner(CountingLearner):
    """Knows what was written, and keeps what it was trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Sample] = []

    async def references(self, prompts_P: Sequence[Prompt]) -> list[Rollout]:
        return [
            Rollout(
                token_ids=(7,),
                logprobs=(-0.5,),
                text="<response>I stay with you.</response>",
                stop=StopReason.WRITTEN,
                policy_version=self.version,
            )
            for _ in prompts_P
        ]

    async def update(self, samples: Sequence[Sample]) -> Update:
        self.seen += samples
        return await super().update(samples)


async def test_the_loop_asks_for_them_and_has_them_scored(tmp_path: Path) -> None:
    learner, log = WritingLearner(), Log(tmp_path)
    config = RlConfig(
        steps=2, utterances_per_step=3, group_size=4, save_every=2, reference_in_group=True
    )
    await run(log, learner=learner, config=config, judge=TasteJudge(), sampler=CoinSampler())
    written = [s for s in learner.seen if s.rollout.stop is StopReason.WRITTEN]
    assert written
    assert all(s.advantage > 0 for s in written), "the best answer, where not all are as good"
    for values in log.untimed().values():
        assert values["reward/direct/reference"] == 1.0
        assert values["rollout/count"] == 2 * 3 * 4
        assert values["policy/staleness_max"] == 0.0


def test_pairs_of_replies_are_refused() -> None:
    with pytest.raises(ConfigError, match="objective dpo needs route_mix=ambiguity, got both"):
        load_config("quickstart", ["rl.objective={name: dpo}"])
    with pytest.raises(ConfigError, match="refill_rounds=1 with what was written"):
        load_config("quickstart", ["rl.reference_in_group=true", "rl.refill_rounds=1"])
