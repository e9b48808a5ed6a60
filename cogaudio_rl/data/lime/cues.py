"""Volume, speed, pitch and tone of a clip in words: known from its synthesis, or measured.

A level is a place in ``LEVELS``. Known prosody is judged against a level voice; what is measured,
against the same speaker's other clips, since what is loud for one is not for another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np

from cogaudio_rl.data.lime import quality
from cogaudio_rl.data.lime.fourier import Floats
from cogaudio_rl.data.lime.levels import speaking_power
from cogaudio_rl.data.lime.synthesise import Prosody
from cogaudio_rl.data.lime.voice import VOICE, voice_of

LEVELS: dict[str, tuple[str, ...]] = {
    "volume": ("faintest", "soft", "normal", "loud", "loudest"),
    "speed": ("slowest", "slow", "medium", "fast", "fastest"),
    "pitch": ("lowest", "low", "middle", "high", "highest"),
    "tone": ("flat", "even", "lively", "wide"),
}
"""From little to much; tone is how far the pitch moves."""

_EDGES: dict[str, tuple[float, ...]] = {
    "volume": (-6, -2.2, 2.2, 6),
    "speed": (-0.24, -0.09, 0.09, 0.24),
    "pitch": (-24, -9, 9, 24),
    "tone": (-22, 0, 22),
}
"""Between the levels, in the units of :class:`.synthesise.Prosody`."""

_MEASURED_EDGES: dict[str, tuple[float, ...]] = {
    "volume": (-1.2, -0.45, 0.45, 1.2),
    "speed": (-1.2, -0.45, 0.45, 1.2),
    "pitch": (-1.2, -0.45, 0.45, 1.2),
    "tone": (-0.75, 0, 0.75),
}
"""In standard deviations over a speaker's clips; the others' are nearly the same, over emotions."""

_FRAME_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Cues:
    """A level of each, as its place in ``LEVELS``."""

    volume: int
    speed: int
    pitch: int
    tone: int

    def named(self) -> dict[str, str]:
        """Cue → its level in a word."""
        return {name: words[getattr(self, name)] for name, words in LEVELS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A clip in numbers: dB, letters (or written syllables) per second, and semitones twice."""

    volume: float
    speed: float
    pitch: float
    tone: float


def cues_of(prosody: Prosody) -> Cues:
    """The levels of what was synthesised so."""
    values = {
        "volume": prosody.loudness_db,
        "speed": prosody.pace,
        "pitch": prosody.pitch,
        "tone": prosody.movement,
    }
    return _levels(values, _EDGES)


def measure(sound: Floats, text: str, language: str) -> Measured:
    """The numbers of a sound [T] at 16 kHz in which somebody says ``text``; finite whatever it holds.

    Peaks of energy would need no text, but melt into one another in fast speech.
    """
    voice = dict(zip(VOICE, voice_of(sound), strict=True))
    spoken_s = quality.measured(sound).spoken_s if sound.any() else 0.0
    return Measured(
        volume=10 * float(np.log10(speaking_power(sound) + 1e-12)),
        speed=quality.units(text, language) / max(spoken_s, _FRAME_S),
        pitch=12 * float(np.log2(max(voice["f0_median_hz"], 1.0))),
        tone=voice["f0_high_st"] - voice["f0_low_st"],
    )


def cues_among(measured: Sequence[Measured]) -> tuple[Cues, ...]:
    """The levels of one speaker's clips, each against all of them.

    What never differs, as in a single clip, is at its middle: then nothing is known about it.
    """
    if not measured:
        return ()
    table_NC = np.array([astuple(one) for one in measured], dtype=np.float64)
    spread_C = table_NC.std(axis=0)
    deviations_NC = np.divide(
        table_NC - table_NC.mean(axis=0),
        spread_C,
        out=np.zeros_like(table_NC),
        where=spread_C > 1e-9,
    )
    return tuple(
        _levels(dict(zip(LEVELS, row.tolist(), strict=True)), _MEASURED_EDGES)
        for row in deviations_NC
    )


def _levels(values: dict[str, float], edges: dict[str, tuple[float, ...]]) -> Cues:
    return Cues(**{name: int(np.searchsorted(edges[name], values[name])) for name in LEVELS})
