"""What of a recipe a replica is opened with."""

from __future__ import annotations

from typing import Any

from cogaudio_rl.config import Config

_SECTIONS = ("seed", "model", "serve")
_DEPLOYED = ("checkpoints", "port", "replicas", "max_replicas", "target_ongoing_requests")
"""Fields that change while replicas run: which adapters they answer with, and how many there are."""


def opened_with(config: Config) -> dict[str, Any]:
    """A recipe that holds this alone. While it stays the same, so do the replicas.

    The host is in it: beyond loopback, a replica insists on keys.
    """
    whole = config.model_dump(mode="json")
    own = {key: whole[key] for key in _SECTIONS}
    for field in _DEPLOYED:
        del own["serve"][field]
    memory = {"gpu_memory_utilization": config.cluster.gpu_memory_utilization}
    return own | {"cluster": memory}
