"""Sounds that no reader may take, each with what the rejection must say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import write_sine


@dataclass(frozen=True, slots=True, kw_only=True)
class BadSound:
    make: Callable[[Path], object]
    reason: str


def write_nan(path: Path) -> None:
    soundfile.write(path, np.full(800, np.nan, np.float32), 16_000, "FLOAT", format="WAV")


def link_out(path: Path) -> None:
    path.symlink_to(write_sine(outside_of(path) / f"outside_{path.name}"))


def outside_of(path: Path) -> Path:
    """Beside the corpus, which every test puts into a folder named 'root'."""
    return next(parent.parent for parent in path.parents if parent.name == "root")


BAD_SOUNDS = {
    "empty": BadSound(make=lambda path: path.write_bytes(b""), reason="cannot be read"),
    "not audio": BadSound(make=lambda path: path.write_bytes(b"hello " * 99), reason="cannot be"),
    "cut": BadSound(make=lambda path: path.write_bytes(b"RIFF\x24\0\0\0WAV"), reason="cannot be"),
    "no samples": BadSound(make=lambda path: write_sine(path, seconds=0), reason="has 0 samples"),
    "NaN": BadSound(make=write_nan, reason="holds NaN"),
    "long": BadSound(
        make=lambda path: write_sine(path, seconds=61, rate_hz=8_000), reason="lasts 61.0 s"
    ),
    "link out": BadSound(make=link_out, reason="leads out of the corpus"),
    "link to nothing": BadSound(
        make=lambda path: path.symlink_to(path.parent / "gone.wav"), reason="does not exist"
    ),
    "link to itself": BadSound(make=lambda path: path.symlink_to(path), reason="cannot be"),
}


@pytest.fixture(params=BAD_SOUNDS.values(), ids=list(BAD_SOUNDS))
def bad_sound(request: pytest.FixtureRequest) -> BadSound:
    return request.param


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"
