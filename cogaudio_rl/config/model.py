"""The backbone and what of it is trained."""

from __future__ import annotations

from typing import Literal

from cogaudio_rl.config.base import Positive, Share, Strict
from cogaudio_rl.types import Route


class LoraConfig(Strict):
    """LoRA on the language model (paper: r=8, α=32)."""

    r: Positive = 8
    alpha: Positive = 32
    dropout: Share = 0.0


class ModelConfig(Strict):
    """The backbone."""

    path: str = "builtin:tiny-omni"
    """A folder with a Qwen2.5-Omni checkpoint, or the small base that ships with the package."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    lora: LoraConfig | None = LoraConfig()
    """None trains the language model's own weights, all of them; what trains is kept in float32 either
    way. The audio encoder stays frozen."""
    gradient_checkpointing: bool = False
    """Learners keep each block's input only and compute the rest again in the backward pass: less
    memory, about a third more time."""
    max_new_tokens_explicit: Positive = 96
    max_new_tokens_direct: Positive = 48
    max_new_tokens_ambiguity: Positive = 96
    max_new_tokens_attribution: Positive = 128
    max_new_tokens_spoken: Positive = 80

    def max_new_tokens(self, route: Route) -> int:
        """Longest answer on a route."""
        limits = {
            Route.EXPLICIT: self.max_new_tokens_explicit,
            Route.DIRECT: self.max_new_tokens_direct,
            Route.AMBIGUITY: self.max_new_tokens_ambiguity,
            Route.ATTRIBUTION: self.max_new_tokens_attribution,
            Route.SPOKEN: self.max_new_tokens_spoken,
        }
        return limits[route]
