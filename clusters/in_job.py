"""Are we the driver of a Ray job, and what follows from it.

Ray's job server runs the entrypoint on a node of the cluster, in a temporary copy of the job's
``working_dir``. Plain ``ray job submit`` and ``cogaudio-rl submit`` both end here.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from cogaudio_rl.errors import ConfigError

_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # its own name is its value; set for drivers of jobs alone


def in_a_job() -> bool:
    """Whether Ray's job server started this process."""
    return _JOB in os.environ


def job_address() -> str | None:
    """The cluster that the job was submitted to; None outside a job."""
    return os.environ.get("RAY_ADDRESS", "auto") if in_a_job() else None


def check_kept(out_dir: Path) -> None:
    """Raises ConfigError when what a job writes would vanish with its copy of the working_dir."""
    if in_a_job() and not out_dir.is_absolute() and _job().get("working_dir"):
        raise ConfigError(
            f"out_dir {str(out_dir)!r} is relative: in a job it would lie in a node's temporary copy "
            "of working_dir and be lost; name a folder that every node sees: out_dir=/shared/runs/NAME"
        )


def _job() -> dict[str, Any]:
    return json.loads(os.environ[_JOB]).get("runtime_env") or {}
