"""How something is said, in eighteen numbers that know neither its length nor its level."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from cogaudio_rl.data.audio import SAMPLE_RATE_HZ
from cogaudio_rl.data.lime.fourier import Floats, to_sound, to_spectrum

VOICE: tuple[str, ...] = (
    "f0_median_hz",
    "f0_low_st",
    "f0_high_st",
    "f0_spread_st",
    "f0_step_st",
    "f0_slope_st_per_s",
    "voiced_share",
    "periodicity",
    "centroid_hz",
    "tilt_db",
    "band_0_500_db",
    "band_500_1k_db",
    "band_1k_2k_db",
    "band_4k_8k_db",
    "energy_spread_db",
    "energy_step_db",
    "energy_skew",
    "peaks_per_s",
)
"""F0 in Hz, and its 10th and 90th percentiles, deviation and mean step between frames in semitones
(percentiles from the median); mean band energies over that of 2 to 4 kHz; frame energies in dB;
energy peaks, which come about once a syllable, per second of speech."""

_FRAME, _HOP, _FFT = 512, 256, 1024
_F0_LOWEST_HZ, _F0_HIGHEST_HZ = 75.0, 500.0
_VOICED = 0.5
_OCTAVE_COST = 0.03
_SPOKEN_DB = 25.0
_PEAK_DB = 2.0


def voice_of(sound: Floats) -> tuple[float, ...]:
    """The numbers that :data:`VOICE` names. ``sound`` [T] at 16 kHz; finite whatever it holds."""
    power_FK, energy_F = _spectra(sound)
    spoken = np.flatnonzero(energy_F > np.percentile(energy_F, 95) - _SPOKEN_DB)
    f0_F, strength_F = f0_track(power_FK[spoken])
    numbers = (
        *_of_f0(f0_F, strength_F, spoken),
        *_of_spectrum(power_FK[spoken].mean(axis=0)),
        *_of_energy(energy_F, spoken),
    )
    return tuple(round(float(number), 5) for number in np.nan_to_num(numbers))


def _spectra(sound: Floats) -> tuple[Floats, Floats]:
    """Power spectra [F, 513] of 32 ms frames every 16 ms, and their energies in dB [F]."""
    padded = np.pad(sound, (0, max(0, _FRAME - sound.size)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP]
    spectra = to_spectrum(frames * _window(), _FFT)
    power = np.square(spectra.real) + np.square(spectra.imag)
    return power, 10 * np.log10(power.mean(axis=1) + 1e-12)


@cache
def _window() -> Floats:
    return np.hanning(_FRAME).astype(np.float32)


@cache
def _lags() -> tuple[npt.NDArray[np.int64], Floats, Floats]:
    """Lags to look at, the window's own autocorrelation there, and the price of a long one."""
    lags = np.arange(
        round(SAMPLE_RATE_HZ / _F0_HIGHEST_HZ), round(SAMPLE_RATE_HZ / _F0_LOWEST_HZ) + 1
    )
    own = to_sound(np.square(np.abs(to_spectrum(_window(), _FFT))), _FFT)
    price = _OCTAVE_COST * np.log2(lags * _F0_LOWEST_HZ / SAMPLE_RATE_HZ)
    return lags, (own[lags] / own[0]).astype(np.float32), price.astype(np.float32)


def f0_track(power_FK: Floats) -> tuple[Floats, Floats]:
    """F0 in Hz [F] and how periodic each frame is, 0 to 1 [F].

    The autocorrelation over the window's own, with a small price on octaves below (Boersma 1993,
    "Accurate short-term analysis of the fundamental frequency").
    """
    lags, own, price = _lags()
    correlation = to_sound(power_FK, _FFT)
    # A lag within the window's reach only: half of its length still overlaps at the longest.
    normal = correlation[:, lags] / (correlation[:, :1] + 1e-12) / own
    best = np.argmax(normal - price, axis=1)
    strength = np.clip(normal[np.arange(best.size), best], 0, 1).astype(np.float32)
    return (SAMPLE_RATE_HZ / lags[best]).astype(np.float32), strength


def _of_f0(f0_F: Floats, strength_F: Floats, places: npt.NDArray[np.intp]) -> tuple[float, ...]:
    voiced = strength_F > _VOICED
    share, periodicity = float(voiced.mean()), float(strength_F.mean())
    if voiced.sum() < 3:
        return (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, share, periodicity)
    median = float(np.median(f0_F[voiced]))
    semitones, when = 12 * np.log2(f0_F[voiced] / median), places[voiced]
    together = np.diff(when) == 1
    steps = np.abs(np.diff(semitones))[together]
    slope = np.polyfit(when * (_HOP / SAMPLE_RATE_HZ), semitones, 1)[0]
    return (
        median,
        float(np.percentile(semitones, 10)),
        float(np.percentile(semitones, 90)),
        float(semitones.std()),
        # Clipped: a jump by an octave is the tracker's, not the speaker's.
        float(np.minimum(steps, 4).mean()) if steps.size else 0.0,
        float(slope),
        share,
        periodicity,
    )


def _of_spectrum(power_K: Floats) -> tuple[float, ...]:
    hz = np.linspace(0, SAMPLE_RATE_HZ / 2, power_K.size)
    power = power_K + 1e-10 * power_K.mean() + 1e-20

    def band(low: float, high: float) -> float:
        return 10 * float(np.log10(power[(hz >= low) & (hz < high)].mean()))

    centroid = float((hz * power).sum() / power.sum())
    inner = (hz >= 100) & (hz <= 5_000)
    tilt = np.polyfit(np.log2(hz[inner]), 10 * np.log10(power[inner]), 1)[0]
    bands = [band(*edges) for edges in ((0, 500), (500, 1e3), (1e3, 2e3), (4e3, 8e3))]
    return (centroid, float(tilt), *(level - band(2e3, 4e3) for level in bands))


def _of_energy(energy_F: Floats, spoken: npt.NDArray[np.intp]) -> tuple[float, ...]:
    inside = energy_F[spoken[0] : spoken[-1] + 1]
    loud = energy_F[spoken]
    spread = float(loud.std())
    skew = float(np.mean((loud - loud.mean()) ** 3)) / (spread**3 + 1e-6)
    step = float(np.abs(np.diff(inside)).mean()) if inside.size > 1 else 0.0
    return (spread, step, skew, _peaks(inside) / (inside.size * _HOP / SAMPLE_RATE_HZ))


def _peaks(energy: Floats) -> int:
    """Maxima of the smoothed energy that stand 2 dB over the valleys beside them."""
    smooth = np.convolve(np.pad(energy, 2, mode="edge"), np.full(5, 0.2), mode="valid")
    count, low, high, rising = 0, smooth[0], smooth[0], True
    for level in smooth.tolist():
        if rising:
            high = max(high, level)
            if level < high - _PEAK_DB:
                count, rising, low = count + 1, False, level
        else:
            low = min(low, level)
            if level > low + _PEAK_DB:
                rising, high = True, level
    return count + int(rising)
