"""How loud speech is, and making it as loud as it should be."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import minimum_filter1d, uniform_filter1d

Sound = npt.NDArray[np.float32]
"""[T] samples at 16 kHz, mono, in [-1, 1]."""

SPEAKING_LEVEL_DBFS = -26.0
"""RMS of the spoken frames at a gain of 0 dB: where ITU-T P.56 speech is commonly kept."""

CEILING = 0.98
"""No limited sample is larger."""

FRAME = 320
"""Samples in 20 ms."""

_LOUD_QUANTILE = 0.95
_SPOKEN_BELOW_LOUD = 10 ** (-20 / 10)
_LIMITER_SAMPLES = 80


def frame_powers(sound: Sound, frame: int = FRAME) -> npt.NDArray[np.float32]:
    """Mean power of each 20 ms; a remainder is left out, unless it is all there is."""
    whole = sound.size // frame * frame
    frames = sound[:whole].reshape(-1, frame) if whole else sound.reshape(1, -1)
    return np.einsum("ft,ft->f", frames, frames) / np.float32(frames.shape[1])


def speaking_power(sound: Sound, frame: int = FRAME) -> float:
    """Mean power of the spoken frames: those at most 20 dB under the loud ones.

    A stand-in for the active speech level of ITU-T P.56, ten times as fast.
    """
    powers = frame_powers(sound, frame)
    loud = np.partition(powers, k := int(_LOUD_QUANTILE * (powers.size - 1)))[k]
    spoken = powers[powers >= loud * _SPOKEN_BELOW_LOUD]
    # What lies in the remainder alone is all there is.
    return float(spoken.mean(dtype=np.float64)) or float(
        np.mean(np.square(sound, dtype=np.float64))
    )


def at_level(sound: Sound, gain_db: float, frame: int = FRAME) -> Sound:
    """Its speaking level made ``SPEAKING_LEVEL_DBFS + gain_db``; not limited yet."""
    gain = 10 ** ((SPEAKING_LEVEL_DBFS + gain_db) / 20) / np.sqrt(speaking_power(sound, frame))
    return sound * np.float32(gain)


def limited(sound: Sound) -> Sound:
    """Turned down for the 5 ms on either side of a peak over the ceiling; nothing is cut off.

    A mean of minima never exceeds the gain that the sample in its middle needs.
    """
    if max(float(sound.max()), -float(sound.min())) <= CEILING:
        return sound
    needed = CEILING / np.maximum(np.abs(sound), CEILING)
    lowest = minimum_filter1d(needed, 2 * _LIMITER_SAMPLES + 1, mode="nearest")
    smooth = uniform_filter1d(lowest, 2 * _LIMITER_SAMPLES + 1, mode="nearest")
    return sound * np.minimum(smooth, needed)
