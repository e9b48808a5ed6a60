"""Make the environment: ``python scripts/make_env.py [extra ...]`` fills ``.venv``.

Standard library only: this is what ``make`` runs on a machine that has nothing but Python.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
MEND = "_torchvision_on_cpu"


def main(extras: list[str]) -> int:
    """Create, fill and mend the environment. Returns the exit code."""
    started = time.monotonic()
    if not (3, 11) <= sys.version_info[:2] <= (3, 12):
        return fail(f"Python 3.11 or 3.12 is needed, this is {sys.version.split()[0]}")
    if importlib.util.find_spec("ensurepip") is None:
        return fail(f"{sys.executable} cannot make environments; install python3-venv for it")
    steps = (make_venv, get_uv, lambda: install(extras), mend_soundfile, mend_torchvision)
    for step in steps:
        try:
            step()
        except subprocess.CalledProcessError as error:
            return fail(f"{' '.join(map(str, error.cmd))[:200]} ended with {error.returncode}")
    (VENV / ".stamp").touch()
    print(f".venv is ready after {time.monotonic() - started:.0f} s")
    return 0


def fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 1


def run(*command: str | Path, env: dict[str, str] | None = None) -> None:
    subprocess.run(command, check=True, cwd=ROOT, env=env)


def answers(code: str) -> bool:
    """Whether the environment's Python runs a line of code."""
    done = subprocess.run([PYTHON, "-c", code], capture_output=True, cwd=VENV, check=False)
    return done.returncode == 0


def make_venv() -> None:
    """An environment of this very Python version; one of another version is made anew."""
    version = sys.version_info[:2]
    if PYTHON.exists() and answers(f"import sys, pip; sys.exit(sys.version_info[:2] != {version})"):
        return
    print(f"making .venv with {sys.executable}", flush=True)
    venv.create(VENV, with_pip=True, clear=VENV.exists())


def get_uv() -> None:
    """uv resolves and installs the stack in a tenth of pip's time."""
    if not answers("import uv"):
        run(PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv>=0.9")


def pip_setting(name: str) -> list[str]:
    """A setting of pip, from its environment variable or else its files; empty when not set."""
    for scope in (":env:", "global"):
        got = subprocess.run(
            [PYTHON, "-m", "pip", "config", "get", f"{scope}.{name}"],
            capture_output=True,
            text=True,
            check=False,
        )
        if got.returncode == 0 and got.stdout.strip():
            return got.stdout.split()
    return []


def install(extras: list[str]) -> None:
    """The project in editable form with its pinned dependencies."""
    links, more, index = map(pip_setting, ("find-links", "extra-index-url", "index-url"))
    env = dict(os.environ)
    # uv does not read pip's configuration.
    env.setdefault("UV_HTTP_TIMEOUT", "180")
    if links:
        env.setdefault("UV_FIND_LINKS", ",".join(links))
    if index:
        env.setdefault("UV_DEFAULT_INDEX", index[0])
    if more:
        env.setdefault("UV_INDEX", " ".join(more))
        env.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")  # what pip does with several
    local_torch = any(list(Path(link).glob("torch-*+cpu-*.whl")) for link in links)
    cpu_torch = "cpu" in extras and not local_torch
    backend = ["--torch-backend", "cpu"] if cpu_torch else []
    if shutil.which("uv", path=str(PYTHON.parent)) is None:
        raise FileNotFoundError(f"uv was installed but {PYTHON.parent} does not hold it")
    run(
        *(PYTHON.parent / "uv", "pip", "install", "--python", PYTHON),
        *("--constraint", "constraints.txt", "--override", "overrides.txt", *backend),
        *("--editable", f".[{','.join(extras)}]"),
        env=env,
    )


def mend_soundfile() -> None:
    """Where uv took the wheel without the C library from one of several indexes, ask pip.

    uv settles on one index for each version; pip compares the files of all.
    """
    if answers("import soundfile"):
        return
    pip = (PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, "--force-reinstall", "--no-deps", "--constraint", "constraints.txt", "soundfile")
    run(PYTHON, "-c", "import soundfile")


def mend_torchvision() -> None:
    """Where torchvision does not load, put the two operators it misses into the environment."""
    site = next((VENV / "lib").glob("python3.*/site-packages"))
    module, hook = site / f"{MEND}.py", site / f"{MEND}.pth"
    for old in (module, hook):
        old.unlink(missing_ok=True)
    if answers("import torchvision"):
        return
    shutil.copy(ROOT / "scripts" / "torchvision_on_cpu.py", module)
    hook.write_text(f"import {MEND}\n", encoding="utf-8")
    run(PYTHON, "-c", "import torchvision")
    print("torchvision was mended for a CPU build of torch")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["cpu", "dev"]))
