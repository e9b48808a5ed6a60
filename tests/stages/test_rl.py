"""The RL loop in one process, against fakes that implement its ports."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cogaudio_rl.config import RlConfig
from cogaudio_rl.data.stream import UtteranceStream
from cogaudio_rl.errors import PublishError, RunError
from cogaudio_rl.ports import Ports
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.stages.readiness import Readiness
from cogaudio_rl.stages.rl import RlHooks, run_rl, to_samples
from cogaudio_rl.stages.rl_pipelined import run_rl_pipelined
from cogaudio_rl.stages.routes import RouteMix, route_prompts
from cogaudio_rl.types import (
    Adapter,
    AudioRef,
    Group,
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

    async def choose(
        self, prompts_P: Sequence[Prompt], *, prefix: str, options: Sequence[str]
    ) -> list[str]:
        raise AssertionError("the loop never chooses")

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
        return Adapter(version=self.version, tensors={"skill": self.skill})

    async def logprobs(self, groups_P: Sequence[Group]) -> list[list[tuple[float, ...]]]:
        own = self.skill + (1.0 if self.version >= self.lies_from else 0.0)
        return [[(-own,) for _ in g.rollouts] for g in groups_P]

    async def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "fake.json").write_text(json.dumps([self.version, self.skill]))

    async def begin(self, folder: Path) -> None:
        raise AssertionError("the loop is given a learner that is ready")

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


async def test_a_judge_that_leaves_too_much_unscored_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="left 50% of a step unscored"):
        await run(Log(tmp_path), judge=TasteJudge(silent_every=2))


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


@pytest.mark.parametrize(("mix", "explicit", "direct"), [("both", 4, 4), ("alternate", 2, 2)])
def test_both_routes_are_asked_in_equal_measure(mix: str, explicit: int, direct: int) -> None:
    routes = [p.route for p in route_prompts(UTTERANCES[:4], mix)]
    assert routes.count(Route.EXPLICIT) == explicit
    assert routes.count(Route.DIRECT) == direct


async def test_pipelined_without_staleness_is_the_synchronous_loop(tmp_path: Path) -> None:
    whole, pipelined = Log(tmp_path / "a"), Log(tmp_path / "b")
    one, other = CountingLearner(), CountingLearner()
    await run(whole, learner=one)
    await run(pipelined, learner=other, loop=run_rl_pipelined)
    assert pipelined.untimed() == whole.untimed()
    assert other.trained == one.trained
    assert pipelined.saved == whole.saved


@pytest.mark.parametrize("bound", [1, 2, 4])
async def test_no_sample_is_older_than_allowed_and_some_are_as_old(
    bound: int, tmp_path: Path
) -> None:
    log, learner = Log(tmp_path), CountingLearner()
    config = CONFIG.model_copy(update={"steps": 12, "max_staleness": bound})
    await run(log, learner=learner, config=config, loop=run_rl_pipelined)
    seen = [v["policy/staleness_max"] for v in log.steps.values() if "policy/skill" in v]
    assert max(seen) == bound
    assert all(v["drop/stale"] == 0 for v in log.steps.values())


async def test_pipelined_trains_the_same_prompts_in_the_same_order(tmp_path: Path) -> None:
    one, other = CountingLearner(), CountingLearner()
    await run(Log(tmp_path / "a"), learner=one)
    config = CONFIG.model_copy(update={"max_staleness": 2})
    await run(Log(tmp_path / "b"), learner=other, config=config, loop=run_rl_pipelined)
    assert list(dict.fromkeys(other.trained)) == list(dict.fromkeys(one.trained))


async def test_pipelined_checkpoints_stand_where_their_step_stood(tmp_path: Path) -> None:
    """The stream runs ahead; a resumed run must ask again for what was only under way."""
    whole, ahead = Log(tmp_path / "a"), Log(tmp_path / "b")
    await run(whole)
    config = CONFIG.model_copy(update={"max_staleness": 3})
    await run(ahead, config=config, loop=run_rl_pipelined)
    for step, state in whole.saved.items():
        assert ahead.saved[step]["stream"] == state["stream"]


async def test_waiting_for_the_judge_overlaps_with_the_next_rollouts(tmp_path: Path) -> None:
    """Counted, not timed: when a step trains, the next one's rollouts are already being judged."""
    waiting: list[int] = []

    class Slow(TasteJudge):
        async def score(self, groups_P: Sequence[Group]) -> list[list[Score | Unscored]]:
            waiting.append(1)
            await asyncio.sleep(0.02)
            waiting.pop()
            return await super().score(groups_P)

    class Watching(CountingLearner):
        seen: list[int]

        async def update(self, samples: Sequence[Sample]) -> Update:
            await asyncio.sleep(0.005)
            self.seen.append(len(waiting))
            return await super().update(samples)

    for bound, overlaps in ((0, False), (1, True)):
        learner = Watching()
        learner.seen = []
        config = CONFIG.model_copy(update={"max_staleness": bound})
        await run(
            Log(tmp_path / str(bound)),
            judge=Slow(),
            learner=learner,
            config=config,
            loop=run_rl_pipelined,
        )
        assert any(learner.seen) is overlaps


async def test_an_error_while_rolling_out_ahead_ends_the_loop(tmp_path: Path) -> None:
    class Fragile(TasteJudge):
        async def score(self, groups_P: Sequence[Group]) -> list[list[Score | Unscored]]:
            if self.seen > 150:
                raise RunError("the judge fell over")
            return await super().score(groups_P)

    config = CONFIG.model_copy(update={"max_staleness": 2, "steps": 20})
    with pytest.raises(RunError, match="fell over"):
        await run(Log(tmp_path), judge=Fragile(), config=config, loop=run_rl_pipelined)
    assert len(asyncio.all_tasks()) == 1, "nothing may go on in the background"


def test_routes_are_asked_alike_until_one_lags() -> None:
    config = RlConfig(route_mix="adaptive")
    mix = RouteMix(config, 0)
    assert mix.prompts(UTTERANCES, 1) == route_prompts(UTTERANCES, "both")
    # R_F1 can reach 1.0, R_F2 only 0.3: 0.75 and 0.225 are three quarters of each.
    mix.observe({"reward/explicit/mean": 0.75, "reward/direct/mean": 0.225})
    assert mix.need(Route.EXPLICIT) == pytest.approx(0.5)
    ahead = RouteMix(config, 0)
    ahead.observe({"reward/explicit/mean": 0.8, "reward/direct/mean": 0.12})
    # Lags 0.2 and 0.6: the explicit route has a quarter of the need, so half the utterances.
    assert ahead.need(Route.EXPLICIT) == pytest.approx(0.25)
    routes = [p.route for p in ahead.prompts(UTTERANCES[:6], 2)]
    assert routes.count(Route.DIRECT) == 6
    assert routes.count(Route.EXPLICIT) == 3
    assert ahead.prompts(UTTERANCES, 2) == ahead.prompts(UTTERANCES, 2)


def test_no_route_is_ever_left_out() -> None:
    mix = RouteMix(RlConfig(route_mix="adaptive"), 0)
    mix.observe({"reward/explicit/mean": 1.0, "reward/direct/mean": 0.0})
    assert mix.need(Route.EXPLICIT) == 0.25
    assert {p.route for p in mix.prompts(UTTERANCES[:1], 1)} == set(Route)


def test_a_route_that_can_earn_nothing_does_not_lag() -> None:
    config = RlConfig.model_validate({"route_mix": "adaptive", "reward": {"response": 0.0}})
    mix = RouteMix(config, 0)
    mix.observe({"reward/explicit/mean": 0.4, "reward/direct/mean": 0.0})
    assert mix.need(Route.DIRECT) == 0.25


def test_a_routes_advantages_are_scaled() -> None:
    some, scores = group([0.0, 1.0])
    config = RlConfig.model_validate({"route_scale": {"direct": 0.5}})
    samples, _ = to_samples([some], [scores], config, newest=5)
    assert [round(s.advantage, 4) for s in samples] == [-0.3536, 0.3536]
