"""Layout → one placement group, owned by the driver, with a wait that says what is missing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group

from clusters.layout import Bundle, Node, reserved, shortage
from cogaudio_rl.errors import WaitTimeout

_POLL_SECONDS = 1.0


def reserve(bundles: Sequence[Bundle], *, timeout_s: float) -> PlacementGroup:
    """Reserve every bundle, or none. Raises WaitTimeout naming the resource that is missing.

    It waits although nothing fits: an autoscaler may be bringing nodes up.
    """
    needed = reserved(bundles)
    # Ray takes the group's own reservation out of what is free: look first, for the diagnosis.
    free = _nodes()
    group = placement_group(
        [b.resources for b in needed],
        strategy="PACK",
        bundle_label_selector=[dict(b.labels) for b in needed],
    )
    deadline = time.monotonic() + timeout_s
    while not group.wait(_POLL_SECONDS):
        free = _nodes()
        if time.monotonic() > deadline:
            remove_placement_group(group)
            why = shortage(needed, free) or "the free resources are scattered over too many nodes"
            raise WaitTimeout(f"waited {timeout_s:g} s for {len(needed)} bundles: {why}")
    return group


def _nodes() -> list[Node]:
    # Public API has totals over the cluster only; a bundle must fit on one node.
    from ray._private.state import available_resources_per_node

    per_node: dict[str, dict[str, Any]] = available_resources_per_node()
    alive = {n["NodeID"]: n["Labels"] for n in ray.nodes() if n["Alive"]}
    return [
        Node(free={k: float(v) for k, v in free.items()}, labels=alive[node])
        for node, free in per_node.items()
        if node in alive
    ]
