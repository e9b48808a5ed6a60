"""Sine waves and utterances made in memory, so that no test needs a corpus."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from cogaudio_rl.types import Annotation, AudioRef, EipsResponse, Utterance

REAL_DATA = Path(
    os.environ.get("COGAUDIO_TEST_DATA", Path(__file__).parents[1].parent / "shared" / "data")
)
"""Recordings that are not part of the project; tests that use them skip where they are absent."""


def sine(
    *, seconds: float = 0.5, rate_hz: int = 16_000, channels: int = 1, hz: float = 220.0
) -> npt.NDArray[np.float32]:
    """A tone, [samples] or [samples, channels]."""
    time = np.arange(int(seconds * rate_hz)) / rate_hz
    tone = (0.3 * np.sin(2 * np.pi * hz * time)).astype(np.float32)
    return tone if channels == 1 else np.stack([tone] * channels, axis=1)


def write_sine(
    path: Path, *, seconds: float = 0.5, rate_hz: int = 16_000, channels: int = 1
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sine(seconds=seconds, rate_hz=rate_hz, channels=channels), rate_hz)
    return path


def an_utterance(
    name: str = "u0",
    *,
    text_id: str = "t0",
    path: str = "u0.wav",
    emotion: str = "happy",
    intensity: str = "mid",
    speaker: str = "s0",
    transcript: str = "The meeting was moved.",
    num_samples: int = 8_000,
    annotated: bool = True,
) -> Utterance:
    """One utterance; whatever a test does not name is the same for all."""
    chain = EipsResponse(
        emotion=emotion, intent="i", psychology="p", strategy="s", response="What a day."
    )
    return Utterance(
        id=name,
        text_id=text_id,
        audio=AudioRef(path=path, sample_rate_hz=16_000, num_samples=num_samples),
        transcript=transcript,
        emotion=emotion,
        intensity=intensity,
        speaker=speaker,
        language="en",
        annotation=Annotation(eips=chain, depth=3) if annotated else None,
    )
