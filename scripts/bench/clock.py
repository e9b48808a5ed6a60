"""Reward after equal wall-clock: synchronous and pipelined, from one Stage II adapter.

The recipe, the utterances and the judge are a finished run's own; the judge is made as slow as the rest
of a step, as an LLM behind an address would be.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from ours import engine, seconds_per_step

from cogaudio_rl.config import load_config
from cogaudio_rl.data.manifest import read_manifest
from cogaudio_rl.models.checkpoint import load_adapter

ARMS = {"synchronous": 0, "pipelined": 1}
STEPS = 15
"""Of the synchronous loop; the time they take is what both arms are given."""
TURNS = 3


def clock(start: Path, out: Path) -> dict[str, Any]:
    """Mean reward of the last quarter of the time, in turns, each from the same weights."""
    if not (start / "checkpoints" / "stage2").is_dir():
        raise SystemExit(f"{start} has no checkpoints/stage2; run `make quickstart` first")
    # A rate that falls by the step would be given to the two arms at different times.
    config = load_config(str(start / "config.yaml"), ["rl.schedule=constant", "rl.steps=100000",
                                                      "rl.save_every=100000"])  # fmt: skip
    adapter = load_adapter(start / "checkpoints" / "stage2")
    utterances = read_manifest(start / "data" / "rl.jsonl")
    curves: dict[str, list[list[tuple[float, float]]]] = {arm: [] for arm in ARMS}
    with engine(config, out, utterances) as ours:
        ours.begin(adapter)
        compute_s = seconds_per_step(ours.steps(4), skip=1)
        seconds = STEPS * 2 * compute_s
        for _ in range(TURNS):
            for arm, staleness in ARMS.items():
                ours.begin(adapter)
                steps = ours.steps(
                    100_000, judge_s=compute_s, stop_after_s=seconds, max_staleness=staleness
                )
                curves[arm].append([(s["wall"], reward(s)) for s in steps if s["wall"] <= seconds])
    last = {
        arm: [statistics.fmean(r for wall, r in turn if wall > 0.75 * seconds) for turn in turns]
        for arm, turns in curves.items()
    }
    differences = [b - a for a, b in zip(last["synchronous"], last["pipelined"], strict=True)]
    return {
        "clock": {
            "seconds": seconds,
            "difference": statistics.median(differences),
            "last_quarter": last,
            "first": {arm: [turn[0][1] for turn in turns] for arm, turns in curves.items()},
            "steps": {arm: [len(turn) for turn in turns] for arm, turns in curves.items()},
            "curves": curves,
        }
    }


def reward(step: dict[str, float]) -> float:
    """Mean over the two routes."""
    return statistics.fmean(step[f"reward/{route}/mean"] for route in ("explicit", "direct"))
