"""Four nodes of three kinds: every role on its own, and one node lost in the middle of a run."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import drill
import pytest

from clusters.layout import layout, reserved
from clusters.placement import reserve
from cogaudio_rl.config import ClusterConfig
from cogaudio_rl.errors import WaitTimeout

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    # Ray leaves sockets and files to the garbage collector.
    pytest.mark.filterwarnings("default"),
]

ROLES = ("learner", "rollout", "judge")
LABELS: dict[Any, dict[str, str]] = {role: {"cogaudio-role": role} for role in ROLES}
STEPS = 5
SMALL = (
    *("data.train_utterances=70", "data.rl_utterances=35", "data.test_families=2"),
    *("data.chinese_utterances=7", "rl.readiness.prompts=2", "rl.log_rollouts_every=1"),
    *(f"rl.steps={STEPS}", "rl.utterances_per_step=2", "rl.group_size=4", "rl.save_every=1"),
    "sft.direct={epochs: 8, batch_size: 16, learning_rate: 3.0e-3}",
)


def node_of(role: str) -> dict[str, Any]:
    """Room for one worker of any role."""
    return {
        "num_cpus": 2,
        "labels": {"cogaudio-role": role},
        "object_store_memory": 2**28,
        # Ray would take 127.0.0.1 in a cluster's address for the machine's own.
        "node_ip_address": "127.0.0.2",
    }


@pytest.fixture(scope="module")
def nodes() -> Iterator[tuple[Any, dict[str, Any]]]:
    """A head on which nothing runs, and a node for each role."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        head: dict[str, Any] = node_of("head") | {"num_cpus": 0}
        cluster.add_node(**head)
        workers = {role: cluster.add_node(**node_of(role)) for role in ROLES}
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster, workers
    finally:  # also when a node did not come up in time
        ray.shutdown()
        cluster.shutdown()


def probe() -> type:
    """A class of nobody's module: it goes to the workers whole."""

    class Probe:
        def labels(self) -> dict[str, Any]:
            import ray

            return dict(ray.get_runtime_context().get_node_labels())

    return Probe


def test_roles_land_where_the_recipe_says_and_only_there(nodes: Any) -> None:
    import ray
    from ray.util.placement_group import remove_placement_group

    from clusters.spawn import _actor

    wanted = ClusterConfig(
        learner_workers=2, rollout_workers=2, judge_workers=2, node_labels=LABELS
    )
    bundles = layout(wanted)
    group = reserve(bundles, timeout_s=60)
    probes = [
        _actor(probe(), bundle, place, group, {}).remote()
        for place, bundle in enumerate(reserved(bundles))
    ]
    found = [labels["cogaudio-role"] for labels in ray.get([p.labels.remote() for p in probes])]
    assert found == [bundle.role for bundle in reserved(bundles)]
    remove_placement_group(group)

    # Four times as many rollouts: there is room for them, but not on nodes of their kind.
    crowd = wanted.model_copy(update={"rollout_workers": 4})
    with pytest.raises(WaitTimeout, match=r"4 CPU are needed and 2 are free on 1 node\(s\) with "):
        reserve(layout(crowd), timeout_s=3)
    missing = wanted.model_copy(update={"node_labels": {"judge": {"cogaudio-role": "jury"}}})
    with pytest.raises(WaitTimeout, match="judge 0 wants a node with cogaudio-role=jury and none"):
        reserve(layout(missing), timeout_s=3)


def place_of_workers() -> dict[str, str]:
    """The role of the node on which each of our workers is alive."""
    import ray
    from ray._private.state import actors

    kinds = {n["NodeID"]: n["Labels"].get("cogaudio-role", "") for n in ray.nodes() if n["Alive"]}
    return {
        one["ActorClassName"]: kinds.get(one["Address"]["NodeID"], "gone")
        for one in actors().values()
        if one["State"] == "ALIVE" and one["ActorClassName"] in drill.TARGETS.values()
    }


def test_a_lost_node_is_replaced_by_one_of_its_kind_and_nothing_is_lost(
    nodes: Any, tmp_path: Path
) -> None:
    cluster, workers = nodes
    start, folder = tmp_path / "start", tmp_path / "run"
    given = [str(Path(sys.executable).with_name("cogaudio-rl")), "sft", "--stage", "direct"]
    subprocess.run(
        [*given, f"out_dir={start}", *SMALL, "cluster.backend=local"],
        check=True,
        capture_output=True,
    )
    log = tmp_path / "run.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [
                *(given[0], "rl", "--from", str(start / "checkpoints" / "direct")),
                *(f"out_dir={folder}", f"data.root={start / 'data'}", *SMALL),
                *(f"cluster.address={cluster.address}", "cluster.learner_workers=1"),
                f"cluster.node_labels={json.dumps(LABELS)}",
            ],
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 400
        while len(drill.steps_of(folder)) < 1:
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.1)
        before = place_of_workers()
        cluster.remove_node(workers["rollout"], allow_graceful=False)
        cluster.add_node(**node_of("rollout"))
        after: dict[str, str] = {}
        while process.poll() is None:
            after |= {k: v for k, v in place_of_workers().items() if v != "gone"}
            time.sleep(0.5)
        assert process.returncode == 0, log.read_text()[-3000:]
    finally:
        process.kill()
    at_home = {drill.TARGETS[role]: role for role in ROLES}
    assert before == at_home
    assert after == at_home
    assert drill.NOTICED["rollout"] in " ".join(log.read_text("utf-8").split())
    ledger = drill.ledger_of(folder)
    assert sorted({step for step, _ in ledger}) == list(range(1, STEPS + 1))
    assert len(ledger) == len(set(ledger)) == 2 * STEPS
