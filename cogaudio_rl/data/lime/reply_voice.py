"""A reply in the voice it asks for: levels become prosody, prosody becomes sound.

espeak-ng takes the levels as they are. A synthesiser that knows emotions and no levels (IndexTTS2) says
the reply in the manner of the voice it is nearest to: :func:`line_for`.
"""

from __future__ import annotations

import numpy as np

from cogaudio_rl.data.lime import synthesise
from cogaudio_rl.data.lime.speakers import Line, Sound
from cogaudio_rl.data.lime.synthesise import Prosody
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import SpokenReply, VoiceStyle
from cogaudio_rl.voices import SPREAD, VOICES, numbers_of

LONGEST_S = 20.0
_MANNERS: dict[str, tuple[str, str]] = {
    "plain": ("neutral", "mid"),
    "bright": ("happy", "mid"),
    "soothing": ("sad", "low"),
    "steady": ("neutral", "high"),
}
"""Voice of a reply → the emotion and intensity that sound most like it."""


def prosody_of(style: VoiceStyle) -> Prosody:
    """The middle of each level."""
    told = numbers_of(style)
    return Prosody(
        pitch=told["Pitch"],
        pace=told["Pace"],
        loudness_db=told["Loudness"],
        movement=told["Movement"],
    )


def say(reply: SpokenReply, *, voice: str, language: str, seed: int) -> Sound:
    """The reply as sound [T] at 16 kHz, the same whatever was said before.

    Raises DataError for a voice or a language that cannot be spoken.
    """
    return perform(
        reply.response, prosody_of(reply.voice), voice=voice, language=language, seed=seed
    )


def perform(text: str, prosody: Prosody, *, voice: str, language: str, seed: int) -> Sound:
    """Text in any prosody; see :func:`say`."""
    synthesise.begin([voice], language)
    return synthesise.speak(
        text,
        voice=voice,
        language=language,
        prosody=prosody,
        rng=rng_for(seed, "reply", voice),
        longest_s=LONGEST_S,
    )


def nearest(style: VoiceStyle) -> str:
    """The voice of ``VOICES`` whose numbers are nearest, each in units of its spread."""
    told = numbers_of(style)

    def distance(name: str) -> float:
        own = VOICES[name].numbers()
        gaps = [(told[key] - own[key]) / spread for key, spread in SPREAD.items()]
        return float(np.square(gaps).sum())

    return min(VOICES, key=distance)


def line_for(reply: SpokenReply, *, voice: str, language: str, seed: int) -> Line:
    """What any :class:`cogaudio_rl.data.lime.speakers.Speaker` can say."""
    emotion, intensity = _MANNERS[nearest(reply.voice)]
    return Line(
        text=reply.response,
        language=language,
        emotion=emotion,
        intensity=intensity,
        voice=voice,
        seed=seed,
    )
