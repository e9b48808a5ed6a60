"""A whole run on vote shares in one process, and DPO from its SFT: the same loop, the same report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_world import make_utterances, make_voted

from clusters.launch import run_pipeline
from cogaudio_rl.config import load_config
from cogaudio_rl.data.manifest import write_manifest
from cogaudio_rl.metrics import read_metrics
from cogaudio_rl.run_folder import read_lines
from cogaudio_rl.types import StopReason

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SFT = "{asks: ambiguity, epochs: 60, batch_size: 14, learning_rate: 2.0e-3, warmup_share: 0.1"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    spoken = make_voted(make_utterances(folder / "corpus" / "audio", 28))
    for name, part in (("train", spoken[:14]), ("rl", spoken[14:21]), ("test", spoken[21:])):
        write_manifest(folder / "corpus" / f"{name}.jsonl", part)
    return folder


def settings(world: Path, out: Path) -> tuple[str, ...]:
    return (
        *("cluster.backend=local", "data.kind=manifest", f"data.root={world / 'corpus'}"),
        f"out_dir={out}",
        f"sft.chain={SFT}}}",
        f"sft.votes={SFT}, distribution_weight: 2.0}}",
        *("rl.steps=3", "rl.utterances_per_step=2", "rl.group_size=3", "rl.save_every=1"),
        *("rl.readiness.prompts=2", "eval.bootstrap_samples=50"),
    )


@pytest.fixture(scope="module")
def run(world: Path) -> Path:
    run_pipeline(load_config("ambiguity_mini", settings(world, world / "run")))
    return world / "run"


def test_every_model_has_its_figures(run: Path) -> None:
    report = json.loads((run / "report.json").read_text("utf-8"))
    models = report["suites"]["ambiguity"]["models"]
    assert list(models) == ["base", "CE", "KL", "D"]
    for figures in models.values():
        assert figures["votes_js"]["n"] == 7
        assert 0 <= figures["votes_js"]["value"] <= 1
    assert models["KL"]["format_ambiguity"]["value"] > models["base"]["format_ambiguity"]["value"]
    assert models["KL"]["votes_js"]["value"] < models["base"]["votes_js"]["value"]
    assert len(read_lines(run / "eval" / "KL.votes.jsonl")) == 7


def test_what_was_written_takes_part_in_every_group(run: Path) -> None:
    lines = [line for line in read_metrics(run) if "rollout/count" in line]
    assert [line["rollout/count"] for line in lines] == [6.0] * 3
    assert all("reward/ambiguity/reference" in line for line in lines)
    for path in sorted((run / "rollouts").glob("*.jsonl")):
        said = read_lines(path)
        written = [line for line in said if line["stop"] == StopReason.WRITTEN]
        assert len(written) == 2
        assert len(said) == 8


def test_dpo_goes_on_from_the_same_adapter(world: Path, run: Path) -> None:
    changed = (
        *("rl.objective={name: dpo}", "rl.reference_in_group=false", "rl.min_divergence=0.0"),
        "rl.learning_rate=1.0e-4",
    )
    config = load_config("ambiguity_mini", (*settings(world, world / "dpo"), *changed))
    run_pipeline(config, stages=("rl",), init=run / "checkpoints" / "votes")
    lines = [line for line in read_metrics(world / "dpo") if "policy/pair_margin" in line]
    assert lines
    # Against the policy it began with, and so without a margin before the first update.
    assert lines[0]["policy/loss"] < 0.70
    assert lines[-1]["policy/pair_margin"] > 0
