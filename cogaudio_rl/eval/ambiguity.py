"""How near a model comes to the way listeners' votes are shared.

    utterance ─► greedy chain ─► p^ behind this very chain ─► beside the votes ─► estimates

A model that writes no place for the emotion is asked behind whatever it said, with that place added:
so a base that was never taught the form has a distribution too, and ``format_ambiguity`` says how often
that was needed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from cogaudio_rl import ambiguity
from cogaudio_rl.config import EvalConfig
from cogaudio_rl.data.splits import in_order
from cogaudio_rl.data.votes import vote_table
from cogaudio_rl.errors import DataError
from cogaudio_rl.eval.distribution import distribution_estimates
from cogaudio_rl.eval.estimates import estimate_timings
from cogaudio_rl.eval.metrics import mean_estimate
from cogaudio_rl.eval.naming import place_in
from cogaudio_rl.eval.result import ModelResult, Timing, VoteRow
from cogaudio_rl.eval.run import PROMPTS_AT_ONCE, select_utterances, take_timings
from cogaudio_rl.ports import Sampler
from cogaudio_rl.run_folder import write_whole
from cogaudio_rl.seeding import seed_for
from cogaudio_rl.types import Prompt, Route, Utterance

Progress = Callable[[int, int], None]


def labels_of(utterances: Sequence[Utterance]) -> tuple[str, ...]:
    """What the listeners of all of them could choose.

    Raises DataError for an utterance without votes, or whose listeners had another choice.
    """
    offered: dict[frozenset[str], Utterance] = {}
    for utterance in utterances:
        if not utterance.votes:
            raise DataError(f"utterance {utterance.id!r} has no votes to compare a model with")
        offered.setdefault(frozenset(utterance.votes), utterance)
    if len(offered) > 1:
        one, other, *_ = offered.values()
        raise DataError(
            f"listeners of {one.id!r} and of {other.id!r} could not choose among the same emotions; "
            "test one label set at a time"
        )
    return in_order(next(iter(offered), frozenset()))


async def evaluate_votes(
    sampler: Sampler,
    utterances: Sequence[Utterance],
    config: EvalConfig,
    *,
    seed: int,
    progress: Progress,
    clock: Sampler | None = None,
    timings: Sequence[Timing] = (),
) -> tuple[ModelResult, tuple[VoteRow, ...]]:
    """Evaluate whatever policy the sampler holds, over at most ``config.max_utterances``.

    ``clock`` is the sampler that times are taken with, None: none are; ``timings`` were taken before.
    Raises DataError when there are no utterances, and as :func:`labels_of`.
    """
    asked = select_utterances(utterances, config.max_utterances, seed=seed)
    taken, routes = tuple(timings), (Route.AMBIGUITY,)
    if clock is not None and not taken:
        # First: an engine that has heard a clip before answers sooner.
        timed = asked[: config.timed_utterances]
        taken = await take_timings(clock, timed, seed, routes=routes)
    labels = labels_of(asked)
    votes_NK = vote_table(asked, labels)
    rows: list[VoteRow] = []
    for start in range(0, len(asked), PROMPTS_AT_ONCE):
        part = asked[start : start + PROMPTS_AT_ONCE]
        prompts = [Prompt(utterance=u, route=Route.AMBIGUITY) for u in part]
        groups = await sampler.sample(
            prompts, n=1, temperature=0.0, seed=seed_for(seed, "eval", "ambiguity")
        )
        said = [group.rollouts[0] for group in groups]
        predicted = await sampler.weigh(
            prompts,
            [place_in(rollout, Route.AMBIGUITY) for rollout in said],
            [f" {label}" for label in labels],
        )
        rows += [
            VoteRow(
                utterance_id=u.id,
                speaker=u.speaker,
                text=rollout.text,
                failure=_failure(rollout.text, labels),
                tokens=len(rollout.token_ids),
                votes=tuple(votes_NK[start + i].tolist()),
                predicted=shares,
            )
            for i, (u, rollout, shares) in enumerate(zip(part, said, predicted, strict=True))
        ]
        progress(len(rows), len(asked))
    samples = config.bootstrap_samples
    estimates = distribution_estimates(
        votes_NK,
        [row.predicted for row in rows],
        samples=samples,
        seed=seed,
        voices=[row.speaker for row in rows],
    )
    result = ModelResult(
        labels=labels,
        rows=(),
        estimates={f"votes_{name}": estimate for name, estimate in estimates.items()}
        | {
            "format_ambiguity": mean_estimate(
                [float(row.failure is None) for row in rows], samples=samples, seed=seed
            ),
            "tokens_ambiguity": mean_estimate(
                [float(row.tokens) for row in rows], samples=samples, seed=seed
            ),
        }
        | estimate_timings(taken, samples=samples, seed=seed, routes=routes),
        bootstrap_samples=samples,
        timings=taken,
        votes=tuple(rows),
    )
    return result, tuple(rows)


def save_rows(rows: Sequence[VoteRow], path: Path) -> None:
    """One JSON object a line, for whoever wants to see what was said."""
    write_whole(path, "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows))


def _failure(text: str, labels: Sequence[str]) -> str | None:
    answer = ambiguity.parse(text)
    if isinstance(answer, ambiguity.ChainFailure):
        return str(answer)
    return None if answer.emotion in labels else "unknown_emotion"
