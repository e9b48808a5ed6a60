from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from sounds import sine

from cogaudio_rl.data.lime import quality, synthesise
from cogaudio_rl.data.lime.author import sentences
from cogaudio_rl.data.lime.quality import CorpusCheck, QualityLimits, normalise_text, problems
from cogaudio_rl.errors import DataError
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import LIME_EMOTIONS

Sound = npt.NDArray[np.float32]
TEXT = "The meeting was moved again."


def a_recording(seconds: float = 2.0, floor: float = 3e-4) -> Sound:
    """Syllables of 150 ms with 50 ms between them, in soft noise."""
    tone = sine(seconds=seconds)
    open_ = (np.arange(tone.size) % 3_200 < 2_400).astype(np.float32)
    rng = rng_for(0, "recording")
    noise = np.float32(floor) * rng.standard_normal(tone.size, dtype=np.float32)
    return (tone * open_ + noise).astype(np.float32)


def mostly_silent(sound: Sound) -> Sound:
    return np.concatenate([np.full(40_000, 1e-5, np.float32), sound])


WRONG: dict[str, tuple[Callable[[Sound], Sound], str]] = {
    "no sound": (np.zeros_like, TEXT),
    "not finite": (lambda s: s * np.float32(np.nan), TEXT),
    "too short": (lambda s: s[:4_800], "Go away!"),
    "too long": (lambda s: np.tile(s, 16), TEXT * 16),
    "too slow": (lambda s: s, "No!"),
    "too fast": (lambda s: s, TEXT * 4),
    "clipped": (lambda s: np.clip(s * 8, -1, 1), TEXT),
    "silent": (mostly_silent, TEXT),
    "noisy": (lambda s: s + a_recording(floor=0.2), TEXT),
    "offset": (lambda s: s + np.float32(0.05), TEXT),
}


@pytest.mark.parametrize(("kind", "change", "text"), [(k, *v) for k, v in WRONG.items()], ids=WRONG)
def test_each_fault_is_found_and_no_other(
    kind: str, change: Callable[[Sound], Sound], text: str
) -> None:
    assert problems(a_recording(), TEXT, "en") == ()
    found = problems(change(a_recording()), text, "en")
    assert [reason.partition(":")[0] for reason in found] == [kind]


def test_a_reason_says_what_was_measured_and_what_would_do() -> None:
    assert problems(a_recording(), "No!", "en") == ("too slow: 1.02 letters/s, at least 4",)
    assert problems(a_recording(), TEXT, "en", sample_rate_hz=8_000) == (
        "sample rate: 8000 Hz, must be 16000",
    )
    strict = QualityLimits(seconds=(3.0, 4.0), pace={"en": (20.0, 30.0)})
    assert problems(a_recording(), TEXT, "en", strict) == (
        "too short: 2 s, at least 3",
        "too slow: 11.7 letters/s, at least 20",
    )


@pytest.mark.parametrize("language", ["en", "zh"])
def test_clean_speech_is_fine(language: str) -> None:
    for i, emotion in enumerate(LIME_EMOTIONS * 4):
        sentence, rng = sentences(language)[i * 9], rng_for(i, language)
        voice = synthesise.draw_voice("train", rng, language)
        synthesise.begin([voice], language)
        prosody = synthesise.prosody_for(emotion, "mid", rng)
        sound = synthesise.speak(
            sentence.text, voice=voice, language=language, prosody=prosody, rng=rng
        )
        assert problems(sound, sentence.text, language) == ()


def test_letters_syllables_and_digits_are_counted() -> None:
    assert quality.units("Don't panic!", "en") == 9
    assert quality.units("会议改到星期四了。", "zh") == 8
    assert quality.units("Room 12", "en") == 12
    assert quality.units("12号", "zh") == 3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The meeting was moved!", "the meeting  was moved."),
        ("Ｆｕｌｌ　ｗｉｄｔｈ？", "full width"),
        ("Straße", "STRASSE"),
        ("我走了……", "我走了。"),
        ("cafe\u0301", "Café,"),
    ],
)
def test_the_same_words_are_the_same_however_written(one: str, other: str) -> None:
    assert normalise_text(one) == normalise_text(other)
    assert normalise_text(normalise_text(one)) == normalise_text(one)


def test_other_words_and_read_symbols_stay_apart() -> None:
    assert len(set(map(normalise_text, ["five", "5", "5 %", "5 €", "five 😢", "fives"]))) == 6


def test_a_sound_has_the_same_hash_when_it_is_read_back() -> None:
    sound, stream = a_recording(), io.BytesIO()
    soundfile.write(stream, sound, 16_000, format="FLAC", subtype="PCM_16")
    stream.seek(0)
    again, _ = soundfile.read(stream, dtype="float32")
    assert quality.audio_hash(np.asarray(again, np.float32)) == quality.audio_hash(sound)
    assert quality.audio_hash(sound[1:]) != quality.audio_hash(sound)


def add(check: CorpusCheck, emotion: str, text: str, text_id: str, sound: int) -> tuple[str, ...]:
    reasons = check.add(
        text_id=text_id, text=text, emotion=emotion, intensity="mid", audio_hash=f"{sound:016x}"
    )
    return tuple(reason.partition(":")[0] for reason in reasons)


def test_a_corpus_is_checked_as_it_streams_by() -> None:
    check = CorpusCheck(emotions=("happy", "sad"))
    assert add(check, "happy", "So it is.", "t0", 1) == ()
    assert add(check, "sad", "so it is!", "t0", 2) == ()
    assert add(check, "happy", "So it was.", "t0", 3) == ("not identical",)
    assert add(check, "happy", "So, it is…", "t1", 4) == ("duplicate text",)
    assert add(check, "happy", "It rains.", "t2", 2) == ("duplicate audio",)
    assert (check.incomplete_families, check.imbalance) == (0, 0.0)
    assert add(check, "happy", "It rains.", "t2", 5) == ()
    assert (check.incomplete_families, check.imbalance) == (1, 0.5)
    assert (check.utterances, check.families) == (3, 2)
    assert check.found == {"not identical": 1, "duplicate text": 1, "duplicate audio": 1}
    with pytest.raises(DataError, match="unknown emotion 'bored' in family 't3'"):
        add(check, "bored", "It rains.", "t3", 6)
