"""Systems of several runs on the same test sets: what was measured of each, and why something was not.

per system and seed: ModelResult ─► over_seeds ─► Cell ─► compare.json, compare.html
                                          published.py ─┘
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cogaudio_rl.eval.metrics import Estimate, estimate_json
from cogaudio_rl.eval.not_measured import why_not
from cogaudio_rl.eval.over_seeds import over_seeds
from cogaudio_rl.eval.published import AMBIGUITY_PAPER, TABLES, Published
from cogaudio_rl.eval.result import ModelResult
from cogaudio_rl.eval.suite import SuiteResult
from cogaudio_rl.eval.suite_metrics import scale_of

SAME_WITHIN = 0.05
"""Budgets that differ by no more than this share of the larger one count as equal."""

PARTS = ("utterances", "steps", "rollouts", "tokens", "seconds")
"""Of a budget; the last is told, and decides nothing."""

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Accuracy": (
        "emotion_accuracy",
        "emotion_uar",
        "emotion_accuracy_as_written",
        "emotion_accuracy_silenced",
        "emotion_accuracy_text_only",
        "votes_top1",
        "votes_top2",
    ),
    "Distribution of votes": (
        "votes_js",
        "votes_bhattacharyya",
        "votes_r2",
        "votes_correlation2",
        "votes_brier",
        "votes_calibration_error",
    ),
    "Empathy": ("empathy_direct", "empathy_explicit"),
    "Semantic dominance": (
        "s_audio",
        "lexical_cue_gap",
        "donor_follow",
        "donor_above_chance",
        "conflict_accuracy",
        "consistent_accuracy",
        "conflict_gap",
        "lexical_label_rate",
        "divergence_excess",
        "response_swap_accuracy",
    ),
    "Form": ("format_validity", "format_ambiguity"),
    "Tokens": ("tokens_direct", "tokens_explicit", "tokens_ambiguity"),
    "Seconds": ("seconds_direct", "seconds_explicit", "seconds_ambiguity"),
}
"""What every system is asked for on every test set; what else a suite measures stands behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What the training of a system took."""

    stages: tuple[str, ...]
    steps: int
    utterances: int
    """Presentations: one that is seen in three epochs counts three times."""
    rollouts: int
    """Answers that reinforcement learning drew and scored."""
    tokens: int | None
    """SFT's, prompt, sound and answer, and those that RL drew; None where a run did not count them."""
    seconds: float | None
    is_whole: bool = True
    """False where something behind the system is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One way of training, in each of its seeds."""

    name: str
    recipe: str
    """Empty for a base, and for what was given by its folder alone."""
    about: str
    base: str
    """The backbone, as its recipe names it."""
    stands_for: str = ""
    """What :mod:`published` calls it among models of ours; empty where papers have nothing like it."""
    of_votes: bool = False
    """Whether it was trained on how votes are shared."""
    spent: Mapping[int, Spent] = field(default_factory=dict[int, Spent])
    """By seed."""

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(self.spent)


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperFigure:
    """A published figure of what a system stands for, in our unit; the test set was the paper's own."""

    value: float
    table: str
    row: str
    column: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One metric of one system on one test set: a figure, or why there is none."""

    estimate: Estimate | None
    why: str = ""
    by_seed: Mapping[int, float] = field(default_factory=dict[int, float])
    paper: tuple[PaperFigure, ...] = ()

    def to_json(self) -> dict[str, Any]:
        paper = [asdict(figure) for figure in self.paper]
        if self.estimate is None:
            return {"not_applicable": self.why, "paper": paper}
        seeds = {str(seed): value for seed, value in self.by_seed.items()}
        return estimate_json(self.estimate) | {"by_seed": seeds, "paper": paper}


Cells = Mapping[str, Mapping[str, Mapping[str, Cell]]]
"""Suite → system → metric → cell."""


def cells_of(
    systems: Sequence[System], results: Mapping[str, SuiteResult], *, named: Mapping[str, str]
) -> Cells:
    """What every system showed on every suite that was run.

    ``named`` is what the results call a system in a seed, by :func:`key`. A metric that no system of a
    suite has, and that is none of :data:`GROUPS`, has no cell there.
    """
    return {
        name: _cells_of_suite(systems, suite, named)
        for name, suite in results.items()
        if suite.models
    }


def key(system: str, seed: int) -> str:
    """Stands for a system in one of its seeds."""
    return f"{system}#{seed}"


def _cells_of_suite(
    systems: Sequence[System], suite: SuiteResult, named: Mapping[str, str]
) -> dict[str, dict[str, Cell]]:
    measured = dict.fromkeys(
        metric for model in suite.models.values() for metric in model.estimates
    )
    core = [metric for metrics in GROUPS.values() for metric in metrics]
    metrics = [*core, *(metric for metric in measured if metric not in core)]
    found: dict[str, dict[str, Cell]] = {}
    for system in systems:
        models = {
            seed: suite.models[called]
            for seed in system.seeds
            if (called := named[key(system.name, seed)]) in suite.models
        }
        found[system.name] = {metric: _cell(system, suite, models, metric) for metric in metrics}
    return found


def _cell(
    system: System, suite: SuiteResult, models: Mapping[int, ModelResult], metric: str
) -> Cell:
    by_seed = {
        seed: estimate
        for seed, model in models.items()
        if (estimate := model.measured(metric)) is not None and math.isfinite(estimate.value)
    }
    paper = paper_figures(system, suite.name, metric)
    if not by_seed:
        why = why_not(metric, suite, models.values())
        return Cell(estimate=None, why=why, paper=paper)
    lowest, highest = scale_of(metric)
    return Cell(
        estimate=over_seeds(by_seed, lowest=lowest, highest=highest),
        by_seed={seed: estimate.value for seed, estimate in by_seed.items()},
        paper=paper,
    )


def tables_for(system: System) -> tuple[Published, ...]:
    """The published tables that a system of its kind can stand in."""
    if not system.recipe:
        return TABLES
    return tuple(t for t in TABLES if (t.source == AMBIGUITY_PAPER) == system.of_votes)


def paper_figures(system: System, suite: str, metric: str) -> tuple[PaperFigure, ...]:
    """What papers have of what the system stands for, by the same metric on the same kind of set."""
    found: list[PaperFigure] = []
    for table in tables_for(system):
        for row, ours in table.ours.items():
            if not system.stands_for or ours != system.stands_for:
                continue
            for column, value in zip(table.columns, table.rows[row], strict=True):
                fits = any((s.suite, s.metric) == (suite, metric) for s in column.ours)
                if value is not None and fits:
                    figure = PaperFigure(
                        value=value / column.scale,
                        table=table.title,
                        row=row,
                        column=f"{column.group}, {column.title}",
                        source=table.source,
                    )
                    found.append(figure)
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """Whether systems were given the same to learn from."""

    equal: bool | None
    """None where not all of it is known."""
    sentence: str
    ranges: Mapping[str, tuple[float, float] | None]
    """Smallest and largest of each part over the systems; None where one did not count it."""


def balance_of(systems: Sequence[System]) -> Balance:
    """Of all systems that were trained; a base was not. Seconds are told, and decide nothing, nor do
    rollouts of those that take none: that is what they are."""
    trained = {s.name: spent_of(s) for s in systems if any(o.steps for o in s.spent.values())}
    unknown = [s.name for s in systems if any(not one.is_whole for one in s.spent.values())]
    ranges: dict[str, tuple[float, float] | None] = {}
    for part in PARTS:
        values = [spent[part] for spent in trained.values()]
        known = [value for value in values if value is not None]
        ranges[part] = (min(known), max(known)) if known and len(known) == len(values) else None
    if unknown:
        about = f"Not all is known of what {', '.join(unknown)} learnt from."
        return Balance(equal=None, sentence=about, ranges=ranges)
    if len(trained) < 2:
        return Balance(equal=True, sentence="One system was trained.", ranges=ranges)
    apart = [told for part in PARTS[:-1] if (told := _apart(part, trained))]
    counted = ranges["tokens"] is not None
    if apart:
        sentence = f"Budgets are not equal: {'; '.join(apart)}."
    else:
        sentence = (
            f"Budgets are equal within {SAME_WITHIN:.0%}{'' if counted else ' but for tokens'}."
        )
    if not counted:
        sentence += " Not every run counted its tokens."
    equal = False if apart else (True if counted else None)
    return Balance(equal=equal, sentence=sentence, ranges=ranges)


def _apart(part: str, trained: Mapping[str, Mapping[str, float | None]]) -> str:
    """What most were given and who had less; empty where all had the same, or not all is known."""
    given = {name: value for name, spent in trained.items() if (value := spent[part]) is not None}
    if len(given) < len(trained):
        return ""
    if part == "rollouts":
        given = {name: value for name, value in given.items() if value}
    most = max(given.values(), default=0.0)
    less = {name: value for name, value in given.items() if value < (1 - SAME_WITHIN) * most}
    if not less:
        return ""
    told = f"{part} {round(min(less.values())):,} to {round(most):,}"
    return f"{told}, least for {', '.join(_fewest(less))}"


def _fewest(given: Mapping[str, float]) -> list[str]:
    least = min(given.values())
    return [name for name, value in given.items() if value * (1 - SAME_WITHIN) <= least]


def spent_of(system: System) -> dict[str, float | None]:
    """Mean over the seeds of each of :data:`PARTS`; None where one did not count it."""
    found: dict[str, float | None] = {}
    for part in PARTS:
        values = [getattr(one, part) for one in system.spent.values()]
        found[part] = None if None in values else sum(values) / len(values)
    return found
