"""Which voice suits a reply, in numbers and in the words that a model says for them. No torch here.

    emotion of the user ─► voice that suits the reply ─► its levels, and how surely each would be heard

Comfort is slow and soft, firmness low and steady, joy is met with joy: our choice, after what Scherer
2003 and Juslin & Laukka 2003 found of how such voices sound. Numbers are in the units of
:class:`cogaudio_rl.data.lime.synthesise.Prosody`, relative to a level voice.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

from cogaudio_rl.errors import DataError
from cogaudio_rl.spoken import LEVELS
from cogaudio_rl.types import VoiceStyle

EDGES: Mapping[str, tuple[float, ...]] = {
    "Pitch": (-24, -9, 9, 24),
    "Pace": (-0.24, -0.09, 0.09, 0.24),
    "Loudness": (-6, -2.2, 2.2, 6),
    "Movement": (-22, 0, 22),
}
"""Between the levels: espeak units of pitch, ln(speed), dB, espeak units of pitch range."""

SPREAD: Mapping[str, float] = {"Pitch": 4, "Pace": 0.05, "Loudness": 1.2, "Movement": 7}
"""Standard deviation from one saying to the next; :func:`.data.lime.synthesise.jitter` draws by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyVoice:
    """How replies of one kind are meant to sound."""

    pitch: float
    pace: float
    loudness: float
    movement: float

    def numbers(self) -> dict[str, float]:
        """By the names of ``LEVELS``."""
        return {name: getattr(self, name.lower()) for name in LEVELS}


VOICES: Mapping[str, ReplyVoice] = {
    "plain": ReplyVoice(pitch=0, pace=0, loudness=0, movement=-6),
    "bright": ReplyVoice(pitch=28, pace=0.15, loudness=2, movement=36),
    "soothing": ReplyVoice(pitch=4, pace=-0.32, loudness=-5, movement=-16),
    "steady": ReplyVoice(pitch=-28, pace=0.0, loudness=3, movement=-32),
}

SUITS: Mapping[str, str] = {
    "neutral": "plain",
    "happy": "bright",
    "surprise": "bright",
    "sad": "soothing",
    "fear": "soothing",
    "angry": "steady",
    "disgust": "steady",
    "boredom": "bright",
}
"""Emotion of the user → voice of the reply."""


def suiting(emotion: str) -> str:
    """The voice that suits a reply to this emotion. Raises DataError for one nobody thought of."""
    if emotion not in SUITS:
        raise DataError(f"no reply's voice suits {emotion!r}; known: {', '.join(SUITS)}")
    return SUITS[emotion]


def voice_for(emotion: str) -> VoiceStyle:
    """The same as levels."""
    return levels_of(VOICES[suiting(emotion)].numbers())


def levels_of(numbers: Mapping[str, float]) -> VoiceStyle:
    """The level of each number."""
    return VoiceStyle(**{n.lower(): LEVELS[n][bisect_left(EDGES[n], numbers[n])] for n in LEVELS})


def numbers_of(style: VoiceStyle) -> dict[str, float]:
    """The middle of each level; the outermost are as wide as their neighbours."""
    return {n: _middles(n)[LEVELS[n].index(getattr(style, n.lower()))] for n in LEVELS}


def level_shares(voice: ReplyVoice) -> dict[str, tuple[float, ...]]:
    """At which level each attribute would be found, saying after saying.

        P(level k) = Phi((e_{k+1} - m) / s) - Phi((e_k - m) / s)

    with m the voice's number, s its spread and e the edges: where a voice is near an edge, both levels
    are right, and a model is not told otherwise.
    """
    return {name: _shares(name, number) for name, number in voice.numbers().items()}


def _shares(name: str, number: float) -> tuple[float, ...]:
    below = [_phi((edge - number) / SPREAD[name]) for edge in EDGES[name]]
    return tuple(high - low for low, high in zip([0.0, *below], [*below, 1.0], strict=True))


def _phi(z: float) -> float:
    return 0.5 * (1 + math.erf(z / math.sqrt(2)))


def _middles(name: str) -> list[float]:
    edges = EDGES[name]
    first, last = edges[1] - edges[0], edges[-1] - edges[-2]
    outer = (edges[0] - first, *edges, edges[-1] + last)
    return [(low + high) / 2 for low, high in itertools.pairwise(outer)]
