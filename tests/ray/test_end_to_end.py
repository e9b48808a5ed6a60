"""Every stage on real Ray, vLLM and DeepSpeed, at the smallest size that still learns something."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cogaudio_rl.models.checkpoint import load_adapter

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

SMALL = (
    "data.train_utterances=280",
    "data.rl_utterances=42",
    "data.test_families=4",
    "data.chinese_utterances=7",
    "sft.stage1={epochs: 3, batch_size: 16, learning_rate: 3.0e-3, emotion_token_weight: 10}",
    "sft.stage2={epochs: 4, batch_size: 16, learning_rate: 3.0e-3, explicit_share: 0.5}",
    "rl.steps=3",
    "rl.utterances_per_step=4",
    "rl.group_size=4",
    "rl.save_every=2",
    "rl.readiness.prompts=4",
    "eval.max_utterances=14",
    "eval.bootstrap_samples=200",
)


def cogaudio(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("cogaudio-rl")), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=840)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("end_to_end")
    done = cogaudio("run", "out_dir=run", *SMALL, cwd=folder)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder / "run"


def lines(run: Path, stage: str) -> list[dict[str, float]]:
    text = (run / "metrics.jsonl").read_text().splitlines()
    return [m for m in map(json.loads, text) if m["stage"] == stage]


def test_three_steps_of_rl_were_trained_and_published(run: Path) -> None:
    steps = lines(run, "stage3")
    assert [m["step"] for m in steps] == [1, 2, 3]
    trained = [m for m in steps if "policy/loss" in m]
    assert trained, "no step had a group with any spread of rewards"
    assert all(m["policy/updates"] >= 2 for m in trained)
    assert all(m["policy/canary_gap"] < 1e-3 for m in trained)
    assert all(m["policy/logprob_gap"] < 1e-3 for m in trained)
    assert steps[-1]["policy/version"] == len(trained)


def test_what_was_trained_is_what_was_saved(run: Path) -> None:
    folders = {name: run / "checkpoints" / name for name in ("stage1", "stage2", "stage3")}
    adapters = {name: load_adapter(folder) for name, folder in folders.items()}
    names = {name: sorted(a.tensors) for name, a in adapters.items()}
    assert names["stage1"] == names["stage2"] == names["stage3"]
    assert any(not np.array_equal(a, b) for a, b in zip(
        map(np.asarray, adapters["stage2"].tensors.values()),
        map(np.asarray, adapters["stage3"].tensors.values()),
        strict=True,
    ))  # fmt: skip


def test_the_folder_holds_what_the_readme_promises(run: Path) -> None:
    for name in ("config.yaml", "metrics.jsonl", "report.html", "report.json", "tb", "rollouts"):
        assert (run / name).exists(), name
    report = json.loads((run / "report.json").read_text())
    assert set(report["models"]) == {"base", "B", "C", "D"}
    assert report["models"]["D"]["ci95"]["emotion_accuracy"] is not None
    assert 0 < report["peak_rss_gib"] < 14


def test_a_finished_run_is_not_run_again(run: Path) -> None:
    refused = cogaudio("run", "out_dir=run", *SMALL, cwd=run.parent)
    assert refused.returncode == 2
    assert "--resume" in refused.stderr
    before = (run / "metrics.jsonl").read_text()
    resumed = cogaudio("run", "out_dir=run", "--resume", *SMALL, cwd=run.parent)
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    assert (run / "metrics.jsonl").read_text() == before
