"""Stage III, DR-SAPO: the loop.

    stream ─► prompts_P ─► sampler ─► groups_P ─► judge ─► scores_PG ─► samples ─► learner
                             ▲                                                       │
                             └────────────── publish (adapter, canary) ◄─────────────┘

One (utterance, route) is one group; advantages are normalised inside it. The loop knows ports only:
it runs in one process with fakes in a test, and unchanged on Ray. ``rl_pipelined.py`` has the same
steps overlapping.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cogaudio_rl.config import RlConfig
from cogaudio_rl.data.stream import UtteranceStream
from cogaudio_rl.errors import RunError
from cogaudio_rl.objectives import get_objective
from cogaudio_rl.objectives.advantage import group_advantages
from cogaudio_rl.ports import Ports, RolloutPorts
from cogaudio_rl.rewards.alarms import alarm_metrics
from cogaudio_rl.rollout_file import Scores
from cogaudio_rl.seeding import seed_for
from cogaudio_rl.stages.opinion import Opinion, beside, no_opinion
from cogaudio_rl.stages.publish import Published, publish
from cogaudio_rl.stages.readiness import Readiness, measure_readiness
from cogaudio_rl.stages.references import PAIR_REASONS, to_pairs, with_references
from cogaudio_rl.stages.routes import RouteMix, alternated
from cogaudio_rl.types import Group, Prompt, Route, Sample, Score, StopReason, Unscored


@dataclass(frozen=True, slots=True, kw_only=True)
class RlHooks:
    """What the outside does at the loop's marks: log, keep rollouts, save."""

    log: Callable[[int, Mapping[str, float]], None]
    rollouts: Callable[[int, Sequence[Group], Scores], None]
    ready: Callable[[Readiness], None]
    trained: Callable[[int, Sequence[str]], None]
    """(step, ids of the prompts whose rollouts it trained on)"""
    checkpoint_folder: Callable[[int], Path]
    saved: Callable[[int, Path, dict[str, Any], float], object]
    """(step, folder, state of stream and route mix, mean reward)"""
    second_opinion: Opinion = no_opinion
    """What a judge that nothing is trained on makes of a step, while the learner trains."""


@dataclass(slots=True)
class Timer:
    """Seconds spent in each phase of a step."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[f"time/{phase}"] = time.perf_counter() - started


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One step's groups with their scores, and where the stream stood behind them."""

    step: int
    groups_P: Sequence[Group]
    scores_PG: Scores
    stream_state: Mapping[str, Any]
    seconds: Mapping[str, float]


async def run_rl(
    ports: Ports,
    stream: UtteranceStream,
    mix: RouteMix,
    canaries: tuple[Prompt, ...],
    config: RlConfig,
    *,
    seed: int,
    hooks: RlHooks,
    start: int = 1,
) -> None:
    """Train from step ``start`` through ``config.steps``, one thing after another.

    Raises PublishError when a canary fails and RunError when the judge leaves too much unscored.
    """
    published = await open_loop(
        ports, stream, canaries, config, seed=seed, hooks=hooks, start=start
    )
    for step in range(start, config.steps + 1):
        prompts_P = mix.prompts(stream.next(config.utterances_per_step), step)
        batch = await collect(ports, step, prompts_P, stream.state(), config, seed)
        batch = await refill(ports, batch, stream, mix, config, seed)
        published = await learn(ports, batch, published, canaries, config, mix, hooks)


async def open_loop(
    ports: Ports,
    stream: UtteranceStream,
    canaries: tuple[Prompt, ...],
    config: RlConfig,
    *,
    seed: int,
    hooks: RlHooks,
    start: int,
) -> Published:
    """Give the sampler the policy to begin with; at the very start, look whether it is ready."""
    published = await publish(ports, canaries, tolerance=config.canary_tolerance)
    if start == 1:
        hooks.ready(await _readiness(ports, stream, config, seed))
    return published


async def collect(
    ports: RolloutPorts,
    step: int,
    prompts_P: Sequence[Prompt],
    stream_state: Mapping[str, Any],
    config: RlConfig,
    seed: int,
) -> Batch:
    """Roll out a step's prompts; each group goes to the judge as soon as it is whole."""
    groups: dict[int, Group] = {}
    verdicts: dict[int, asyncio.Task[list[list[Score | Unscored]]]] = {}
    timer = Timer()
    rolled_out = ports.sampler.stream(
        prompts_P, n=config.group_size, temperature=1.0, seed=seed_for(seed, "rl", step)
    )
    try:
        async with aclosing(rolled_out):
            with timer("generate"):
                async for i, group in rolled_out:
                    groups[i] = group
                    verdicts[i] = asyncio.create_task(ports.judge.score([group]))
        with timer("judge"):  # what is left of it when the last group is whole
            await asyncio.gather(*verdicts.values())
    finally:
        for verdict in verdicts.values():
            verdict.cancel()
    places = range(len(prompts_P))
    return Batch(
        step=step,
        groups_P=[groups[i] for i in places],
        scores_PG=[verdicts[i].result()[0] for i in places],
        stream_state=stream_state,
        seconds=timer.seconds,
    )


async def refill(
    ports: RolloutPorts,
    batch: Batch,
    stream: UtteranceStream,
    mix: RouteMix,
    config: RlConfig,
    seed: int,
) -> Batch:
    """Ask further utterances until as many groups can teach as were asked for, or rounds are over."""
    wanted = len(batch.groups_P)
    for number in range(config.refill_rounds):
        samples, dropped = to_samples(batch.groups_P, batch.scores_PG, config, newest=None)
        metrics = reward_metrics(batch.groups_P, batch.scores_PG) | dropped
        _check_judge(metrics, config.max_unscored_share)
        missing = wanted - len({s.prompt.id for s in samples})
        if missing <= 0:
            break
        utterances = stream.next(math.ceil(config.utterances_per_step * missing / wanted))
        prompts_P = mix.prompts(utterances, batch.step)
        more = await collect(
            ports, batch.step, prompts_P, stream.state(), config, seed_for(seed, "refill", number)
        )
        batch = Batch(
            step=batch.step,
            groups_P=[*batch.groups_P, *more.groups_P],
            scores_PG=[*batch.scores_PG, *more.scores_PG],
            stream_state=more.stream_state,
            seconds={k: batch.seconds[k] + more.seconds[k] for k in batch.seconds},
        )
    return batch


async def learn(
    ports: Ports,
    batch: Batch,
    published: Published,
    canaries: tuple[Prompt, ...],
    config: RlConfig,
    mix: RouteMix,
    hooks: RlHooks,
) -> Published:
    """Train on a batch, publish, log, save; returns what the sampler now answers with."""
    step, timer = batch.step, Timer()
    groups_P, scores_PG = batch.groups_P, batch.scores_PG
    if config.asks_for_references:
        groups_P, scores_PG = await with_references(ports, groups_P, scores_PG)
    samples, dropped = to_samples(groups_P, scores_PG, config, newest=published.version)
    metrics = reward_metrics(groups_P, scores_PG) | dropped
    metrics |= staleness(samples, published.version) | await ports.judge.spent()
    metrics |= alarm_metrics(batch.groups_P, batch.scores_PG)
    mix.observe(metrics)
    _check_judge(metrics, config.max_unscored_share)
    async with beside(hooks.second_opinion(step, batch.groups_P, batch.scores_PG)) as opinion:
        if samples:
            with timer("update"):
                update = await ports.learner.update(samples)
            with timer("publish"):
                published = await publish(ports, canaries, tolerance=config.canary_tolerance)
            metrics |= dict(update.metrics) | published.metrics()
        metrics |= await opinion
    metrics |= {"policy/version": float(published.version)}
    hooks.trained(step, list(dict.fromkeys(s.prompt.id for s in samples)))
    hooks.log(step, metrics | dict(batch.seconds) | timer.seconds)
    if step % config.log_rollouts_every == 0 or step in (1, config.steps):
        hooks.rollouts(step, groups_P, scores_PG)
    if step % config.save_every == 0 or step == config.steps:
        folder = hooks.checkpoint_folder(step)
        await ports.learner.save(folder)
        rewards = [metrics[key] for r in Route if (key := f"reward/{r}/mean") in metrics]
        state = {"stream": dict(batch.stream_state), "mix": mix.state()}
        hooks.saved(step, folder, state, sum(rewards) / max(1, len(rewards)))
    return published


async def _readiness(
    ports: Ports, stream: UtteranceStream, config: RlConfig, seed: int
) -> Readiness:
    """Sample prompts of the first steps ahead of training, without moving the stream."""
    utterances = stream.peek(config.readiness.prompts)
    prompts_P = alternated(utterances, config.routes)
    groups_P = await ports.sampler.sample(
        prompts_P, n=config.group_size, temperature=1.0, seed=seed_for(seed, "readiness")
    )
    return measure_readiness(groups_P, await ports.judge.score(groups_P), config.readiness)


def to_samples(
    groups_P: Sequence[Group], scores_PG: Scores, config: RlConfig, *, newest: int | None
) -> tuple[list[Sample], dict[str, float]]:
    """Normalise rewards inside each group; what cannot teach drops out and is counted.

    Dropped: ``unscored`` rollouts, groups of ``zero_spread`` (or left with one score), ``stale``
    rollouts more than ``config.max_staleness`` versions behind ``newest`` (None: whatever their
    version), and ``empty`` ones. Objective dpo takes a pair of each group, see
    :func:`~cogaudio_rl.stages.references.to_pairs`.
    """
    objective = get_objective(config.objective.name)
    samples: list[Sample] = []
    dropped: Counter[str] = Counter()
    for group, scores in zip(groups_P, scores_PG, strict=True):
        kept = []
        for rollout, score in zip(group.rollouts, scores, strict=True):
            if isinstance(score, Unscored):
                dropped["unscored"] += 1
            elif newest is not None and not (
                0 <= newest - rollout.policy_version <= config.max_staleness
            ):
                dropped["stale"] += 1
            elif not rollout.token_ids:
                dropped["empty"] += 1
            else:
                kept.append((rollout, score))
        if objective.pairs:
            pair, unfit = to_pairs(group, kept, config)
            samples += pair
            dropped += unfit
            continue
        advantages = None
        if len(kept) > 1:
            advantages = group_advantages(
                [score.reward for _, score in kept],
                divide_by_std=objective.divide_by_std,
                tolerance=config.zero_spread_tolerance,
            )
        if advantages is None:
            dropped["zero_spread"] += len(kept)
            continue
        scale = getattr(config.route_scale, group.prompt.route)
        samples += [
            Sample(prompt=group.prompt, rollout=rollout, advantage=scale * advantage)
            for (rollout, _), advantage in zip(kept, advantages, strict=True)
        ]
    reasons = (
        "unscored",
        "stale",
        "empty",
        *(PAIR_REASONS if objective.pairs else ("zero_spread",)),
    )
    return samples, {f"drop/{reason}": float(dropped[reason]) for reason in reasons}


def staleness(samples: Sequence[Sample], newest: int) -> dict[str, float]:
    """How many versions behind ``newest`` the samples were begun, and how many of them went on under a
    policy that was published meanwhile."""
    if not samples:
        return {}
    behind = [newest - s.rollout.policy_version for s in samples]
    interrupted = sum(s.rollout.last_version > s.rollout.policy_version for s in samples)
    return {
        "policy/interrupted_share": interrupted / len(samples),
        "policy/staleness_mean": sum(behind) / len(behind),
        "policy/staleness_max": float(max(behind)),
    }


def reward_metrics(groups_P: Sequence[Group], scores_PG: Scores) -> dict[str, float]:
    """Mean reward and terms of each route, the length of what was said, and apart from all of it the
    reward of what was written (``reward/<route>/reference``). ``rollout/tokens`` is the sum of all."""
    sums: defaultdict[str, float] = defaultdict(float)
    counts: Counter[str] = Counter()
    for group, scores in zip(groups_P, scores_PG, strict=True):
        route = group.prompt.route
        for rollout, score in zip(group.rollouts, scores, strict=True):
            said = rollout.stop is not StopReason.WRITTEN
            values = {f"rollout/{route}/tokens": float(len(rollout.token_ids))} if said else {}
            if isinstance(score, Score) and said:
                values[f"reward/{route}/mean"] = score.reward
                values |= {f"reward/{route}/{term}": v for term, v in score.terms.items()}
            elif isinstance(score, Score):
                values[f"reward/{route}/reference"] = score.reward
            for key, value in values.items():
                sums[key] += value
                counts[key] += 1
    lengths = [
        len(r.token_ids) for g in groups_P for r in g.rollouts if r.stop is not StopReason.WRITTEN
    ]
    explicit = sum(g.prompt.route is Route.EXPLICIT for g in groups_P)
    return {k: sums[k] / counts[k] for k in sorted(sums)} | {
        "rollout/count": float(len(lengths)),
        "rollout/tokens": float(sum(lengths)),
        "rollout/explicit_share": explicit / max(1, len(groups_P)),
    }


def _check_judge(metrics: Mapping[str, float], limit: float) -> None:
    share = metrics["drop/unscored"] / max(1.0, metrics["rollout/count"])
    if share > limit:
        raise RunError(
            f"the judge left {share:.0%} of a step unscored, more than "
            f"rl.max_unscored_share={limit:.0%}; training on what is left would bias the policy"
        )
