"""A whole run in one process, twice: the same seed gives the same numbers to the last digit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_world import make_utterances

from clusters.launch import run_pipeline
from cogaudio_rl.config import load_config
from cogaudio_rl.data.manifest import write_manifest
from cogaudio_rl.metrics import read_metrics

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    spoken = make_utterances(folder / "corpus" / "audio", 28)
    for name, part in (("train", spoken[:14]), ("rl", spoken[14:21]), ("test", spoken[21:])):
        write_manifest(folder / "corpus" / f"{name}.jsonl", part)
    return folder


def run(world: Path, name: str) -> Path:
    out = world / name
    overrides = (
        *("cluster.backend=local", "data.kind=manifest", f"data.root={world / 'corpus'}"),
        f"out_dir={out}",
        # Long enough to know its few sentences by heart, so that answers parse and RL has a spread.
        "sft.stage1={epochs: 40, batch_size: 14, learning_rate: 5.0e-3}",
        "sft.stage2={epochs: 10, batch_size: 14, learning_rate: 5.0e-3, explicit_share: 0.5}",
        *("rl.steps=3", "rl.utterances_per_step=2", "rl.group_size=3", "rl.save_every=1"),
        *("rl.readiness.prompts=2", "eval.bootstrap_samples=50"),
    )
    run_pipeline(load_config("quickstart", overrides))
    return out


def measured(out: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All that was logged and reported, but for seconds."""
    lines = [
        {k: v for k, v in line.items() if not k.startswith("time/")} for line in read_metrics(out)
    ]
    report = json.loads((out / "report.json").read_text("utf-8"))
    return lines, _without_seconds(report["models"] | report["paired"])


def _without_seconds(found: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_seconds(value) if isinstance(value, dict) else value
        for key, value in found.items()
        if not key.startswith("seconds_")
    }


def test_same_seed_same_numbers_to_the_last_digit(world: Path) -> None:
    first, second = measured(run(world, "first")), measured(run(world, "second"))
    assert first == second
    assert any("policy/loss" in line for line in first[0]), "RL had nothing to learn from"
