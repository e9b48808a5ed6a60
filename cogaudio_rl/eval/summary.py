"""What a run showed, as numbers and in words: the content of ``report.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from cogaudio_rl import prompts
from cogaudio_rl.eval.estimates import row_values
from cogaudio_rl.eval.metrics import Estimate, confusion_matrix, mean_by
from cogaudio_rl.eval.paired import compare
from cogaudio_rl.eval.result import ModelResult
from cogaudio_rl.revision import git_revision
from cogaudio_rl.rewards.canaries import RunCanaries

Results = Mapping[str, ModelResult]

PAIRS: tuple[tuple[str, str], ...] = (("D", "C"), ("C", "base"), ("D", "A"))
"""Which models are compared utterance by utterance: what RL adds, what SFT adds, and what both add
to direct SFT alone."""

SPEAKER_METRICS: tuple[str, ...] = (
    "emotion_accuracy",
    "emotion_accuracy_as_written",
    "empathy_direct",
    "empathy_explicit",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricText:
    """How a metric is called where people read it."""

    group: str
    title: str
    about: str
    highest: float = 1.0
    has_chance: bool = False
    """Whether 1 / number of labels is what guessing would reach."""

    @property
    def full(self) -> str:
        return f"{self.group}, {self.title}"


METRIC_TEXTS: Mapping[str, MetricText] = {
    "emotion_accuracy": MetricText(
        group="Emotion accuracy",
        title="by choice",
        about="the emotion of the voice, by constrained choice among the labels behind the chain that "
        "the model was taught",
        has_chance=True,
    ),
    "emotion_accuracy_as_written": MetricText(
        group="Emotion accuracy",
        title="as written",
        about="the emotion the model writes in its chain; what does not parse is wrong",
        has_chance=True,
    ),
    "emotion_accuracy_silenced": MetricText(
        group="Emotion accuracy",
        title="silenced",
        about="constrained choice when the sound is silence of one fixed length",
        has_chance=True,
    ),
    "format_validity": MetricText(
        group="Format validity", title="greedy", about="share of explicit answers that parse"
    ),
    "format_validity_t1": MetricText(
        group="Format validity", title="sampled", about="the same at temperature 1"
    ),
    "empathy_direct": MetricText(
        group="Empathy, direct",
        title="greedy",
        about="rubric 1–4 of replies without a chain",
        highest=4,
    ),
    "empathy_direct_t1": MetricText(
        group="Empathy, direct", title="sampled", about="the same at temperature 1", highest=4
    ),
    "empathy_explicit": MetricText(
        group="Empathy, explicit",
        title="greedy",
        about="rubric 1–4 of replies after the chain",
        highest=4,
    ),
    "empathy_explicit_t1": MetricText(
        group="Empathy, explicit", title="sampled", about="the same at temperature 1", highest=4
    ),
    "response_divergence": MetricText(
        group="Replies",
        title="diverge",
        about="how much direct replies to the same words differ when the emotion differs: "
        "1 − word-bigram Jaccard, 0 = always the same reply",
    ),
    "thought_reply_agreement": MetricText(
        group="Replies",
        title="fit thought",
        about="well-formed explicit answers whose reply fits the emotion named in their chain best",
    ),
}
"""The columns of the ablation table, in order; columns of one group stand together."""


def prompt_digests() -> dict[str, str]:
    """The version of each prompt."""
    return {name: prompts.digest(name) for name in prompts.FILES.values()}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What the report says of the run itself."""

    name: str
    seed: int
    wall_s: float
    peak_rss_gib: float
    """Of all processes together."""
    versions: Mapping[str, str]
    seconds: Mapping[str, float] = field(default_factory=dict[str, float])
    """How long each stage took."""
    ready_for_rl: bool | None = None
    """Whether the policy was ready when stage III began; None without a stage III."""
    canaries: RunCanaries | None = None
    """What the reward's judge gave replies that none may like; None without a stage III."""
    scorer: str = "the test scorer of the package"
    """Who scored empathy in the test."""
    git_revision: str = field(default_factory=git_revision)
    prompt_digests: Mapping[str, str] = field(default_factory=prompt_digests)


def chance(results: Results) -> float:
    """What guessing among the labels would reach."""
    return 1 / len(_any(results).labels)


def paired_differences(results: Results, facts: RunFacts) -> dict[str, dict[str, Estimate]]:
    """``{"D-C": {metric: Estimate}}`` for those of :data:`PAIRS` that were evaluated.

    Raises ValueError when two models were not evaluated on the same utterances.
    """
    return {
        "-".join(pair): compare(pair, results, seed=facts.seed)
        for pair in PAIRS
        if set(pair) <= set(results)
    }


def build_report(results: Results, facts: RunFacts) -> dict[str, Any]:
    """The content of ``report.json``: plain numbers, each with ``ci95`` beside it."""
    paired = paired_differences(results, facts)
    first = _any(results)
    return {
        "name": facts.name,
        "headline": " ".join(headline(results, paired)).strip(),
        "seed": facts.seed,
        "wall_s": facts.wall_s,
        "peak_rss_gib": facts.peak_rss_gib,
        "n": len(first.rows),
        "labels": list(first.labels),
        "chance": chance(results),
        "models": {name: _model(result) for name, result in results.items()},
        "paired": {
            pair: {
                metric: {"mean": _number(e.value), "ci95": _interval(e), "n": e.n}
                for metric, e in metrics.items()
            }
            for pair, metrics in paired.items()
        },
        "per_speaker": {name: per_speaker(result) for name, result in results.items()},
        "confusion": {name: confusion(result) for name, result in results.items()},
        "scorer": facts.scorer,
        "seconds": dict(facts.seconds),
        "ready_for_rl": facts.ready_for_rl,
        "canaries": asdict(facts.canaries) if facts.canaries else None,
        "prompt_digests": dict(facts.prompt_digests),
        "versions": dict(facts.versions),
        "git_revision": facts.git_revision,
    }


def confusion(result: ModelResult) -> list[list[int]]:
    """Constrained choice: counts [true label][chosen label] in the order of the labels."""
    return confusion_matrix(
        [r.emotion for r in result.rows], [r.chosen for r in result.rows], result.labels
    ).tolist()


def per_speaker(result: ModelResult) -> dict[str, dict[str, float]]:
    """``{speaker: {"n": …, metric: mean}}`` for :data:`SPEAKER_METRICS`."""
    speakers = [r.speaker for r in result.rows]
    table: dict[str, dict[str, float]] = {}
    for metric in SPEAKER_METRICS:
        for speaker, (mean, n) in mean_by(speakers, row_values(result.rows, metric)).items():
            table.setdefault(speaker, {"n": n})[metric] = mean
    return table


def headline(results: Results, paired: Mapping[str, Mapping[str, Estimate]]) -> tuple[str, str]:
    """What the run shows of the replies, and of the hearing: two sentences made from the numbers.

    They say it whether it pleases or not.
    """
    if not {"base", "C", "D"} <= set(results):
        n = len(_any(results).rows)
        return f"{' and '.join(results)} on {n} test utterances.", ""
    d, c, base = (results[name].estimates for name in ("D", "C", "base"))
    gains = paired["D-C"]
    up = [route for route in ("direct", "explicit") if gains[f"empathy_{route}"].lo > 0]
    verdict = {
        2: "Reinforcement learning made replies more empathetic on both routes",
        1: f"Reinforcement learning made replies more empathetic on the {''.join(up)} route only",
        0: "Reinforcement learning did not make replies measurably more empathetic",
    }[len(up)]
    scores = ", ".join(
        f"{route} {c[f'empathy_{route}'].value:.2f} → {d[f'empathy_{route}'].value:.2f}"
        for route in ("direct", "explicit")
    )
    heard = [f"{e['emotion_accuracy'].value:.0%}" for e in (d, c, base)]
    return (
        f"{verdict}: {scores} of 4, from a base at {base['empathy_direct'].value:.2f}.",
        f"The emotion in the voice is named right {heard[0]} of the time ({heard[1]} before "
        f"reinforcement learning, {heard[2]} for the base, {chance(results):.0%} by guessing), and "
        f"{d['emotion_accuracy_silenced'].value:.0%} with the sound silenced.",
    )


def _model(result: ModelResult) -> dict[str, Any]:
    values = {name: _number(e.value) for name, e in result.estimates.items()}
    return values | {
        "ci95": {name: _interval(e) for name, e in result.estimates.items()},
        "n": len(result.rows),
    }


def _number(value: float) -> float | None:
    """JSON has no NaN; a metric that rests on nothing is null."""
    return value if math.isfinite(value) else None


def _interval(estimate: Estimate) -> list[float | None]:
    return [_number(estimate.lo), _number(estimate.hi)]


def _any(results: Results) -> ModelResult:
    if not results:
        raise ValueError("there are no results to report")
    return next(iter(results.values()))
