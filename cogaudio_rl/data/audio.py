"""Sound in, always the same way out: mono float32 at the model's rate."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from cogaudio_rl.errors import DataError
from cogaudio_rl.types import AudioRef

SAMPLE_RATE_HZ = 16_000

_log = logging.getLogger(__name__)


def read_audio(path: str | Path) -> tuple[npt.NDArray[np.float32], list[str]]:
    """Mono float32 samples at 16 kHz, and a note for each conversion that was needed.

    Raises DataError naming the file when it is missing, unreadable, empty or holds NaN.
    """
    if not Path(path).is_file():
        raise DataError(f"audio file {str(path)!r} does not exist")
    return decode_audio(path, name=str(path))


def decode_audio(
    file: str | Path | BinaryIO, *, name: str
) -> tuple[npt.NDArray[np.float32], list[str]]:
    """As :func:`read_audio`, also for a file in memory, called ``name`` in errors."""
    try:
        sound, rate_hz = soundfile.read(file, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        why = getattr(error, "error_string", str(error))
        raise DataError(f"audio file {name!r} cannot be read: {why}") from None
    if sound.shape[0] == 0:
        raise DataError(f"audio file {name!r} has 0 samples")
    if not np.isfinite(sound).all():
        raise DataError(f"audio file {name!r} holds NaN or infinite samples")
    mono = sound.mean(axis=1)
    if rate_hz != SAMPLE_RATE_HZ:
        mono = soxr.resample(mono, rate_hz, SAMPLE_RATE_HZ)
    return mono.astype(np.float32), _conversions(sound.shape[1], rate_hz)


def probe_audio(path: str | Path) -> tuple[AudioRef, list[str]]:
    """Where a sound lies, by its header alone, and the notes that reading it will give.

    Sample rate and number of samples are the file's own, before any conversion. Only floating-point
    files are read whole, since no other kind can hold NaN. Raises what :func:`read_audio` raises.
    """
    if not Path(path).is_file():
        raise DataError(f"audio file {str(path)!r} does not exist")
    try:
        header = soundfile.info(str(path))
    except (soundfile.LibsndfileError, OSError) as error:
        raise DataError(f"audio file {str(path)!r} cannot be read: {error}") from None
    if header.frames == 0:
        raise DataError(f"audio file {str(path)!r} has 0 samples")
    if header.subtype in ("FLOAT", "DOUBLE"):
        read_audio(path)
    ref = AudioRef(path=str(path), sample_rate_hz=header.samplerate, num_samples=header.frames)
    return ref, _conversions(header.channels, header.samplerate)


def _conversions(channels: int, rate_hz: int) -> list[str]:
    notes: list[str] = []
    if channels > 1:
        notes.append(f"{channels} channels averaged to mono")
    if rate_hz != SAMPLE_RATE_HZ:
        notes.append(f"resampled from {rate_hz} Hz to {SAMPLE_RATE_HZ} Hz")
    return notes


def log_conversions(notes: Mapping[str, Sequence[str]]) -> None:
    """One warning for each kind of conversion: how many files need it, and the first of them."""
    for note, paths in sorted(notes.items()):
        _log.warning("%d audio files: %s (first: %s)", len(paths), note, paths[0])


def write_audio(path: Path, sound: npt.NDArray[np.float32]) -> AudioRef:
    """Write 16 kHz mono, FLAC or WAV by the path's ending, and return where it lies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Through memory: soundfile waits for the disk after every file it writes itself.
    encoded = io.BytesIO()
    form = path.suffix[1:].upper()
    soundfile.write(encoded, sound, SAMPLE_RATE_HZ, format=form, subtype="PCM_16")
    path.write_bytes(encoded.getbuffer())
    return AudioRef(path=str(path), sample_rate_hz=SAMPLE_RATE_HZ, num_samples=len(sound))
