"""The comparison in sentences made from its numbers, whether they please or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cogaudio_rl.eval.comparison import Balance, Cell, Cells, System
from cogaudio_rl.eval.distribution import LOWER_IS_BETTER
from cogaudio_rl.eval.metrics import Estimate

_ASKED: Mapping[str, str] = {
    "emotion_accuracy": "names the emotion of the voice most often",
    "conflict_accuracy": "names it most often against the words",
    "empathy_direct": "has the most empathetic direct replies",
    "votes_js": "comes nearest to the votes (JS in bits)",
}
"""What is said of the best system, where a suite measured it."""


def headline(systems: Sequence[System], cells: Cells, balance: Balance) -> list[str]:
    """How many systems, whether they had the same to learn from, and who leads on what."""
    seeds = {len(s.seeds) for s in systems if any(spent.steps for spent in s.spent.values())}
    number = f"{min(seeds)} to {max(seeds)}" if len(seeds) > 1 else str(next(iter(seeds), 0))
    told = [
        f"{_count(len(systems), 'system')} on {_count(len(cells), 'test set')}, "
        f"{number} {'seed' if number == '1' else 'seeds'} of each.",
        balance.sentence,
    ]
    if min(seeds, default=0) == 1:
        told.append(
            "Where there is one seed, intervals are over utterances alone: one seed says nothing of "
            "others."
        )
    for suite, of_suite in cells.items():
        told += [
            sentence
            for metric, what in _ASKED.items()
            if (sentence := _leader(suite, metric, what, of_suite))
        ]
    return told


def _leader(suite: str, metric: str, what: str, of_suite: Mapping[str, Mapping[str, Cell]]) -> str:
    """Who is best, and who cannot be told apart from it; empty where fewer than two were measured."""
    found = {
        name: estimate
        for name, cells in of_suite.items()
        if metric in cells and (estimate := cells[metric].estimate) is not None
    }
    if len(found) < 2:
        return ""
    sign = -1 if metric.removeprefix("votes_") in LOWER_IS_BETTER else 1
    best = max(found, key=lambda name: sign * found[name].value)
    near = [name for name in found if name != best and _overlap(found[name], found[best])]
    mine = found[best]
    told = f"{suite}: {best} {what}: {mine.value:.2f} ({mine.lo:.2f} – {mine.hi:.2f})"
    if len(near) == len(found) - 1:
        return f"{told}; no other system's interval lies apart from it."
    if near:
        return f"{told}; the intervals of {_listed(near)} overlap with it."
    return f"{told}, apart from all others."


def _overlap(one: Estimate, other: Estimate) -> bool:
    return one.lo <= other.hi and other.lo <= one.hi


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
