"""The RL loop in one process, against fakes that implement its ports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rl_world import (
    CONFIG,
    GOOD,
    UTTERANCES,
    CoinSampler,
    CountingLearner,
    Log,
    TasteJudge,
    group,
    run,
    utterance,
)

from cogaudio_rl.config import RlConfig
from cogaudio_rl.data.stream import UtteranceStream
from cogaudio_rl.errors import PublishError, RunError
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.stages.rl import to_samples
from cogaudio_rl.stages.routes import RouteMix
from cogaudio_rl.types import Adapter, Prompt, Rollout


async def test_the_loop_learns_what_the_judge_likes(tmp_path: Path) -> None:
    learner, sampler, log = CountingLearner(), CoinSampler(), Log(tmp_path)
    config = CONFIG.model_copy(update={"steps": 30})
    await run(log, learner=learner, sampler=sampler, config=config)
    assert list(log.steps) == list(range(1, 31))
    assert learner.skill > 0.9
    assert sampler.skill == learner.skill
    early, late = log.steps[1]["reward/direct/mean"], log.steps[30]["reward/direct/mean"]
    assert late > early


async def test_readiness_is_measured_before_the_first_step_without_using_up_prompts(
    tmp_path: Path,
) -> None:
    log, stream = Log(tmp_path), UtteranceStream(UTTERANCES, 0)
    first = stream.peek(3)
    learner = CountingLearner()
    await run(log, learner=learner, stream=stream)
    assert len(log.readiness) == 1
    assert {p.split("/")[0] for p in learner.trained[:1]} <= {u.id for u in first}


async def test_a_failing_canary_stops_the_run_and_says_why(tmp_path: Path) -> None:
    log = Log(tmp_path)
    with pytest.raises(PublishError, match=r"canary of policy version 3.*differ by 1"):
        await run(log, learner=CountingLearner(lies_from=3))
    assert list(log.steps) == [1], "the step whose publish failed must not be logged as done"


async def test_a_sampler_that_keeps_its_old_version_is_caught(tmp_path: Path) -> None:
    class Deaf(CoinSampler):
        async def publish(self, adapter: Adapter | None) -> None:
            await super().publish(adapter)
            self.version = min(self.version, 2)

    with pytest.raises(PublishError, match="answers with version 2, not 3"):
        await run(Log(tmp_path), sampler=Deaf())


@pytest.mark.parametrize("route_mix", ["both", "alternate", "adaptive"])
async def test_resuming_equals_never_having_stopped(route_mix: str, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"route_mix": route_mix})
    whole = Log(tmp_path / "whole")
    await run(whole, config=config)
    first = Log(tmp_path / "parts")
    await run(first, config=config.model_copy(update={"steps": 3}))
    learner = CountingLearner()
    await learner.load(tmp_path / "parts" / "3")
    second = Log(tmp_path / "parts")
    mix = RouteMix(config, 0)
    mix.restore(first.saved[3]["mix"])
    stream = UtteranceStream.restore(UTTERANCES, 0, first.saved[3]["stream"])
    await run(second, learner=learner, stream=stream, start=4, mix=mix, config=config)
    assert first.untimed() | second.untimed() == whole.untimed()


async def test_a_step_without_any_spread_trains_nothing_and_still_logs(tmp_path: Path) -> None:
    class Perfect(CoinSampler):
        def _say(self, prompt: Prompt, seed: int, i: int) -> Rollout:
            return replace(super()._say(prompt, seed, i), text=GOOD)

    learner, sampler, log = CountingLearner(), Perfect(), Log(tmp_path)
    await run(log, learner=learner, sampler=sampler)
    assert learner.trained == []
    assert sampler.published == 1
    assert log.steps[6]["drop/zero_spread"] == 3 * 2 * 4


async def test_unscored_rollouts_drop_out_and_are_counted(tmp_path: Path) -> None:
    log = Log(tmp_path)
    await run(log, judge=TasteJudge(silent_every=8))
    assert log.steps[1]["drop/unscored"] == 3
    assert "policy/skill" in log.steps[1]


async def test_what_judging_took_and_what_rings_alarms_is_logged(tmp_path: Path) -> None:
    log = Log(tmp_path)
    await run(log)
    for step in log.steps.values():
        assert step["judge/requests"] == 1.0
        # The good reply has three pairs of words, the bad one none; prompt A's do not parse.
        good = step["reward/direct/mean"] * CONFIG.utterances_per_step * CONFIG.group_size
        assert step["alarm/distinct_2"] == pytest.approx(1 / good)


async def test_a_judge_that_leaves_too_much_unscored_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="left 50% of a step unscored"):
        await run(Log(tmp_path), judge=TasteJudge(silent_every=2))


def test_advantages_are_normalised_within_one_group_only() -> None:
    (low, low_scores), (high, high_scores) = group([0.0, 0.1]), group([0.9, 1.0])
    samples, _ = to_samples([low, high], [low_scores, high_scores], RlConfig(), newest=5)
    assert [round(s.advantage, 3) for s in samples] == [-0.707, 0.707, -0.707, 0.707]


def test_an_unscored_rollout_does_not_count_as_zero() -> None:
    some, scores = group([0.8, None, 1.0])
    samples, dropped = to_samples([some], [scores], RlConfig(), newest=5)
    assert [round(s.advantage, 3) for s in samples] == [-0.707, 0.707]
    assert dropped["drop/unscored"] == 1


def test_stale_rollouts_are_dropped() -> None:
    some, scores = group([0.0, 1.0], version=4)
    samples, dropped = to_samples([some], [scores], RlConfig(), newest=5)
    assert samples == []
    assert dropped["drop/stale"] == 2


def test_a_routes_advantages_are_scaled() -> None:
    some, scores = group([0.0, 1.0])
    config = RlConfig.model_validate({"route_scale": {"direct": 0.5}})
    samples, _ = to_samples([some], [scores], config, newest=5)
    assert [round(s.advantage, 4) for s in samples] == [-0.3536, 0.3536]


class OftenFlat(CoinSampler):
    """Some prompts are answered well every time: their groups teach nothing."""

    def _say(self, prompt: Prompt, seed: int, i: int) -> Rollout:
        said = super()._say(prompt, seed, i)
        flat = rng_for(0, "flat", prompt.id).random() < 0.6
        return replace(said, text=GOOD) if flat else said


async def test_refill_keeps_the_batch_full(tmp_path: Path) -> None:
    """Groups with spread per step, without and with further rounds of asking."""

    def taught(log: Log) -> list[int]:
        return [len(log.ledger[step]) for step in log.steps]

    plain, refilled = Log(tmp_path / "a"), Log(tmp_path / "b")
    many = [utterance(i) for i in range(80)]
    await run(plain, sampler=OftenFlat(), stream=UtteranceStream(many, 0))
    config = CONFIG.model_copy(update={"refill_rounds": 8})
    await run(refilled, sampler=OftenFlat(), stream=UtteranceStream(many, 0), config=config)
    assert min(taught(plain)) < 6
    assert min(taught(refilled)) >= 6


async def test_a_refilled_run_resumes_where_it_stood(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"refill_rounds": 3})
    whole, first, second = Log(tmp_path / "a"), Log(tmp_path / "b"), Log(tmp_path / "b")
    await run(whole, sampler=OftenFlat(), config=config)
    await run(first, sampler=OftenFlat(), config=config.model_copy(update={"steps": 3}))
    learner = CountingLearner()
    await learner.load(tmp_path / "b" / "3")
    stream = UtteranceStream.restore(UTTERANCES, 0, first.saved[3]["stream"])
    await run(second, sampler=OftenFlat(), learner=learner, stream=stream, start=4, config=config)
    assert first.ledger | second.ledger == whole.ledger
    assert first.untimed() | second.untimed() == whole.untimed()


def test_refill_cannot_run_ahead() -> None:
    with pytest.raises(ValueError, match="refill_rounds=2 needs max_staleness=0"):
        RlConfig(refill_rounds=2, max_staleness=1)


async def test_every_publish_logs_what_it_moved_and_how_long_it_took(tmp_path: Path) -> None:
    log = Log(tmp_path)
    await run(log)
    step = log.steps[1]
    assert step["publish/bytes"] == 8  # the one number that is this fake's adapter
    assert step["time/publish_ms"] >= 0
    assert step["time/canary_ms"] >= 0
