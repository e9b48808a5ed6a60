"""Noise: a recording's own background carried on, and that of a place."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt

from cogaudio_rl.data.audio import SAMPLE_RATE_HZ
from cogaudio_rl.data.lime.fourier import to_sound, to_spectrum
from cogaudio_rl.data.lime.levels import FRAME, Sound, frame_powers, speaking_power

COLOURS: tuple[str, ...] = ("white", "pink", "babble")

FFT_STEP = 8192
"""Transforms come in multiples of this: fast ones, and few enough that their shapes are kept."""

# A pause is never more than this over, nor less than this under the speech around it.
_FLOOR_HIGHEST, _FLOOR_LOWEST = 10 ** (-35 / 10), 10 ** (-65 / 10)


def between_silence(sound: Sound, lead: int, tail: int, rng: np.random.Generator) -> Sound:
    """Room for ``lead`` and ``tail`` samples of the recording's own background.

    A recording whose pauses are nearly digital silence gets a background of -65 dB throughout, so
    that the edges do not show.
    """
    made = np.pad(sound, (lead, tail))
    own, spectrum = _background(sound)
    speech = speaking_power(sound)
    wanted = min(max(own, speech * _FLOOR_LOWEST), max(speech * _FLOOR_HIGHEST, 1e-30))
    if own < wanted:
        noise = _noise(made.size, _interpolated(spectrum), rng)
        made += noise * np.float32(np.sqrt(wanted))
        made[lead : lead + sound.size] -= noise[lead : lead + sound.size] * np.float32(
            np.sqrt(wanted) - np.sqrt(wanted - own)
        )
    elif lead + tail:
        noise = _noise(lead + tail, _interpolated(spectrum), rng) * np.float32(np.sqrt(wanted))
        made[:lead] = noise[:lead]
        made[made.size - tail :] = noise[lead:]
    return made


def _background(sound: Sound) -> tuple[float, npt.NDArray[np.float32]]:
    """Power of the quietest tenth of the frames, and the size of their spectrum [161]."""
    frames = np.pad(sound, (0, -sound.size % FRAME)) if sound.size < FRAME else sound
    frames = frames[: frames.size // FRAME * FRAME].reshape(-1, FRAME)
    powers = frame_powers(sound)
    quiet = np.argpartition(powers, k := max(1, powers.size // 10) - 1)[: k + 1]
    spectra = np.abs(to_spectrum(frames[quiet] * _hann(FRAME)))
    size = np.sqrt(np.mean(np.square(spectra), axis=0))
    if not size.any():
        size = np.ones_like(size)
    return float(powers[quiet].mean()), size


@cache
def _hann(length: int) -> npt.NDArray[np.float32]:
    return np.hanning(length).astype(np.float32)


def _interpolated(size: npt.NDArray[np.float32]) -> Callable[[int], npt.NDArray[np.float32]]:
    def at(bins: int) -> npt.NDArray[np.float32]:
        places = np.linspace(0, size.size - 1, bins, dtype=np.float32)
        return np.interp(places, np.arange(size.size), size).astype(np.float32)

    return at


def _noise(
    length: int, shape: Callable[[int], npt.NDArray[np.float32]], rng: np.random.Generator
) -> Sound:
    """Gaussian noise of mean power 1 whose spectrum has ``shape(bins)`` from 0 to 8 kHz.

    Drawn in the frequency domain: one transform, at one of few lengths.
    """
    size = -(-length // FFT_STEP) * FFT_STEP
    bins = size // 2 + 1
    spectrum = rng.standard_normal(2 * bins, dtype=np.float32).view(np.complex64) * shape(bins)
    noise = to_sound(spectrum, size)[:length]
    return noise / np.float32(np.sqrt(np.dot(noise, noise) / length))


@lru_cache(maxsize=64)
def _colour(name: str, bins: int) -> npt.NDArray[np.float32]:
    """Amplitude over frequency. Babble has speech's long-term slope (Byrne et al. 1994, rounded):
    level to 500 Hz, then 9 dB down an octave, with little below 100 Hz."""
    hz = np.linspace(0, SAMPLE_RATE_HZ / 2, bins)
    if name == "white":
        size = np.ones(bins)
    elif name == "pink":
        size = np.maximum(hz, 20.0) ** -0.5
    else:
        size = np.maximum(hz, 500.0) ** -1.5 * np.minimum(hz / 100.0, 1.0) ** 2
    size[0] = 0.0
    return (size / np.sqrt(np.mean(np.square(size)))).astype(np.float32)


def with_noise(sound: Sound, spoken: slice, snr_db: float, rng: np.random.Generator) -> Sound:
    """Noise all along, ``snr_db`` under the mean power of the ``spoken`` part."""
    name = COLOURS[int(rng.integers(len(COLOURS)))]
    noise = _noise(sound.size, lambda bins: _colour(name, bins), rng)
    if name == "babble":
        noise = noise * _wavering(sound.size, rng)
    speech = sound[spoken] if sound[spoken].size else sound
    signal_power = float(np.dot(speech, speech)) / speech.size
    noise_power = float(np.dot(noise, noise)) / noise.size
    gain = np.sqrt(signal_power / noise_power / 10 ** (snr_db / 10))
    return (sound + noise * np.float32(gain)).astype(np.float32)


def _wavering(length: int, rng: np.random.Generator) -> Sound:
    """The envelope of a handful of talkers: 8 independent levels a second, 3 dB about their mean."""
    steps = rng.standard_normal(length * 8 // SAMPLE_RATE_HZ + 2)
    places = np.arange(length, dtype=np.float64) * (8 / SAMPLE_RATE_HZ)
    return np.exp(0.35 * np.interp(places, np.arange(steps.size), steps)).astype(np.float32)
