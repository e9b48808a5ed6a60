"""The SFT stages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from cogaudio_rl.config.base import Positive, Rate, Share, Strict
from cogaudio_rl.types import REPLY_ROUTES, Route

ROUTES: Mapping[str, tuple[Route, ...]] = {
    "replies": REPLY_ROUTES,
    "ambiguity": (Route.AMBIGUITY,),
    "stated": (Route.ATTRIBUTION,),
    "dictated": (Route.ATTRIBUTION, Route.DIRECT),
    "spoken": (Route.SPOKEN, Route.DIRECT, Route.ATTRIBUTION),
}
"""What a stage asks for → its routes. The first of several gets ``explicit_share``, the others take
turns in the rest, so that nothing of them is forgotten."""


class SftStageConfig(Strict):
    """One SFT stage (paper: lr 1e-5, batch 512, 3 epochs on the 7B)."""

    epochs: Annotated[float, Field(gt=0)] = 3.0
    batch_size: Positive = 512
    learning_rate: Rate = 1e-5
    warmup_share: Share = 0.03
    explicit_share: Share = 1.0
    """Share of what is asked for more than the reply: 1.0 in stage I, 0.5 in stage II, 0.0 in the
    direct-only ablation. That is the chain of prompt A; where the stage asks for ``dictated``, the
    thought about emotion and cause; for ``spoken``, how the reply should sound."""
    asks: Literal["replies", "ambiguity", "stated", "dictated", "spoken"] = "replies"
    """``ambiguity``: for no reply at all, but for the chain about how listeners' votes are shared.
    ``stated``: for the reply, of the words with emotion, cause and plan stated beside them.
    ``dictated``: for what the teacher replied so, from the voice alone. ``spoken``: for that reply and
    the voice that suits it."""
    distil: Literal["sequence", "token_kl"] = "sequence"
    """``dictated``: cross-entropy on the teacher's replies; or, in direct replies, the divergence token
    by token from how probable each was for the policy that this stage begins with, when everything was
    stated to it."""
    teacher_tokens: Annotated[int, Field(ge=2)] = 8
    """token_kl: so many of the likeliest tokens at each place are compared singly, others as one."""
    emotion_token_weight: Annotated[float, Field(ge=1.0)] = 1.0
    """Loss weight of the emotion label; above 1 helps small models find the one token that matters."""
    distribution_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of a divergence, KL; 0: the text alone teaches. ``ambiguity``: of the emotion from the
    votes. ``spoken``: of each attribute of the voice, behind the very reply, from where the voice that
    suits would be heard to lie."""

    @property
    def routes(self) -> tuple[Route, ...]:
        """What its utterances need answers for."""
        return ROUTES[self.asks]

    @model_validator(mode="after")
    def _parts_have_their_use(self) -> SftStageConfig:
        if self.distribution_weight and self.asks not in ("ambiguity", "spoken"):
            raise ValueError(
                f"distribution_weight={self.distribution_weight:g} needs asks=ambiguity or "
                f"asks=spoken, got asks={self.asks}"
            )
        if self.distil != "sequence" and self.asks != "dictated":
            raise ValueError(f"distil={self.distil} needs asks=dictated, got asks={self.asks}")
        return self


class SftConfig(Strict):
    start: Path | None = None
    """Adapter that stage I and ablation A begin with; None: a fresh one. A small corpus learns the most
    from a model that was taught on a large one."""
    stage1: SftStageConfig = SftStageConfig()
    stage2: SftStageConfig = SftStageConfig(explicit_share=0.5)
    direct: SftStageConfig = SftStageConfig(explicit_share=0.0)
    """Ablation A: direct replies only."""
    chain: SftStageConfig = SftStageConfig(asks="ambiguity")
    """The chain about how votes are shared, by its text alone."""
    votes: SftStageConfig = SftStageConfig(asks="ambiguity", distribution_weight=1.0)
    """The same with the divergence from the votes (arXiv 2603.08230)."""
    teacher: SftStageConfig | None = SftStageConfig(asks="stated")
    """Who dictates (arXiv 2601.04960): learns to reply where emotion, cause and plan are stated. None:
    the model can do that as it is, and dictates itself."""
    dictation_temperature: Annotated[float, Field(ge=0)] = 0.0
    """At which the teacher's replies are drawn; 0 is greedy."""
    distil: SftStageConfig = SftStageConfig(asks="dictated", explicit_share=0.3)
    """IEAT's first stage: the teacher's replies, from the voice alone."""
    speak: SftStageConfig = SftStageConfig(
        asks="spoken", explicit_share=0.5, distribution_weight=1.0
    )
    """IEAT's second stage: reply and voice together."""
    micro_batch_tokens: Positive = 4096
    """Tokens of one forward pass, padding included; as many sequences as fit."""
    gradient_clip: Annotated[float, Field(gt=0)] = 1.0

    @model_validator(mode="after")
    def _stages_ask_for_their_own(self) -> SftConfig:
        told = {"teacher": self.teacher, "distil": self.distil, "speak": self.speak}
        for (name, stage), asks in zip(told.items(), ("stated", "dictated", "spoken"), strict=True):
            if stage is not None and stage.asks != asks:
                raise ValueError(f"{name}.asks must be {asks}, got {stage.asks}")
        return self
