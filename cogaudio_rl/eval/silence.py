"""The recording of an empty room that takes the place of a voice."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cogaudio_rl.config import EvalConfig
from cogaudio_rl.data.audio import SAMPLE_RATE_HZ, write_audio
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import AudioRef

_HISS = 5e-4
"""About −66 dBFS: digital silence would be unlike any room."""


def silence_in(folder: Path, config: EvalConfig) -> AudioRef:
    """Made in ``folder`` once; of one fixed length for every utterance."""
    size = int(config.silence_seconds * SAMPLE_RATE_HZ)
    path = folder / f"silence_{size}.flac"
    if path.is_file():
        return AudioRef(path=str(path), sample_rate_hz=SAMPLE_RATE_HZ, num_samples=size)
    hiss = rng_for(0, "silence").standard_normal(size) * _HISS
    return write_audio(path, hiss.astype(np.float32))
