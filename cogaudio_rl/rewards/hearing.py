"""An utterance's recording as a judge gets it: a WAV at 16 kHz inside the request."""

from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import soundfile

from cogaudio_rl.data.audio import SAMPLE_RATE_HZ, read_audio
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import Utterance

CACHED_CLIPS = 64
"""Each is asked about once for every rollout of its groups, then hardly again; 40 kB a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A whole WAV file in base64."""

    wav_base64: str
    digest: str
    """Stands for its samples."""

    @property
    def part(self) -> dict[str, object]:
        """Its part of an OpenAI chat message."""
        return {
            "type": "input_audio",
            "input_audio": {"data": self.wav_base64, "format": "wav"},
        }


def clip_of(utterance: Utterance) -> Clip:
    """Raises DataError for a sound that is missing, unreadable, empty or not there at all."""
    if utterance.audio is None:
        raise DataError(f"utterance {utterance.id!r} has no sound for a judge that hears")
    return clip_at(utterance.audio.path)


def silence(seconds: float = 1.0) -> Clip:
    """What an endpoint can be asked whether it hears."""
    return _clip(np.zeros(int(seconds * SAMPLE_RATE_HZ), np.float32))


@lru_cache(maxsize=CACHED_CLIPS)
def clip_at(path: str) -> Clip:
    """Raises DataError for a file that is missing, unreadable or empty."""
    return _clip(read_audio(path)[0])


def _clip(sound: np.ndarray) -> Clip:
    file = io.BytesIO()
    soundfile.write(file, sound, SAMPLE_RATE_HZ, format="WAV", subtype="PCM_16")
    wav = file.getvalue()
    return Clip(
        wav_base64=base64.b64encode(wav).decode("ascii"),
        digest=hashlib.blake2b(wav, digest_size=16).hexdigest(),
    )
