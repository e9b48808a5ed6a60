"""What HumDial leaves behind: every answer, the numbers made of them, and the challenge's Final.

Rows are kept so that two models can be compared item by item.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cogaudio_rl.eval.metrics import Estimate, mean_estimate, paired_difference, weighted_means

LANGUAGES = ("zh", "en")
TASKS = ("T1", "T2", "T3", "T4")
CHOICE_TASKS = ("T1", "T2", "T4")
TALK_TASKS = ("T1", "T2", "T3")
"""Those that the challenge has answered in words, turn by turn."""
KINDS = ("consistent", "conflict")
DIMENSIONS = ("d1", "d2", "d3")
WEIGHTS: Mapping[str, float] = {"t1": 0.2, "t2": 0.2, "d1": 0.1, "d2": 0.25, "d3": 0.25}
"""Of the challenge's Final (arXiv 2601.05564)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceRow:
    """A multiple-choice item and what was chosen; ``answer`` and ``chosen`` are places in options."""

    id: str
    task: str
    language: str
    kind: str
    """``consistent`` or ``conflict``; empty where the corpus does not say."""
    question: str
    """As it was asked, options and all."""
    options: tuple[str, ...]
    answer: int
    chosen: int
    replies: tuple[str, ...]
    """What the model itself answered to the turns before."""
    audio_paths: tuple[str, ...]
    """What was heard, turn by turn."""
    cut: bool
    """Of some turn only the end was heard."""

    @property
    def right(self) -> bool:
        return self.chosen == self.answer


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyRow:
    """The reply of a dialogue that is judged, and what the judge said of it.

    T1 and T2: to the last turn, which asks. T3: to the second turn that is not neutral.
    """

    id: str
    task: str
    language: str
    heard: tuple[tuple[str, str, str], ...]
    """(words, emotion, what was answered) of each turn before the judged reply; words and emotion are
    empty where they are hidden. The last turn's answer is the judged reply itself."""
    reply: str
    audio_path: str
    """The reply as it was spoken; empty where nobody spoke it."""
    cut: bool
    scores: tuple[int, ...] | None
    """By the task's dimensions, each 1–5. T3 has D1 alone from a judge that hears nothing. None where
    no judgment could be had."""
    wrong_language: bool
    """Then all scores are 1, and no judge was asked."""
    reasoning: str
    unscored: str
    """Why there are no scores; empty where there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HumDialResult:
    """What HumDial showed of one model.

    ``estimates``: ``t1_accuracy`` (T2, T4 likewise; each also with ``_zh`` and ``_en``), its chance
    level ``t1_chance``, ``t4_conflict_accuracy``, ``t4_consistent_accuracy``; of what was answered in
    words ``t1_score`` and ``t2_score`` (mean of three dimensions), ``t3_d1`` to ``t3_d3`` (also by
    language), ``challenge_final_zh``, ``challenge_final_en``, ``challenge_final``. What rests on no
    item is not among them.
    """

    estimates: Mapping[str, Estimate]
    not_run: Mapping[str, str]
    """``T1`` to ``T4`` or ``challenge_final`` → why it is not there."""
    notes: tuple[str, ...]
    choices: tuple[ChoiceRow, ...]
    replies: tuple[ReplyRow, ...]
    prompts: Mapping[str, str]
    """Prompt file → digest of its text."""
    bootstrap_samples: int
    quarantined: tuple[str, ...] = ()
    """Lines of the corpus that could not be used: where, and why."""
    judge_spent: Mapping[str, float] = field(default_factory=dict[str, float])
    """Requests, retries and tokens of the judge, and US dollars where its prices are known."""

    def to_json(self) -> dict[str, Any]:
        """Plain values; :meth:`from_json` gives the same result."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> HumDialResult:
        """Read what :meth:`to_json` gave, also after a trip through a JSON file."""
        return cls(
            estimates={name: Estimate(**e) for name, e in raw["estimates"].items()},
            not_run=dict(raw["not_run"]),
            notes=tuple(raw["notes"]),
            quarantined=tuple(raw["quarantined"]),
            choices=tuple(_choice_row(row) for row in raw["choices"]),
            replies=tuple(_reply_row(row) for row in raw["replies"]),
            prompts=dict(raw["prompts"]),
            bootstrap_samples=raw["bootstrap_samples"],
            judge_spent=dict(raw["judge_spent"]),
        )


def _choice_row(row: Mapping[str, Any]) -> ChoiceRow:
    lists = {name: tuple(row[name]) for name in ("options", "replies", "audio_paths")}
    return ChoiceRow(**{**row, **lists})


def _reply_row(row: Mapping[str, Any]) -> ReplyRow:
    scores, heard = row["scores"], tuple(tuple(turn) for turn in row["heard"])
    return ReplyRow(**{**row, "heard": heard, "scores": None if scores is None else tuple(scores)})


def challenge_score(
    *, t1: float | None, t2: float | None, d1: float | None, d2: float | None, d3: float | None
) -> float | None:
    """The challenge's Final of one language, each part 1–5; None when a part is missing.

    Final = .2·T1 + .2·T2 + .1·T3D1 + .25·T3D2 + .25·T3D3. On the challenge's board people scored D2 and
    D3, and Qwen3-Omni-30B-A3B-Instruct the rest; here one judge scores all of it.
    """
    parts = {"t1": t1, "t2": t2, "d1": d1, "d2": d2, "d3": d3}
    if missing_parts(parts):
        return None
    return sum(WEIGHTS[name] * value for name, value in parts.items() if value is not None)


def missing_parts(parts: Mapping[str, object | None]) -> tuple[str, ...]:
    """Names of what the Final cannot do without and has not, as the challenge calls them."""
    names = {"t1": "T1", "t2": "T2", "d1": "T3 D1", "d2": "T3 D2", "d3": "T3 D3"}
    return tuple(names[part] for part in WEIGHTS if parts.get(part) is None)


def row_values(
    choices: Sequence[ChoiceRow], replies: Sequence[ReplyRow]
) -> dict[str, dict[str, float]]:
    """Metric → item → its value, for each metric that is a mean over items; unscored ones have none."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for row in choices:
        task, right = row.task.lower(), float(row.right)
        for metric in (f"{task}_accuracy", f"{task}_accuracy_{row.language}"):
            found[metric][row.id] = right
        if row.task == "T4" and row.kind in KINDS:
            found[f"t4_{row.kind}_accuracy"][row.id] = right
    for row in replies:
        if row.scores is None:
            continue
        scored = {f"{row.task.lower()}_score": sum(row.scores) / len(row.scores)}
        if row.task == "T3":
            scored = {f"t3_{d}": s for d, s in zip(DIMENSIONS, row.scores, strict=False)}
        for metric, score in scored.items():
            for key in (metric, f"{metric}_{row.language}"):
                found[key][row.id] = float(score)
    return {metric: found[metric] for metric in sorted(found)}


def estimate_rows(
    choices: Sequence[ChoiceRow], replies: Sequence[ReplyRow], *, samples: int, seed: int
) -> tuple[dict[str, Estimate], str]:
    """Every metric with its interval, and what the Final lacks; empty where it is there.

    The Final's interval resamples T1, T2 and T3 independently, and of T3 whole replies: the three
    scores of a reply belong together. A part of which a reply has no score is a part that is missing.
    """
    values = row_values(choices, replies)
    found = {
        metric: mean_estimate(list(by_item.values()), samples=samples, seed=seed)
        for metric, by_item in values.items()
    }
    for task in CHOICE_TASKS:
        chances = [1 / len(row.options) for row in choices if row.task == task]
        if chances:
            chance = mean_estimate(chances, samples=samples, seed=seed)
            found[f"{task.lower()}_chance"] = chance
    parts = {language: _parts(values, replies, language) for language in LANGUAGES}
    lacks: list[str] = []
    for language, theirs in parts.items():
        if missing := missing_parts(theirs):
            lacks.append(f"{language} lacks {', '.join(missing)}")
        else:
            found[f"challenge_final_{language}"] = _final([theirs], samples=samples, seed=seed)
    if not lacks:
        found["challenge_final"] = _final(list(parts.values()), samples=samples, seed=seed)
    return found, "; ".join(lacks)


def compare_humdial(
    ours: HumDialResult, theirs: HumDialResult, *, samples: int, seed: int
) -> dict[str, Estimate]:
    """Metric → mean of ``ours − theirs`` over the items that both have a value for, paired."""
    mine = row_values(ours.choices, ours.replies)
    yours = row_values(theirs.choices, theirs.replies)
    found: dict[str, Estimate] = {}
    for metric in mine.keys() & yours.keys():
        both = [item for item in mine[metric] if item in yours[metric]]
        if both:
            found[metric] = paired_difference(
                [mine[metric][item] for item in both],
                [yours[metric][item] for item in both],
                samples=samples,
                seed=seed,
            )
    return dict(sorted(found.items()))


def _parts(
    values: Mapping[str, Mapping[str, float]], replies: Sequence[ReplyRow], language: str
) -> dict[str, Sequence[float] | None]:
    """The Final's five parts in one language, reply by reply; none where a reply was not scored."""
    metrics = {
        "t1": "t1_score", "t2": "t2_score", "d1": "t3_d1", "d2": "t3_d2", "d3": "t3_d3",
    }  # fmt: skip
    found: dict[str, Sequence[float] | None] = {}
    for part, metric in metrics.items():
        scores = list(values.get(f"{metric}_{language}", {}).values())
        task = metric[:2].upper()
        asked = sum(row.task == task and row.language == language for row in replies)
        found[part] = scores if scores and len(scores) == asked else None
    return found


def _final(
    languages: Sequence[Mapping[str, Sequence[float] | None]], *, samples: int, seed: int
) -> Estimate:
    """The mean of the languages' Final; none of their parts may be missing."""
    sets: list[tuple[float, Sequence[float]]] = []
    for parts in languages:
        whole = {name: values for name, values in parts.items() if values is not None}
        sets += [(WEIGHTS[task] / len(languages), whole[task]) for task in ("t1", "t2")]
        replies = zip(*(whole[dimension] for dimension in DIMENSIONS), strict=True)
        weighted = [
            sum(WEIGHTS[d] * score for d, score in zip(DIMENSIONS, scores, strict=True))
            for scores in replies
        ]
        sets.append((1 / len(languages), weighted))
    return weighted_means(sets, samples=samples, seed=seed)
