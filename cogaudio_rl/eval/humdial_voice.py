"""Replies spoken: the challenge's third task is heard, and judged by its voice too."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cogaudio_rl.data.audio import SAMPLE_RATE_HZ, probe_audio, write_audio
from cogaudio_rl.data.lime.speakers import Line, Speaker
from cogaudio_rl.errors import DataError
from cogaudio_rl.eval.humdial_dialogues import Answered, plain
from cogaudio_rl.seeding import seed_for
from cogaudio_rl.types import AudioRef

SPOKEN_TASK = "T3"
TONE = ("neutral", "mid")
"""Emotion and intensity of every reply. What the user feels is hidden in the challenge's test set."""
MIN_SECONDS = 0.05
"""Less is no reply: whoever spoke it stumbled."""


def speak_replies(
    dialogues: Sequence[Answered], speaker: Speaker, folder: Path, *, seed: int
) -> list[Answered]:
    """The same, with every reply of T3 that says something spoken in ``folder``.

    In one voice for each language, which is the assistant's. A file is named by what is said, so that
    what was spoken once stays. Raises DataError for a reply that the speaker cannot say.
    """
    voices: dict[str, str] = {}
    found: list[Answered] = []
    for answered in dialogues:
        dialogue = answered.dialogue
        if dialogue.task != SPOKEN_TASK:
            found.append(answered)
            continue
        language = dialogue.language
        if language not in voices:
            voices[language] = speaker.voices("train", language)[0]
        sounds = [
            _spoken(reply, language, voices[language], speaker, folder, seed)
            for reply in answered.replies
        ]
        found.append(replace(answered, sounds=tuple(sounds)))
    return found


def _spoken(
    reply: str, language: str, voice: str, speaker: Speaker, folder: Path, seed: int
) -> AudioRef | None:
    text = plain(reply)
    if not says_something(text):
        return None
    told = "\n".join([type(speaker).__name__, voice, language, *TONE, str(seed), text])
    path = folder / f"{hashlib.blake2b(told.encode(), digest_size=16).hexdigest()}.wav"
    if path.is_file():
        return probe_audio(path)[0]
    emotion, intensity = TONE
    line = Line(
        text=text,
        language=language,
        emotion=emotion,
        intensity=intensity,
        voice=voice,
        seed=seed_for(seed, "reply", text),
    )
    # One at a time: a speaker says the first line of a passage alike, whatever else is said.
    (sound,) = speaker.say([line])
    if len(sound) < MIN_SECONDS * SAMPLE_RATE_HZ or not np.any(sound):
        raise DataError(f"the speaker has no sound for the reply {text[:60]!r} in {language!r}")
    written = write_audio(path.with_suffix(".partial.wav"), sound)
    Path(written.path).replace(
        path
    )  # whole or not at all: a file that is there is not spoken again
    return replace(written, path=str(path))


def says_something(reply: str) -> bool:
    """Whether there is anything to speak."""
    return any(c.isalnum() for c in reply)
