"""The comparison in sentences made from its numbers, whether they please or not."""

from __future__ import annotations

from collections.abc import Sequence

from cogaudio_rl.eval.comparison import Balance, System
from cogaudio_rl.eval.comparison_pairs import LED, Leader, Leaders


def headline(systems: Sequence[System], leaders: Leaders, balance: Balance) -> list[str]:
    """How many systems, whether they had the same to learn from, and who leads on what.

    ``leaders`` has an entry for every test set that was run.
    """
    seeds = {len(s.seeds) for s in systems if any(spent.steps for spent in s.spent.values())}
    number = f"{min(seeds)} to {max(seeds)}" if len(seeds) > 1 else str(next(iter(seeds), 0))
    told = [
        f"{_count(len(systems), 'system')} on {_count(len(leaders), 'test set')}, "
        f"{number} {'seed' if number == '1' else 'seeds'} of each.",
        balance.sentence,
    ]
    if min(seeds, default=0) == 1:
        told.append(
            "Where there is one seed, intervals are over utterances alone: one seed says nothing of "
            "others."
        )
    if any(leaders.values()):
        told.append("Differences are 95 % intervals, each by itself.")
    for suite, of_suite in leaders.items():
        told += [f"{suite}: {_led(leader, LED[metric])}" for metric, leader in of_suite.items()]
    return told


def _led(leader: Leader, what: str) -> str:
    """Who is best, and who cannot be told apart from it."""
    mine, near = leader.estimate, leader.near
    told = f"{leader.name} {what}: {mine.value:.2f} ({mine.lo:.2f} – {mine.hi:.2f})"
    paired = all(by is not None for by in leader.behind.values())
    how = "item by item" if paired else "by intervals alone where there are no paired items"
    if len(near) == len(leader.behind):
        return f"{told}; {how} no other system is told to be worse."
    worse = [name for name in leader.behind if name not in near]
    if len(worse) < len(near):
        return f"{told}; {how} {_listed(worse)} {'is' if len(worse) == 1 else 'are'} worse."
    if near:
        return f"{told}; {how} all others are worse but {_listed(near)}, not told apart from it."
    return f"{told}; {how} all others are worse."


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
