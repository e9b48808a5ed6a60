"""What a run needs of the machines it runs on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from cogaudio_rl.config import SftStageConfig
from cogaudio_rl.data.mixture import Mixture
from cogaudio_rl.ports import Learner, Ports, RolloutPorts
from cogaudio_rl.types import Utterance

OnStep = Callable[[int, int, Mapping[str, float]], None]
"""(step, of how many, metrics)"""


class Backend(Protocol):
    """Where the heavy work happens."""

    def train_sft(
        self,
        stage: str,
        config: SftStageConfig,
        train: Sequence[Utterance] | Mixture,
        *,
        init: Path | None,
        out: Path,
        on_step: OnStep,
    ) -> None:
        """Train one SFT stage from the adapter in ``init`` (None: a fresh one) into ``out``."""
        ...

    def ports(self) -> Ports:
        """Start sampler, judge and learner, or give those already running."""
        ...

    def rollout_ports(self) -> RolloutPorts:
        """Sampler and judge alone."""
        ...

    def learner(self) -> Learner:
        """The learner alone."""
        ...

    def versions(self) -> dict[str, str]:
        """Versions of what ran, for the report."""
        ...

    def save_trace(self, path: Path) -> None:
        """Write who did what when, where that is known."""
        ...

    def close(self) -> None:
        """End every process that was started."""
        ...
