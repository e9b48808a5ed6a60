from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import sine, write_sine

from cogaudio_rl.data.audio import log_conversions, probe_audio, read_audio, write_audio
from cogaudio_rl.errors import DataError


def no_samples(path: Path) -> None:
    soundfile.write(path, np.zeros(0, np.float32), 16_000)


def not_a_number(path: Path) -> None:
    sound = sine()
    sound[100] = np.nan
    soundfile.write(path, sound, 16_000, subtype="FLOAT")


def garbage(path: Path) -> None:
    path.write_bytes(b"this is no sound at all")


def nothing(path: Path) -> None:
    del path


BAD = {
    no_samples: "has 0 samples",
    not_a_number: "holds NaN or infinite samples",
    garbage: "cannot be read",
    nothing: "does not exist",
}


@pytest.mark.parametrize("use", [read_audio, probe_audio])
@pytest.mark.parametrize(("make", "message"), BAD.items(), ids=lambda value: str(value))
def test_bad_audio_is_named(
    make: Callable[[Path], None],
    message: str,
    use: Callable[[Path], object],
    tmp_path: Path,
) -> None:
    path = tmp_path / "bad.wav"
    make(path)
    with pytest.raises(DataError, match=message) as caught:
        use(path)
    assert "bad.wav" in str(caught.value)
    assert "\n" not in str(caught.value)


CONVERTED = [
    (16_000, 1, []),
    (16_000, 2, ["2 channels averaged to mono"]),
    (8_000, 1, ["resampled from 8000 Hz to 16000 Hz"]),
    (96_000, 2, ["2 channels averaged to mono", "resampled from 96000 Hz to 16000 Hz"]),
]


@pytest.mark.parametrize(("rate_hz", "channels", "notes"), CONVERTED)
def test_other_formats_are_converted_with_a_note(
    rate_hz: int, channels: int, notes: list[str], tmp_path: Path
) -> None:
    path = write_sine(tmp_path / "tone.wav", rate_hz=rate_hz, channels=channels)
    sound, said = read_audio(path)
    ref, foretold = probe_audio(path)
    assert said == foretold == notes
    assert sound.dtype == np.float32
    assert sound.shape == (8_000,)
    assert (ref.sample_rate_hz, ref.num_samples) == (rate_hz, rate_hz // 2)
    # 220 Hz stays 220 Hz: the loudest bin of the spectrum, which has 2 Hz steps.
    assert np.argmax(np.abs(np.fft.rfft(sound))) * 2 == 220


def test_flac_keeps_what_is_written(tmp_path: Path) -> None:
    ref = write_audio(tmp_path / "deep" / "tone.flac", sine())
    assert probe_audio(ref.path) == (ref, [])
    sound, _ = read_audio(ref.path)
    np.testing.assert_allclose(sound, sine(), atol=2 / 2**15)


def test_conversions_are_told_once_a_kind(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        log_conversions({"2 channels averaged to mono": ["a.wav", "b.wav"]})
    assert caplog.messages == ["2 audio files: 2 channels averaged to mono (first: a.wav)"]
