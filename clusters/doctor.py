"""``doctor``: look at this machine and say what would fail, and how to mend it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import psutil
from rich.console import Console

import cogaudio_rl

GIB = 2**30
_PACKAGES = ("torch", "transformers", "peft", "deepspeed", "ray", "numpy")
_DASHBOARD_PORT = 8265
_IMPORT_SECONDS = 180


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at. ``remedy`` is empty when all is well."""

    name: str
    verdict: Verdict
    detail: str
    remedy: str = ""


def findings() -> Iterator[Finding]:
    """Look at everything, cheap things first; importing vLLM takes seconds."""
    yield _finding(
        "python",
        (3, 11) <= sys.version_info[:2] <= (3, 12),
        sys.version.split()[0],
        "use Python 3.11 or 3.12",
    )
    yield Finding(name="cogaudio-rl", verdict=Verdict.OK, detail=cogaudio_rl.__version__)
    for package in _PACKAGES:
        yield _version(package)
    yield _packages_are_ours()
    yield _devices()
    yield from _room()
    yield from _ports()
    yield _speech()
    yield _imports("torchvision", "make .venv mends it; elsewhere install torchvision's CPU build")
    yield _imports("vllm", "pip install 'cogaudio-rl[cpu]', or 'cogaudio-rl[gpu]' with a GPU")


def doctor(*, as_json: bool) -> bool:
    """Print the findings; whether nothing would fail."""
    console, found = Console(highlight=False, soft_wrap=True), []
    marks = {
        Verdict.OK: "[green]ok  [/]",
        Verdict.WARN: "[yellow]warn[/]",
        Verdict.FAIL: "[red]FAIL[/]",
    }
    for finding in findings():
        found.append(finding)
        if not as_json:
            console.print(f"{marks[finding.verdict]}  {finding.name:<14} {finding.detail}")
            if finding.remedy:
                console.print(f"      {'':<14} → {finding.remedy}", markup=False)
    healthy = all(f.verdict is not Verdict.FAIL for f in found)
    if as_json:
        print(json.dumps({"healthy": healthy, "findings": [asdict(f) for f in found]}, indent=2))
    return healthy


def _finding(
    name: str, good: bool, detail: str, remedy: str, otherwise: Verdict = Verdict.FAIL
) -> Finding:
    verdict = Verdict.OK if good else otherwise
    return Finding(name=name, verdict=verdict, detail=detail, remedy="" if good else remedy)


def _version(package: str) -> Finding:
    try:
        found = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        found = ""
    return _finding(package, bool(found), found or "not installed", f"pip install {package}")


def _packages_are_ours() -> Finding:
    """`actors` is a common name: another distribution's would be imported in silence."""
    import actors

    home = Path(cogaudio_rl.__file__).parent.parent
    ours = actors.__file__ is not None and Path(actors.__file__).parent.parent == home
    remedy = "another distribution installs a package `actors`; uninstall it"
    return _finding("actors", ours, str(actors.__file__), remedy)


def _devices() -> Finding:
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    detail = f"{cores} CPU cores, {len(gpus)} GPUs" + (f" ({', '.join(gpus)})" if gpus else "")
    remedy = "2 cores are the least for the quickstart; with fewer it takes twice as long"
    return _finding("devices", (cores or 1) >= 2, detail, remedy, Verdict.WARN)


def _room() -> Iterator[Finding]:
    """Memory and disk, against what the quickstart takes."""
    for name, free_gib, needed_gib, remedy in (
        ("memory", psutil.virtual_memory().available / GIB, 14.0, "close other programs"),
        ("disk", _free_gib(Path.cwd()), 5.0, "set out_dir to a folder on a larger disk"),
        ("/dev/shm", _free_gib(Path("/dev/shm")), 0.5, "give the container --shm-size=2g"),
    ):
        if name == "/dev/shm" and not Path(name).is_dir():
            continue  # only Linux has it
        detail = f"{free_gib:.1f} GiB free"
        remedy = f"the quickstart wants {needed_gib:g} GiB; {remedy}"
        yield _finding(name, free_gib >= needed_gib, detail, remedy, Verdict.WARN)


def _free_gib(folder: Path) -> float:
    return shutil.disk_usage(folder).free / GIB if folder.is_dir() else 0.0


def _ports() -> Iterator[Finding]:
    remedy = "Ray and torch.distributed talk over loopback; allow it"
    yield _finding("loopback", _can_bind(0), "a listener on 127.0.0.1", remedy)
    free = _can_bind(_DASHBOARD_PORT)
    detail = f"{_DASHBOARD_PORT} is {'free' if free else 'taken'}"
    remedy = "another Ray may be running here: `ray status`, and `ray stop` if it is yours"
    yield _finding("dashboard", free, detail, remedy, Verdict.WARN)


def _can_bind(port: int) -> bool:
    with socket.socket() as listener:
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _speech() -> Finding:
    """Say a word with espeak-ng."""

    def say() -> str:
        from cogaudio_rl.data.lime.espeak import engine

        voice = engine()
        sound = voice.say("hello", voice="en", rate_wpm=160, pitch=50, pitch_range=50)
        return f"{len(sound) / voice.sample_rate_hz:.1f} s of speech"

    return _tried("espeak-ng", say, "pip install espeakng-loader")


def _tried(name: str, action: Callable[[], str], remedy: str) -> Finding:
    try:
        detail = action()
    except Exception as error:  # whatever fails here would fail in a run: that is the finding
        text = str(error).splitlines()
        first = text[0] if text else type(error).__name__
        return Finding(name=name, verdict=Verdict.FAIL, detail=first, remedy=remedy)
    return Finding(name=name, verdict=Verdict.OK, detail=detail)


def _imports(module: str, remedy: str) -> Finding:
    """Import it in a process of its own: a broken build can take the interpreter down."""

    def attempt() -> str:
        code = f"import {module}; print({module}.__version__)"
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            capture_output=True,
            text=True,
            timeout=_IMPORT_SECONDS,
            check=False,
        )
        if done.returncode:
            raise ImportError((done.stderr.strip().splitlines() or ["it crashed"])[-1])
        return f"{done.stdout.split()[-1]} loads"

    return _tried(module, attempt, remedy)
