"""Sentences whose words name a feeling, said in every emotion: what a model follows, words or voice.

A test set after HumDial's acoustic-semantic conflict task: an utterance is *consistent* where the voice
says what the words say, and *in conflict* where it says something else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import yaml

from cogaudio_rl.data.audio import write_audio
from cogaudio_rl.data.lime import synthesise
from cogaudio_rl.data.manifest import read_manifest, write_manifest
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import LIME_EMOTIONS, Utterance

_MANIFEST, _SEAL = "conflict.jsonl", "conflict.json"


@dataclass(frozen=True, slots=True)
class Telling:
    """A sentence and the feeling that its words name."""

    text_id: str
    text: str
    emotion: str
    language: str


@cache
def sentences(language: str) -> tuple[Telling, ...]:
    """The bank's, feeling by feeling."""
    file = resources.files("cogaudio_rl.data.lime").joinpath("bank_conflict.yaml")
    bank = yaml.safe_load(file.read_text("utf-8"))[language]
    return tuple(
        Telling(f"conflict_{language}_{emotion}_{i}", text, emotion, language)
        for emotion, texts in bank.items()
        for i, text in enumerate(texts)
    )


def lexical_emotion(utterance: Utterance) -> str | None:
    """The feeling that the words name; None for a sentence that is not this bank's."""
    if utterance.language not in ("en", "zh"):
        return None
    told = {t.text_id: t.emotion for t in sentences(utterance.language)}
    return told.get(utterance.text_id)


def build_conflict(
    folder: Path,
    *,
    language: str,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Utterance, ...]:
    """Every sentence in all seven emotions, in voices of the test split; made once for a folder.

    An equal number of consistent and of conflicting utterances would need six times the sentences: the
    two are reported apart.
    """
    texts = "\n".join(f"{t.text_id} {t.text}" for t in sentences(language))
    digest = hashlib.blake2b(texts.encode(), digest_size=8).hexdigest()
    wanted = {"language": language, "seed": seed, "sentences": digest}
    if (folder / _SEAL).is_file() and json.loads((folder / _SEAL).read_text("utf-8")) == wanted:
        return read_manifest(folder / _MANIFEST)
    found: list[Utterance] = []
    told = sentences(language)
    for number, sentence in enumerate(told, start=1):
        found += _family(sentence, folder, seed)
        progress(number * len(LIME_EMOTIONS), len(told) * len(LIME_EMOTIONS))
    write_manifest(folder / _MANIFEST, found)
    (folder / _SEAL).write_text(json.dumps(wanted), "utf-8")
    return read_manifest(folder / _MANIFEST)


def _family(sentence: Telling, folder: Path, seed: int) -> list[Utterance]:
    rngs = [rng_for(seed, sentence.text_id, emotion) for emotion in LIME_EMOTIONS]
    voices = [synthesise.draw_voice("test", rng, sentence.language) for rng in rngs]
    synthesise.begin(voices, sentence.language)
    made: list[Utterance] = []
    for emotion, voice, rng in zip(LIME_EMOTIONS, voices, rngs, strict=True):
        prosody = synthesise.prosody_for(emotion, "mid", rng)
        sound = synthesise.speak(
            sentence.text, voice=voice, language=sentence.language, prosody=prosody, rng=rng
        )
        name = f"{sentence.text_id}_{emotion}"
        made.append(
            Utterance(
                id=name,
                text_id=sentence.text_id,
                audio=write_audio(folder / "audio" / f"{name}.flac", sound),
                transcript=sentence.text,
                emotion=emotion,
                intensity="mid",
                speaker=voice,
                language=sentence.language,
            )
        )
    return made
