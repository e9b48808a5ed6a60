"""Rollouts without training, and training on what they left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rl_world import CONFIG, UTTERANCES, CoinSampler, CountingLearner, Log, TasteJudge, group

from cogaudio_rl.data.stream import UtteranceStream
from cogaudio_rl.errors import DataError
from cogaudio_rl.ports import RolloutPorts
from cogaudio_rl.rollout_file import read_rollouts, write_rollouts
from cogaudio_rl.stages.rl import RlHooks
from cogaudio_rl.stages.rl_halves import rollouts_only, train_only
from cogaudio_rl.stages.routes import RouteMix
from cogaudio_rl.types import Adapter


class Beginning(CountingLearner):
    async def begin(self, folder: Path) -> None:
        self.version = 0


def keeping(log: Log, folder: Path) -> RlHooks:
    hooks = log.hooks()
    return RlHooks(
        log=hooks.log,
        rollouts=lambda step, groups, scores: write_rollouts(
            folder / f"{step}.jsonl", groups, scores
        ),
        ready=hooks.ready,
        trained=hooks.trained,
        checkpoint_folder=hooks.checkpoint_folder,
        saved=hooks.saved,
    )


async def test_what_one_half_leaves_the_other_trains_on(tmp_path: Path) -> None:
    generated, trained = Log(tmp_path), Log(tmp_path)
    ports = RolloutPorts(sampler=CoinSampler(), judge=TasteJudge(silent_every=9))
    adapter = await CountingLearner().adapter()
    await rollouts_only(
        ports, adapter, UtteranceStream(UTTERANCES, 0), RouteMix(CONFIG, 0), CONFIG,
        seed=0, hooks=keeping(generated, tmp_path),
    )  # fmt: skip
    files = sorted(tmp_path.glob("*.jsonl"))
    assert len(files) == CONFIG.steps
    learner = Beginning()
    await train_only(learner, tmp_path, files, UTTERANCES, CONFIG, hooks=trained.hooks())
    assert list(trained.steps) == list(generated.steps)
    for step, metrics in trained.steps.items():
        assert metrics["reward/direct/mean"] == generated.steps[step]["reward/direct/mean"]
        assert "policy/skill" in metrics
    assert learner.version == CONFIG.steps
    assert trained.steps[1]["drop/unscored"] > 0


def test_a_step_comes_back_as_it_was(tmp_path: Path) -> None:
    some, scores = group([0.25, None, 1.0])
    write_rollouts(tmp_path / "a.jsonl", [some], [scores])
    assert read_rollouts(tmp_path / "a.jsonl", UTTERANCES) == ([some], [scores])


def test_a_step_over_utterances_with_votes_comes_back(tmp_path: Path) -> None:
    some, scores = group([0.25, 1.0])
    heard = replace(some.prompt.utterance, votes={"sad": 0.75, "fear": 0.25})
    some = replace(some, prompt=replace(some.prompt, utterance=heard))
    write_rollouts(tmp_path / "a.jsonl", [some], [scores])
    assert read_rollouts(tmp_path / "a.jsonl", [heard]) == ([some], [scores])


def test_rollouts_of_other_data_are_named(tmp_path: Path) -> None:
    some, scores = group([0.25, 1.0])
    write_rollouts(tmp_path / "a.jsonl", [some], [scores])
    with pytest.raises(DataError, match="utterance 'u0' is not in this recipe's data"):
        read_rollouts(tmp_path / "a.jsonl", UTTERANCES[1:])


async def test_nothing_to_train_on_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no saved rollouts"):
        await train_only(Beginning(), tmp_path, [], UTTERANCES, CONFIG, hooks=Log(tmp_path).hooks())
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DataError, match="holds no rollouts"):
        read_rollouts(tmp_path / "empty.jsonl", UTTERANCES)
    assert isinstance(await CountingLearner().adapter(), Adapter)
