"""Cores of their own for engines without a GPU.

An engine computes all the time; whoever brings it requests and carries its words away has much to do
in short bursts. Sharing cores, each waits for the other: an engine then makes a quarter fewer tokens.

    `cogaudio-rl serve` ─► divide: itself, and with it Ray and all that Ray starts, on some cores
    replica, its engine opened ─► settle: vLLM's process on the others
"""

from __future__ import annotations

import os
from contextlib import suppress

import psutil

VARIABLE = "COGAUDIO_ENGINE_CORES"
"""Numbers of the engines' cores, by commas; inherited by all that the server starts."""


def divide(wanted: int) -> None:
    """Keep ``wanted`` cores for engines: what this process starts from now on runs on the others.

    Leaves everything as it is where fewer than one would remain, and where the system has no such
    thing as a process' cores.
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    engines, others = cores[:wanted], cores[wanted:]
    if not others:
        return
    os.environ[VARIABLE] = ",".join(map(str, engines))
    for thread in psutil.Process().threads():
        _move(thread.id, others)


def settle() -> None:
    """Move the processes that this one has started, vLLM's, to the engines' cores."""
    given = os.environ.get(VARIABLE)
    if not given:
        return
    cores = [int(core) for core in given.split(",")]
    for process in psutil.Process().children(recursive=True):
        for thread in process.threads():
            _move(thread.id, cores)


def _move(thread: int, cores: list[int]) -> None:
    # It may have ended meanwhile.
    with suppress(ProcessLookupError):
        os.sched_setaffinity(thread, cores)
