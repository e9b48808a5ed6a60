"""Test sets, baselines and the scorer of an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from cogaudio_rl.config.base import Positive, Strict
from cogaudio_rl.config.judge import EndpointConfig, JudgeConfig


class CorpusConfig(Strict):
    """A published corpus on disk that models are tested on."""

    root: Path | None = None
    """Its folder; None: there is none, and the suite is not run."""
    held_out_speakers: tuple[str, ...] = ()
    """Who is tested on, by name; empty: the last of each language's speakers."""
    options: dict[str, Any] = Field(default_factory=dict)
    """What its reader takes beside its folder, as in ``data prepare``."""


class SuitesConfig(Strict):
    """Where the test sets lie that ``cogaudio-rl eval --suite`` can be asked for."""

    lime: CorpusConfig = CorpusConfig()
    """A folder of manifests or LIME-440K; without one, LIME-mini's test split is made."""
    esd: CorpusConfig = CorpusConfig()
    emodb: CorpusConfig = CorpusConfig()
    crema_d: CorpusConfig = CorpusConfig()
    humdial: CorpusConfig = CorpusConfig()


OWN_MODELS: tuple[str, ...] = ("base", "A", "B", "C", "CE", "KL", "T", "I1", "I2", "D")
"""Names that the report gives to this project's own models."""


class BaselineConfig(EndpointConfig):
    """A model of somebody else's that the evaluation asks what it asks our own."""

    name: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """What the report calls it; also the name of a file."""
    hears: bool = True
    """Gets the recording (OpenAI's ``input_audio``, WAV at 16 kHz); False: the words instead."""
    max_tokens: Positive = 400
    """Longest answer, its reasoning included."""

    @model_validator(mode="after")
    def _can_be_asked_and_named(self) -> BaselineConfig:
        if not (self.base_url and self.model):
            raise ValueError(f"baseline {self.name!r} needs base_url and model")
        # In any case: two names that differ in case alone are one file on some file systems.
        if self.name.lower() in {name.lower() for name in OWN_MODELS}:
            own = ", ".join(OWN_MODELS)
            raise ValueError(
                f"baseline {self.name!r} has the name of a model of ours ({own}); give it another"
            )
        return self


class EvalConfig(Strict):
    """What the final evaluation measures."""

    max_utterances: Positive = 350
    temperature: Annotated[float, Field(gt=0)] = 1.0
    bootstrap_samples: Positive = 2_000
    silence_seconds: Annotated[float, Field(gt=0)] = 2.0
    """Silence has one fixed length: its duration would otherwise leak the pace of speech."""
    timed_utterances: Annotated[int, Field(ge=0)] = 6
    """Asked one at a time on both routes, for the time that a user waits."""
    swap_families: Annotated[int, Field(ge=0)] = 40
    """Lexical families whose replies are scored for each other's emotions too."""
    suites: SuitesConfig = SuitesConfig()
    judge: JudgeConfig | None = None
    """Who scores empathy in the test; None: the test scorer that comes with the package (English)."""
    baselines: tuple[BaselineConfig, ...] = ()
    """Models behind endpoints that stand beside our own in the report."""

    @model_validator(mode="after")
    def _names_once(self) -> EvalConfig:
        names = [baseline.name.lower() for baseline in self.baselines]
        twice = [b.name for b in self.baselines if names.count(b.name.lower()) > 1]
        if twice:
            raise ValueError(f"two baselines are named {twice[0]!r}; give each a name of its own")
        if self.judge is not None and any(voice.kind == "vllm" for voice in self.judge.voices):
            raise ValueError(
                "judge: kind=vllm scores rewards only; serve the model and take kind=llm"
            )
        return self
