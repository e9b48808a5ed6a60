"""Config → bundles: who gets what, and what is said when it does not fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusters.layout import Bundle, Role, assign, layout, reserved, shortage, total
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
    assert shortage(reserved(layout(LAPTOP)), [{"CPU": 8.0}]) == ""


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
    assert said in shortage(reserved(layout(NODE)), nodes)


def test_shortage_sees_that_a_bundle_fits_no_single_node() -> None:
    wide = ClusterConfig(tensor_parallel=4, gpus_per_rollout=4, gpus_per_node=8)
    nodes = [{"CPU": 8.0, "GPU": 2.0}] * 2
    assert "rollout 0 needs 4 GPU on one node" in shortage(reserved(layout(wide)), nodes)


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
