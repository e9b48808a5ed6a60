"""Expressive speech: an emotion becomes prosody, prosody becomes sound.

The acoustic correlates follow the classic findings (Scherer 2003, "Vocal communication of emotion",
table 2; Juslin & Laukka 2003): sadness low, slow, soft and flat; anger fast and loud; fear high,
fast and thin; disgust low and slow; joy high, lively; surprise high, loud with a wide swing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soxr

from cogaudio_rl.data.lime.espeak import engine, restart
from cogaudio_rl.errors import DataError
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import INTENSITIES, KNOWN_EMOTIONS
from cogaudio_rl.voices import SPREAD

SAMPLE_RATE_HZ = 16_000
MAX_SECONDS = 4.8
# espeak-ng counts a Chinese syllable as a word: 190 would drag, people speak 4 to 5 a second.
_BASE_RATE_WPM: dict[str, float] = {"en": 190.0, "zh": 250.0}
_TARGET_RMS = 0.05
_TARGET_F0_HZ = 170.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prosody:
    """How a sentence is said, relative to a level voice.

    ``pitch`` in espeak units (about 1 % of F0 each), ``pace`` as ln(speed), ``loudness_db`` in dB,
    ``movement`` in espeak units of pitch range.
    """

    pitch: float = 0.0
    pace: float = 0.0
    loudness_db: float = 0.0
    movement: float = 0.0

    def __add__(self, other: Prosody) -> Prosody:
        return Prosody(
            pitch=self.pitch + other.pitch,
            pace=self.pace + other.pace,
            loudness_db=self.loudness_db + other.loudness_db,
            movement=self.movement + other.movement,
        )

    def scaled(self, factor: float) -> Prosody:
        return Prosody(
            pitch=self.pitch * factor,
            pace=self.pace * factor,
            loudness_db=self.loudness_db * factor,
            movement=self.movement * factor,
        )


PROTOTYPES: dict[str, Prosody] = {
    "neutral": Prosody(),
    "happy": Prosody(pitch=20, pace=0.14, loudness_db=1, movement=35),
    "sad": Prosody(pitch=-20, pace=-0.30, loudness_db=-6, movement=-35),
    "angry": Prosody(pitch=-2, pace=0.22, loudness_db=8, movement=20),
    "fear": Prosody(pitch=26, pace=0.32, loudness_db=-6, movement=-30),
    "disgust": Prosody(pitch=-24, pace=-0.22, loudness_db=4, movement=25),
    "surprise": Prosody(pitch=32, pace=-0.12, loudness_db=5, movement=48),
}
"""Each emotion at mid intensity."""

INTENSITY_SCALE: dict[str, float] = dict(zip(INTENSITIES, (0.75, 1.0, 1.25), strict=True))

# Voice → its F0 in Hz at espeak's middle pitch, measured by autocorrelation on one sentence.
_FEMALE = {
    "f1": 178, "f2": 193, "f3": 208, "f4": 178, "f5": 202, "Andrea": 242, "linda": 227,
    "aunty": 174, "steph": 184, "steph2": 184, "steph3": 184, "Alicia": 248, "belinda": 227,
    "shelby": 179, "Annie": 235, "grandma": 199, "anika": 266, "Nguyen": 148,
}  # fmt: skip
_MALE = {
    "m1": 94, "m2": 100, "m3": 105, "m4": 93, "m5": 102, "m6": 101, "m7": 106, "m8": 85,
    "Alex": 104, "Andy": 95, "Gene": 95, "Gene2": 114, "Henrique": 108, "Hugo": 108, "Jacky": 112,
    "Lee": 95, "Mario": 107, "Storm": 85, "Denis": 98, "antonio": 110, "boris": 102, "ed": 125,
    "edward": 100, "grandpa": 106, "iven2": 100, "john": 101, "klatt4": 101, "max": 101,
    "miguel": 110, "paul": 86, "pedro": 103, "sandro": 98, "travis": 105, "victor": 95,
    "robert": 99, "gustave": 107, "michel": 105, "marcelo": 97, "Michael": 107, "norbert": 101,
    "quincy": 88, "adam": 100, "Reed": 114, "pablo": 112, "Diogo": 104,
}  # fmt: skip
_F0_HZ: dict[str, float] = {**_FEMALE, **_MALE}

TEST_VOICES: tuple[str, ...] = (
    "f3", "f5", "Alicia", "belinda", "shelby", "grandma",
    "m7", "m8", "Michael", "norbert", "quincy", "adam", "Reed", "pablo",
)  # fmt: skip
TRAIN_VOICES: tuple[str, ...] = tuple(v for v in _F0_HZ if v not in TEST_VOICES)


# In Mandarin the first crashes espeak-ng 1.52 and the others run on for far too long.
_ENGLISH_ONLY = ("Annie", "Andrea", "anika")


def voices(split: str, language: str = "en") -> tuple[str, ...]:
    """The voices of one split that can speak the language; none is in both splits."""
    side = TEST_VOICES if split == "test" else TRAIN_VOICES
    return side if language == "en" else tuple(v for v in side if v not in _ENGLISH_ONLY)


def draw_voice(split: str, rng: np.random.Generator, language: str = "en") -> str:
    """A voice of the split, women's and men's equally often."""
    sex = _FEMALE if rng.random() < 0.5 else _MALE
    pool = [v for v in voices(split, language) if v in sex]
    return pool[int(rng.integers(len(pool)))]


def voice_habit(voice: str) -> Prosody:
    """How this speaker departs from a level voice in everything they say."""
    z = rng_for(0, "habit", voice).standard_normal(4)
    return Prosody(pitch=3 * z[0], pace=0.04 * z[1], loudness_db=z[2], movement=5 * z[3])


def prosody_for(emotion: str, intensity: str, rng: np.random.Generator) -> Prosody:
    """The emotion's prosody at this intensity, jittered as no one says a thing twice alike."""
    if emotion not in PROTOTYPES:
        known = ", ".join(sorted(KNOWN_EMOTIONS & set(PROTOTYPES)))
        raise DataError(f"no prosody for emotion {emotion!r}; known: {known}")
    return PROTOTYPES[emotion].scaled(INTENSITY_SCALE[intensity]) + jitter(rng)


def jitter(rng: np.random.Generator) -> Prosody:
    """By how much one saying of a thing differs from another."""
    z = rng.standard_normal(4)
    return Prosody(
        pitch=SPREAD["Pitch"] * z[0],
        pace=SPREAD["Pace"] * z[1],
        loudness_db=SPREAD["Loudness"] * z[2],
        movement=SPREAD["Movement"] * z[3],
    )


_gain: dict[str, float] = {}


def _full_voice(voice: str, language: str) -> str:
    if language not in _BASE_RATE_WPM:
        known = ", ".join(_BASE_RATE_WPM)
        raise DataError(f"no speech in language {language!r}; known: {known}")
    if language != "en" and voice in _ENGLISH_ONLY:
        raise DataError(
            f"voice {voice!r} speaks no {language!r}; take one of voices(split, language)"
        )
    return ("cmn" if language == "zh" else "en-us") + "+" + voice


def begin(voices: Iterable[str], language: str) -> None:
    """Bring espeak-ng to the one state from which a passage in these voices always sounds alike.

    Levels are measured first: measuring one in mid-passage would restart the engine there.
    """
    for voice in voices:
        _voice_gain(_full_voice(voice, language))
    restart()


def _voice_gain(full_voice: str) -> float:
    """Voices differ in level by 18 dB in espeak-ng; bring each to one speaking level."""
    if full_voice not in _gain:
        restart()
        probe = (
            "会议改到星期四了。" if full_voice.startswith("cmn") else "The meeting was moved again."
        )
        sound = engine().say(probe, voice=full_voice, rate_wpm=175, pitch=50, pitch_range=45)
        _gain[full_voice] = _TARGET_RMS / float(np.sqrt(np.mean(sound**2)))
    return _gain[full_voice]


def speak(
    text: str,
    *,
    voice: str,
    language: str,
    prosody: Prosody,
    rng: np.random.Generator,
    longest_s: float = MAX_SECONDS,
) -> npt.NDArray[np.float32]:
    """Speak ``text``; returns mono samples at 16 kHz, cut off at ``longest_s``.

    espeak-ng's men speak near 100 Hz, where Whisper's mel bins cannot follow pitch. Resampling
    moves every voice's F0 (and formants) near 170 Hz, and the speaking rate makes up for it.
    espeak-ng carries state from one sentence to the next: see :func:`begin` for repeatable sound.
    Raises DataError for a language, or a voice in it, that cannot be spoken.
    """
    full_voice = _full_voice(voice, language)
    tilt = 1 + 0.05 * float(rng_for(0, "tilt", voice).standard_normal())
    stretch = float(np.clip(_TARGET_F0_HZ * tilt / _F0_HZ[voice], 0.8, 1.75))
    said = prosody + voice_habit(voice)
    native = engine().say(
        text,
        voice=full_voice,
        rate_wpm=_BASE_RATE_WPM[language] * math.exp(said.pace) / stretch,
        pitch=54 + said.pitch,
        pitch_range=45 + said.movement,
    )
    sound = soxr.resample(native, engine().sample_rate_hz * stretch, SAMPLE_RATE_HZ)
    sound = sound * (_voice_gain(full_voice) * 10 ** (said.loudness_db / 20))
    loud = np.flatnonzero(np.abs(sound) > 0.003)
    if loud.size:
        sound = sound[max(0, loud[0] - 320) : loud[-1] + 960]
    sound = sound[: int(longest_s * SAMPLE_RATE_HZ)]
    sound = sound + rng.standard_normal(sound.size) * 5e-4
    return np.clip(sound, -1.0, 1.0).astype(np.float32)
