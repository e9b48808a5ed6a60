"""Sounds as files in memory, in every container that the server takes."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
import soundfile
from sounds import sine

CODINGS = {
    "wav": ("WAV", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
}
"""libsndfile's container and coding by the name that a test uses."""


def encoded(
    sound: npt.NDArray[np.floating],
    coding: str = "wav",
    *,
    rate_hz: int = 16_000,
    subtype: str | None = None,
) -> bytes:
    """A sound [samples] or [samples, channels] as a file."""
    container, usual = CODINGS[coding]
    channels = 1 if sound.ndim == 1 else sound.shape[1]
    file = io.BytesIO()
    with soundfile.SoundFile(
        file, "w", rate_hz, channels, subtype=subtype or usual, format=container
    ) as out:
        # In pieces: libvorbis keeps what it is given at once on the stack, and that is not endless.
        for start in range(0, len(sound), 4_096):
            out.write(sound[start : start + 4_096])
    return file.getvalue()


def in_base64(file: bytes) -> str:
    return base64.b64encode(file).decode()


def a_clip(*, seconds: float = 0.5) -> str:
    """A tone as base64 WAV."""
    return in_base64(encoded(sine(seconds=seconds)))
