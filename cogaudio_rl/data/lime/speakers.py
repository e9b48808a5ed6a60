"""Who says it: espeak-ng, which is always there, or IndexTTS2, where its package and weights are.

A speaker says a family at a time, and says it alike whatever it said before. Another one is a class
with the two methods of :class:`Speaker`.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cogaudio_rl.data.audio import read_audio
from cogaudio_rl.data.lime import synthesise
from cogaudio_rl.data.lime.recipe import SpeakerConfig
from cogaudio_rl.errors import ConfigError, DataError
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import INTENSITIES

Sound = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One sentence to be said in one style. Equal lines sound equal."""

    text: str
    language: str
    emotion: str
    intensity: str
    voice: str
    seed: int


class Speaker(Protocol):
    """Turns lines into sound: mono, 16 kHz, in [-1, 1]."""

    def voices(self, split: str, language: str) -> Sequence[str]:
        """Voices of a split; none is in two splits."""
        ...

    def say(self, lines: Sequence[Line]) -> list[Sound]:
        """One sound for each line of a family."""
        ...


_KLATT = frozenset({"adam", "edward", "klatt4", "Reed"})
"""Their breath is the C library's ``rand()``, which other threads of a Ray worker draw from, too: the
same line would not sound the same."""


class Espeak:
    """espeak-ng with an emotion's prosody (:mod:`cogaudio_rl.data.lime.synthesise`)."""

    def voices(self, split: str, language: str) -> Sequence[str]:
        return [v for v in synthesise.voices(split, language) if v not in _KLATT]

    def say(self, lines: Sequence[Line]) -> list[Sound]:
        if lines:
            synthesise.begin([line.voice for line in lines], lines[0].language)
        return [self._say(line) for line in lines]

    def _say(self, line: Line) -> Sound:
        rng = rng_for(line.seed, "prosody")
        prosody = synthesise.prosody_for(line.emotion, line.intensity, rng)
        return synthesise.speak(
            line.text, voice=line.voice, language=line.language, prosody=prosody, rng=rng
        )


_ORDER = ("happy", "angry", "sad", "afraid", "disgusted", "melancholic", "surprised", "calm")
_NAMES: Mapping[str, str] = {
    "happy": "happy",
    "angry": "angry",
    "sad": "sad",
    "fear": "afraid",
    "disgust": "disgusted",
    "surprise": "surprised",
    "neutral": "calm",
}
MAX_EMOTION_SUM = 0.8
"""IndexTTS2's speech breaks above it."""
_ALPHA = dict(zip(INTENSITIES, (0.5, 0.75, 1.0), strict=True))


class IndexTts2:
    """IndexTTS2 (Index-TTS2, the paper's synthesiser): a reference voice and an emotion vector."""

    def __init__(self, config: SpeakerConfig, tts: Any = None) -> None:
        """``tts`` stands for a loaded IndexTTS2. Raises ConfigError naming what is not there."""
        if config.voices_dir is None or not config.voices_dir.is_dir():
            raise ConfigError(
                f"speaker.voices_dir {str(config.voices_dir)!r} is not a folder; indextts2 needs "
                "reference recordings in <split>/<language>/<speaker>.wav"
            )
        self._references = config.voices_dir
        self._tts: Any = tts or _load_indextts2(config)

    def voices(self, split: str, language: str) -> Sequence[str]:
        found = sorted(
            p.relative_to(self._references).with_suffix("").as_posix()
            for p in (self._references / split / language).glob("*.wav")
        )
        if not found:
            raise DataError(f"no reference voice in {str(self._references / split / language)!r}")
        return found

    def say(self, lines: Sequence[Line]) -> list[Sound]:
        return [self._say(line) for line in lines]

    def _say(self, line: Line) -> Sound:
        import torch

        torch.manual_seed(line.seed % 2**63)
        with tempfile.TemporaryDirectory(prefix="lime-") as folder:
            path = Path(folder) / "said.wav"
            self._tts.infer(
                spk_audio_prompt=str(self._references / f"{line.voice}.wav"),
                text=line.text,
                output_path=str(path),
                emo_alpha=_ALPHA[line.intensity],
                emo_vector=emotion_vector(line.emotion),
            )
            sound, _notes = read_audio(path)
        return sound


def emotion_vector(emotion: str) -> list[float]:
    """IndexTTS2's eight numbers for an emotion. Raises DataError for one it has no name for."""
    if emotion not in _NAMES:
        raise DataError(f"IndexTTS2 has no emotion {emotion!r}; known: {', '.join(_NAMES)}")
    return [MAX_EMOTION_SUM if name == _NAMES[emotion] else 0.0 for name in _ORDER]


def _load_indextts2(config: SpeakerConfig) -> Any:
    if importlib.util.find_spec("indextts") is None:
        raise ConfigError("speaker.kind 'indextts2' needs the package indextts; install it first")
    folder = config.model_dir
    if folder is None or not (folder / "config.yaml").is_file():
        raise ConfigError(
            f"speaker.model_dir {str(folder)!r} holds no config.yaml; download IndexTTS-2's weights"
        )
    from indextts.infer_v2 import IndexTTS2  # pyright: ignore[reportMissingImports]

    return IndexTTS2(
        cfg_path=str(folder / "config.yaml"), model_dir=str(folder), use_fp16=config.use_fp16
    )


_SPEAKERS: Mapping[str, Callable[[SpeakerConfig], Speaker]] = {
    "espeak": lambda _config: Espeak(),
    "indextts2": IndexTts2,
}


def make_speaker(config: SpeakerConfig) -> Speaker:
    """The one a recipe names. Raises ConfigError naming what it lacks."""
    return _SPEAKERS[config.kind](config)
