"""Speech from espeak-ng through its C library, in process.

eSpeak NG is GPLv3: it is a dependency (the ``espeakng-loader`` wheel), never vendored.
"""

from __future__ import annotations

import _ctypes
import ctypes
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from cogaudio_rl.errors import DataError

_SYNCHRONOUS_RETRIEVAL = 2
_POSITION_CHARACTER = 1
_CHARS_UTF8 = 1
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


_heard: list[npt.NDArray[np.int16]] = []


# Never freed: the library keeps the pointer, whichever engine gave it, and calling a collected
# callback ends the process.
@_CALLBACK
def _collect(samples: Any, count: int, _events: object) -> int:
    if samples and count > 0:
        _heard.append(np.ctypeslib.as_array(samples, shape=(count,)).copy())
    return 0


class Espeak:
    """The engine; take it from :func:`engine`, because the C library keeps global state."""

    def __init__(self) -> None:
        import espeakng_loader

        self._lib: Any = ctypes.CDLL(espeakng_loader.get_library_path())
        self._lib.espeak_Initialize.argtypes = [
            ctypes.c_int,
            ctypes.c_int,
            ctypes.c_char_p,
            ctypes.c_int,
        ]
        self._lib.espeak_Synth.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]
        data = str(espeakng_loader.get_data_path()).encode()
        self.sample_rate_hz: int = self._lib.espeak_Initialize(_SYNCHRONOUS_RETRIEVAL, 0, data, 0)
        if self.sample_rate_hz <= 0:
            raise DataError(f"espeak-ng did not start with its data in {data.decode()!r}")
        # It seeds its noise by the clock: voices with breath in them would differ from run to run.
        self._lib.espeak_ng_SetRandSeed(ctypes.c_long(1))
        self._lib.espeak_SetSynthCallback(_collect)

    def say(
        self, text: str, *, voice: str, rate_wpm: float, pitch: float, pitch_range: float
    ) -> npt.NDArray[np.float32]:
        """Speak ``text``; returns mono samples in [-1, 1] at ``sample_rate_hz``.

        ``pitch`` and ``pitch_range`` are espeak's 0–99 scales (50 is the voice's own).
        Raises DataError for a voice that espeak-ng does not have.
        """
        _heard.clear()
        if self._lib.espeak_SetVoiceByName(voice.encode()) != 0:
            raise DataError(f"espeak-ng has no voice {voice!r}")
        settings = (
            (_RATE, float(np.clip(rate_wpm, 80, 450))),
            (_VOLUME, 100.0),
            (_PITCH, float(np.clip(pitch, 0, 99))),
            (_RANGE, float(np.clip(pitch_range, 0, 99))),
        )
        for parameter, value in settings:
            self._lib.espeak_SetParameter(parameter, round(value), 0)
        data = text.encode() + b"\0"
        self._lib.espeak_Synth(data, len(data), 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None)
        self._lib.espeak_Synchronize()
        if not _heard:
            return np.zeros(0, np.float32)
        return np.concatenate(_heard).astype(np.float32) / 32768.0

    def close(self) -> None:
        """End the engine and unload the library, and with it all that its globals remember."""
        self._lib.espeak_Terminate()
        _ctypes.dlclose(self._lib._handle)


@cache
def engine() -> Espeak:
    """The process's one engine."""
    return Espeak()


def restart() -> None:
    """Begin anew, so that what is said next depends on nothing that was said before.

    espeak-ng never resets its flutter, wave phase and noise: the same sentence comes out otherwise
    the second time. Only a fresh copy of the library's globals starts from one known state.
    Takes about 0.5 ms, and 5 ms more for the next sentence, which reads the dictionary again.
    """
    if engine.cache_info().currsize:
        engine().close()
        engine.cache_clear()
    ctypes.CDLL(None).srand(1)  # its Klatt voices hiss with the C library's rand()
    engine()
