"""On a real Ray: bundles are reserved, actors land in them, and a wait says what is missing."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import ray
from ray.util.placement_group import get_current_placement_group, remove_placement_group

from clusters.layout import Role, layout, reserved
from clusters.placement import reserve
from cogaudio_rl.config import ClusterConfig
from cogaudio_rl.errors import WaitTimeout

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

LAPTOP = ClusterConfig()


class Probe:
    """A worker that tells where it is."""

    def where(self) -> tuple[str | None, str]:
        group = get_current_placement_group()
        return os.environ.get("OMP_NUM_THREADS"), group.id.hex() if group else ""


@pytest.fixture(scope="module", autouse=True)
def small_ray() -> Iterator[None]:
    ray.init(
        num_cpus=4,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
    )
    yield
    ray.shutdown()


def test_workers_land_in_their_bundles_with_their_environment() -> None:
    from clusters.spawn import _actor

    bundles = layout(LAPTOP)
    group = reserve(bundles, timeout_s=30)
    place, bundle = next((i, b) for i, b in enumerate(reserved(bundles)) if b.role is Role.ROLLOUT)
    probe = _actor(Probe, bundle, place, group, {"OMP_NUM_THREADS": "3"}).remote()
    assert ray.get(probe.where.remote(), timeout=60) == ("3", group.id.hex())
    remove_placement_group(group)


def test_a_wait_names_the_missing_resource() -> None:
    wanting = LAPTOP.model_copy(update={"gpus_per_rollout": 1.0})
    with pytest.raises(WaitTimeout, match="waited 1 s for 4 bundles: 1 GPU are needed and 0 are"):
        reserve(layout(wanting), timeout_s=1)
