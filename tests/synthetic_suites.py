"""Made-up results of every suite: what the tests of the suites' report render."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from synthetic_results import make_results

from cogaudio_rl.eval.estimates import estimate_rows
from cogaudio_rl.eval.metrics import Estimate
from cogaudio_rl.eval.result import ModelResult, Row
from cogaudio_rl.eval.suite import Classical, SuiteResult
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import LIME_EMOTIONS

NOTHING = Estimate(value=math.nan, lo=math.nan, hi=math.nan, n=0)


def estimate(value: float, *, n: int = 100, half: float = 0.08) -> Estimate:
    return Estimate(value=value, lo=value - half, hi=value + half, n=n)


def make_suites(folder: Path, families: int = 8) -> dict[str, SuiteResult]:
    """Two suites from rows, HumDial from numbers alone, and three that were not run."""
    models = make_results(folder, models=("base", "A", "B", "C", "D"), families=families)
    models["D/grpo"] = models["C"]
    models["qwen-omni-7b"] = models["A"]
    return {
        "test": SuiteResult(
            name="test",
            about="the recipe's own test split",
            models={name: with_cost(name, model) for name, model in models.items()},
            classical=_classical(),
        ),
        "conflict": SuiteResult(
            name="conflict",
            about="made set: sentences that name a feeling, said in each of seven; voices unseen",
            models={name: with_words(name, model) for name, model in models.items()},
            classical=_classical(),
        ),
        "humdial": humdial(("base", "D")),
        **{name: not_run(name) for name in ("emodb", "esd", "crema_d")},
    }


def humdial(names: tuple[str, ...]) -> SuiteResult:
    """Numbers without rows, as its own scoring leaves them; nothing of Task 4."""
    keys = ("t1_accuracy", "t2_accuracy", "t3_d1", "challenge_final", "challenge_final_zh")
    return SuiteResult(
        name="humdial",
        about="HumDial: EIBench and the challenge, Mandarin and English",
        models={
            name: ModelResult(
                labels=LIME_EMOTIONS,
                rows=(),
                estimates={
                    key: estimate(0.3 + 0.1 * i if "accuracy" in key else 1.5 + 0.5 * i, n=150)
                    for i, key in enumerate(keys)
                },
                bootstrap_samples=500,
            )
            for name in names
        },
    )


def not_run(name: str) -> SuiteResult:
    return SuiteResult(
        name=name, about=f"the corpus {name}", not_run=f"no folder was given for {name}"
    )


def with_estimates(model: ModelResult, more: Mapping[str, Estimate]) -> ModelResult:
    return replace(model, estimates={**model.estimates, **more})


def with_cost(name: str, model: ModelResult) -> ModelResult:
    slow = 1.4 if name == "base" else 1.0
    return with_estimates(
        model,
        {
            "tokens_direct": estimate(21 * slow, half=2),
            "tokens_explicit": estimate(74 * slow, half=4),
            "seconds_direct": estimate(0.31 * slow, n=20, half=0.03),
            "seconds_explicit": estimate(1.12 * slow, n=20, half=0.08),
            "response_swap_accuracy": estimate(0.15 if name == "base" else 0.52, n=12),
            "response_swap_chance": Estimate(value=1 / 7, lo=1 / 7, hi=1 / 7, n=12),
        },
    )


def with_words(name: str, model: ModelResult) -> ModelResult:
    """The same sentences as if their words named a feeling, which a weak model goes by."""
    rng = rng_for(0, "words", name)
    swayed = {"base": 0.7, "A": 0.45}.get(name, 0.25)

    def sway(row: Row, i: int) -> Row:
        lexical = LIME_EMOTIONS[(i // len(LIME_EMOTIONS)) % len(LIME_EMOTIONS)]
        chosen = lexical if rng.random() < swayed else row.chosen
        return replace(row, lexical=lexical, chosen=chosen, chosen_read=lexical)

    rows = tuple(sway(row, i) for i, row in enumerate(model.rows))
    return ModelResult(
        labels=model.labels,
        rows=rows,
        estimates=estimate_rows(rows, model.labels, samples=500, seed=0),
        bootstrap_samples=500,
    )


def _classical() -> Classical:
    return Classical(
        trained_on=480,
        answers=("neutral",) * 56,
        estimates={"emotion_accuracy": estimate(0.41, n=56), "emotion_uar": estimate(0.40, n=56)},
    )
