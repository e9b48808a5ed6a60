"""What a worker process says of itself, and its refusal to work beside a driver of other code."""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

import cogaudio_rl
from cogaudio_rl.errors import RunError
from cogaudio_rl.revision import git_revision, source_digest

SOURCE = "COGAUDIO_RL_SOURCE"
"""Environment variable of a worker: the digest of the driver's code."""


def describe(role: str, modules: Sequence[str]) -> dict[str, Any]:
    """Role, process id, resident memory (GiB), our version, revision, code and those of ``modules``."""
    return {
        "role": role,
        "pid": os.getpid(),
        "rss_gib": psutil.Process().memory_info().rss / 2**30,
        "cogaudio_rl": cogaudio_rl.__version__,
        "git_revision": git_revision(),
        "source": source_digest(),
        **{name: str(importlib.import_module(name).__version__) for name in modules},
    }


def report_in(role: str) -> None:
    """Say into the worker's log which code runs here. First thing that every worker does.

    Raises RunError when it is not the driver's: a node's image may hold another version than the
    ``working_dir`` of a job, and the two would train on without a word.
    """
    ours, theirs = source_digest(), os.environ.get(SOURCE)
    home = Path(cogaudio_rl.__file__).resolve().parent.parent
    print(
        f"{role}: cogaudio_rl {cogaudio_rl.__version__}, revision {git_revision()}, "
        f"source {ours}, from {home}",
        flush=True,
    )
    if theirs is not None and theirs != ours:
        raise RunError(
            f"{role} worker on node {platform.node()} runs other code than the driver: source {ours} "
            f"(cogaudio_rl {cogaudio_rl.__version__} from {str(home)!r}) against {theirs}; give "
            "every node the same image, or the job a working_dir that holds the whole checkout"
        )
