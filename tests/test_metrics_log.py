"""The metrics sink: what is logged is there at once, and a resumed stage leaves no step twice."""

from __future__ import annotations

import math
from pathlib import Path

from cogaudio_rl.metrics import FILE_NAME, MetricsLog, read_metrics


def steps(folder: Path, stage: str) -> list[int]:
    return [line["step"] for line in read_metrics(folder) if line["stage"] == stage]


def test_a_line_is_on_disk_before_the_log_is_closed(tmp_path: Path):
    with MetricsLog(tmp_path) as log:
        log.log("stage1", 1, {"loss": 2.5})
        assert read_metrics(tmp_path) == [{"step": 1, "stage": "stage1", "loss": 2.5}]


def test_not_a_number_is_a_gap(tmp_path: Path):
    with MetricsLog(tmp_path) as log:
        log.log("stage1", 1, {"loss": math.nan, "lr": math.inf})
    assert read_metrics(tmp_path) == [{"step": 1, "stage": "stage1", "loss": None, "lr": None}]


def test_a_resumed_stage_forgets_later_steps_and_leaves_other_stages(tmp_path: Path):
    with MetricsLog(tmp_path) as log:
        for step in (1, 2, 3):
            log.log("stage1", step, {"loss": 1.0})
            log.log("stage3", step, {"reward": 1.0})
    with MetricsLog(tmp_path) as log:
        log.forget_after("stage3", 1)
        log.log("stage3", 2, {"reward": 5.0})
    assert steps(tmp_path, "stage1") == [1, 2, 3]
    assert steps(tmp_path, "stage3") == [1, 2]
    assert read_metrics(tmp_path)[-1]["reward"] == 5.0


def test_a_line_cut_short_by_a_kill_is_dropped_and_not_continued(tmp_path: Path):
    with MetricsLog(tmp_path) as log:
        log.log("stage1", 1, {"loss": 1.0})
    with (tmp_path / FILE_NAME).open("a") as file:
        file.write('{"step": 2, "sta')
    with MetricsLog(tmp_path) as log:
        log.log("stage1", 2, {"loss": 0.5})
    assert steps(tmp_path, "stage1") == [1, 2]


def test_each_stage_has_its_own_tensorboard_events(tmp_path: Path):
    with MetricsLog(tmp_path) as log:
        log.log("stage1", 1, {"loss": 1.0})
        log.log("stage3", 1, {"reward/direct/mean": 0.5})
    assert {p.parent.name for p in (tmp_path / "tb").rglob("events.*")} == {"stage1", "stage3"}


def test_no_log_is_no_lines(tmp_path: Path):
    assert read_metrics(tmp_path) == []
