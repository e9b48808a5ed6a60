"""Publish: give the sampler what the learner trained, and prove that it took effect.

A LoRA whose names do not match is ignored in silence by inference engines, and an adapter that was
never delivered looks like staleness. So a canary follows every publish: every engine begins an
answer, and the learner computes the log-probs of that beginning with its own weights. If they
differ, the sampler does not run the policy that is being trained, and the run stops.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from cogaudio_rl.errors import PublishError
from cogaudio_rl.ports import Ports
from cogaudio_rl.types import Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The version now sampled from, and what handing it over took."""

    version: int
    canary_gap: float
    """How far the canary's log-probs were from the learner's."""
    bytes: int
    """Size of what was handed over: what trains, which with LoRA is never the model."""
    seconds: float
    """From the learner's weights to samplers that use them."""
    canary_seconds: float

    def metrics(self) -> dict[str, float]:
        return {
            "policy/canary_gap": self.canary_gap,
            "publish/bytes": float(self.bytes),
            "time/publish_ms": 1e3 * self.seconds,
            "time/canary_ms": 1e3 * self.canary_seconds,
        }


async def publish(ports: Ports, canaries: tuple[Prompt, ...], *, tolerance: float) -> Published:
    """Hand over and compare canary log-probs; raises PublishError when they differ."""
    started = time.perf_counter()
    version, size = await ports.hand_over(ports.learner, ports.sampler)
    handed_over = time.perf_counter()
    groups = await ports.sampler.probe(canaries)
    for group in groups:
        seen = group.rollouts[0].policy_version
        if seen != version:
            raise PublishError(f"the sampler answers with version {seen}, not {version}")
    expected = await ports.learner.logprobs(groups)
    gap = max(
        abs(a - b)
        for group, rows in zip(groups, expected, strict=True)
        for rollout, row in zip(group.rollouts, rows, strict=True)
        for a, b in zip(rollout.logprobs, row, strict=True)
    )
    # "not (gap <= …)" so that NaN fails too.
    if not gap <= tolerance:
        raise PublishError(
            f"canary of policy version {version}: log-probs of sampler and learner differ "
            f"by {gap:.3g}, more than rl.canary_tolerance={tolerance:g}; the sampler does not run "
            "the adapter that was published"
        )
    return Published(
        version=version,
        canary_gap=gap,
        bytes=size,
        seconds=handed_over - started,
        canary_seconds=time.perf_counter() - handed_over,
    )
