from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import welch
from sounds import sine

from cogaudio_rl.data.lime import acoustics, synthesise
from cogaudio_rl.data.lime.acoustics import AcousticSettings, apply, draw
from cogaudio_rl.errors import DataError
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import Acoustics

RATE_HZ = 16_000
Sound = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def speech() -> Sound:
    synthesise.begin(["f1"], "en")
    prosody, rng = synthesise.Prosody(), rng_for(0, "speech")
    text = "The meeting was moved again, and nobody told me."
    return synthesise.speak(text, voice="f1", language="en", prosody=prosody, rng=rng)


def power(sound: Sound) -> float:
    return float(np.mean(np.square(sound, dtype=np.float64)))


def level_db(sound: Sound) -> float:
    """Level of the 20 ms frames within 20 dB of the 95th percentile, written out anew."""
    levels = [
        10 * np.log10(power(sound[i : i + 320]) + 1e-20)
        for i in range(0, sound.size // 320 * 320, 320)
    ]
    loud = sorted(levels)[int(0.95 * (len(levels) - 1))]
    spoken = [10 ** (level / 10) for level in levels if level >= loud - 20]
    return 10 * float(np.log10(np.mean(spoken)))


def test_no_acoustics_change_the_level_alone(speech: Sound) -> None:
    made = apply(speech, Acoustics(), rng_for(0))
    assert made.dtype == np.float32
    assert np.corrcoef(speech, made)[0, 1] > 0.99999
    assert level_db(made) == pytest.approx(-26.0, abs=0.1)


@given(
    speed=st.floats(0.8, 1.25),
    lead_s=st.floats(0, 1),
    tail_s=st.floats(0, 1),
    band=st.sampled_from(acoustics.BANDS),
    length=st.integers(1, 20_000),
)
@settings(max_examples=30)
def test_the_length_is_exact(
    speed: float, lead_s: float, tail_s: float, band: str, length: int
) -> None:
    sound = sine(seconds=2.0)[:length] + np.float32(0.01)
    drawn = Acoustics(speed=speed, lead_s=lead_s, tail_s=tail_s, band=band, rt60_s=0.2)
    silence = round(lead_s * RATE_HZ) + round(tail_s * RATE_HZ)
    assert apply(sound, drawn, rng_for(0)).size == max(1, round(length / speed)) + silence


@pytest.mark.parametrize("snr_db", [5.0, 15.0, 30.0])
@pytest.mark.parametrize("rt60_s", [None, 0.4])
def test_the_noise_has_the_asked_ratio(speech: Sound, snr_db: float, rt60_s: float | None) -> None:
    quiet = Acoustics(lead_s=0.5, tail_s=0.8, rt60_s=rt60_s)
    spoken = slice(8_000, 8_000 + speech.size)
    for seed in range(8):
        clean = apply(speech, quiet, rng_for(seed)).astype(np.float64)
        noisy = apply(speech, dataclasses.replace(quiet, noise_snr_db=snr_db), rng_for(seed))
        share = np.dot(noisy, clean) / np.dot(clean, clean)
        noise = noisy - share * clean
        measured = 10 * np.log10(share**2 * np.mean(clean[spoken] ** 2) / np.mean(noise**2))
        assert measured == pytest.approx(snr_db, abs=0.3)


@pytest.mark.parametrize("band", acoustics.BANDS)
@pytest.mark.parametrize("gain_db", [-6.0, 0.0, 6.0])
def test_every_recording_has_the_same_level_but_for_the_gain(
    speech: Sound, band: str, gain_db: float
) -> None:
    drawn = Acoustics(gain_db=gain_db, band=band, lead_s=0.3, rt60_s=0.3, noise_snr_db=20)
    for loudness in (0.03, 1.0):
        made = apply(speech * np.float32(loudness), drawn, rng_for(1))
        assert level_db(made) == pytest.approx(-26.0 + gain_db, abs=0.3)


def test_sound_acoustics_and_generator_are_all_that_matters(speech: Sound) -> None:
    before = speech.copy()
    drawn = draw(rng_for(3), AcousticSettings(room_share=1, noise_share=1, telephone_share=1))
    first = apply(speech, drawn, rng_for(0))
    apply(sine(), Acoustics(lead_s=1.0), rng_for(7))
    assert apply(speech, drawn, rng_for(0)).tobytes() == first.tobytes()
    assert apply(speech, drawn, rng_for(1)).tobytes() != first.tobytes()
    assert speech.tobytes() == before.tobytes()


def test_a_telephone_has_nothing_beyond_its_band(speech: Sound) -> None:
    drawn = Acoustics(band="telephone", noise_snr_db=10, lead_s=0.2)
    made = apply(speech, drawn, rng_for(0))
    hz, spectrum = welch(made, RATE_HZ, nperseg=1024)
    assert spectrum[hz > 3_600].sum() < 1e-6 * spectrum.sum()
    assert spectrum[hz < 180].sum() < 1e-4 * spectrum.sum()
    assert spectrum[(hz > 2_500) & (hz < 3_300)].sum() > 1e-4 * spectrum.sum()


def test_a_telephone_is_coded_in_eight_bits() -> None:
    # Jayant & Noll 1984, section 5.4: 8-bit mu-law keeps 38 dB over a wide range of levels.
    tone = sine(seconds=1.0, hz=1_013.0)
    for gain_db in (-10.0, 0.0, 10.0):
        made = apply(tone, Acoustics(band="telephone", gain_db=gain_db), rng_for(0))[800:-800]
        said = tone[800:-800]
        said = said * (np.dot(made, said) / np.dot(said, said))
        assert 34 < 10 * np.log10(power(said) / power(made - said)) < 42


@pytest.mark.parametrize("floor", [0.0, 1e-3], ids=["digital silence", "noise"])
def test_the_silence_sounds_like_the_pauses_of_the_recording(floor: float) -> None:
    rng = rng_for(0)
    sound = np.concatenate([sine(), np.zeros(8_000, np.float32), sine()])
    sound += np.float32(floor) * rng.standard_normal(sound.size, dtype=np.float32)
    made = apply(sound, Acoustics(lead_s=0.5, tail_s=0.5), rng)
    pause, lead, tail = made[17_000:23_000], made[:7_900], made[-7_900:]
    for silence in (lead, tail):
        assert np.mean(silence == 0) < 0.01
        assert 10 * np.log10(power(silence) / power(pause)) == pytest.approx(0, abs=1.0)
    below = 10 * np.log10(power(made[9_000:15_000]) / power(lead))
    assert below == pytest.approx(65.0 if floor == 0 else 46.5, abs=1.5)


def test_a_room_keeps_the_direct_path_and_decays_as_asked() -> None:
    click = np.zeros(16_000, np.float32)
    click[0] = 1.0
    for seed, rt60_s in enumerate((0.2, 0.5, 0.9)):
        heard = acoustics.in_room(click, rt60_s, rng_for(seed))
        assert heard[0] == pytest.approx(1.0, abs=1e-5)
        assert np.abs(heard[1:]).max() < 1.0
        # Schroeder 1965: what is yet to come, in dB, falls in a straight line.
        late = np.flatnonzero(np.abs(heard) > 1e-4)[1]
        to_come = 10 * np.log10(np.cumsum(heard[late:][::-1] ** 2.0)[::-1] + 1e-20)
        fit = (to_come < to_come[0] - 3) & (to_come > to_come[0] - 25)
        slope = np.polyfit(np.flatnonzero(fit) / RATE_HZ, to_come[fit], 1)[0]
        assert -60 / slope == pytest.approx(rt60_s, rel=0.15)


def test_speed_moves_pitch() -> None:
    made = apply(sine(seconds=1.0, hz=200.0), Acoustics(speed=1.1), rng_for(0))
    peak = np.argmax(np.abs(np.fft.rfft(made[:14_000], 160_000)))
    assert peak / 10 == pytest.approx(220.0, abs=0.5)


@given(seed=st.integers(0, 10_000), loudness=st.floats(0.001, 1.0), more_db=st.floats(0, 40))
@settings(max_examples=40)
def test_nothing_ever_clips(speech: Sound, seed: int, loudness: float, more_db: float) -> None:
    drawn = draw(rng_for(seed, "draw"), AcousticSettings())
    drawn = dataclasses.replace(drawn, gain_db=drawn.gain_db + more_db)
    made = apply(speech * np.float32(loudness), drawn, rng_for(seed))
    assert np.isfinite(made).all()
    assert np.abs(made).max() <= 0.9801
    # Turned down, not cut off: a flat top is two neighbours at the ceiling.
    flat = (np.abs(made[1:]) > 0.9799) & (np.abs(made[:-1]) > 0.9799)
    assert flat.mean() < 1e-4


def test_draws_keep_to_their_ranges_and_shares() -> None:
    wanted = AcousticSettings()
    drawn = [draw(rng_for(i), wanted) for i in range(3_000)]
    for one in drawn:
        assert wanted.speed[0] <= one.speed <= wanted.speed[1]
        assert 0 <= one.lead_s <= one.tail_s
        assert wanted.silence_s[0] <= one.lead_s + one.tail_s <= wanted.silence_s[1] + 1e-9
        assert wanted.gain_db[0] <= one.gain_db <= wanted.gain_db[1]
    for share, found in (
        (wanted.room_share, [one.rt60_s is not None for one in drawn]),
        (wanted.noise_share, [one.noise_snr_db is not None for one in drawn]),
        (wanted.telephone_share, [one.band == "telephone" for one in drawn]),
    ):
        assert np.mean(found) == pytest.approx(share, abs=0.03)


def test_one_share_leaves_the_other_draws_alone() -> None:
    for seed in range(50):
        some = draw(rng_for(seed), AcousticSettings())
        none = draw(rng_for(seed), AcousticSettings(room_share=0))
        assert none == dataclasses.replace(some, rt60_s=None)


def test_settings_that_cannot_be_are_named() -> None:
    with pytest.raises(DataError, match=r"acoustics.snr_db must be \(lowest, highest\)"):
        AcousticSettings(snr_db=(20, 10))
    with pytest.raises(DataError, match=r"acoustics.room_share must be in \[0, 1\], got 2"):
        AcousticSettings(room_share=2)


BAD: dict[str, tuple[Sound, Acoustics, str]] = {
    "empty": (np.zeros(0, np.float32), Acoustics(), "shape (0,)"),
    "stereo": (np.ones((2, 9), np.float32), Acoustics(), "shape (2, 9)"),
    "NaN": (np.full(9, np.nan, np.float32), Acoustics(), "NaN"),
    "silence": (np.zeros(900, np.float32), Acoustics(), "is silent (peak 0)"),
    "speed": (sine(), Acoustics(speed=0), "acoustics.speed must be > 0, got 0"),
    "lead": (sine(), Acoustics(lead_s=-1), "acoustics.lead_s must be >= 0, got -1"),
    "room": (sine(), Acoustics(rt60_s=0), "acoustics.rt60_s must be > 0, got 0"),
    "band": (sine(), Acoustics(band="radio"), "'radio'; known: full, telephone"),
}


@pytest.mark.parametrize(("sound", "drawn", "message"), BAD.values(), ids=BAD)
def test_what_cannot_be_recorded_is_named(sound: Sound, drawn: Acoustics, message: str) -> None:
    with pytest.raises(DataError) as caught:
        apply(sound, drawn, rng_for(0))
    assert message in str(caught.value)
