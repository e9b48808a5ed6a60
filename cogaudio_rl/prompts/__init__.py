"""Versioned prompts. A prompt's version is the digest of its text and travels with every run."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

from cogaudio_rl.types import Route

FILES = {
    Route.EXPLICIT: "prompt_a.md",
    Route.DIRECT: "prompt_b.md",
    Route.AMBIGUITY: "prompt_ambiguity.md",
    Route.ATTRIBUTION: "prompt_attribution.md",
    Route.SPOKEN: "prompt_spoken.md",
}


@cache
def load(name: str) -> str:
    """The text of one prompt file, without its final newline."""
    return resources.files("cogaudio_rl.prompts").joinpath(name).read_text(encoding="utf-8").strip()


def for_route(route: Route) -> str:
    """Prompt A for the explicit route, prompt B for the direct one, and those of the others."""
    return load(FILES[route])


def digest(name: str) -> str:
    """Twelve hex digits that change whenever the prompt's text does."""
    return hashlib.sha256(load(name).encode()).hexdigest()[:12]
