from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

from cogaudio_rl.data.lime import synthesise
from cogaudio_rl.errors import DataError
from cogaudio_rl.seeding import rng_for

TEXTS = {"en": "The meeting was moved again.", "zh": "会议改到星期四了。"}


def say(language: str, voice: str, emotion: str = "neutral") -> str:
    rng = rng_for(0, language, voice)
    sound = synthesise.speak(
        TEXTS[language],
        voice=voice,
        language=language,
        prosody=synthesise.prosody_for(emotion, "mid", rng),
        rng=rng,
    )
    assert sound.size > 0.4 * synthesise.SAMPLE_RATE_HZ
    assert sound.size < synthesise.MAX_SECONDS * synthesise.SAMPLE_RATE_HZ
    return hashlib.sha256(sound.tobytes()).hexdigest()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_voice_speaks_and_there_are_many(language: str) -> None:
    for split, least in (("train", 12), ("test", 12)):
        voices = synthesise.voices(split, language)
        assert len(voices) >= least
        assert len({say(language, voice) for voice in voices}) == len(voices)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_after_begin_nothing_said_before_matters(language: str) -> None:
    synthesise.begin(["f1", "m3"], language)
    alone = [say(language, "f1"), say(language, "m3")]
    say("en", "Hugo", "angry")
    synthesise.begin(["f1", "m3"], language)
    assert [say(language, "f1"), say(language, "m3")] == alone


def test_what_cannot_be_spoken_is_said() -> None:
    with pytest.raises(DataError, match="no speech in language 'de'; known: en, zh"):
        synthesise.begin(["f1"], "de")
    with pytest.raises(DataError, match="voice 'Annie' speaks no 'zh'"):
        synthesise.begin(["Annie"], "zh")
    with pytest.raises(DataError, match="no prosody for emotion 'boredom'"):
        synthesise.prosody_for("boredom", "mid", rng_for(0))


def test_a_second_engine_that_is_gone_does_not_take_the_first_one_along() -> None:
    """The C library keeps a pointer to the last callback it was given; a freed one is a crash."""
    code = """
import ctypes, gc
from cogaudio_rl.data.lime.espeak import Espeak, engine
def say(espeak):
    return len(espeak.say("hello", voice="en", rate_wpm=160, pitch=50, pitch_range=50))
first = engine()
before = say(first)
second = Espeak()
say(second)
del second
gc.collect()
function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_double)
taken = [function(lambda _: 0) for _ in range(50)]
assert before > 0 and say(first) > 0
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
