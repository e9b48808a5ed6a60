"""A node is lost in the middle of stage III; another comes, and no prompt is lost or repeated."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import drill
import pytest

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    # Ray leaves sockets and files to the garbage collector.
    pytest.mark.filterwarnings("default"),
]

ROOM = ("cluster.cpus_per_rollout=2", "cluster.cpus_per_learner=0.5", "cluster.cpus_per_judge=1")
"""Learners and judge fill one node of two CPUs, the sampler the other."""


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapter to begin with, made before there is a cluster."""
    return drill.prepare(tmp_path_factory.mktemp("start"))


@pytest.fixture
def two_nodes(start: Path) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    node: dict[str, Any] = {
        "num_cpus": 2,
        "object_store_memory": 2**28,
        # Ray would take 127.0.0.1 in a cluster's address for the machine's own.
        "node_ip_address": "127.0.0.2",
    }
    cluster.add_node(**node)
    lost = cluster.add_node(**node)
    cluster.wait_for_nodes()
    yield cluster, lost, node
    cluster.shutdown()


def test_a_run_outlives_the_node_of_its_sampler(
    two_nodes: Any, start: Path, tmp_path: Path
) -> None:
    cluster, lost, node = two_nodes
    folder = tmp_path / "run"
    process = drill.run(folder, start, f"cluster.address={cluster.address}", *ROOM)
    try:
        deadline = time.monotonic() + 400
        while len(drill.steps_of(folder)) < 2:
            assert process.poll() is None, (tmp_path / "run.log").read_text()[-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.2)
        cluster.remove_node(lost, allow_graceful=False)
        cluster.add_node(**node)
        assert process.wait(500) == 0, (tmp_path / "run.log").read_text()[-3000:]
    finally:
        process.kill()
    said = " ".join((tmp_path / "run.log").read_text("utf-8").split())
    assert drill.NOTICED["rollout"] in said or drill.NOTICED["learner"] in said
    ledger = drill.ledger_of(folder)
    assert sorted({step for step, _ in ledger}) == list(range(1, drill.STEPS + 1))
    assert len(ledger) == len(set(ledger))
