"""From a clean recording to one that was made somewhere: distance, room, noise, level, line.

    speed ─► silence before and behind ─► room ─► noise ─► level ─► telephone ─► limiter

The order is that of :class:`cogaudio_rl.types.Acoustics`. What happens depends on the sound, the
acoustics and the generator alone. Besides robustness, this is what keeps the emotion out of length
and level: both are drawn without a look at the label.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt
import soxr
from scipy.signal import fftconvolve

from cogaudio_rl.data.audio import SAMPLE_RATE_HZ
from cogaudio_rl.data.lime.fourier import to_sound, to_spectrum
from cogaudio_rl.data.lime.levels import FRAME, Sound, at_level, limited
from cogaudio_rl.data.lime.noise import FFT_STEP, between_silence, with_noise
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import Acoustics

BANDS: tuple[str, ...] = ("full", "telephone")

_SILENT = 1e-5  # less than half a step of a 16-bit file
_LINE_HZ = 8_000
_MU = 255.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AcousticSettings:
    """What :func:`draw` draws from: (lowest, highest) of each, and shares in [0, 1]."""

    speed: tuple[float, float] = (0.94, 1.06)
    """Small: pitch moves with it, and pitch is what tells the emotion."""
    silence_s: tuple[float, float] = (0.15, 2.8)
    """Before and behind together: what hides how long the speech is. One draw, because the sum of two
    spreads less for the same mean."""
    lead_share: tuple[float, float] = (0.1, 0.5)
    """Of the silence, what comes before."""
    room_share: float = 0.4
    rt60_s: tuple[float, float] = (0.15, 0.6)
    """From a car to a living room."""
    noise_share: float = 0.6
    snr_db: tuple[float, float] = (8.0, 30.0)
    gain_db: tuple[float, float] = (-10.0, 6.0)
    """So wide that the share of silence, which goes with pace, hardly shows in the level of a file."""
    telephone_share: float = 0.15

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple) and value[0] > value[1]:
                raise DataError(f"acoustics.{field.name} must be (lowest, highest), got {value}")
            if not isinstance(value, tuple) and not 0 <= value <= 1:
                raise DataError(f"acoustics.{field.name} must be in [0, 1], got {value}")


def draw(rng: np.random.Generator, settings: AcousticSettings) -> Acoustics:
    """The acoustics of one utterance, rounded to what a manifest shows.

    Always takes the same ten numbers from ``rng``: another share leaves the other draws alone.
    """
    u = rng.random(10)

    def pick(i: int, bounds: tuple[float, float], digits: int) -> float:
        value = round(bounds[0] + float(u[i]) * (bounds[1] - bounds[0]), digits)
        return min(max(value, bounds[0]), bounds[1])

    silence = pick(1, settings.silence_s, 3)
    lead = round(silence * pick(2, settings.lead_share, 3), 3)
    return Acoustics(
        speed=pick(0, settings.speed, 3),
        lead_s=lead,
        tail_s=round(silence - lead, 3),
        rt60_s=pick(4, settings.rt60_s, 3) if u[3] < settings.room_share else None,
        noise_snr_db=pick(6, settings.snr_db, 1) if u[5] < settings.noise_share else None,
        gain_db=pick(7, settings.gain_db, 1),
        band="telephone" if u[8] < settings.telephone_share else "full",
    )


def apply(sound: Sound, acoustics: Acoustics, rng: np.random.Generator) -> Sound:
    """``sound`` [T] as if recorded so; [T'], T' = round(T / speed) + lead + tail in samples.

    Raises DataError for acoustics that cannot be, and for a sound that is empty, digital silence
    or not finite.
    """
    _check(sound, acoustics)
    lead, tail = (round(s * SAMPLE_RATE_HZ) for s in (acoustics.lead_s, acoustics.tail_s))
    made = _at_speed(sound, acoustics.speed)
    made = between_silence(made, lead, tail, rng)
    if acoustics.rt60_s is not None:
        made = in_room(made, acoustics.rt60_s, rng)
    if acoustics.noise_snr_db is not None:
        made = with_noise(made, slice(lead, made.size - tail), acoustics.noise_snr_db, rng)
    if acoustics.band == "telephone":
        return limited(_by_telephone(made, acoustics.gain_db))
    return limited(at_level(made, acoustics.gain_db))


def _check(sound: Sound, acoustics: Acoustics) -> None:
    if sound.ndim != 1 or sound.size == 0:
        raise DataError(f"sound must be [T] with T >= 1, got shape {sound.shape}")
    if not np.isfinite(sound).all():
        raise DataError("sound holds NaN or infinite samples; drop it")
    if not (peak := float(np.abs(sound).max())) >= _SILENT:
        raise DataError(f"sound is silent (peak {peak:g}) and has no level; drop it")
    for name in ("speed", "rt60_s"):
        value = getattr(acoustics, name)
        if value is not None and not value > 0:
            raise DataError(f"acoustics.{name} must be > 0, got {value}")
    for name in ("lead_s", "tail_s"):
        value = getattr(acoustics, name)
        if not value >= 0:
            raise DataError(f"acoustics.{name} must be >= 0, got {value}")
    if acoustics.band not in BANDS:
        raise DataError(f"unknown acoustics.band {acoustics.band!r}; known: {', '.join(BANDS)}")


def _at_speed(sound: Sound, speed: float) -> Sound:
    if speed == 1.0:
        return np.asarray(sound, np.float32)
    length = max(1, round(sound.size / speed))
    made = soxr.resample(
        np.asarray(sound, np.float32), SAMPLE_RATE_HZ * speed, SAMPLE_RATE_HZ, quality="MQ"
    )
    # soxr rounds the length its own way.
    return np.pad(made[:length], (0, max(0, length - made.size)))


def in_room(sound: Sound, rt60_s: float, rng: np.random.Generator) -> Sound:
    """The direct path, and behind it noise that falls by 60 dB in ``rt60_s``, cut off at 40 dB.

    Reflections carry 0 to 9 dB less energy than the direct sound: someone near a microphone.
    """
    count = max(1, int(rt60_s * 40 / 60 * SAMPLE_RATE_HZ))
    first = int(rng.uniform(0.001, 0.006) * SAMPLE_RATE_HZ)
    time = np.arange(count, dtype=np.float32) / np.float32(SAMPLE_RATE_HZ)
    late = rng.standard_normal(count, dtype=np.float32) * np.exp(
        np.float32(-3 * np.log(10) / rt60_s) * time
    )
    late *= np.float32(10 ** (-rng.uniform(0, 9) / 20) / np.sqrt(np.dot(late, late)))
    response = np.concatenate([np.ones(1, np.float32), np.zeros(first, np.float32), late])
    return fftconvolve(sound, response)[: sound.size]


def _by_telephone(sound: Sound, gain_db: float) -> Sound:
    """300 to 3,400 Hz at 8 kHz, 8-bit mu-law (ITU-T G.711's curve), and back to 16 kHz.

    Filtered in the frequency domain, where changing the rate costs nothing more. The level is that
    behind the filter, or high voices would come out louder than low ones.
    """
    size = -(-sound.size // FFT_STEP) * FFT_STEP
    mask = _line_mask(size // 4 + 1)
    spectrum = to_spectrum(sound, size)[: mask.size] * mask
    half = to_sound(spectrum, size // 2)
    spoken = half[: -(-sound.size // 2)]
    heard = np.zeros_like(half)
    heard[: spoken.size] = _mu_law(limited(at_level(spoken, gain_db, frame=FRAME // 2)))
    # The receiver's own filter takes off what the steps of the code put beyond the band.
    spectrum = np.zeros(size // 2 + 1, np.complex64)
    spectrum[: mask.size] = to_spectrum(heard) * (2 * mask)
    return to_sound(spectrum, size)[: sound.size]


@lru_cache(maxsize=64)
def _line_mask(bins: int) -> npt.NDArray[np.float32]:
    """Over 0 to 4 kHz; raised-cosine edges from 200 to 300 Hz and from 3,400 to 3,600 Hz."""
    hz = np.linspace(0, _LINE_HZ / 2, bins)
    edges = np.clip((hz - 200) / 100, 0, 1), np.clip((3600 - hz) / 200, 0, 1)
    return np.prod([0.5 - 0.5 * np.cos(np.pi * edge) for edge in edges], axis=0).astype(np.float32)


def _mu_law(sound: Sound) -> Sound:
    """Coded in 256 steps and decoded. None of them is 0, so soft noise does not become silence."""
    return _mu_law_table()[np.rint(sound * 32767).astype(np.int32) + 32768]


@cache
def _mu_law_table() -> Sound:
    sound = np.arange(-32768, 32768) / 32767
    level = np.log1p(_MU * np.minimum(np.abs(sound), 1)) / np.log1p(_MU)
    step = (np.minimum(np.floor(level * 128), 127) + 0.5) / 128
    return (np.where(sound < 0, -1, 1) * np.expm1(step * np.log1p(_MU)) / _MU).astype(np.float32)
