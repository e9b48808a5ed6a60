"""scipy's real transforms in single precision, half the time of double, with their types said."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt
import scipy.fft

Floats = npt.NDArray[np.float32]
Spectrum = npt.NDArray[np.complex64]


def to_spectrum(sound: Floats, size: int | None = None) -> Spectrum:
    """Real transform over the last axis, filled up with zeros to ``size``: [..., size // 2 + 1]."""
    return cast(Spectrum, cast(Any, scipy.fft.rfft(sound, size, axis=-1)))


def to_sound(spectrum: Spectrum | Floats, size: int) -> Floats:
    """Its inverse: [..., size]."""
    return cast(Floats, cast(Any, scipy.fft.irfft(spectrum, size, axis=-1)))
