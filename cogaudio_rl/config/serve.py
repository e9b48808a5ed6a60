"""Serving: where it listens, how much it takes on, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from cogaudio_rl.config.base import Positive, Share, Strict

Seconds = Annotated[float, Field(gt=0)]


class ServeConfig(Strict):
    """A server that speaks the OpenAI chat API; every number is for one replica."""

    checkpoints: dict[str, Path] = Field(default={})
    """Adapters by the name a request calls them by; the bare base is always there beside them."""
    host: str = "127.0.0.1"
    """Anything but loopback needs keys in COGAUDIO_API_KEYS."""
    port: Annotated[int, Field(ge=1, le=65_535)] = 8000
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call the API; none by default."""
    runs: tuple[Path, ...] = ()
    """Run folders whose reports and sample rollouts the page links."""

    replicas: Positive = 1
    max_replicas: Positive | None = None
    """Above ``replicas``: as many as the load needs, between the two."""
    target_ongoing_requests: Positive = 32
    """Requests under way for which one replica is enough, where the number of replicas varies."""
    cpus_per_replica: Annotated[float, Field(gt=0)] = 1.0
    gpus_per_replica: Annotated[int, Field(ge=0)] = 0
    """Above 1 the engine is split over them."""
    threads_per_replica: Positive = 1
    """OpenMP threads of an engine without a GPU; a small model is no faster with two."""

    max_adapters: Positive = 4
    """Adapters an engine can hold side by side; a reload needs room for the new beside the old."""
    max_model_len: Positive = 1024
    """Tokens of a prompt, its clip (25 a second) and its answer together."""
    max_ongoing_requests: Positive = 64
    """Requests answered at a time."""
    max_queued_requests: Annotated[int, Field(ge=0)] = 64
    """Requests that wait for their turn; whoever comes then is told 429."""
    retry_after_s: Positive = 1
    """What they are told to wait."""
    max_body_bytes: Positive = 16 * 2**20
    max_audio_s: Seconds = 30.0
    """Longest clip; none may be longer than the checkpoint hears."""
    max_chunks_per_s: Positive = 200
    """Events of all streams together: with many streams, each event brings several tokens."""
    drain_s: Seconds = 30.0
    """How long a replica that is to go may still answer what it has begun."""

    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    """For a request that names none: the most probable words, as in the reports."""
    top_p: Annotated[Share, Field(gt=0)] = 1.0

    @model_validator(mode="after")
    def _replicas_in_order(self) -> ServeConfig:
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise ValueError(
                f"max_replicas={self.max_replicas} is below replicas={self.replicas}; raise it or "
                "leave it out"
            )
        return self

    @model_validator(mode="after")
    def _room_for_adapters(self) -> ServeConfig:
        if len(self.checkpoints) > self.max_adapters:
            raise ValueError(
                f"{len(self.checkpoints)} checkpoints are more than max_adapters={self.max_adapters}"
            )
        return self
