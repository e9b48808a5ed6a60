"""Who says it: espeak-ng, which is always there, or IndexTTS2, where its package and weights are.

A speaker says a family at a time, and says it alike whatever it said before. Another one is a class
with the two methods of :class:`Speaker`.
"""

from __future__ import annotations

import importlib.util
import logging
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
from cogaudio_rl.errors import ConfigError, DataError, RunError
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import INTENSITIES

_log = logging.getLogger(__name__)

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


_LONGEST_S = 60.0
"""Beyond what the checks let pass: nothing is cut short and then passes them."""


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
            line.text,
            voice=line.voice,
            language=line.language,
            prosody=prosody,
            rng=rng,
            longest_s=_LONGEST_S,
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
        self._refuse_shared_voices()
        self._tts: Any = tts or _load_indextts2(config)

    def _refuse_shared_voices(self) -> None:
        train, test = (
            {p.stem for p in (self._references / split).glob("*/*.wav")}
            for split in ("train", "test")
        )
        if shared := sorted(train & test):
            raise ConfigError(
                f"reference voice {shared[0]!r} is in train and in test of {str(self._references)!r}; "
                "keep each speaker on one side, or give another a name of its own"
            )

    def voices(self, split: str, language: str) -> Sequence[str]:
        found = sorted(
            p.relative_to(self._references).with_suffix("").as_posix()
            for p in (self._references / split / language).glob("*.wav")
        )
        if not found:
            raise DataError(f"no reference voice in {str(self._references / split / language)!r}")
        return found

    def say(self, lines: Sequence[Line]) -> list[Sound]:
        """Empty for a line it stumbles over. Raises RunError where it can say none of them."""
        found = [self._said(line) for line in lines]
        broken = [error for error in found if isinstance(error, Exception)]
        if broken and len(broken) == len(lines):
            raise RunError(f"IndexTTS2 cannot speak: {type(broken[0]).__name__}: {broken[0]}")
        return [np.zeros(0, np.float32) if isinstance(s, Exception) else s for s in found]

    def _said(self, line: Line) -> Sound | Exception:
        try:
            return self._say(line)
        except Exception as error:  # whatever a foreign model raises over one line is that line's
            _log.warning("IndexTTS2 stumbled over %r in %r: %s", line.text, line.emotion, error)
            return error

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


def _find_indextts2(config: SpeakerConfig) -> Path:
    """The folder of its weights."""
    if importlib.util.find_spec("indextts") is None:
        raise ConfigError("speaker.kind 'indextts2' needs the package indextts; install it first")
    folder = config.model_dir
    if folder is None or not (folder / "config.yaml").is_file():
        raise ConfigError(
            f"speaker.model_dir {str(folder)!r} holds no config.yaml; download IndexTTS-2's weights"
        )
    return folder


def _load_indextts2(config: SpeakerConfig) -> Any:
    folder = _find_indextts2(config)
    from indextts.infer_v2 import IndexTTS2  # pyright: ignore[reportMissingImports]

    return IndexTTS2(
        cfg_path=str(folder / "config.yaml"), model_dir=str(folder), use_fp16=config.use_fp16
    )


_SPEAKERS: Mapping[str, Callable[[SpeakerConfig], Speaker]] = {
    "espeak": lambda _config: Espeak(),
    "indextts2": IndexTts2,
}


def check_speaker(config: SpeakerConfig) -> None:
    """Raise ConfigError naming what a speaker lacks, without loading any weights."""
    if config.kind == "indextts2":
        IndexTts2(config, tts=_find_indextts2(config))


def make_speaker(config: SpeakerConfig) -> Speaker:
    """The one a recipe names. Raises ConfigError naming what it lacks."""
    return _SPEAKERS[config.kind](config)
