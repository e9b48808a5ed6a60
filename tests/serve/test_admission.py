"""What may come in as sound, and that whatever else comes costs little and is told nothing."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from encoded import CODINGS, a_clip, encoded, in_base64
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import sine

from cogaudio_rl.data.audio import decode_audio
from cogaudio_rl.serve import admission
from cogaudio_rl.serve.admission import (
    FORMATS,
    AudioLimits,
    admit_audio,
    admit_text,
    container,
)
from cogaudio_rl.serve.errors import ApiError

LIMITS = AudioLimits()


def format_of(coding: str) -> str:
    return "ogg" if coding == "opus" else coding


def admit(
    file: bytes, format: str = "wav", limits: AudioLimits = LIMITS
) -> npt.NDArray[np.float32]:
    return admit_audio(in_base64(file), format=format, limits=limits)


def refused(
    file: bytes | str, format: str = "wav", limits: AudioLimits = LIMITS
) -> tuple[int, str]:
    """Status and code of the refusal, whose words must betray nothing."""
    text = file if isinstance(file, str) else in_base64(file)
    with pytest.raises(ApiError) as caught:
        admit_audio(text, format=format, limits=limits)
    betrays_nothing(caught.value)
    return caught.value.status, caught.value.code


def betrays_nothing(error: ApiError) -> None:
    assert error.status in (400, 413, 415)
    for word in ("\n", "object at", "0x", "libsndfile", "Traceback", "/tmp", "/home", ".py"):
        assert word not in error.message
    assert error.__suppress_context__ or error.__context__ is None


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize(
    ("rate_hz", "channels"), [(16_000, 1), (48_000, 2), (8_000, 1), (24_000, 2)]
)
def test_every_format_comes_in_as_the_data_loader_reads_it(
    coding: str, rate_hz: int, channels: int
) -> None:
    file = encoded(sine(rate_hz=rate_hz, channels=channels), coding, rate_hz=rate_hz)
    sound = admit(file, format_of(coding))
    trained_on, _ = decode_audio(io.BytesIO(file), name="the same")
    assert sound.dtype == np.float32
    # mpg123 computes a little differently where its buffer lies differently.
    np.testing.assert_allclose(sound, trained_on, rtol=0, atol=1e-6 if coding == "mp3" else 0)
    # 220 Hz stays 220 Hz in the middle of it, where no encoder's padding is.
    middle = sound[1_600:6_400]
    assert np.argmax(np.abs(np.fft.rfft(middle, 16_000))) == pytest.approx(220, abs=4)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_every_common_coding_of_wav(subtype: str) -> None:
    assert np.abs(admit(encoded(sine(), subtype=subtype)) - sine()).max() < 0.02


@pytest.mark.parametrize("subtype", ["GSM610", "IMA_ADPCM", "MS_ADPCM"])
def test_codings_nobody_sends_are_refused_before_they_are_decoded(subtype: str) -> None:
    rate_hz = 16_000
    file = encoded(sine(rate_hz=rate_hz), subtype=subtype, rate_hz=rate_hz)
    assert refused(file) == (415, "unsupported_format")


@pytest.mark.parametrize("level", [0.0, 0.25])
def test_silence_and_a_constant_are_sound(level: float) -> None:
    sound = admit(encoded(np.full(8_000, level, np.float32), subtype="FLOAT"))
    assert np.array_equal(sound, np.full(8_000, level, np.float32))


def test_what_is_too_loud_is_clipped_and_two_channels_do_not_overflow() -> None:
    loud = np.full((8_000, 2), 3e38, np.float32)
    assert np.array_equal(admit(encoded(loud, subtype="FLOAT")), np.ones(8_000, np.float32))
    step = np.sign(sine(rate_hz=48_000, hz=50.0)).astype(np.float32)
    assert np.abs(admit(encoded(step, subtype="FLOAT", rate_hz=48_000))).max() <= 1.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_what_is_no_number_is_refused(bad: float) -> None:
    sound = sine().astype(np.float64)
    sound[4_000] = bad
    assert refused(encoded(sound, subtype="DOUBLE")) == (400, "bad_samples")


def test_text_that_is_not_base64() -> None:
    clip = a_clip()
    for text in (
        "?",
        "AAA",
        "AAAA=",
        "AAAA====",
        "=AAA",
        "A=AA",
        clip + "=",
        clip[:100] + "\n" + clip[100:],
        "ÄÖÜ€",
        "\ud800",
    ):
        assert refused(text) == (400, "invalid_base64"), text[:8]
    assert refused("") == (400, "empty_audio")


@pytest.mark.parametrize(
    "address",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://example.org/a.wav",
        "file:///etc/passwd",
        "FTP://example.org/a.wav",
        "gopher://127.0.0.1:6379/_",
        "s3://bucket/a.wav",
        "\\\\host\\share\\a.wav",
        "/etc/passwd",
        "../../a.wav",
    ],
)
def test_no_address_and_no_path_is_followed(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def touched(*_args: object, **_options: object) -> None:
        raise AssertionError("something was opened")

    monkeypatch.setattr("builtins.open", touched)
    monkeypatch.setattr("socket.socket.connect", touched)
    status, code = refused(address)
    assert (status, code) in {(400, "no_urls"), (400, "invalid_base64"), (415, "wrong_format")}


def test_a_data_url_of_the_same_type_is_what_a_browser_makes_of_a_file() -> None:
    clip = a_clip()
    for kind in ("data:audio/wav;", "data:audio/x-wav;codecs=1;", "DATA:audio/WAV;"):
        head = kind + "base64,"
        assert len(admit_audio(head + clip, format="wav", limits=LIMITS)) == 8_000
    assert refused("data:audio/mpeg;base64," + clip) == (415, "wrong_format")
    for head in ("data:text/html;base64,", "data:,", "data:audio/wav,", "data:audio/wav;base64;"):
        assert refused(head + clip) == (415, "unsupported_format")


def test_a_file_is_what_its_first_bytes_say_and_format_must_agree() -> None:
    files = {coding: encoded(sine(), coding) for coding in CODINGS}
    for coding, file in files.items():
        assert container(file) == format_of(coding)
        for format in FORMATS:
            if format != format_of(coding):
                assert refused(file, format) == (415, "wrong_format")
    assert refused(files["wav"], "webm") == (415, "unsupported_format")
    assert refused(files["wav"], "../wav") == (415, "unsupported_format")


@pytest.mark.parametrize(
    "head",
    [
        b"\x1aE\xdf\xa3webm",
        b"\0\0\0\x20ftypM4A ",
        b"FORM\0\0\0\x20AIFF",
        b"RF64\xff\xff\xff\xffWAVE",
        b".snd\0\0\0\x18",
        b"%PDF-1.7",
        b"PK\x03\x04",
        b"\x1f\x8b\x08",
        b"<!DOCTYPE html>",
        b"\xff\xf1\x50\x80",  # AAC, which begins almost as mp3 does
    ],
)
def test_other_files_are_none_of_these(head: bytes) -> None:
    for format in FORMATS:
        assert refused(head + bytes(2_000), format) == (415, "wrong_format")


def test_another_file_behind_an_mp3_tag_is_not_let_in() -> None:
    tag = b"ID3\x03\x00\x00\x00\x00\x00\x0a" + bytes(10)
    for coding in ("wav", "flac", "ogg"):
        assert refused(tag + encoded(sine(), coding), "mp3")[0] == 415
    assert len(admit(tag + encoded(sine(), "mp3"), "mp3")) >= 8_000


def wav_header(*, channels: int, rate_hz: int, bits: int, data_bytes: int) -> bytes:
    frame = channels * bits // 8
    form = struct.pack(
        "<HHIIHH", 1, channels, rate_hz, rate_hz * frame % 2**32, frame % 2**16, bits
    )
    return (
        b"RIFF" + struct.pack("<I", min(36 + data_bytes, 2**32 - 1)) + b"WAVE"
        + b"fmt " + struct.pack("<I", 16) + form
        + b"data" + struct.pack("<I", data_bytes)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("channels", "rate_hz", "expected"),
    [
        (33, 16_000, "unsupported_channels"),
        (1_024, 16_000, "unsupported_channels"),
        (0, 16_000, "damaged_audio"),
        (1, 0, "damaged_audio"),
        (1, 1, "unsupported_rate"),
        (1, 7_999, "unsupported_rate"),
        (1, 96_001, "unsupported_rate"),
        (1, 2**31 - 1, "unsupported_rate"),
        (1, 2**32 - 1, "damaged_audio"),
    ],
)
def test_channels_and_rates_out_of_range(channels: int, rate_hz: int, expected: str) -> None:
    body = bytes(channels * 2 * 2_000)
    header = wav_header(channels=channels, rate_hz=rate_hz, bits=16, data_bytes=len(body))
    assert refused(header + body) == (415, expected)


def test_no_frames_and_too_few() -> None:
    for coding in ("wav", "flac"):
        assert refused(encoded(sine()[:0], coding), coding) == (400, "empty_audio")
    least = int(LIMITS.min_seconds * 16_000)
    assert refused(encoded(sine()[: least - 1])) == (400, "too_short")
    assert len(admit(encoded(sine()[:least]))) == least


def test_the_longest_clip_comes_in_and_one_sample_more_does_not() -> None:
    limits = AudioLimits(max_seconds=1.0)
    sound = sine(seconds=1.0001)
    assert len(admit(encoded(sound[:16_000]), limits=limits)) == 16_000
    assert refused(encoded(sound[:16_001]), limits=limits) == (413, "audio_too_long")


def test_bytes_are_counted_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = AudioLimits(max_bytes=10_000)
    file = encoded(sine())
    assert limits.max_characters == len(in_base64(bytes(limits.max_bytes)))
    assert refused(file[:10_001], limits=limits) == (413, "audio_too_large")
    monkeypatch.setattr("binascii.a2b_base64", None)
    assert refused("A" * 20_000, limits=limits) == (413, "audio_too_large")


def unknown_length(flac: bytes) -> bytes:
    """The same FLAC, as a pipe writes it: the header's 36 bits for the number of samples are 0."""
    file = bytearray(flac)
    at = 8 + 13
    file[at] &= 0xF0
    file[at + 1 : at + 5] = bytes(4)
    return bytes(file)


def test_a_header_that_claims_more_than_there_is() -> None:
    sound = sine()
    body = (sound * 2**15).astype("<i2").tobytes()
    header = wav_header(channels=1, rate_hz=16_000, bits=16, data_bytes=2**32 - 1)
    assert len(admit(header + body)) == 8_000
    assert len(admit(unknown_length(encoded(sound, "flac")), "flac")) == 8_000


def silence(coding: str, *, seconds: int) -> bytes:
    return encoded(np.zeros(seconds * 16_000, np.float32), coding)


BOMBS: dict[str, Callable[[], tuple[bytes, str]]] = {
    "ten minutes of silent flac": lambda: (silence("flac", seconds=600), "flac"),
    "silent flac of no length": lambda: (unknown_length(silence("flac", seconds=600)), "flac"),
    "an hour of silent mp3": lambda: (silence("mp3", seconds=61) * 59, "mp3"),
    "an hour of silent vorbis": lambda: (silence("ogg", seconds=61) * 59, "ogg"),
    "an hour of silent opus": lambda: (silence("opus", seconds=61) * 59, "ogg"),
    "4 GB of wav": lambda: (
        wav_header(channels=1, rate_hz=16_000, bits=16, data_bytes=2**32 - 1) + bytes(12 * 2**20),
        "wav",
    ),
    "1024 channels": lambda: (
        wav_header(channels=1_024, rate_hz=96_000, bits=32, data_bytes=2**32 - 1) + bytes(2**20),
        "wav",
    ),
    "false ogg pages": lambda: (encoded(sine(), "ogg")[:4_000] + b"OggS" * 2**20, "ogg"),
    "false mp3 frames": lambda: (b"\xff\xfb\x90\x00" * 2**20, "mp3"),
    "empty wav chunks": lambda: (b"RIFF\xff\xff\xff\x7fWAVE" + b"LIST\0\0\0\0" * 2**18, "wav"),
}


@pytest.mark.parametrize("make", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_in_bounded_time(
    make: Callable[[], tuple[bytes, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "DECODE_CPU_S", 0.5)
    file, format = make()
    begun_s = time.thread_time()
    status, _ = refused(file, format)
    assert status in (413, 415)
    # The meter stops a decoder between two reads; the rest is base64 and what the machine adds.
    assert time.thread_time() - begun_s < 1.0


MEASURE = """
import resource, sys
from pathlib import Path
from cogaudio_rl.serve.admission import AudioLimits, admit_audio
from cogaudio_rl.serve.errors import ApiError

limits = AudioLimits()
folder = Path(sys.argv[1])
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
text = (folder / "warm.wav").read_text()
admit_audio(text, format="wav", limits=limits)
before = peak()
for path in sorted(folder.glob("bomb*")):
    text = path.read_text()
    try:
        admit_audio(text, format=path.suffix[1:], limits=limits)
        raise SystemExit(f"{path.name} came in")
    except ApiError as error:
        assert error.status in (413, 415)
print(peak() - before, limits.decoded_bytes)
"""


@pytest.mark.slow
def test_bombs_take_no_more_memory_than_the_longest_clip(tmp_path: Path) -> None:
    largest = 0
    (tmp_path / "warm.wav").write_text(a_clip(), "ascii")
    for number, make in enumerate(BOMBS.values()):
        file, format = make()
        largest = max(largest, len(file))
        (tmp_path / f"bomb{number}.{format}").write_text(in_base64(file), "ascii")
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2_000:]
    taken, decoded_bytes = map(int, done.stdout.split())
    # Text (twice: read and kept), bytes and the decoder's copy of what it reads, besides the samples.
    assert taken < 3 * decoded_bytes + 5 * largest + 16 * 2**20


def test_other_threads_run_while_a_clip_is_decoded() -> None:
    minute = encoded(np.tile(sine(seconds=1.0, rate_hz=48_000), 55), "mp3", rate_hz=48_000)
    text = in_base64(minute)
    longest_s, last_s, stop = 0.0, time.monotonic(), threading.Event()

    def watch() -> None:
        nonlocal longest_s, last_s
        while not stop.is_set():
            time.sleep(0.001)
            longest_s = max(longest_s, time.monotonic() - last_s)
            last_s = time.monotonic()

    watcher = threading.Thread(target=watch)
    watcher.start()
    begun_s = time.monotonic()
    admit_audio(text, format="mp3", limits=LIMITS)
    took_s = time.monotonic() - begun_s
    stop.set()
    watcher.join()
    # Held all the time, the lock would keep the watcher away from the first moment to the last.
    assert longest_s < max(0.5 * took_s, 0.05)


ORIGINALS = {
    (coding, rate_hz): encoded(sine(seconds=0.2, rate_hz=rate_hz), coding, rate_hz=rate_hz)
    for coding in CODINGS
    for rate_hz in (16_000, 48_000)
}
EDGES = (b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\xff\xff\xff\xff", b"\0\0\0\0")


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """A real file after a few cuts, flips, repeats and swaps, most of them in its header."""
    (coding, _), file = draw(st.sampled_from(list(ORIGINALS.items())))
    broken = bytearray(file)
    for _ in range(draw(st.integers(1, 8))):
        within = draw(st.sampled_from((min(120, len(broken)), len(broken))))
        at = draw(st.integers(0, max(within - 1, 0)))
        match draw(st.sampled_from(("flip", "cut", "repeat", "remove", "edge", "insert"))):
            case "flip" if broken:
                broken[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del broken[at:]
            case "repeat":
                broken[at:at] = broken[at : at + draw(st.integers(1, 400))]
            case "remove":
                del broken[at : at + draw(st.integers(1, 64))]
            case "edge":
                broken[at : at + 4] = draw(st.sampled_from(EDGES))
            case _:
                broken[at:at] = draw(st.binary(max_size=64))
    return format_of(coding), bytes(broken)


@settings(max_examples=300)
@given(damaged())
def test_whatever_is_damaged_is_sound_or_a_refusal(case: tuple[str, bytes]) -> None:
    format, file = case
    try:
        sound = admit(file, format)
    except ApiError as error:
        betrays_nothing(error)
        return
    assert sound.dtype == np.float32
    assert sound.ndim == 1
    assert np.abs(sound).max() <= 1.0
    assert LIMITS.min_seconds * 0.99 <= len(sound) / 16_000 <= LIMITS.max_seconds * 1.01


@given(st.sampled_from(FORMATS), st.text(max_size=200) | st.binary(max_size=200).map(in_base64))
def test_whatever_is_no_sound_at_all_is_a_refusal(format: str, text: str) -> None:
    refused(text, format)


@given(st.text())
def test_text_is_taken_as_it_is(text: str) -> None:
    assert admit_text(text) == text


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\udc80\ud800"])
def test_half_a_letter_is_not(text: str) -> None:
    with pytest.raises(ApiError, match="surrogate"):
        admit_text(text)
