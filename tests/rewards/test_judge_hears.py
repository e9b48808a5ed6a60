"""A judge that hears gets the recording beside the words; without one there is no score."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from chat_server import Endpoint
from judging import SAD, judging, one, trouble
from replies import direct

from cogaudio_rl.errors import JudgeUnreachable
from cogaudio_rl.types import AudioRef, Score, Unscored, Utterance


def spoken(path: Path, *, rate_hz: int = 8_000, hz: float = 440.0) -> Utterance:
    """SAD, said in a stereo file at a rate that is not the judge's."""
    t = np.arange(rate_hz // 2) / rate_hz
    tone = 0.5 * np.sin(2 * np.pi * hz * t).astype(np.float32)
    soundfile.write(path, np.stack([tone, tone], axis=1), rate_hz)
    ref = AudioRef(path=str(path), sample_rate_hz=rate_hz, num_samples=len(tone))
    return replace(SAD, audio=ref)


async def test_the_clip_is_sent_as_wav_at_16_khz(endpoint: Endpoint, tmp_path: Path) -> None:
    async with judging(endpoint.url, hears=True) as judge:
        assert isinstance(await one(judge, to=spoken(tmp_path / "a.wav")), Score)
    [request] = endpoint.requests
    system, user = request["messages"]
    words, heard = user["content"]
    assert words["type"] == "text"
    assert json.loads(words["text"])["user_voice_emotion"] == "sad"
    assert heard["type"] == "input_audio"
    assert heard["input_audio"]["format"] == "wav"
    sound, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(heard["input_audio"]["data"])))
    assert rate_hz == 16_000
    assert sound.shape == (8_000,)
    spectrum = np.abs(np.fft.rfft(sound))
    assert np.fft.rfftfreq(len(sound), 1 / rate_hz)[spectrum.argmax()] == pytest.approx(440, abs=3)
    assert "recording" in system["content"]


async def test_a_judge_that_does_not_hear_gets_words_alone(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    async with judging(endpoint.url) as judge:
        await one(judge, to=spoken(tmp_path / "a.wav"))
    assert isinstance(endpoint.requests[0]["messages"][1]["content"], str)
    assert "recording" not in endpoint.requests[0]["messages"][0]["content"]


@pytest.mark.parametrize("sort", ["absent", "missing", "not audio", "empty", "NaN"])
async def test_bad_audio_is_no_score_and_says_why(
    endpoint: Endpoint, tmp_path: Path, sort: str
) -> None:
    path = tmp_path / "bad.wav"
    if sort == "not audio":
        path.write_bytes(b"certainly no sound")
    if sort in ("empty", "NaN"):
        sound = np.full(0 if sort == "empty" else 9, np.nan, np.float32)
        soundfile.write(path, sound, 16_000, subtype="FLOAT")
    ref = AudioRef(path=str(path), sample_rate_hz=16_000, num_samples=9)
    utterance = replace(SAD, audio=None if sort == "absent" else ref)
    async with judging(endpoint.url, hears=True) as judge:
        [[good, bad]] = await judge.score([direct(utterance, "Cry.", "Sit down.")])
    for score in (good, bad):
        assert isinstance(score, Unscored)
        assert score.reason.startswith("judge: ")
        assert (utterance.id if sort == "absent" else "bad.wav") in score.reason
    assert endpoint.requests == []


async def test_another_recording_is_another_question(endpoint: Endpoint, tmp_path: Path) -> None:
    low, high = spoken(tmp_path / "a.wav"), spoken(tmp_path / "b.wav", hz=880.0)
    (tmp_path / "c.wav").write_bytes((tmp_path / "a.wav").read_bytes())
    assert low.audio is not None
    moved = replace(low, audio=replace(low.audio, path=str(tmp_path / "c.wav")))
    for _ in range(2):
        async with judging(endpoint.url, hears=True, cache=tmp_path / "kept") as judge:
            for utterance in (low, high, moved):
                await one(judge, to=utterance)
    assert len(endpoint.requests) == 2, "the same samples elsewhere are the same question"


async def test_the_probe_finds_a_judge_that_is_deaf(endpoint: Endpoint) -> None:
    async with judging(endpoint.url, hears=True) as judge:
        await judge.probe()
        endpoint.script = lambda _: trouble(400, "this model does not support audio")
        with pytest.raises(JudgeUnreachable, match="does not support audio"):
            await judge.probe()
    assert endpoint.requests[0]["messages"][1]["content"][1]["type"] == "input_audio"


async def test_sound_does_not_count_as_words_for_the_rate(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    """Half a second of sound is 21 kB of base64; counted as words, three would wait for seconds."""
    utterance = spoken(tmp_path / "a.wav")
    async with judging(endpoint.url, hears=True, tokens_per_minute=1_000_000) as judge:
        for reply in ("a", "b", "c"):
            assert isinstance(await one(judge, reply, to=utterance), Score)
