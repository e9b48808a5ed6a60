"""Ctrl-C in the midst of a run on Ray: everything ends within ten seconds, and --resume goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cogaudio_rl.metrics import read_metrics

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1200)]


SMALL = (
    *("data.train_utterances=70", "data.rl_utterances=21", "data.test_families=2"),
    *("data.chinese_utterances=7", "rl.steps=3", "rl.utterances_per_step=2", "rl.group_size=4"),
    "sft.stage1={epochs: 2, batch_size: 14, learning_rate: 3.0e-3}",
    "sft.stage2={epochs: 1, batch_size: 14, learning_rate: 3.0e-3, explicit_share: 0.5}",
    *("rl.save_every=2", "rl.readiness.prompts=2", "eval.max_utterances=14"),
    *("model.max_new_tokens_explicit=32", "eval.bootstrap_samples=200"),
)


STARTED: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """A failed test leaves no run behind: it is in a process group of its own."""
    yield
    for process in STARTED:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    """The command in a process group of its own, as a shell would start it."""
    command = [str(Path(sys.executable).with_name("cogaudio-rl")), "run", "out_dir=run"]
    process = subprocess.Popen(
        [*command, *more, *SMALL],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    STARTED.append(process)
    return process


def wait_for(process: subprocess.Popen[str], run: Path, stage: str, *, limit_s: float) -> None:
    """Until the stage has logged its first step."""
    deadline = time.monotonic() + limit_s
    while not any(line["stage"] == stage for line in read_metrics(run)):
        assert process.poll() is None, process.communicate()[0][-3000:]
        assert time.monotonic() < deadline, f"{stage} logged nothing within {limit_s} s"
        time.sleep(0.2)


def press_ctrl_c(process: subprocess.Popen[str]) -> str:
    """SIGINT to the whole group, as a terminal sends it; nothing may be left ten seconds later."""
    started = psutil.Process(process.pid).children(recursive=True)
    assert len(started) > 3, "Ray is not running"
    os.killpg(process.pid, signal.SIGINT)
    pressed = time.monotonic()
    said, _ = process.communicate(timeout=30)
    _gone, left = psutil.wait_procs(started, timeout=max(0.0, 10 - (time.monotonic() - pressed)))
    assert not [p for p in left if p.status() != psutil.STATUS_ZOMBIE]
    assert time.monotonic() - pressed < 10
    assert process.returncode == 130
    assert "--resume" in said
    assert "Traceback" not in said
    return said


def test_ctrl_c_in_supervised_and_in_rl_and_a_resumed_end(tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = start(tmp_path)
    wait_for(first, run, "stage1", limit_s=300)
    press_ctrl_c(first)
    assert "stage1" not in json.loads((run / "state.json").read_text())["done"]

    second = start(tmp_path, "--resume")
    wait_for(second, run, "stage3", limit_s=600)
    press_ctrl_c(second)
    assert "stage3" not in json.loads((run / "state.json").read_text())["done"]
    assert (run / "checkpoints" / "stage2" / "adapter_model.safetensors").is_file()

    third = start(tmp_path, "--resume")
    said, _ = third.communicate(timeout=600)
    assert third.returncode == 0, said[-3000:]
    steps = [line["step"] for line in read_metrics(run) if line["stage"] == "stage3"]
    assert steps == [1, 2, 3]
    assert json.loads((run / "report.json").read_text())["models"]["D"]["n"] == 14
