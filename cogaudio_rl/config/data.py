"""Where a run's utterances come from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from cogaudio_rl.config.base import Positive, Strict


class MixturePart(Strict):
    """A corpus that SFT streams."""

    path: Path
    """A manifest (``.jsonl``), or a folder of shards."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Its share of what is seen, relative to the others'."""


class DataConfig(Strict):
    """Where the utterances come from."""

    kind: Literal["lime_mini", "ambiguity_mini", "attribution_mini", "manifest", "emodb"] = (
        "lime_mini"
    )
    """ambiguity_mini: voices between two emotions, with the votes of simulated listeners.
    attribution_mini: LIME-mini with a thought about emotion and cause for each utterance."""
    root: Path | None = None
    """Folder of the corpus; without it the mini corpora make their own inside the run folder."""
    mixture: tuple[MixturePart, ...] = ()
    """manifest: what SFT streams in the place of ``train.jsonl`` in ``root``."""
    apart_by: Literal["text", "speaker"] = "text"
    """manifest: what no test utterance may share with one that is trained on. Corpora of a few
    sentences by many actors are held apart by speaker."""
    test_root: Path | None = None
    """Another folder to test on (other speakers); without it, speakers of ``root`` are held out."""
    train_utterances: Positive = 4_900
    """Mini corpora: English utterances to train on."""
    rl_utterances: Positive = 1_400
    """Mini corpora: further English utterances, of train texts in train voices, that RL alone sees.
    manifest: how many RL draws from what SFT trains on, where ``root`` has no ``rl.jsonl``."""
    test_families: Positive = 50
    """Mini corpora: lexical families in the test split, each of seven utterances."""
    dev_families: Annotated[int, Field(ge=0)] = 0
    """ambiguity_mini: families to choose settings on, in sentences and voices of their own, which are
    then none of training's; a manifest's folder has a ``dev.jsonl`` or none."""
    chinese_utterances: Annotated[int, Field(ge=0)] = 210
    """lime_mini: Chinese utterances, made and checked though the small model trains on English."""
    depth_mix: tuple[float, float, float] = (0.40, 0.35, 0.25)
    """Share of coarse, superficial and deep replies among annotations."""
    held_out_speakers: tuple[str, ...] = ()
    """emodb: speakers to test on when there is no test_root."""

    @property
    def is_spoken_here(self) -> bool:
        """Whether its voices and sentences are the project's own."""
        return self.kind in ("lime_mini", "ambiguity_mini", "attribution_mini")

    @model_validator(mode="after")
    def _mixture_is_of_manifests(self) -> DataConfig:
        if self.mixture and self.kind != "manifest":
            raise ValueError(f"mixture needs kind=manifest, got kind={self.kind}")
        return self
