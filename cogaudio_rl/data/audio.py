"""Sound in, always the same way out: mono float32 at the model's rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from cogaudio_rl.errors import DataError
from cogaudio_rl.types import AudioRef

SAMPLE_RATE_HZ = 16_000


def read_audio(path: str | Path) -> tuple[npt.NDArray[np.float32], list[str]]:
    """Mono float32 samples at 16 kHz, and a note for each conversion that was needed.

    Raises DataError naming the file when it is missing, unreadable, empty or holds NaN.
    """
    if not Path(path).is_file():
        raise DataError(f"audio file {str(path)!r} does not exist")
    try:
        sound, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise DataError(f"audio file {str(path)!r} cannot be read: {error}") from None
    if sound.shape[0] == 0:
        raise DataError(f"audio file {str(path)!r} has 0 samples")
    if not np.isfinite(sound).all():
        raise DataError(f"audio file {str(path)!r} holds NaN or infinite samples")
    notes: list[str] = []
    if sound.shape[1] > 1:
        notes.append(f"{sound.shape[1]} channels averaged to mono")
    mono = sound.mean(axis=1)
    if rate_hz != SAMPLE_RATE_HZ:
        notes.append(f"resampled from {rate_hz} Hz to {SAMPLE_RATE_HZ} Hz")
        mono = soxr.resample(mono, rate_hz, SAMPLE_RATE_HZ)
    return mono.astype(np.float32), notes


def write_audio(path: Path, sound: npt.NDArray[np.float32]) -> AudioRef:
    """Write 16 kHz mono FLAC and return where it lies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, SAMPLE_RATE_HZ, subtype="PCM_16")
    return AudioRef(path=str(path), sample_rate_hz=SAMPLE_RATE_HZ, num_samples=len(sound))
