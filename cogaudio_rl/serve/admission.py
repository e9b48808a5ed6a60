"""What a client sends as sound: base64 → mono float32 at 16 kHz, or a refusal.

    characters ─► bytes ─► container ─► header ─► samples ─► 16 kHz
        413         400        415     413 · 415     400

Each step is checked before the next one costs anything, since a header may say what it likes and
20 MB of FLAC can hold a year of silence. Nothing is written to disk, nothing is fetched, and what
libsndfile says stays here.
"""

from __future__ import annotations

import binascii
import io
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from cogaudio_rl.data.audio import SAMPLE_RATE_HZ
from cogaudio_rl.serve.errors import ApiError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

FORMATS: tuple[str, ...] = ("wav", "mp3", "flac", "ogg")
"""What `format` may say; Ogg holds Vorbis or Opus."""
MIN_SAMPLE_RATE_HZ = 8_000
"""Telephone speech. Below it there is no voice to hear, and resampling would multiply the samples."""
DECODE_CPU_S = 2.0
"""A minute of sound decodes in a tenth of this. More takes only what was made to: 16 MB of false Ogg
pages kept libsndfile busy for a minute. The thread's own time: a busy machine is no cause."""
READ_OVER = 16
"""How often a decoder may read its file over. Opening an Ogg stream looks for its end, then begins."""
READ_CALL_BYTES = 64
"""What one call counts at least, so that reading nothing for ever ends too."""
PIECE_FRAMES = 32_768

_PARAM = "messages"
_DATA_URL = re.compile(r"data:audio/([a-z0-9.+-]{1,32})(?:;[a-z0-9=_.+-]{1,64}){0,4};base64,", re.I)
_DATA_URL_CHARACTERS = 400
_MEDIA_TYPES: dict[str, tuple[str, ...]] = {
    "wav": ("wav", "wave", "x-wav", "x-pn-wav", "vnd.wave"),
    "mp3": ("mp3", "mpeg"),
    "flac": ("flac", "x-flac"),
    "ogg": ("ogg", "opus"),
}
# What speech comes in. The rest that libsndfile reads (GSM, ADPCM, …) is old code nobody sends to.
_CODINGS = {
    "wav": {"PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"},
    "mp3": {"MPEG_LAYER_III"},
    "flac": {"PCM_S8", "PCM_16", "PCM_24"},
    "ogg": {"VORBIS", "OPUS"},
}
_CONTAINERS = {"WAV": "wav", "WAVEX": "wav", "MP3": "mp3", "FLAC": "flac", "OGG": "ogg"}
_UNKNOWN_FRAMES = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioLimits:
    """How much sound one request may bring."""

    max_bytes: int = 16 * 2**20
    """Encoded, before base64: a minute of 16-bit stereo at 96 kHz is 23 MB, one of mp3 1 MB."""
    max_seconds: float = 60.0
    min_seconds: float = 0.1
    max_sample_rate: int = 96_000
    max_channels: int = 8

    @property
    def max_characters(self) -> int:
        """Base64 characters of ``max_bytes``."""
        return 4 * -(-self.max_bytes // 3)

    @property
    def decoded_bytes(self) -> int:
        """Memory of the longest clip at the highest rate, mono, as float32."""
        return int(self.max_seconds * self.max_sample_rate) * 4


def admit_audio(data: str, *, format: str, limits: AudioLimits) -> npt.NDArray[np.float32]:
    """The clip as [samples] in [-1, 1] at 16 kHz. Raises ApiError: 400, 413 or 415.

    ``data`` is base64, or a `data:audio/…;base64,` URL, which is what a browser makes of a file; no
    other URL is taken, so nothing is ever fetched. Silence and a constant are sound too: how they are
    answered is the model's business. Runs in a thread: decoding and resampling release the GIL.
    """
    if format not in FORMATS:
        raise _refusal(415, f"format must be one of {', '.join(FORMATS)}", "unsupported_format")
    encoded = _from_base64(data, format=format, limits=limits)
    if (found := container(encoded)) != format:
        raise _refusal(
            415, f"the audio {_found_words(found)}, format says {format}", "wrong_format"
        )
    file = _Metered(encoded, cpu_s=DECODE_CPU_S)
    mono, rate_hz = _decode(file, format=format, limits=limits)
    if len(mono) < limits.min_seconds * rate_hz:
        length_s = len(mono) / rate_hz
        raise _refusal(
            400,
            f"{length_s:.3f} s is too short; send {limits.min_seconds:g} s or more",
            "too_short",
        )
    if rate_hz != SAMPLE_RATE_HZ:
        mono = soxr.resample(mono, rate_hz, SAMPLE_RATE_HZ)
    # A filter rings over at an edge.
    return np.clip(mono, -1.0, 1.0).astype(np.float32, copy=False)


def admit_text(text: str, *, param: str = "messages") -> str:
    """The text, which is Unicode to its end: JSON can hold half a letter (`\\ud800`), and no tokenizer
    can read that. Raises ApiError 400."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ApiError(
            400, "a text holds half a surrogate pair", code="bad_text", param=param
        ) from None
    return text


def container(encoded: bytes) -> str | None:
    """Which of FORMATS the first bytes announce, or None."""
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WAVE":
        return "wav"
    if encoded[:4] == b"fLaC":
        return "flac"
    if encoded[:4] == b"OggS":
        return "ogg"
    # An MPEG frame begins with 11 ones; layer III tells it from AAC.
    sync = len(encoded) > 2 and encoded[0] == 0xFF and encoded[1] & 0xE6 == 0xE2
    return "mp3" if sync or encoded[:3] == b"ID3" else None


def _from_base64(data: str, *, format: str, limits: AudioLimits) -> bytes:
    if len(data) > limits.max_characters + _DATA_URL_CHARACTERS:
        raise _too_big(limits)
    if data[:5].lower() == "data:":
        data = _behind_data_url(data, format=format)
    elif "://" in data[:64]:
        raise _refusal(
            400, "audio comes inline as base64; nothing is fetched from an address", "no_urls"
        )
    if len(data) % 4 or data.endswith("==="):  # which the decoder lets pass
        raise _refusal(400, "input_audio.data is not base64", "invalid_base64")
    try:
        encoded = binascii.a2b_base64(data, strict_mode=True)
    except ValueError:  # also characters outside ASCII
        raise _refusal(400, "input_audio.data is not base64", "invalid_base64") from None
    if len(encoded) > limits.max_bytes:
        raise _too_big(limits)
    if not encoded:
        raise _refusal(400, "the audio is empty", "empty_audio")
    return encoded


def _behind_data_url(data: str, *, format: str) -> str:
    head = _DATA_URL.match(data, 0, _DATA_URL_CHARACTERS)
    if head is None:
        raise _refusal(415, "a data: URL must be data:audio/…;base64,…", "unsupported_format")
    if head[1].lower() not in _MEDIA_TYPES[format]:
        raise _refusal(415, f"the data: URL is of another type than {format}", "wrong_format")
    return data[head.end() :]


class _Metered(io.BytesIO):
    """A file in memory that ends early for a decoder that goes round and round in it.

    libsndfile cannot be interrupted, but it stops where its file does.
    """

    def __init__(self, encoded: bytes, *, cpu_s: float) -> None:
        super().__init__(encoded)
        self._until = time.thread_time() + cpu_s
        self._left_bytes = READ_OVER * len(encoded) + 2**20
        self.spent = False

    def readinto(self, buffer: WriteableBuffer) -> int:
        if self._left_bytes <= 0 or time.thread_time() > self._until:
            self.spent = True
            return 0
        count = super().readinto(buffer)
        self._left_bytes -= max(count, READ_CALL_BYTES)
        return count


class _OneWay(soundfile.SoundFile):
    """Read from the first sample to the last. soundfile would seek behind every piece: an mp3 or Ogg
    stream decodes a part again for that, and one that does not know its length cannot do it."""

    def seekable(self) -> bool:
        return False


def _decode(
    file: _Metered, *, format: str, limits: AudioLimits
) -> tuple[npt.NDArray[np.float32], int]:
    """The channels' mean [samples] in [-1, 1], and its rate in Hz."""
    pieces: list[npt.NDArray[np.float32]] = []
    try:
        with _OneWay(file) as sound:
            _check_header(sound, format=format, limits=limits)
            rate_hz: int = sound.samplerate
            left = int(limits.max_seconds * rate_hz)
            # What the header says was believed only where it says too much.
            piece = np.empty((PIECE_FRAMES, sound.channels), np.float32)
            while count := len(sound.read(out=piece)):
                left -= count
                if left < 0:
                    raise _too_long(limits)
                pieces.append(_mono(piece[:count]))
    except (soundfile.SoundFileError, OSError, ValueError, RuntimeError):
        raise _unreadable(file, format) from None
    if file.spent:
        raise _unreadable(file, format)
    if not pieces:
        raise _refusal(400, "the audio holds no samples", "empty_audio")
    return np.concatenate(pieces), rate_hz


def _mono(piece: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The mean of [frames, channels], clipped."""
    if not np.isfinite(piece).all():
        raise _refusal(400, "the audio holds NaN or infinite samples", "bad_samples")
    # Before the mean: two channels of 3e38 would add up to infinity.
    return np.clip(piece, -1.0, 1.0, out=piece).mean(axis=1)


def _check_header(sound: soundfile.SoundFile, *, format: str, limits: AudioLimits) -> None:
    coding = sound.subtype
    if _CONTAINERS.get(sound.format) != format or coding not in _CODINGS[format]:
        raise _refusal(415, f"this coding of {format} is not taken", "unsupported_format")
    if not MIN_SAMPLE_RATE_HZ <= sound.samplerate <= limits.max_sample_rate:
        rates = f"{MIN_SAMPLE_RATE_HZ} to {limits.max_sample_rate} Hz"
        raise _refusal(415, f"{sound.samplerate} Hz; send {rates}", "unsupported_rate")
    if sound.channels > limits.max_channels:
        most = f"at most {limits.max_channels}"
        raise _refusal(415, f"{sound.channels} channels; send {most}", "unsupported_channels")
    # A stream that was written to a pipe does not know its length.
    if sound.frames != _UNKNOWN_FRAMES and sound.frames > limits.max_seconds * sound.samplerate:
        raise _too_long(limits)


def _found_words(found: str | None) -> str:
    return f"is {found}" if found else "is none of " + ", ".join(FORMATS)


def _unreadable(file: _Metered, format: str) -> ApiError:
    if file.spent:
        return _refusal(413, "the audio takes too long to decode", "audio_too_costly")
    return _refusal(415, f"the audio is damaged: it cannot be read as {format}", "damaged_audio")


def _too_big(limits: AudioLimits) -> ApiError:
    return _refusal(413, f"audio may have {limits.max_bytes} bytes at most", "audio_too_large")


def _too_long(limits: AudioLimits) -> ApiError:
    return _refusal(413, f"audio may last {limits.max_seconds:g} s at most", "audio_too_long")


def _refusal(status: int, message: str, code: str) -> ApiError:
    return ApiError(status, message, code=code, param=_PARAM)
