"""What a LIME corpus is to hold: the factory's own recipes, read as every other recipe is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from cogaudio_rl.config import EndpointConfig, Positive, Share, Strict
from cogaudio_rl.types import INTENSITIES, LIME_EMOTIONS

STYLES = len(LIME_EMOTIONS) * len(INTENSITIES)
"""Every sentence is said in every emotion at every intensity."""


class AuthorConfig(EndpointConfig):
    """Who writes the sentences and who annotates them."""

    kind: Literal["embedded", "llm"] = "embedded"
    """``embedded`` needs no LLM: 400 sentences a language, several annotations each."""
    temperature: Annotated[float, Field(ge=0)] = 0.8
    max_tokens: Positive = 600
    """Longest answer; a model that thinks before it answers needs ten times as much."""
    max_rejections: Positive = 4
    """How often a sentence or an annotation is asked for again after a check refused it."""
    max_text_certainty: Share = 0.6
    """A sentence whose emotion can be told from its words with more certainty is refused."""

    @model_validator(mode="after")
    def _llm_needs_endpoint(self) -> AuthorConfig:
        if self.kind == "llm" and not (self.base_url and self.model):
            raise ValueError("kind 'llm' needs base_url and model")
        return self


class SpeakerConfig(Strict):
    """Who says them."""

    kind: Literal["espeak", "indextts2"] = "espeak"
    model_dir: Path | None = None
    """indextts2: folder of its checkpoints, with ``config.yaml``."""
    voices_dir: Path | None = None
    """indextts2: reference recordings, ``<split>/<language>/<speaker>.wav``, one voice each."""
    use_fp16: bool = False
    gpus: Annotated[float, Field(ge=0)] = 0.0
    """Of each process that speaks; 1 for indextts2 on a cluster with GPUs."""


class LimeRecipe(Strict):
    """One corpus."""

    name: str = "lime"
    seed: Annotated[int, Field(ge=0)] = 0
    utterances: Positive = 20_000
    """At least this many are asked for: whole families of 21 (7 emotions, 3 intensities)."""
    chinese_share: Share = 0.5
    """Share of families in Chinese; the others are in English."""
    test_share: Share = 0.05
    """Share of families in the test split: other texts in other voices."""
    depth_mix: tuple[float, float, float] = (0.40, 0.35, 0.25)
    """Share of coarse, superficial and deep replies among the embedded author's annotations."""
    author: AuthorConfig = AuthorConfig()
    speaker: SpeakerConfig = SpeakerConfig()
    clean: bool = False
    """Leave out noise, rooms, telephones and changes of level and speed."""
    attempts: Positive = 3
    """How often an utterance that fails a check is spoken anew before it is given up."""
    families_per_part: Positive = 16
    """A part is what a worker makes in one go, and what an interrupted build has to make again."""

    @property
    def families(self) -> int:
        return -(-self.utterances // STYLES)

    @property
    def parts(self) -> int:
        return -(-self.families // self.families_per_part)
