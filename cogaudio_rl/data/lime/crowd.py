"""SIMULATED listeners: who hears which emotion in a voice whose prosody is known. No human voted here.

The model, a choice by similarity (Shepard 1957; Luce 1959): each emotion has a prototype μ_e in the
space of prosody (pitch, pace, loudness, movement; :data:`.synthesise.PROTOTYPES`), each dimension in
units of its standard deviation σ over the seven prototypes. Listener l hears a voice of prosody x as

    y_l = x/σ + bias_l + noise,    bias_l ~ N(0, 0.2²) per listener,    noise ~ N(0, 0.25²) each time

and votes once, for emotion e with probability ∝ exp(−‖y_l − μ_e/σ‖ / t_l); t_l = 0.35·exp(0.2·z_l),
z_l ~ N(0, 1). A clip is heard by 6 to 12 of 60 listeners. They hear the voice as if they knew its
speaker, whose own habits are not in x. A prototype is heard as its own emotion by about nine in ten.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from cogaudio_rl.data.lime.synthesise import PROTOTYPES, Prosody
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import LIME_EMOTIONS

Floats = npt.NDArray[np.float64]

LISTENERS = 60
FEWEST, MOST = 6, 12
"""How many of them hear one clip."""
BIAS, NOISE = 0.2, 0.25
TEMPERATURE, TEMPERATURE_SPREAD = 0.35, 0.2

_HEARINGS = 20
"""Of each listener, over which expected shares are averaged."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """The listeners of one corpus; ``emotions`` is what each of them can choose, [L] listeners."""

    bias_LD: Floats
    temperature_L: Floats
    emotions: tuple[str, ...] = LIME_EMOTIONS

    def vote(self, prosody: Prosody, rng: np.random.Generator) -> dict[str, int]:
        """How many heard each emotion, of a draw of 6 to 12 listeners."""
        number = int(rng.integers(FEWEST, MOST + 1))
        who = rng.choice(len(self.bias_LD), size=number, replace=False)
        cumulative = self._chances(prosody, who, rng).cumsum(axis=1)
        heard = (cumulative < rng.random((number, 1))).sum(axis=1)
        counts = np.bincount(
            np.minimum(heard, len(self.emotions) - 1), minlength=len(self.emotions)
        )
        return dict(zip(self.emotions, counts.tolist(), strict=True))

    def expected(self, prosody: Prosody, rng: np.random.Generator) -> dict[str, float]:
        """What share of all listeners hears each emotion, in the mean over their noise."""
        who = np.tile(np.arange(len(self.bias_LD)), _HEARINGS)
        shares = self._chances(prosody, who, rng).mean(axis=0)
        return dict(zip(self.emotions, shares.tolist(), strict=True))

    def _chances(
        self, prosody: Prosody, who: npt.NDArray[np.int64], rng: np.random.Generator
    ) -> Floats:
        """The probability of each vote [N, K] of these listeners, each hearing it once."""
        noise_ND = NOISE * rng.standard_normal((who.size, 4))
        heard_ND = _point(prosody) / _spread() + self.bias_LD[who] + noise_ND
        prototypes_KD = np.array([_point(PROTOTYPES[e]) for e in self.emotions]) / _spread()
        distance_NK = np.linalg.norm(heard_ND[:, None] - prototypes_KD, axis=2)
        weight_NK = -distance_NK / self.temperature_L[who, None]
        weight_NK = np.exp(weight_NK - weight_NK.max(axis=1, keepdims=True))
        return weight_NK / weight_NK.sum(axis=1, keepdims=True)


def draw_crowd(seed: int) -> Crowd:
    """The listeners of a corpus of this seed."""
    rng = rng_for(seed, "crowd")
    bias_LD = BIAS * rng.standard_normal((LISTENERS, 4))
    temperature_L = TEMPERATURE * np.exp(TEMPERATURE_SPREAD * rng.standard_normal(LISTENERS))
    return Crowd(bias_LD, temperature_L)


def model_card() -> Mapping[str, Any]:
    """The model's numbers, for a corpus' card."""
    return {
        "simulated": True,
        "model": "choice by similarity to prototypes in prosody space; see cogaudio_rl.data.lime.crowd",
        "listeners": LISTENERS,
        "listeners_per_clip": [FEWEST, MOST],
        "bias": BIAS,
        "noise": NOISE,
        "temperature": TEMPERATURE,
        "temperature_spread": TEMPERATURE_SPREAD,
        "prototypes": {emotion: asdict(PROTOTYPES[emotion]) for emotion in LIME_EMOTIONS},
    }


def _point(prosody: Prosody) -> Floats:
    return np.array([prosody.pitch, prosody.pace, prosody.loudness_db, prosody.movement])


@cache
def _spread() -> Floats:
    return np.array([_point(prototype) for prototype in PROTOTYPES.values()]).std(axis=0)
