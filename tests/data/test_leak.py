from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pytest

from cogaudio_rl.data.lime import leak, synthesise
from cogaudio_rl.data.lime.acoustics import AcousticSettings, apply, draw
from cogaudio_rl.data.lime.author import sentences
from cogaudio_rl.data.lime.leak import Features, features, measure
from cogaudio_rl.data.lime.voice import VOICE, voice_of
from cogaudio_rl.errors import DataError
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import LIME_EMOTIONS

Sound = npt.NDArray[np.float32]


def a_table(families: int = 50, seed: int = 0) -> list[Features]:
    """A corpus in which nothing at all tells the emotion."""
    rng = rng_for(seed, "table")
    return [
        Features(
            family=f"t{family}",
            emotion=emotion,
            text=f"Sentence {chr(97 + family % 26) * 4} number {family}.",
            duration_s=float(rng.normal(2, 0.3)),
            level_db=float(rng.normal(-28, 3)),
            speaking_db=float(rng.normal(-26, 3)),
            voice=tuple(rng.normal(size=len(VOICE)).tolist()),
        )
        for family in range(families)
        for emotion in LIME_EMOTIONS
    ]


def order(row: Features) -> int:
    return LIME_EMOTIONS.index(row.emotion)


PLANTED: dict[str, Callable[[Features], Features]] = {
    "text": lambda r: dataclasses.replace(r, text=r.text + " Oh no." * (r.emotion == "sad")),
    "duration": lambda r: dataclasses.replace(r, duration_s=r.duration_s + (order(r) % 3)),
    "loudness": lambda r: dataclasses.replace(r, speaking_db=r.speaking_db - 6 * order(r)),
    "acoustic": lambda r: dataclasses.replace(r, voice=(*r.voice[:-1], r.voice[-1] + 2 * order(r))),
}


def test_where_nothing_tells_everything_is_at_chance() -> None:
    for seed in range(2):
        found = measure(a_table(seed=seed))
        assert found.leaking == ()
        assert found.chance == pytest.approx(1 / 7)
        assert found.text_accuracy == pytest.approx(1 / 7)
        for clue in leak.CLUES:
            low, high = found.intervals[clue]
            assert low <= getattr(found, f"{clue}_accuracy") <= high
            assert low - 0.01 <= found.chance <= high + 0.01


@pytest.mark.parametrize("clue", PLANTED)
def test_a_planted_clue_is_found_and_no_other(clue: str) -> None:
    found = measure([PLANTED[clue](row) for row in a_table()])
    assert getattr(found, f"{clue}_accuracy") > found.chance + 0.1
    assert found.intervals[clue][0] > found.chance + 0.08
    assert found.leaking == ((clue,) if clue != "acoustic" else ())


def test_what_is_learnt_by_heart_does_not_count() -> None:
    # Each family keeps to one emotion, whose words say nothing to those who hear other families.
    table = [
        dataclasses.replace(row, emotion=LIME_EMOTIONS[int(row.family[1:]) % 7])
        for row in a_table(70)
    ]
    assert measure(table).text_accuracy < 0.4


def test_the_same_table_gives_the_same_figures_in_any_seeded_run() -> None:
    table = a_table(20)
    assert measure(table, seed=1) == measure(table, seed=1)


def test_too_small_a_table_is_named() -> None:
    with pytest.raises(DataError, match="needs >= 10 families, got 9"):
        measure(a_table(9))
    happy = [row for row in a_table(20) if row.emotion == "happy"]
    with pytest.raises(DataError, match="needs >= 2 emotions, got only 'happy'"):
        measure(happy)


def a_voice(f0_hz: float, seconds: float = 1.0) -> Sound:
    """Harmonics that fall by 6 dB an octave, said in syllables."""
    time = np.arange(int(seconds * 16_000)) / 16_000
    count = int(4_000 / f0_hz)
    tone = sum(np.sin(2 * np.pi * k * f0_hz * time + k * k) / k for k in range(1, count))
    return (0.1 * tone * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * time))).astype(np.float32)


@pytest.mark.parametrize("f0_hz", [90.0, 170.0, 260.0, 430.0])
def test_f0_is_measured(f0_hz: float) -> None:
    found = dict(zip(VOICE, voice_of(a_voice(f0_hz)), strict=True))
    assert found["f0_median_hz"] == pytest.approx(f0_hz, rel=0.02)
    assert found["voiced_share"] > 0.95
    assert found["peaks_per_s"] == pytest.approx(4, abs=1.1)


def test_the_voice_knows_neither_level_nor_length() -> None:
    once = np.array(voice_of(a_voice(200, 2.0)))
    np.testing.assert_allclose(
        voice_of(a_voice(200, 2.0) * np.float32(0.1)), once, rtol=1e-2, atol=1e-2
    )
    np.testing.assert_allclose(voice_of(a_voice(200, 4.0)), once, rtol=0.1, atol=0.3)


def test_features_of_any_sound_are_finite() -> None:
    noise = rng_for(0).standard_normal(16_000, dtype=np.float32) * np.float32(0.1)
    for sound in (noise, np.zeros(1_000, np.float32), noise[:100], noise[:1]):
        row = features(sound, family="t", emotion="sad", text="x")
        assert np.isfinite([row.duration_s, row.level_db, row.speaking_db, *row.voice]).all()
    row = features(noise, family="t", emotion="sad", text="x")
    assert row.duration_s == 1.0
    assert row.level_db == pytest.approx(-20, abs=0.2)
    assert dict(zip(VOICE, row.voice, strict=True))["voiced_share"] < 0.2


def spoken(families: int) -> list[tuple[str, str, Sound]]:
    """(text, emotion, sound), each sentence in all emotions."""
    made: list[tuple[str, str, Sound]] = []
    for sentence in sentences("en")[: 7 * families : 7]:
        rngs = [rng_for(0, sentence.text_id, emotion) for emotion in LIME_EMOTIONS]
        voices = [synthesise.draw_voice("train", rng) for rng in rngs]
        synthesise.begin(voices, "en")
        for emotion, rng, voice in zip(LIME_EMOTIONS, rngs, voices, strict=True):
            prosody = synthesise.prosody_for(emotion, "mid", rng)
            sound = synthesise.speak(
                sentence.text, voice=voice, language="en", prosody=prosody, rng=rng
            )
            made.append((sentence.text, emotion, sound))
    return made


def table_of(made: Sequence[tuple[str, str, Sound]]) -> list[Features]:
    return [features(s, family=text, emotion=emotion, text=text) for text, emotion, s in made]


def test_acoustics_hide_the_loudness_of_speech_and_not_its_voice() -> None:
    clean = spoken(40)
    recorded = [
        (text, emotion, apply(s, draw(rng_for(i), AcousticSettings()), rng_for(i, "apply")))
        for i, (text, emotion, s) in enumerate(clean)
    ]
    before, after = measure(table_of(clean)), measure(table_of(recorded))
    assert before.loudness_accuracy > 0.35
    assert before.leaking == ("duration", "loudness")
    assert after.loudness_accuracy < 0.22
    assert after.duration_accuracy < before.duration_accuracy
    assert after.intervals["acoustic"][0] > 0.4
