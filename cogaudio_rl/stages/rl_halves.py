"""One half of stage III without the other, to look for a fault: rollouts alone, or training alone.

What the first leaves in ``rollouts/`` is what the second trains on, so that a strange update can be
repeated, with no sampler and no judge running, until it is understood.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cogaudio_rl.config import RlConfig
from cogaudio_rl.data.stream import UtteranceStream
from cogaudio_rl.errors import DataError
from cogaudio_rl.ports import Learner, RolloutPorts
from cogaudio_rl.rollout_file import read_rollouts
from cogaudio_rl.stages.rl import RlHooks, collect, reward_metrics, to_samples
from cogaudio_rl.stages.routes import RouteMix
from cogaudio_rl.types import Adapter, Utterance


async def rollouts_only(
    ports: RolloutPorts,
    adapter: Adapter,
    stream: UtteranceStream,
    mix: RouteMix,
    config: RlConfig,
    *,
    seed: int,
    hooks: RlHooks,
) -> None:
    """Roll out and judge every step's prompts with one adapter; keep all of it, train nothing."""
    await ports.sampler.publish(adapter)
    for step in range(1, config.steps + 1):
        prompts_P = mix.prompts(stream.next(config.utterances_per_step), step)
        batch = await collect(ports, step, prompts_P, stream.state(), config, seed)
        metrics = reward_metrics(batch.groups_P, batch.scores_PG) | await ports.judge.spent()
        mix.observe(metrics)
        hooks.log(step, metrics | dict(batch.seconds))
        hooks.rollouts(step, batch.groups_P, batch.scores_PG)


async def train_only(
    learner: Learner,
    init: Path,
    files: Sequence[Path],
    utterances: Sequence[Utterance],
    config: RlConfig,
    *,
    hooks: RlHooks,
) -> None:
    """One update for each file of saved rollouts, from the adapter in ``init``.

    Rollouts count as fresh whatever their version: their own log-probs came with them.
    Raises DataError when there is no file, or one cannot be read.
    """
    if not files:
        raise DataError("there are no saved rollouts to train on")
    await learner.begin(init)
    for step, path in enumerate(files, start=1):
        groups_P, scores_PG = read_rollouts(path, utterances)
        samples, dropped = to_samples(groups_P, scores_PG, config, newest=None)
        metrics = reward_metrics(groups_P, scores_PG) | dropped
        if samples:
            metrics |= dict((await learner.update(samples)).metrics)
        hooks.log(step, metrics)
