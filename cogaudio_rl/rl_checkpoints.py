"""Checkpoints of stage III: sealed when whole, verified when read, the newest whole one is taken.

    rl/step-00010/   adapter, optimiser state of every rank, seal.json
    rl/step-00020.partial/   being written, or what a kill left of it

The seal holds what else resuming needs (the step, where stream and route mix stood) and a digest
of every file. Nothing else has state: seeds follow from the step, the learning rate from the
policy's version.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SEAL = "seal.json"
_PARTIAL = ".partial"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RlCheckpoint:
    """One whole checkpoint."""

    path: Path
    step: int
    state: Mapping[str, Any]
    """Where the loop stood: the stream of utterances, the route mix."""
    reward: float
    """Mean reward of its step, over both routes."""


class RlCheckpoints:
    """The checkpoints in one folder; the newest ``keep`` stay, and the one of the best reward."""

    def __init__(self, folder: Path, *, keep: int) -> None:
        self._folder, self._keep = folder, keep

    def draft(self, step: int) -> Path:
        """An empty folder to write a checkpoint into; it counts only once it is sealed."""
        path = self._folder / f"step-{step:05d}{_PARTIAL}"
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    def seal(
        self, draft: Path, *, step: int, state: Mapping[str, Any], reward: float
    ) -> RlCheckpoint:
        """Make a written draft a checkpoint, then drop those no longer kept."""
        files = {p.name: _digest(p) for p in sorted(draft.iterdir())}
        seal = {"step": step, "state": dict(state), "reward": reward, "files": files}
        (draft / _SEAL).write_text(json.dumps(seal, indent=2), "utf-8")
        path = draft.with_name(draft.name.removesuffix(_PARTIAL))
        shutil.rmtree(path, ignore_errors=True)  # of an attempt that was taken back
        os.replace(draft, path)
        self._prune()
        return RlCheckpoint(path=path, step=step, state=state, reward=reward)

    def newest(self) -> RlCheckpoint | None:
        """The newest whole checkpoint; damaged ones above it are named in a warning."""
        for path in reversed(self._sealed()):
            checkpoint, damage = _read(path)
            if checkpoint is not None:
                return checkpoint
            _log.warning("checkpoint %s is damaged (%s); taking the one before", path, damage)
        return None

    def best(self) -> RlCheckpoint | None:
        """The whole checkpoint of the largest reward."""
        whole = [c for path in self._sealed() if (c := _read(path)[0]) is not None]
        return max(whole, key=lambda c: (c.reward, c.step), default=None)

    def _sealed(self) -> list[Path]:
        """Oldest first."""
        whole = (p for p in self._folder.glob("step-*") if not p.name.endswith(_PARTIAL))
        return sorted(whole, key=lambda p: int(p.name.removeprefix("step-")))

    def _prune(self) -> None:
        best = self.best()
        for old in self._sealed()[: -self._keep]:
            if best is None or old != best.path:
                shutil.rmtree(old)


def _read(path: Path) -> tuple[RlCheckpoint | None, str]:
    """The checkpoint, or None and what is wrong with it."""
    try:
        seal = json.loads((path / _SEAL).read_text("utf-8"))
        for name, digest in seal["files"].items():
            if _digest(path / name) != digest:
                return None, f"{name} is not what was written"
        return RlCheckpoint(
            path=path, step=seal["step"], state=seal["state"], reward=seal["reward"]
        ), ""
    except FileNotFoundError as error:
        return None, f"{Path(error.filename).name} is missing"
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, f"{_SEAL} is not readable"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]
