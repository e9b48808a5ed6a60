"""What the server asks of an engine, and the values that pass between them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cogaudio_rl.types import Route, StopReason

BASE = "base"
"""The bare backbone, by the name requests call it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One question to an engine."""

    adapter: str
    """By its name, or ``BASE``."""
    route: Route
    sound: npt.NDArray[np.float32] | None
    """Mono at 16 kHz; None: ``text`` is what the user says, and is read."""
    text: str
    """Beside a sound: a question that stands in the place of the route's own prompt; may be empty."""
    max_tokens: int | None
    """None: the route's own limit, or as many as there is room for."""
    temperature: float
    top_p: float
    seed: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Emotion:
    """What the model says it heard, and how sure it is.

    ``probabilities`` are the softmax over the labels' first tokens at the place where the label
    stands, at temperature 1: shares among the labels, not of the whole vocabulary.
    """

    label: str
    probabilities: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What an engine has generated since its last piece."""

    text: str
    num_tokens: int
    prompt_tokens: int
    emotion: Emotion | None = None
    """Once, with the piece that names it."""
    stop: StopReason | None = None
    """With the last piece."""


class Engine(Protocol):
    """Whatever generates; a client that leaves closes the generator, and its request is dropped."""

    @property
    def adapters(self) -> Mapping[str, int]:
        """Name of each adapter that can be asked → when it was loaded, Unix seconds."""
        ...

    @property
    def max_seconds(self) -> float:
        """Longest clip that it hears to its end; 0 where it only reads."""
        ...

    def generate(self, ask: Ask) -> AsyncGenerator[Piece]:
        """The answer as it comes. Raises ApiError where there is no room for it or no such adapter,
        RunError when the engine has failed."""
        ...

    def check(self) -> None:
        """Raises RunError when it cannot answer any more."""
        ...
