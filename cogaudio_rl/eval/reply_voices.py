"""Hears a synthesised reply: which of the voices in :mod:`cogaudio_rl.voices` is this?

    annotators' replies to other sentences, in any voice, by train speakers ─► acoustic statistics, SVM
    the reply that is judged, by a test speaker ──────────────────────────────────► what it hears

It never learns what a reply says: what it learns from is drawn without regard to the words. It knows no
model either, so that a style which the synthesiser does not bring across counts as missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cogaudio_rl.data.audio import write_audio
from cogaudio_rl.data.corpora.reading import Progress, silent
from cogaudio_rl.data.lime import author, synthesise
from cogaudio_rl.data.lime.reply_voice import perform, say
from cogaudio_rl.data.lime.synthesise import Prosody
from cogaudio_rl.eval.classical import ClassicalModel, fit_classical
from cogaudio_rl.eval.metrics import Estimate, mean_estimate
from cogaudio_rl.seeding import rng_for, seed_for
from cogaudio_rl.types import LIME_EMOTIONS, AudioRef, SpokenReply, Utterance
from cogaudio_rl.voices import VOICES

LEARNT = 80
"""Replies of each voice that it learns from."""
TRIED = 20
"""Replies of each voice, by test speakers, that it is tried on."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Who tells the voices of replies apart, and how well."""

    model: ClassicalModel
    accuracy: Estimate
    """On replies in voices as they were meant, by speakers it never heard."""

    def hears(self, sounds: Sequence[AudioRef]) -> tuple[str, ...]:
        """A voice for each."""
        return self.model.answers([_heard(f"reply-{i}", s) for i, s in enumerate(sounds)])


def train_listener(
    folder: Path, *, samples: int, seed: int, progress: Progress = silent
) -> Listener:
    """Make the sounds in ``folder`` and learn from them; ``samples`` of the bootstrap."""
    total = len(VOICES) * (LEARNT + TRIED)
    learnt = _made(folder, "train", LEARNT, seed, lambda done, _: progress(done, total))
    model = fit_classical(learnt, seed=seed)
    tried = _made(folder, "test", TRIED, seed, lambda done, _: progress(len(learnt) + done, total))
    right = [
        float(answer == u.emotion) for answer, u in zip(model.answers(tried), tried, strict=True)
    ]
    return Listener(model, mean_estimate(right, samples=samples, seed=seed))


def speak_into(
    folder: Path, replies: Sequence[tuple[str, SpokenReply]], *, language: str, seed: int
) -> list[AudioRef]:
    """A file for each (name, reply), by a test speaker that its name decides."""
    made: list[AudioRef] = []
    for name, reply in replies:
        voice = synthesise.draw_voice("test", rng_for(seed, "reply voice", name), language)
        sound = say(reply, voice=voice, language=language, seed=seed_for(seed, "reply", name))
        made.append(write_audio(folder / f"{name}.flac", sound))
    return made


def _made(folder: Path, split: str, count: int, seed: int, progress: Progress) -> list[Utterance]:
    """Utterances whose ``emotion`` is the voice of the reply."""
    made: list[Utterance] = []
    for name, voice in VOICES.items():
        numbers = voice.numbers()
        meant = Prosody(
            pitch=numbers["Pitch"],
            pace=numbers["Pace"],
            loudness_db=numbers["Loudness"],
            movement=numbers["Movement"],
        )
        for i in range(count):
            rng = rng_for(seed, "listener", split, name, i)
            speaker = synthesise.draw_voice(split, rng)
            sentences = author.split_sentences("en")[split]
            options = author.replies(
                sentences[int(rng.integers(len(sentences)))],
                LIME_EMOTIONS[int(rng.integers(len(LIME_EMOTIONS)))],
                author.DEPTHS[int(rng.integers(len(author.DEPTHS)))],
            )
            sound = perform(
                options[int(rng.integers(len(options)))],
                meant + synthesise.jitter(rng),
                voice=speaker,
                language="en",
                seed=seed_for(seed, "listener", split, name, i),
            )
            label = f"{split}-{name}-{i}"
            heard = _heard(label, write_audio(folder / f"{label}.flac", sound))
            made.append(replace(heard, emotion=name, speaker=speaker))
            progress(len(made), count * len(VOICES))
    return made


def _heard(name: str, sound: AudioRef) -> Utterance:
    return Utterance(
        id=name,
        text_id=name,
        audio=sound,
        transcript="-",
        emotion="",
        intensity="mid",
        speaker=name,
        language="en",
    )
