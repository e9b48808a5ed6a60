"""An utterance in about two hundred acoustic numbers, as speech emotion was told before deep nets.

    what is spoken ─► frames of 25 ms ─► MFCC, spectral shape, energy, their slopes ─► statistics
                   └► F0, rhythm, long-term spectrum (data/lime/voice.py) ──────────┘

Statistics are over the frames in which somebody speaks, so that silence around it counts for nothing.
"""

from __future__ import annotations

import itertools
from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.signal

from cogaudio_rl.data.audio import SAMPLE_RATE_HZ, read_audio
from cogaudio_rl.data.lime.fourier import Floats, to_spectrum
from cogaudio_rl.data.lime.voice import voice_of

_FRAME, _HOP, _FFT = 400, 160, 512
_MELS, _CEPSTRA = 32, 20
_LOWEST_HZ = 60.0
_SPOKEN_DB = 30.0
_FLOOR, _NOTHING = 1e-6, 1e-10
_SLOPE_FRAMES = 9
_ROLLOFF = 0.85
_BANDS_HZ = (0, 250, 500, 1_000, 2_000, 4_000, 8_000)
_KEPT_CLIPS = 50_000


@lru_cache(maxsize=_KEPT_CLIPS)
def acoustics_at(path: str) -> tuple[float, ...]:
    """:func:`acoustics_of` a file, each read once. Raises DataError naming it."""
    sound, _notes = read_audio(path)
    return acoustics_of(sound)


def acoustics_of(sound: Floats) -> tuple[float, ...]:
    """The numbers of a sound [T] at 16 kHz; as many, and finite, whatever it holds."""
    spoken = _trimmed(sound)
    power_FK = _power(spoken)
    # Digital silence is as quiet as a room: to fall into it is no way of speaking.
    power_FK += np.float32(_level(power_FK.mean(axis=1)) * _FLOOR + _NOTHING)
    energy_F, cepstra_FC = 10 * np.log10(power_FK.mean(axis=1)), _cepstra(power_FK)
    slopes_FC = _slopes(np.column_stack([cepstra_FC, energy_F]))
    loud = _is_loud(power_FK)
    numbers = [
        *_statistics(np.column_stack([cepstra_FC, _shape(power_FK), energy_F])[loud]),
        *slopes_FC[loud].std(axis=0),
        *np.abs(slopes_FC[loud]).mean(axis=0),
        *voice_of(spoken),
    ]
    return tuple(float(number) for number in np.nan_to_num(numbers))


def _trimmed(sound: Floats) -> Floats:
    """From the first loud frame to the last."""
    places = np.flatnonzero(_is_loud(_power(sound)))
    return sound[places[0] * _HOP : places[-1] * _HOP + _FRAME]


def _power(sound: Floats) -> Floats:
    """Power spectra [F, 257]."""
    padded = np.pad(sound, (0, max(0, _FRAME - sound.size)))
    frames_FT = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP]
    spectra = to_spectrum(frames_FT * _window(), _FFT)
    return np.square(spectra.real) + np.square(spectra.imag)


def _is_loud(power_FK: Floats) -> npt.NDArray[np.bool_]:
    power_F = power_FK.mean(axis=1)
    return power_F >= _level(power_F) * 10 ** (-_SPOKEN_DB / 10)


def _level(power_F: Floats) -> float:
    """Of speech: the mean of all frames weighted by their own power, so that silence has no part."""
    total = float(power_F.sum())
    return float(np.square(power_F).sum()) / total if total else 0.0


def _slopes(values_FC: Floats) -> Floats:
    """Change per frame of each column, by regression over nine frames."""
    found = scipy.signal.savgol_filter(
        values_FC, _SLOPE_FRAMES, polyorder=1, deriv=1, axis=0, mode="nearest"
    )
    return np.asarray(found)


def _statistics(values_FC: Floats) -> Floats:
    """Mean, deviation, and 10th, 50th and 90th percentile of each column."""
    quantiles = np.percentile(values_FC, [10, 50, 90], axis=0)
    return np.concatenate([values_FC.mean(axis=0), values_FC.std(axis=0), *quantiles])


def _cepstra(power_FK: Floats) -> Floats:
    """MFCC [F, 20] (Davis & Mermelstein 1980), the first of which is a level."""
    mel_FM = np.log(power_FK @ _mel_filters())
    return np.asarray(scipy.fft.dct(mel_FM, type=2, axis=1, norm="ortho"))[:, :_CEPSTRA]


def _shape(power_FK: Floats) -> Floats:
    """Of each frame's spectrum [F, 11]: centroid, spread, rolloff, flatness, change from the frame
    before, and in six bands how far its peaks stand over its valleys in dB (spectral contrast,
    Jiang et al. 2002)."""
    hz = np.linspace(0, SAMPLE_RATE_HZ / 2, power_FK.shape[1], dtype=np.float32)
    share_FK = power_FK / power_FK.sum(axis=1, keepdims=True)
    centroid_F = share_FK @ hz
    spread_F = np.sqrt(np.maximum(share_FK @ np.square(hz) - np.square(centroid_F), 0))
    rolloff_F = hz[np.argmax(np.cumsum(share_FK, axis=1) >= _ROLLOFF, axis=1)]
    decibels_FK = 10 * np.log10(power_FK)
    flatness_F = decibels_FK.mean(axis=1) - 10 * np.log10(power_FK.mean(axis=1))
    change_F = np.abs(np.diff(share_FK, axis=0, prepend=share_FK[:1])).sum(axis=1)
    contrasts = [
        np.percentile(band, 90, axis=1) - np.percentile(band, 10, axis=1)
        for low, high in itertools.pairwise(_BANDS_HZ)
        for band in [decibels_FK[:, (hz >= low) & (hz < high)]]
    ]
    return np.column_stack([centroid_F, spread_F, rolloff_F, flatness_F, change_F, *contrasts])


@cache
def _window() -> Floats:
    return np.hanning(_FRAME).astype(np.float32)


@cache
def _mel_filters() -> Floats:
    """[257, 32]"""
    from transformers.audio_utils import mel_filter_bank

    filters = mel_filter_bank(
        num_frequency_bins=_FFT // 2 + 1,
        num_mel_filters=_MELS,
        min_frequency=_LOWEST_HZ,
        max_frequency=SAMPLE_RATE_HZ / 2,
        sampling_rate=SAMPLE_RATE_HZ,
        mel_scale="htk",
    )
    return filters.astype(np.float32)
