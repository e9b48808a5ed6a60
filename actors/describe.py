"""What a worker process says of itself; the driver logs it and sees a mixture of revisions."""

from __future__ import annotations

import importlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

import cogaudio_rl


def describe(role: str, modules: Sequence[str]) -> dict[str, Any]:
    """Role, process id, resident memory (GiB), our version, revision and those of ``modules``."""
    return {
        "role": role,
        "pid": os.getpid(),
        "rss_gib": psutil.Process().memory_info().rss / 2**30,
        "cogaudio_rl": cogaudio_rl.__version__,
        "git_revision": git_revision(),
        **{name: str(importlib.import_module(name).__version__) for name in modules},
    }


def git_revision() -> str:
    """The checkout's revision, or an empty string without a checkout or without git."""
    here = str(Path(__file__).resolve().parent)
    try:
        asked = subprocess.run(
            ["git", "-C", here, "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout.strip()
