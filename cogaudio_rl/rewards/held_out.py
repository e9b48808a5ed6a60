"""A second opinion on a few rollouts, from a judge that nothing is trained on.

The reward's judge finds replies better and better while RL goes on; that is what RL does. Whether they
are better only another judge can tell: where its scores stay behind, the policy has learnt to please
one judge (Gao et al. 2023, 2210.10760, measure it so, with a gold reward model).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from cogaudio_rl.eips import ParseFailure
from cogaudio_rl.ports import Judge
from cogaudio_rl.rewards.alarms import Scores, held_out_gap
from cogaudio_rl.rewards.route import read_answer
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import Group, Route, Score, Unscored

SAMPLED = 32
"""Rollouts of a step that are judged again, at most."""


class HeldOut:
    """The held-out judge of a run, asked every so many steps."""

    def __init__(self, judge: Judge, *, every: int, seed: int, note: Callable[[str], None]) -> None:
        """``note`` is told, in one line, what kept the judge from an opinion."""
        self._judge, self._every, self._seed, self._note = judge, every, seed, note

    async def opinion(
        self, step: int, groups_P: Sequence[Group], scores_PG: Scores
    ) -> dict[str, float]:
        """``alarm/held_out_gap`` and what it took (``held_out/…``); nothing where it is not due.

        Never raises for a judge that cannot answer: that is a note.
        """
        if step % self._every:
            return {}
        started = time.perf_counter()
        asked_P, own_PG = sample(groups_P, scores_PG, seed=self._seed, step=step)
        try:
            found_PG = await self._judge.score(asked_P)
            spent = await self._judge.spent()
        except Exception as error:  # who only watches must not stop what is watched
            self._note(f"step {step}: no second opinion: {str(error) or type(error).__name__}")
            return {}
        scored = sum(isinstance(score, Score) for row in found_PG for score in row)
        metrics = {"held_out/scored": float(scored)}
        metrics |= {f"held_out/{k.removeprefix('judge/')}": v for k, v in spent.items()}
        metrics["time/held_out"] = time.perf_counter() - started
        gap = held_out_gap(own_PG, found_PG)
        if gap is None:
            self._note(f"step {step}: no second opinion: {_why(found_PG)}")
            return metrics
        return metrics | {"alarm/held_out_gap": gap}


def sample(
    groups_P: Sequence[Group], scores_PG: Scores, *, seed: int, step: int
) -> tuple[list[Group], list[list[Score | Unscored]]]:
    """At most :data:`SAMPLED` rollouts with their own judge's scores, drawn at random.

    Those that parse and were scored: on the others two judges cannot differ. Those of the direct
    route go first: their reward is the judge's word alone.
    """
    fit = [
        (p, g)
        for p, (group, scores) in enumerate(zip(groups_P, scores_PG, strict=True))
        for g, (rollout, score) in enumerate(zip(group.rollouts, scores, strict=True))
        if isinstance(score, Score)
        and not isinstance(read_answer(group.prompt, rollout), ParseFailure | Unscored)
    ]
    shuffled = [fit[i] for i in rng_for(seed, "held out", step).permutation(len(fit))]
    shuffled.sort(key=lambda at: groups_P[at[0]].prompt.route is not Route.DIRECT)
    drawn = sorted(shuffled[:SAMPLED])
    places = sorted({p for p, _ in drawn})
    kept = {p: [g for q, g in drawn if q == p] for p in places}
    return (
        [
            Group(
                prompt=groups_P[p].prompt,
                rollouts=tuple(groups_P[p].rollouts[g] for g in kept[p]),
            )
            for p in places
        ],
        [[scores_PG[p][g] for g in kept[p]] for p in places],
    )


def _why(scores_PG: Scores) -> str:
    reasons = (s.reason for row in scores_PG for s in row if isinstance(s, Unscored))
    return next(reasons, "there was no reply to judge")
