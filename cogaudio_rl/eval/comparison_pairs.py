"""Who leads on a test set, and by how much: each other system against it, item by item.

    leader and another, each in its seeds ─► seeds paired ─► differences on the same items ─► over_seeds

Intervals that overlap say less: two systems stumble over the same items, and what both share cancels in
a difference. Each interval stands by itself: none is widened for how many systems there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cogaudio_rl.eval.comparison import Cell, Cells, System, key
from cogaudio_rl.eval.distribution import LOWER_IS_BETTER
from cogaudio_rl.eval.metrics import Estimate, estimate_json
from cogaudio_rl.eval.over_seeds import over_seeds
from cogaudio_rl.eval.paired import compare, compare_votes
from cogaudio_rl.eval.result import ModelResult
from cogaudio_rl.eval.suite import SuiteResult

LED: Mapping[str, str] = {
    "emotion_accuracy": "names the emotion of the voice most often",
    "conflict_accuracy": "names it most often against the words",
    "empathy_direct": "has the most empathetic direct replies",
    "votes_js": "comes nearest to the votes (JS in bits)",
}
"""What a leader is named for, and what is said of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    """The best system on a test set by one metric."""

    name: str
    estimate: Estimate
    behind: Mapping[str, Estimate | None]
    """Each other system's mean difference to the leader; None where the two were not measured item by
    item."""
    overlapping: frozenset[str]
    """Those whose own interval overlaps with the leader's."""
    lower_is_better: bool = False

    @property
    def near(self) -> tuple[str, ...]:
        """Who is not told to be worse: by the difference, or else by the intervals.

        The leader has the best mean of what it was measured on; on the items that both were, another
        may even do better.
        """
        return tuple(
            name
            for name, by in self.behind.items()
            if (name in self.overlapping if by is None else not self._is_worse(by))
        )

    def _is_worse(self, by: Estimate) -> bool:
        return by.lo > 0 if self.lower_is_better else by.hi < 0

    def to_json(self) -> dict[str, Any]:
        return {
            "leader": self.name,
            "differences": {
                name: None if by is None else estimate_json(by) for name, by in self.behind.items()
            },
            "not_told_apart": list(self.near),
        }


Leaders = Mapping[str, Mapping[str, Leader]]
"""Suite → metric → who leads; no entry where fewer than two were measured."""


def leaders_of(
    systems: Sequence[System],
    results: Mapping[str, SuiteResult],
    cells: Cells,
    *,
    named: Mapping[str, str],
    seed: int,
) -> Leaders:
    """By each metric of :data:`LED`; ``named`` as for :func:`~.comparison.cells_of`."""
    trained = {
        suite: {
            system.name: {
                at: results[suite].models[called]
                for at in system.seeds
                if (called := named[key(system.name, at)]) in results[suite].models
            }
            for system in systems
        }
        for suite in cells
    }
    return {
        suite: {
            metric: leader
            for metric in LED
            if (leader := _leader(metric, of_suite, trained[suite], seed)) is not None
        }
        for suite, of_suite in cells.items()
    }


def _leader(
    metric: str,
    of_suite: Mapping[str, Mapping[str, Cell]],
    models: Mapping[str, Mapping[int, ModelResult]],
    seed: int,
) -> Leader | None:
    found = {
        name: estimate
        for name, cells in of_suite.items()
        if metric in cells and (estimate := cells[metric].estimate) is not None
    }
    if len(found) < 2:
        return None
    lower = metric.removeprefix("votes_") in LOWER_IS_BETTER
    best = (min if lower else max)(found, key=lambda name: found[name].value)
    others = [name for name in found if name != best]
    return Leader(
        name=best,
        estimate=found[best],
        behind={
            name: _difference(metric, models[name], models[best], seed=seed) for name in others
        },
        overlapping=frozenset(name for name in others if _overlap(found[name], found[best])),
        lower_is_better=lower,
    )


def _difference(
    metric: str,
    ours: Mapping[int, ModelResult],
    theirs: Mapping[int, ModelResult],
    *,
    seed: int,
) -> Estimate | None:
    """``ours − theirs``, a mean over the seeds that both have; what has one seed alone, as a base has,
    is held against each of the other's."""
    if len(ours) == 1 or len(theirs) == 1:
        pairs = [(one, other) for one in ours.values() for other in theirs.values()]
    else:
        pairs = [(ours[at], theirs[at]) for at in ours if at in theirs]
    of_votes = metric.startswith("votes_")
    if not pairs or not all(m.votes if of_votes else m.rows for pair in pairs for m in pair):
        return None
    found: dict[int, Estimate] = {}
    for nth, (one, other) in enumerate(pairs):
        models, names = {"ours": one, "theirs": other}, ("ours", "theirs")
        by = (compare_votes if of_votes else compare)(names, models, seed=seed)
        if metric in by and by[metric].n:
            found[nth] = by[metric]
    return over_seeds(found) if found else None


def _overlap(one: Estimate, other: Estimate) -> bool:
    return one.lo <= other.hi and other.lo <= one.hi
