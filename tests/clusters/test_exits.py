"""How a command ends: exit codes, one line, and nothing left running after Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import psutil
import pytest

from clusters.exits import cause_of, reports
from cogaudio_rl.errors import CogAudioError, DataError, PublishError


@pytest.mark.parametrize(("error", "code"), [(DataError("a.wav"), 2), (PublishError("v3"), 1)])
def test_codes(error: CogAudioError, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    @reports
    def command() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        command()
    assert ended.value.code == code
    assert capsys.readouterr().err == f"error: {error}\n"


def test_a_message_of_many_lines_becomes_one(capsys: pytest.CaptureFixture[str]) -> None:
    @reports
    def command() -> None:
        raise DataError("first\n  second")

    with pytest.raises(SystemExit):
        command()
    assert capsys.readouterr().err == "error: first second\n"


def test_a_defect_keeps_its_traceback() -> None:
    @reports
    def command() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        command()


def test_an_error_from_a_ray_worker_is_unwrapped() -> None:
    from ray.exceptions import RayTaskError

    wrapped = RayTaskError("update", "a long traceback", DataError("a.wav has 0 samples"))
    seen = wrapped.as_instanceof_cause()
    assert str(cause_of(seen)) == "a.wav has 0 samples"


def test_an_error_from_a_train_worker_is_unwrapped() -> None:
    class TrainingFailed(Exception):
        worker_failures = {0: DataError("b.wav")}  # noqa: RUF012

    assert str(cause_of(TrainingFailed())) == "b.wav"


STUBBORN = """
import subprocess, sys, time
from clusters.exits import reports

@reports
def command():
    child = subprocess.Popen(["sleep", "120"])
    print(child.pid, flush=True)
    try:
        time.sleep(120)
    finally:
        time.sleep({unwinding})

command()
"""


@pytest.mark.parametrize(
    "unwinding", [0, pytest.param(120, marks=pytest.mark.slow, id="cleanup-hangs")]
)
def test_ctrl_c_ends_everything_within_ten_seconds(unwinding: int) -> None:
    script = STUBBORN.format(unwinding=unwinding)
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    _out, err = process.communicate(timeout=30)
    assert time.monotonic() - started < 10
    assert process.returncode == 130
    assert "Traceback" not in err
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie"
