"""What an update reports of its tokens."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

_ATTENUATED = 0.9
"""Below this weight in the gradient the gate or clip counts as having acted on a token."""


@dataclass(slots=True)
class Tally:
    """Sums over this rank's tokens, and the two largest values; reduced over ranks at the end."""

    loss: float = 0.0
    tokens: float = 0.0
    ratio: float = 0.0
    kl: float = 0.0
    entropy: float = 0.0
    attenuated: float = 0.0
    importance: float = 0.0
    truncated: float = 0.0
    sampler_kl: float = 0.0
    reference_kl: float = 0.0
    ratio_max_dev: float = 0.0
    logprob_gap: float = 0.0

    def add(self, row: TokenStats, *, first_update: bool) -> None:
        """Add the tokens of one micro-batch."""
        ratio = row.log_ratio_N.exp()
        self.tokens += ratio.numel()
        self.ratio += float(ratio.sum())
        self.kl += float(k3(row.log_ratio_N).sum())
        self.entropy += float(row.entropy_N.sum())
        self.attenuated += float((row.weight_N < _ATTENUATED).sum())
        self.importance += float(row.importance_N.sum())
        self.truncated += float((row.importance_N >= row.cap).sum())
        self.sampler_kl += float(k3(row.sampler_gap_N).sum())
        self.reference_kl += float(row.reference_kl_N.sum())
        self.ratio_max_dev = max(self.ratio_max_dev, float((ratio - 1).abs().max()))
        if first_update:
            gap_N = row.sampler_gap_N + row.log_ratio_N
            self.logprob_gap = max(self.logprob_gap, float(gap_N.abs().max()))


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenStats:
    """What the metrics need of a micro-batch's N response tokens, without gradient."""

    log_ratio_N: Tensor
    entropy_N: Tensor
    weight_N: Tensor
    importance_N: Tensor
    sampler_gap_N: Tensor
    """log-prob of the learner at the start of the update minus the sampler's; 0 where not asked."""
    reference_kl_N: Tensor
    cap: float


def k3(log_ratio: Tensor) -> Tensor:
    """``exp(x) - 1 - x`` of x = log q - log p: unbiased for KL(p || q) on samples of p, and never
    negative (Schulman, 2020)."""
    return log_ratio.exp() - 1 - log_ratio
