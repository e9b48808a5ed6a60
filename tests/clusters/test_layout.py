"""Config → bundles: who gets what, and what is said when it does not fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusters.layout import (
    Bundle,
    Node,
    Role,
    assign,
    layout,
    matches,
    reserved,
    shortage,
    total,
)
from cogaudio_rl.config import ClusterConfig, load_config
from cogaudio_rl.errors import ConfigError

LAPTOP = ClusterConfig()
NODE = ClusterConfig(
    nodes=1,
    gpus_per_node=8,
    learner_workers=4,
    gpus_per_learner=1,
    rollout_workers=4,
    gpus_per_rollout=1,
)


def roles(bundles: list[Bundle]) -> list[str]:
    return [f"{b.role}{b.index}" for b in bundles]


def test_laptop_has_one_bundle_per_worker_learners_first() -> None:
    assert roles(layout(LAPTOP)) == ["driver0", "learner0", "learner1", "rollout0", "judge0"]


def test_driver_reserves_nothing() -> None:
    assert roles(reserved(layout(LAPTOP))) == ["learner0", "learner1", "rollout0", "judge0"]


def test_resources_leave_out_what_is_zero() -> None:
    assert Bundle(role=Role.JUDGE, index=0, cpus=0.25).resources == {"CPU": 0.25}
    assert Bundle(role=Role.LEARNER, index=0, cpus=1, gpus=1).resources == {"CPU": 1, "GPU": 1}


def test_totals_add_up() -> None:
    assert total(layout(NODE)) == {"CPU": 4 * 0.5 + 4 * 1.0 + 0.25, "GPU": 8.0}


def test_the_paper_recipe_fits_its_stated_cluster() -> None:
    cluster = load_config("qwen2_5_omni_7b").cluster
    assert total(layout(cluster))["GPU"] == cluster.nodes * cluster.gpus_per_node
    assert set(assign(layout(cluster), cluster)) == {0}


def test_bundles_fill_one_node_before_the_next() -> None:
    two = NODE.model_copy(update={"nodes": 2, "gpus_per_node": 4})
    nodes = dict(zip(roles(layout(two)), assign(layout(two), two), strict=True))
    assert {nodes[f"learner{i}"] for i in range(4)} == {0}
    assert {nodes[f"rollout{i}"] for i in range(4)} == {1}


def test_half_gpus_share_one() -> None:
    shared = ClusterConfig(
        gpus_per_node=1, learner_workers=1, gpus_per_learner=0.5, gpus_per_rollout=0.5
    )
    assert assign(layout(shared), shared) == [0, 0, 0, 0]


def test_too_small_a_cluster_names_the_role_and_the_numbers() -> None:
    small = NODE.model_copy(update={"gpus_per_node": 6})
    with pytest.raises(ConfigError, match=r"need 8 GPUs and rollout 2 finds none.* 1 x 6"):
        assign(layout(small), small)


def test_a_judge_with_an_engine_gets_its_share() -> None:
    shared = ClusterConfig(judge_workers=2, gpus_per_judge=0.5, cpus_per_judge=2)
    judges = [b.resources for b in layout(shared) if b.role is Role.JUDGE]
    assert judges == [{"CPU": 2, "GPU": 0.5}] * 2
    assert total(layout(shared.model_copy(update={"gpus_per_judge": 2.0})))["GPU"] == 4


def test_an_engine_is_split_over_whole_gpus() -> None:
    with pytest.raises(ConfigError, match=r"gpus_per_judge above 1 must be a whole.* got 1\.5"):
        layout(ClusterConfig(gpus_per_judge=1.5))


def test_tensor_parallel_needs_as_many_gpus() -> None:
    with pytest.raises(ConfigError, match=r"gpus_per_rollout must equal .*tensor_parallel"):
        layout(NODE.model_copy(update={"tensor_parallel": 2}))
    wide = NODE.model_copy(
        update={"tensor_parallel": 2, "gpus_per_rollout": 2.0, "rollout_workers": 2}
    )
    assert total(layout(wide))["GPU"] == 8


def test_shortage_is_silent_when_all_fits() -> None:
    assert shortage(reserved(layout(LAPTOP)), [Node(free={"CPU": 8.0})]) == ""


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([], "no nodes"),
        ([{"CPU": 1.0}], "CPU are needed and 1 are free on 1 node"),
        ([{"CPU": 64.0}], "8 GPU are needed and 0 are free"),
        ([{"CPU": 64.0, "GPU": 4.0}], "8 GPU are needed and 4 are free"),
    ],
)
def test_shortage_names_the_missing_resource(nodes: list[dict[str, float]], said: str) -> None:
    assert said in shortage(reserved(layout(NODE)), [Node(free=free) for free in nodes])


def test_shortage_sees_that_a_bundle_fits_no_single_node() -> None:
    wide = ClusterConfig(tensor_parallel=4, gpus_per_rollout=4, gpus_per_node=8)
    nodes = [Node(free={"CPU": 8.0, "GPU": 2.0})] * 2
    assert "rollout 0 needs 4 GPU on one node" in shortage(reserved(layout(wide)), nodes)


ROLES = {role: {"cogaudio-role": role} for role in ("learner", "rollout", "judge")}
KINDS = LAPTOP.model_copy(update={"node_labels": ROLES, "nodes": 3})


def kind(role: str, cpus: float) -> Node:
    return Node(free={"CPU": cpus}, labels={"cogaudio-role": role})


def test_a_bundle_knows_which_nodes_it_may_use() -> None:
    assert [b.labels for b in reserved(layout(KINDS))] == [
        ROLES["learner"],
        ROLES["learner"],
        ROLES["rollout"],
        ROLES["judge"],
    ]
    assert layout(KINDS)[0].labels == {}


def test_what_is_missing_is_looked_for_among_nodes_of_the_kind() -> None:
    bundles, whole = reserved(layout(KINDS)), [kind(role, 1.0) for role in ROLES]
    assert shortage(bundles, whole) == ""
    said = shortage(bundles, [*whole[:2], kind("other", 1.0)])
    assert said == "judge 0 wants a node with cogaudio-role=judge and none has it"
    said = shortage(bundles, [kind("learner", 0.5), *whole[1:]])
    assert said == "1 CPU are needed and 0.5 are free on 1 node(s) with cogaudio-role=learner"


def test_a_stated_node_is_of_one_kind() -> None:
    nodes = dict(zip(roles(layout(KINDS)), assign(layout(KINDS), KINDS), strict=True))
    assert nodes == {"driver0": 0, "learner0": 0, "learner1": 0, "rollout0": 1, "judge0": 2}
    small = KINDS.model_copy(update={"nodes": 2})
    with pytest.raises(ConfigError, match="judge 0 finds none on a node with cogaudio-role=judge"):
        assign(layout(small), small)


@pytest.mark.parametrize(
    ("asked", "labels", "found"),
    [
        ("a", {"k": "a"}, True),
        ("a", {"k": "b"}, False),
        ("a", {}, False),
        ("!a", {"k": "b"}, True),
        ("!a", {"k": "a"}, False),
        ("!a", {}, True),
        ("in(a, b)", {"k": "b"}, True),
        ("in(a,b)", {"k": "c"}, False),
        ("!in(a, b)", {"k": "c"}, True),
        ("!in(a, b)", {"k": "b"}, False),
    ],
)
def test_selectors_mean_what_they_mean_to_ray(
    asked: str, labels: dict[str, str], found: bool
) -> None:
    assert matches({"k": asked}, labels) is found


def test_a_selector_that_ray_would_not_read_is_a_wrong_recipe() -> None:
    for asked in ("rollout: {cogaudio-role: in()}", "rollout: {'a b': c}", "driver: {a: b}"):
        with pytest.raises(ConfigError, match=r"cluster\.node_labels"):
            load_config("quickstart", [f"cluster.node_labels={{{asked}}}"])
    one = load_config("quickstart", ["cluster.node_labels.rollout.cogaudio-role=rollout"])
    assert one.cluster.node_labels == {"rollout": {"cogaudio-role": "rollout"}}


@given(
    learners=st.integers(1, 9),
    rollouts=st.integers(1, 9),
    nodes=st.integers(1, 4),
    gpus_per_node=st.integers(1, 8),
)
def test_no_node_is_ever_given_more_than_it_has(
    learners: int, rollouts: int, nodes: int, gpus_per_node: int
) -> None:
    config = ClusterConfig(
        nodes=nodes,
        gpus_per_node=gpus_per_node,
        learner_workers=learners,
        gpus_per_learner=1,
        rollout_workers=rollouts,
        gpus_per_rollout=1,
    )
    bundles = layout(config)
    if learners + rollouts > nodes * gpus_per_node:
        with pytest.raises(ConfigError):
            assign(bundles, config)
        return
    used = [0.0] * nodes
    for bundle, node in zip(bundles, assign(bundles, config), strict=True):
        used[node] += bundle.gpus
    assert max(used) <= gpus_per_node
    assert sum(used) == learners + rollouts
