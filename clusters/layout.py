"""Config → bundles, without Ray: who gets which share of which node.

driver    this process; listed for the tables, never reserved
learner   one bundle per DeepSpeed rank, first so that the ranks share a node
rollout   one bundle per vLLM engine
judge     one bundle per judge worker; with GPUs where it is a vLLM engine
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from cogaudio_rl.config import ClusterConfig
from cogaudio_rl.errors import ConfigError

_ROUNDING = 1e-6


class Role(StrEnum):
    """What a process is for."""

    DRIVER = "driver"
    LEARNER = "learner"
    ROLLOUT = "rollout"
    JUDGE = "judge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What one process reserves. ``index`` counts within the role; a learner's is its rank."""

    role: Role
    index: int
    cpus: float = 0.0
    gpus: float = 0.0

    @property
    def resources(self) -> dict[str, float]:
        """In Ray's words; Ray refuses entries of 0."""
        return {k: v for k, v in (("CPU", self.cpus), ("GPU", self.gpus)) if v > 0}


def layout(config: ClusterConfig) -> list[Bundle]:
    """All bundles, the driver's first. Raises ConfigError for GPUs that do not fit an engine."""
    tensor_parallel, gpus = config.tensor_parallel, config.gpus_per_rollout
    if tensor_parallel > 1 and gpus != tensor_parallel:
        raise ConfigError(
            f"cluster.gpus_per_rollout must equal cluster.tensor_parallel, "
            f"got {gpus:g} and {tensor_parallel}"
        )
    if config.gpus_per_judge > 1 and config.gpus_per_judge % 1:
        raise ConfigError(
            f"cluster.gpus_per_judge above 1 must be a whole number, got {config.gpus_per_judge:g}"
        )
    learner = (
        Role.LEARNER,
        config.learner_workers,
        config.cpus_per_learner,
        config.gpus_per_learner,
    )
    rollout = (Role.ROLLOUT, config.rollout_workers, config.cpus_per_rollout, gpus)
    judge = (Role.JUDGE, config.judge_workers, config.cpus_per_judge, config.gpus_per_judge)
    return [Bundle(role=Role.DRIVER, index=0)] + [
        Bundle(role=role, index=i, cpus=cpus, gpus=gpus)
        for role, count, cpus, gpus in (learner, rollout, judge)
        for i in range(count)
    ]


def reserved(bundles: Sequence[Bundle]) -> list[Bundle]:
    """The bundles that take resources, in the order of the placement group."""
    return [b for b in bundles if b.resources]


def total(bundles: Sequence[Bundle]) -> dict[str, float]:
    """CPUs and GPUs of all bundles together."""
    return {
        "CPU": sum(b.cpus for b in bundles),
        "GPU": sum(b.gpus for b in bundles),
    }


def assign(bundles: Sequence[Bundle], config: ClusterConfig) -> list[int]:
    """The node of each bundle on the stated cluster: the first with GPUs enough.

    Ray decides at run time; this shows that a placement exists. Raises ConfigError when none does.
    """
    free = [float(config.gpus_per_node)] * config.nodes
    nodes: list[int] = []
    for bundle in bundles:
        node = next((n for n, left in enumerate(free) if left + _ROUNDING >= bundle.gpus), None)
        if node is None:
            need = total(bundles)["GPU"]
            raise ConfigError(
                f"the roles need {need:g} GPUs and {bundle.role} {bundle.index} finds none: "
                f"cluster.nodes x cluster.gpus_per_node is {config.nodes} x {config.gpus_per_node}"
            )
        free[node] -= bundle.gpus
        nodes.append(node)
    return nodes


def shortage(bundles: Sequence[Bundle], nodes: Sequence[dict[str, float]]) -> str:
    """Why these bundles do not fit on nodes with this much free; empty when nothing is missing.

    ``nodes`` holds Ray's resources per node, such as ``{"CPU": 2.0, "GPU": 1.0}``.
    """
    if not nodes:
        return "the cluster has no nodes"
    for name, needed in total(bundles).items():
        have = sum(node.get(name, 0.0) for node in nodes)
        if needed > have + _ROUNDING:
            return f"{needed:g} {name} are needed and {have:g} are free on {len(nodes)} node(s)"
        for bundle in bundles:
            one, most = bundle.resources.get(name, 0.0), max(n.get(name, 0.0) for n in nodes)
            if one > most + _ROUNDING:
                return (
                    f"{bundle.role} {bundle.index} needs {one:g} {name} on one node "
                    f"and the freest node has {most:g}"
                )
    return ""
