"""Cores of their own for engines."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="there is one core alone",
)

DIVIDED = """
import os, subprocess, sys
from actors import cores
before = sorted(os.sched_getaffinity(0))
cores.divide({wanted})
print(before == sorted(os.sched_getaffinity(0)), os.environ.get(cores.VARIABLE))
sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
print(sorted(os.sched_getaffinity(sleeper.pid)) == sorted(os.sched_getaffinity(0)))
cores.settle()
print(*sorted(os.sched_getaffinity(sleeper.pid)), "|", *sorted(os.sched_getaffinity(0)))
sleeper.communicate(b"")
"""


def told(wanted: int) -> list[str]:
    """What a process of its own tells: its cores are no other test's matter."""
    done = subprocess.run(
        [sys.executable, "-c", DIVIDED.format(wanted=wanted)],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_engines_and_others_share_no_core() -> None:
    cores = sorted(os.sched_getaffinity(0))
    same, inherited, settled = told(1)
    assert same == f"False {cores[0]}"
    assert inherited == "True"
    rest = " ".join(map(str, cores[1:]))
    assert settled == f"{cores[0]} | {rest}"


def test_without_a_core_for_the_others_nothing_changes() -> None:
    cores = sorted(os.sched_getaffinity(0))
    same, inherited, settled = told(len(cores))
    assert same == "True None"
    assert inherited == "True"
    every = " ".join(map(str, cores))
    assert settled == f"{every} | {every}"
