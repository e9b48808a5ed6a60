"""Replies spoken: the challenge's third task is heard, and judged by its voice too."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import astuple, replace
from itertools import zip_longest
from pathlib import Path

import numpy as np

from cogaudio_rl.data.audio import SAMPLE_RATE_HZ, probe_audio, write_audio
from cogaudio_rl.data.lime.reply_voice import line_for
from cogaudio_rl.data.lime.speakers import Speaker
from cogaudio_rl.errors import DataError
from cogaudio_rl.eval.humdial_dialogues import Answered, plain
from cogaudio_rl.seeding import seed_for
from cogaudio_rl.types import AudioRef, SpokenReply
from cogaudio_rl.voices import voice_for

SPOKEN_TASK = "T3"
PLAIN = voice_for("neutral")
"""How a reply is spoken that asks for no voice. What the user feels is hidden in the challenge's test
set."""
MIN_SECONDS = 0.05
"""Less is no reply: whoever spoke it stumbled."""


def speak_replies(
    dialogues: Sequence[Answered], speaker: Speaker, folder: Path, *, seed: int
) -> list[Answered]:
    """The same, with every reply of T3 that says something spoken in ``folder``.

    By one speaker for each language, who is the assistant, and in the manner that a reply asks for
    where the model was asked how it should sound. A file is named by what is said, so that what was
    spoken once stays. Raises DataError for a reply that the speaker cannot say.
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
            _spoken(
                SpokenReply(response=plain(reply), voice=voice or PLAIN),
                language,
                voices[language],
                speaker,
                folder,
                seed,
            )
            for reply, voice in zip_longest(answered.replies, answered.voices)
        ]
        found.append(replace(answered, sounds=tuple(sounds)))
    return found


def _spoken(
    reply: SpokenReply, language: str, voice: str, speaker: Speaker, folder: Path, seed: int
) -> AudioRef | None:
    text = reply.response
    if not says_something(text):
        return None
    line = line_for(reply, voice=voice, language=language, seed=seed_for(seed, "reply", text))
    told = "\n".join(map(str, (type(speaker).__name__, *astuple(line))))
    path = folder / f"{hashlib.blake2b(told.encode(), digest_size=16).hexdigest()}.wav"
    if path.is_file():
        return probe_audio(path)[0]
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
