"""The pipelined loop on the same fakes: what may overlap, and what must not change."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from rl_world import CONFIG, CountingLearner, Log, TasteJudge, run

from cogaudio_rl.errors import RunError
from cogaudio_rl.stages.rl_pipelined import run_rl_pipelined
from cogaudio_rl.types import Group, Sample, Score, Unscored, Update


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
