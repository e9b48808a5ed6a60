"""What a run learns from, what its RL stage sees, and what it is tested on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from cogaudio_rl.data.mixture import Mixture
from cogaudio_rl.types import LIME_EMOTIONS, Utterance


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """What RL and the test see fits into memory; what SFT sees need not."""

    train: tuple[Utterance, ...] | Mixture
    rl: tuple[Utterance, ...]
    test: tuple[Utterance, ...]
    dev: tuple[Utterance, ...] = ()
    """For choosing among settings, so that the test is left for the end; apart from all others."""


def labels(splits: Splits) -> tuple[str, ...]:
    """The emotions that occur in them."""
    listed = () if isinstance(splits.train, Mixture) else splits.train
    return in_order({u.emotion for u in (*listed, *splits.rl, *splits.test)})


def in_order(emotions: Collection[str]) -> tuple[str, ...]:
    """LIME's first and in the paper's order, then others by name."""
    first = tuple(emotion for emotion in LIME_EMOTIONS if emotion in emotions)
    return (*first, *sorted(set(emotions).difference(first)))
