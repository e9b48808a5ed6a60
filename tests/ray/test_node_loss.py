"""A node is lost in the middle of stage III; another comes, and no prompt is lost or repeated."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import drill
import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

LEARNERS_AND_JUDGE = 1.25
ROLLOUT = 1.0


@pytest.fixture
def two_nodes() -> Iterator[Any]:
    """One node that holds the learners and the judge, and one with room for the sampler alone."""
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    cluster.add_node(num_cpus=LEARNERS_AND_JUDGE, object_store_memory=2**28)
    lost = cluster.add_node(num_cpus=ROLLOUT, object_store_memory=2**28)
    cluster.wait_for_nodes()
    yield cluster, lost
    cluster.shutdown()


def test_a_run_outlives_the_node_of_its_sampler(two_nodes: Any, tmp_path: Path) -> None:
    cluster, lost = two_nodes
    start = drill.prepare(tmp_path)
    folder = tmp_path / "run"
    process = drill.run(folder, start, f"cluster.address={cluster.address}")
    try:
        deadline = time.monotonic() + 300
        while len(drill.steps_of(folder)) < 2:
            assert process.poll() is None, (tmp_path / "run.log").read_text()[-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.2)
        cluster.remove_node(lost, allow_graceful=False)
        cluster.add_node(num_cpus=ROLLOUT, object_store_memory=2**28)
        assert process.wait(400) == 0, (tmp_path / "run.log").read_text()[-3000:]
    finally:
        process.kill()
    said = " ".join((tmp_path / "run.log").read_text("utf-8").split())
    assert drill.NOTICED["rollout"] in said or drill.NOTICED["learner"] in said
    ledger = drill.ledger_of(folder)
    assert sorted({step for step, _ in ledger}) == list(range(1, drill.STEPS + 1))
    assert len(ledger) == len(set(ledger))
