"""The core stays light, and the walls between the packages stand."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import cogaudio_rl

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("ray", "vllm", "deepspeed")


def test_no_core_module_loads_ray_vllm_or_deepspeed() -> None:
    names = [m.name for m in pkgutil.walk_packages(cogaudio_rl.__path__, "cogaudio_rl.")]
    assert "cogaudio_rl.models.policy" in names
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_import_contracts_hold() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
