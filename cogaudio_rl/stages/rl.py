"""Stage III, DR-SAPO: the loop.

    stream ─► prompts_P ─► sampler ─► groups_P ─► judge ─► scores_PG ─► samples ─► learner
                             ▲                                                       │
                             └────────────── publish (adapter, canary) ◄─────────────┘

One (utterance, route) is one group; advantages are normalised inside it. The loop knows ports only:
it runs in one process with fakes in a test, and unchanged on Ray.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cogaudio_rl.config import RlConfig
from cogaudio_rl.data.stream import UtteranceStream
from cogaudio_rl.errors import RunError
from cogaudio_rl.objectives import get_objective
from cogaudio_rl.objectives.advantage import group_advantages
from cogaudio_rl.ports import Judge, Learner, Sampler
from cogaudio_rl.seeding import seed_for
from cogaudio_rl.stages.publish import publish
from cogaudio_rl.stages.readiness import Readiness, measure_readiness
from cogaudio_rl.types import Group, Prompt, Route, Sample, Score, Unscored, Utterance

Scores = Sequence[Sequence[Score | Unscored]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RlHooks:
    """What the outside does at the loop's marks: log, keep rollouts, save."""

    log: Callable[[int, Mapping[str, float]], None]
    rollouts: Callable[[int, Sequence[Group], Scores], None]
    ready: Callable[[Readiness], None]
    checkpoint_folder: Callable[[int], Path]
    saved: Callable[[int, Path, dict[str, int]], None]


@dataclass(slots=True)
class Timer:
    """Seconds spent in each phase of a step."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[f"time/{phase}"] = time.perf_counter() - started


async def run_rl(
    *,
    sampler: Sampler,
    judge: Judge,
    learner: Learner,
    stream: UtteranceStream,
    canaries: tuple[Prompt, ...],
    config: RlConfig,
    seed: int,
    hooks: RlHooks,
    start: int = 1,
) -> None:
    """Train from step ``start`` through ``config.steps``.

    Raises PublishError when a canary fails and RunError when the judge leaves too much unscored.
    """
    published = await publish(learner, sampler, canaries, tolerance=config.canary_tolerance)
    if start == 1:
        hooks.ready(await _readiness(sampler, judge, stream, config, seed))
    for step in range(start, config.steps + 1):
        timer = Timer()
        prompts_P = route_prompts(stream.next(config.utterances_per_step), config.route_mix)
        with timer("generate"):
            groups_P = await sampler.sample(
                prompts_P, n=config.group_size, temperature=1.0, seed=seed_for(seed, "rl", step)
            )
        with timer("judge"):
            scores_PG = await judge.score(groups_P)
        samples, dropped = to_samples(groups_P, scores_PG, config, version=published.version)
        metrics = reward_metrics(groups_P, scores_PG) | dropped
        _check_judge(metrics, config.max_unscored_share)
        if samples:
            with timer("update"):
                update = await learner.update(samples)
            with timer("publish"):
                published = await publish(
                    learner, sampler, canaries, tolerance=config.canary_tolerance
                )
            metrics |= dict(update.metrics) | {"policy/canary_gap": published.canary_gap}
        hooks.log(step, metrics | timer.seconds | {"policy/version": float(published.version)})
        if step % config.log_rollouts_every == 0 or step in (1, config.steps):
            hooks.rollouts(step, groups_P, scores_PG)
        if step % config.save_every == 0 or step == config.steps:
            folder = hooks.checkpoint_folder(step)
            await learner.save(folder)
            hooks.saved(step, folder, stream.state())


async def _readiness(
    sampler: Sampler, judge: Judge, stream: UtteranceStream, config: RlConfig, seed: int
) -> Readiness:
    """Sample prompts of the first steps ahead of training, without moving the stream."""
    utterances = stream.peek(config.readiness.prompts)
    prompts_P = route_prompts(utterances, "alternate")
    groups_P = await sampler.sample(
        prompts_P, n=config.group_size, temperature=1.0, seed=seed_for(seed, "readiness")
    )
    return measure_readiness(groups_P, await judge.score(groups_P), config.readiness)


def route_prompts(utterances: Sequence[Utterance], mix: str) -> list[Prompt]:
    """Ask each utterance through both routes, or alternate the routes over utterances."""
    if mix == "both":
        return [Prompt(utterance=u, route=route) for u in utterances for route in Route]
    routes = tuple(Route)
    return [Prompt(utterance=u, route=routes[i % 2]) for i, u in enumerate(utterances)]


def to_samples(
    groups_P: Sequence[Group], scores_PG: Scores, config: RlConfig, *, version: int
) -> tuple[list[Sample], dict[str, float]]:
    """Normalise rewards inside each group; what cannot teach drops out and is counted.

    Dropped: ``unscored`` rollouts, groups of ``zero_spread`` (or left with one score), ``stale``
    rollouts of another policy version, and rollouts that are ``empty``.
    """
    divide_by_std = get_objective(config.objective.name).divide_by_std
    samples: list[Sample] = []
    dropped: Counter[str] = Counter()
    for group, scores in zip(groups_P, scores_PG, strict=True):
        kept = []
        for rollout, score in zip(group.rollouts, scores, strict=True):
            if isinstance(score, Unscored):
                dropped["unscored"] += 1
            elif rollout.policy_version != version:
                dropped["stale"] += 1
            elif not rollout.token_ids:
                dropped["empty"] += 1
            else:
                kept.append((rollout, score.reward))
        advantages = None
        if len(kept) > 1:
            advantages = group_advantages(
                [reward for _, reward in kept],
                divide_by_std=divide_by_std,
                tolerance=config.zero_spread_tolerance,
            )
        if advantages is None:
            dropped["zero_spread"] += len(kept)
            continue
        samples += [
            Sample(prompt=group.prompt, rollout=rollout, advantage=advantage)
            for (rollout, _), advantage in zip(kept, advantages, strict=True)
        ]
    reasons = ("unscored", "stale", "empty", "zero_spread")
    return samples, {f"drop/{reason}": float(dropped[reason]) for reason in reasons}


def reward_metrics(groups_P: Sequence[Group], scores_PG: Scores) -> dict[str, float]:
    """Mean reward and terms of each route, and the length of what was said."""
    sums: defaultdict[str, float] = defaultdict(float)
    counts: Counter[str] = Counter()
    for group, scores in zip(groups_P, scores_PG, strict=True):
        route = group.prompt.route
        for rollout, score in zip(group.rollouts, scores, strict=True):
            values = {f"rollout/{route}/tokens": float(len(rollout.token_ids))}
            if isinstance(score, Score):
                values[f"reward/{route}/mean"] = score.reward
                values |= {f"reward/{route}/{term}": v for term, v in score.terms.items()}
            for key, value in values.items():
                sums[key] += value
                counts[key] += 1
    total = sum(len(g.rollouts) for g in groups_P)
    return {k: sums[k] / counts[k] for k in sorted(sums)} | {"rollout/count": float(total)}


def _check_judge(metrics: Mapping[str, float], limit: float) -> None:
    share = metrics["drop/unscored"] / max(1.0, metrics["rollout/count"])
    if share > limit:
        raise RunError(
            f"the judge left {share:.0%} of a step unscored, more than "
            f"rl.max_unscored_share={limit:.0%}; training on what is left would bias the policy"
        )
