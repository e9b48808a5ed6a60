"""Bundles → worker groups: how many pods of which size each role runs in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from clusters.layout import Bundle, Role, layout
from clusters.memory import RoleMemory, estimate
from cogaudio_rl.config import Config
from cogaudio_rl.errors import ConfigError

WORKERS = (Role.LEARNER, Role.ROLLOUT, Role.JUDGE)
"""Roles that have pods of their own, in the layout's order."""
RESPONDER = "responder"
"""The role of a service's pods."""
_GPU_PROCESS_GIB = 4.0
"""Host memory of a process on a GPU beside its weights: CUDA, torch, pinned buffers."""
_SPARE = 1.25
"""Room above the estimate for a process on the CPU, whose limit is the end of it."""
_ON_HOST = ("weights", "ears")
"""Parts that pass through the host's memory on their way to a GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerGroup:
    """Pods of one size that run one role; ``cpus``, ``gpus`` and ``memory_gib`` are of one pod."""

    role: str
    pods: int
    cpus: int
    gpus: int
    memory_gib: int
    """Without ``/dev/shm``."""
    max_pods: int


def worker_groups(config: Config, memory_gib: Mapping[str, float]) -> list[WorkerGroup]:
    """One group per role, in the layout's order. ``memory_gib`` overrides the estimate of a role.

    Learners share a pod as far as a node reaches, for NCCL has no NVLink between pods; engines have
    a pod each, so that one is lost at a time; judges that only ask and count share one.
    Raises ConfigError when the backbone's size, and so the memory, is not known.
    """
    bundles = layout(config.cluster)
    groups: list[WorkerGroup] = []
    for role in WORKERS:
        members = [bundle for bundle in bundles if bundle.role is role]
        together = _together(config, members)
        one = members[0]
        pods = len(members) // together
        groups.append(
            WorkerGroup(
                role=role.value,
                pods=pods,
                cpus=math.ceil(together * one.cpus),
                gpus=math.ceil(together * one.gpus),
                memory_gib=math.ceil(together * _host_gib(config, role, memory_gib)),
                max_pods=pods,
            )
        )
    return groups


def serving_group(config: Config, memory_gib: Mapping[str, float]) -> WorkerGroup:
    """Replicas that answer users, a pod each. Raises ConfigError as :func:`worker_groups` does."""
    serve = config.serve
    return WorkerGroup(
        role=RESPONDER,
        pods=serve.replicas,
        cpus=math.ceil(serve.cpus_per_replica),
        gpus=serve.gpus_per_replica,
        memory_gib=math.ceil(_serving_gib(config, memory_gib)),
        max_pods=serve.max_replicas or serve.replicas,
    )


def _serving_gib(config: Config, given: Mapping[str, float]) -> float:
    """A replica is an engine like a rollout worker's, of its own size."""
    if RESPONDER in given:
        return given[RESPONDER]
    engine = config.cluster.model_copy(
        update={
            "gpus_per_rollout": float(config.serve.gpus_per_replica),
            "tensor_parallel": max(1, config.serve.gpus_per_replica),
        }
    )
    memory = _estimated(config.model_copy(update={"cluster": engine}), Role.ROLLOUT)
    if memory is None:
        raise _unknown(f"model.path {config.model.path!r}", RESPONDER)
    return _on_host(memory)


def _together(config: Config, members: list[Bundle]) -> int:
    """How many bundles of a role share a pod; it divides them evenly, so that no GPU is left over."""
    cluster, one, count = config.cluster, members[0], len(members)
    divisors = [n for n in range(1, count + 1) if count % n == 0]
    whole = [n for n in divisors if math.isclose(n * one.gpus, round(n * one.gpus))]
    if one.role is Role.JUDGE and config.judge.engine is None:
        return count
    if one.role is not Role.LEARNER:
        return whole[0] if whole else count
    if cluster.nodes == 1:
        return count  # on one node its ranks talk over the loopback device
    reach = cluster.gpus_per_node / one.gpus if one.gpus else count / cluster.nodes
    fitting = [n for n in whole or divisors if n <= reach]
    return fitting[-1] if fitting else divisors[0]


def _host_gib(config: Config, role: Role, given: Mapping[str, float]) -> float:
    """Host memory of one process of a role, in GiB."""
    if role in given:
        return given[role]
    memory = _estimated(config, role)
    engine = config.judge.engine if role is Role.JUDGE else None
    if memory is None or (engine is not None and not memory.parts["weights"]):
        model = f"judge.model {engine.model!r}" if engine else f"model.path {config.model.path!r}"
        raise _unknown(model, role)
    return _on_host(memory)


def _estimated(config: Config, role: Role) -> RoleMemory | None:
    return next((one for one in estimate(config) if one.role is role), None)


def _unknown(model: str, role: str) -> ConfigError:
    return ConfigError(
        f"the size of {model} is not known here, and so not the memory of a {role}; "
        f"give it: --memory {role}=GIB"
    )


def _on_host(memory: RoleMemory) -> float:
    if not memory.on_gpu:
        return memory.total_gib * _SPARE
    return _GPU_PROCESS_GIB + sum(memory.parts.get(part, 0.0) for part in _ON_HOST)
