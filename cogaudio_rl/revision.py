"""Which code is running: the commit it came from, and a digest to compare two copies by."""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
from pathlib import Path

REVISION = "COGAUDIO_RL_REVISION"
"""Environment variable: the commit, for a copy that left its git behind."""
_PACKAGES = ("cogaudio_rl", "actors", "clusters")
_SUFFIXES = frozenset({".py", ".yaml", ".md"})
_HOME = Path(__file__).resolve().parent.parent


def git_revision() -> str:
    """The commit this code runs from, ``-dirty`` if it was changed, or ``unknown`` outside git."""
    if told := os.environ.get(REVISION):
        return told
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        asked = subprocess.run(command, cwd=_HOME, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return asked.stdout.strip() or "unknown"


@functools.cache
def source_digest(home: Path = _HOME) -> str:
    """Twelve hex digits over the packages' code, recipes and prompts; equal copies, equal digits."""
    digest = hashlib.sha256()
    for package in _PACKAGES:
        for path in sorted((home / package).rglob("*")):
            if path.suffix in _SUFFIXES and path.is_file():
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                digest.update(f"{path.relative_to(home).as_posix()} {content}\n".encode())
    return digest.hexdigest()[:12]
