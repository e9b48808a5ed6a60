"""A model in a dialogue: it hears a turn, answers it, hears the next one, and so on.

    turn 1 <sound> ─► reply ─► turn 2 <sound> ─► reply ─► … ─► the last turn

What was answered before is always the model's own reply, as it is for a user, and in what the
challenge's judges are shown (arXiv 2601.05564).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cogaudio_rl import spoken
from cogaudio_rl.data.audio import SAMPLE_RATE_HZ, read_audio, write_audio
from cogaudio_rl.data.corpora.humdial import Dialogue
from cogaudio_rl.eval.run import PROMPTS_AT_ONCE, reply_of
from cogaudio_rl.ports import Sampler
from cogaudio_rl.seeding import seed_for
from cogaudio_rl.types import AudioRef, Prompt, Route, SpokenReply, Turn, Utterance, VoiceStyle

MAX_SECONDS = 30.0
"""What encoders after Whisper take; the same for every model, so that all hear the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A dialogue as a model hears it."""

    dialogue: Dialogue
    utterances: tuple[Utterance, ...]
    """One for each turn."""
    cut: bool
    """Of some turn only the end is heard."""


@dataclass(frozen=True, slots=True)
class Said:
    """One answer: what the user would hear, and the voice it asks for, if it does."""

    reply: str
    voice: VoiceStyle | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A dialogue, and what was answered to each of its turns."""

    dialogue: Dialogue
    replies: tuple[str, ...]
    """What the user would hear, one for each turn."""
    sounds: tuple[AudioRef | None, ...]
    """Each reply spoken; None where nobody spoke it, or there was nothing to say."""
    voices: tuple[VoiceStyle | None, ...] = ()
    """How each is to be spoken, where the model was asked for that; None where it did not say so."""
    cut: bool = False


def hear(dialogue: Dialogue, sounds: Path) -> Heard:
    """Every turn with its own sound; of a turn longer than ``MAX_SECONDS`` the end, kept in ``sounds``.

    Raises DataError for a sound that can no longer be read.
    """
    clips = [clip_of(turn.audio, sounds) for turn in dialogue.turns]
    utterances = tuple(
        utterance_of(f"{dialogue.id}_{turn.number}", turn.text, dialogue.language, clip)
        for turn, clip in zip(dialogue.turns, clips, strict=True)
    )
    cut = any(clip is not turn.audio for turn, clip in zip(dialogue.turns, clips, strict=True))
    return Heard(dialogue=dialogue, utterances=utterances, cut=cut)


def clip_of(audio: AudioRef, folder: Path) -> AudioRef:
    """The same clip, or if it is too long its end, as a file named by its samples."""
    if audio.seconds <= MAX_SECONDS:
        return audio
    sound = read_audio(audio.path)[0][-round(MAX_SECONDS * SAMPLE_RATE_HZ) :]
    name = hashlib.blake2b(sound.tobytes(), digest_size=16).hexdigest()
    return write_audio(folder / f"{name}.flac", sound)


def utterance_of(name: str, words: str, language: str, audio: AudioRef) -> Utterance:
    """A turn as a model is given it; who cannot hear reads the words."""
    return Utterance(
        id=plain(name),
        text_id=plain(name),
        audio=audio,
        transcript=plain(words),
        emotion="neutral",  # of no use here: nobody compares an answer with it
        intensity="mid",
        speaker="unknown",
        language=language,
    )


async def converse(
    sampler: Sampler,
    dialogues: Sequence[Sequence[Utterance]],
    *,
    route: Route,
    seed: int,
    progress: Callable[[int], None],
) -> list[tuple[Said, ...]]:
    """What the model says to each turn of each dialogue, greedily, after its own earlier replies.

    ``progress`` is told how many more were answered. Raises InputError where a dialogue leaves no room
    to answer.
    """
    said: list[list[Said]] = [[] for _ in dialogues]
    for place in range(max(map(len, dialogues), default=0)):
        going = [i for i, turns in enumerate(dialogues) if len(turns) > place]
        for start in range(0, len(going), PROMPTS_AT_ONCE):
            part = going[start : start + PROMPTS_AT_ONCE]
            asked = [
                Prompt(
                    utterance=dialogues[i][place],
                    route=route,
                    history=history_of(dialogues[i], [s.reply for s in said[i]]),
                )
                for i in part
            ]
            groups = await sampler.sample(
                asked, n=1, temperature=0.0, seed=seed_for(seed, "eval", "humdial")
            )
            for i, group in zip(part, groups, strict=True):
                said[i].append(_said(group.rollouts[0].text, route))
            progress(len(part))
    return [tuple(answers) for answers in said]


def _said(text: str, route: Route) -> Said:
    if route is Route.SPOKEN:
        answer = spoken.parse(text)
        if isinstance(answer, SpokenReply):
            return Said(answer.response, answer.voice)
    return Said(reply_of(text))


def history_of(utterances: Sequence[Utterance], replies: Sequence[str]) -> tuple[Turn, ...]:
    """The turns that have a reply, with it."""
    return tuple(Turn(utterance=u, reply=r) for u, r in zip(utterances, replies, strict=False))


def plain(text: str) -> str:
    """A corpus' text without half characters, which no tokenizer and no file takes."""
    return text.encode("utf-8", "replace").decode()
