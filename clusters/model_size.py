"""How many parameters a backbone has, counted from its configuration alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogaudio_rl.errors import CheckpointError
from cogaudio_rl.models.architecture import Architecture, resolve_checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSize:
    """The language model. Defaults: Qwen2.5-Omni-7B."""

    hidden: int = 3584
    layers: int = 28
    heads: int = 28
    kv_heads: int = 4
    intermediate: int = 18944
    vocab: int = 152064
    tied: bool = False
    head_dim: int = 128
    qk_norm: bool = False
    """Qwen3: a norm on queries and keys instead of biases on queries, keys and values."""

    def linears(self) -> list[tuple[int, int]]:
        """(in, out) of the seven linear layers of one block: q k v o gate up down."""
        h, wide = self.hidden, self.intermediate
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return [(h, q), (h, kv), (h, kv), (q, h), (h, wide), (h, wide), (wide, h)]

    @property
    def parameters(self) -> int:
        small = (
            2 * self.head_dim if self.qk_norm else (self.heads + 2 * self.kv_heads) * self.head_dim
        )
        block = sum(i * o for i, o in self.linears()) + small + 2 * self.hidden
        embeddings = (1 if self.tied else 2) * self.vocab * self.hidden
        return self.layers * block + embeddings + self.hidden

    def lora_parameters(self, r: int) -> int:
        """A is [r, in] and B is [out, r] on each of the seven layers of each block."""
        return self.layers * sum(r * (i + o) for i, o in self.linears())


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioSize:
    """The audio encoder, Whisper's shape. Defaults: Qwen2.5-Omni-7B."""

    width: int = 1280
    layers: int = 32
    ffn: int = 5120
    mel_bins: int = 128
    out: int = 3584

    @property
    def parameters(self) -> int:
        w = self.width
        block = 4 * w * w + 2 * w * self.ffn + 8 * w + self.ffn  # keys have no bias
        convolutions = 3 * w * self.mel_bins + 3 * w * w + 2 * w
        begin_and_end = 2 * self.out
        return self.layers * block + convolutions + w * self.out + self.out + 2 * w + begin_and_end


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionSize:
    """The vision tower: learners drop it, a sampler may load it. Defaults: Qwen2.5-Omni-7B."""

    width: int = 1280
    layers: int = 32
    ffn: int = 3420
    out: int = 3584
    patch: int = 3 * 2 * 14 * 14

    @property
    def parameters(self) -> int:
        w, merged = self.width, 4 * self.width
        block = 4 * w * w + 3 * w * self.ffn + 6 * w + 2 * self.ffn + w
        merger = merged * merged + merged * self.out + merged + self.out + w
        return self.layers * block + w * self.patch + merger


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSize:
    """A thinker's three parts, or the one of a checkpoint that only reads."""

    text: TextSize = TextSize()
    audio: AudioSize | None = AudioSize()
    vision: VisionSize | None = VisionSize()

    @property
    def learner_parameters(self) -> int:
        """Without the eyes, which a learner drops."""
        return self.text.parameters + (self.audio.parameters if self.audio else 0)

    @property
    def sampler_parameters(self) -> int:
        """All that vLLM loads."""
        return self.learner_parameters + (self.vision.parameters if self.vision else 0)


KNOWN: dict[str, ModelSize] = {"Qwen2.5-Omni-7B": ModelSize()}
"""Backbones whose size is known before their weights are here, by the name of their folder."""


def model_size(path: str) -> ModelSize | None:
    """Sizes from the checkpoint's config.json, else from the table; None when neither knows."""
    try:
        config = resolve_checkpoint(path) / "config.json"
    except CheckpointError:
        return KNOWN.get(Path(path).name)
    try:
        return read_size(json.loads(config.read_text("utf-8")))
    except KeyError as error:
        raise CheckpointError(f"{str(config)!r} lacks {error}; is it whole?") from None


def read_size(config: dict[str, Any]) -> ModelSize:
    """Sizes from a parsed config.json."""
    if not config["architectures"][0].startswith(Architecture.OMNI):
        return ModelSize(text=_text_size(config), audio=None, vision=None)
    thinker = config["thinker_config"]
    text, audio, vision = (thinker[f"{part}_config"] for part in ("text", "audio", "vision"))
    return ModelSize(
        text=_text_size(text),
        audio=AudioSize(
            width=audio["d_model"],
            layers=audio["encoder_layers"],
            ffn=audio["encoder_ffn_dim"],
            mel_bins=audio["num_mel_bins"],
            out=audio["output_dim"],
        ),
        vision=VisionSize(
            width=vision["hidden_size"],
            layers=vision["depth"],
            ffn=vision["intermediate_size"],
            out=vision["out_hidden_size"],
            patch=vision.get("in_channels", 3)
            * vision.get("temporal_patch_size", 2)
            * vision.get("patch_size", 14) ** 2,
        ),
    )


def _text_size(config: dict[str, Any]) -> TextSize:
    heads = config["num_attention_heads"]
    return TextSize(
        hidden=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=heads,
        kv_heads=config["num_key_value_heads"],
        intermediate=config["intermediate_size"],
        vocab=config["vocab_size"],
        tied=config.get("tie_word_embeddings", False),
        head_dim=config.get("head_dim") or config["hidden_size"] // heads,
        qk_norm=config.get("model_type") == "qwen3",
    )
