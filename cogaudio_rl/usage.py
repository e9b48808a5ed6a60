"""What one endpoint was asked for and what that costs, as far as it tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cogaudio_rl.config import EndpointConfig


@dataclass(slots=True)
class Usage:
    """Counts since the endpoint was opened."""

    requests: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, told: Any) -> int:
        """Count what an answer's ``usage`` says; returns its tokens, 0 where it says nothing."""
        counts = told if isinstance(told, dict) else {}
        prompt, completion = (_count(counts.get(f"{k}_tokens")) for k in ("prompt", "completion"))
        self.prompt_tokens += prompt
        self.completion_tokens += completion
        return prompt + completion

    def metrics(self, config: EndpointConfig) -> dict[str, float]:
        """The counts, and US dollars where the recipe knows a price."""
        counts = {
            "requests": float(self.requests),
            "retries": float(self.retries),
            "prompt_tokens": float(self.prompt_tokens),
            "completion_tokens": float(self.completion_tokens),
        }
        usd = config.usd(self.prompt_tokens, self.completion_tokens)
        return counts if usd is None else counts | {"usd": usd}


def _count(value: Any) -> int:
    """A count as an endpoint tells it; 0 where it is none."""
    return value if isinstance(value, int) and value > 0 else 0
