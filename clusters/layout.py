"""Config → bundles, without Ray: who gets which share of which node.

driver    this process; listed for the tables, never reserved
learner   one bundle per DeepSpeed rank, first so that the ranks share a node
rollout   one bundle per vLLM engine
judge     one bundle per judge worker; with GPUs where it is a vLLM engine
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    """What one process reserves. ``index`` counts within the role; a learner's is its rank.

    ``labels`` are Ray's label selectors: which nodes it may be on; empty means any.
    """

    role: Role
    index: int
    cpus: float = 0.0
    gpus: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def resources(self) -> dict[str, float]:
        """In Ray's words; Ray refuses entries of 0."""
        return {k: v for k, v in (("CPU", self.cpus), ("GPU", self.gpus)) if v > 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node of a running cluster: what is free on it, such as ``{"CPU": 2.0, "GPU": 1.0}``."""

    free: Mapping[str, float]
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


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
    labels: Mapping[str, Mapping[str, str]] = {str(k): v for k, v in config.node_labels.items()}
    judge = (Role.JUDGE, config.judge_workers, config.cpus_per_judge, config.gpus_per_judge)
    return [Bundle(role=Role.DRIVER, index=0)] + [
        Bundle(role=role, index=i, cpus=cpus, gpus=gpus, labels=labels.get(role.value, {}))
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
    """The node of each bundle on the stated cluster: the first of its kind with GPUs enough.

    A node is of the kind of the first labelled bundle on it. Ray decides at run time; this shows that
    a placement exists. Raises ConfigError when none does.
    """
    free = [float(config.gpus_per_node)] * config.nodes
    kinds: list[Mapping[str, str]] = [{} for _ in free]
    nodes: list[int] = []
    for bundle in bundles:
        node = next(
            (
                n
                for n, left in enumerate(free)
                if left + _ROUNDING >= bundle.gpus
                and (not bundle.labels or not kinds[n] or kinds[n] == bundle.labels)
            ),
            None,
        )
        if node is None:
            need = total(bundles)["GPU"]
            of_a_kind = f" on a node with {spelled(bundle.labels)}" if bundle.labels else ""
            raise ConfigError(
                f"the roles need {need:g} GPUs and {bundle.role} {bundle.index} finds none{of_a_kind}: "
                f"cluster.nodes x cluster.gpus_per_node is {config.nodes} x {config.gpus_per_node}"
            )
        free[node] -= bundle.gpus
        kinds[node] = kinds[node] or bundle.labels
        nodes.append(node)
    return nodes


def shortage(bundles: Sequence[Bundle], nodes: Sequence[Node]) -> str:
    """Why these bundles do not fit on these nodes; empty when nothing is missing."""
    if not nodes:
        return "the cluster has no nodes"
    kinds = [
        b.labels for i, b in enumerate(bundles) if b.labels not in [a.labels for a in bundles[:i]]
    ]
    # All together first; then each kind on the nodes that it may use.
    for kind in sorted(kinds, key=len):
        members = [b for b in bundles if b.labels == kind] if kind else bundles
        fitting = [n for n in nodes if matches(kind, n.labels)]
        if not fitting:
            one = members[0]
            return f"{one.role} {one.index} wants a node with {spelled(kind)} and none has it"
        if why := _shortage_of_a_kind(members, fitting, kind):
            return why
    return ""


def _shortage_of_a_kind(
    bundles: Sequence[Bundle], nodes: Sequence[Node], kind: Mapping[str, str]
) -> str:
    where = f"{len(nodes)} node(s)" + (f" with {spelled(kind)}" if kind else "")
    for name, needed in total(bundles).items():
        have = sum(node.free.get(name, 0.0) for node in nodes)
        if needed > have + _ROUNDING:
            return f"{needed:g} {name} are needed and {have:g} are free on {where}"
        for bundle in bundles:
            one, most = bundle.resources.get(name, 0.0), max(n.free.get(name, 0.0) for n in nodes)
            if one > most + _ROUNDING:
                return (
                    f"{bundle.role} {bundle.index} needs {one:g} {name} on one node "
                    f"and the freest node has {most:g}"
                )
    return ""


def matches(selectors: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether a node with these labels may be used, as Ray reads selectors.

    ``a`` is equal, ``in(a, b)`` is one of; a ``!`` before it turns it round, and then also admits a
    node that lacks the label.
    """
    for key, asked in selectors.items():
        wanted = asked.removeprefix("!")
        if wanted.startswith("in("):
            values = [v.strip() for v in wanted[3:-1].split(",")]
        else:
            values = [wanted]
        if (labels.get(key) in values) == asked.startswith("!"):
            return False
    return True


def spelled(selectors: Mapping[str, str]) -> str:
    """``key=value`` for each, in one line."""
    return ", ".join(f"{key}={value}" for key, value in selectors.items())
