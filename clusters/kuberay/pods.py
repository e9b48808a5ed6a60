"""A pod of a Ray cluster: container, volumes, probes, and as few rights as Kubernetes can give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clusters.kuberay.options import ManifestOptions

Document = dict[str, Any]

HOME = "/home/cogaudio"
USER = 1000
"""The user of the image, not root."""
RECIPE_FOLDER = "/etc/cogaudio"
RECIPE_FILE = "recipe.yaml"
GPU = "nvidia.com/gpu"
ROLE_LABEL = "cogaudio-role"
"""Label of a Ray node, and of its pod: by it Ray places a role where it belongs."""
RECIPE_DIGEST = "cogaudio-recipe"
"""Annotation: what of its recipe a serving pod is opened with."""

_AGENT_PORT = 52365
_SERVE_PORT = 8000
_STORE_SHARE = 0.75
"""Of ``/dev/shm`` for Ray's objects; the rest is for NCCL and vLLM."""


def pod_template(
    options: ManifestOptions,
    *,
    name: str,
    role: str,
    container: Document,
    volumes: Sequence[Document] = (),
    needs_api: bool = False,
    grace_s: int = 30,
    gpus: int = 0,
    annotations: Mapping[str, str] | None = None,
) -> Document:
    """A PodTemplateSpec. ``needs_api``: its containers may talk to Kubernetes (the autoscaler)."""
    spec: Document = {
        "restartPolicy": "Never",  # who is gone is replaced by a new pod; autoscaler v2 demands it
        "automountServiceAccountToken": needs_api,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace_s,
        "securityContext": pod_security(),
        "containers": [container],
        "volumes": [*_own_volumes(options), *storage_volumes(options), *volumes],
    }
    if options.pull_secret:
        spec["imagePullSecrets"] = [{"name": options.pull_secret}]
    if gpus:
        spec |= _gpu_nodes(options)
    metadata: Document = {"labels": {**labels(name), ROLE_LABEL: role}}
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {"metadata": metadata, "spec": spec}


def ray_container(
    options: ManifestOptions,
    *,
    name: str,
    image: str,
    cpus: int,
    memory_gib: int,
    gpus: int = 0,
    env: Sequence[Document] = (),
    mounts: Sequence[Document] = (),
    ports: Mapping[str, int] | None = None,
    ready: Document | None = None,
) -> Document:
    """A Ray node. CPUs are asked for and not capped: a cap would stall it in the middle of a step."""
    memory = f"{memory_gib + options.shm_gib}Gi"
    device = {GPU: gpus} if gpus else {}
    container: Document = {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "securityContext": container_security(),
        "env": [*common_env(options), *env],
        "resources": {
            "requests": {"cpu": cpus, "memory": memory, **device},
            "limits": {"memory": memory, **device},
        },
        "volumeMounts": [*_own_mounts(), *storage_mounts(options), *mounts],
        "livenessProbe": _probe(_AGENT_PORT, "/api/healthz", period_s=10, failures=12),
        "readinessProbe": ready or _probe(_AGENT_PORT, "/api/healthz", period_s=5, failures=6),
    }
    if ports:
        container["ports"] = [{"name": n, "containerPort": port} for n, port in ports.items()]
    return container


def start_params(options: ManifestOptions, *, cpus: int, gpus: int = 0) -> dict[str, str]:
    """What ``ray start`` is told. Ray's words for resources, not the container's limits."""
    store = int(options.shm_gib * 2**30 * _STORE_SHARE)
    params = {"num-cpus": str(cpus), "object-store-memory": str(store)}
    if gpus:
        params["num-gpus"] = str(gpus)
    return params


def serve_ready() -> Document:
    """A pod gets requests while its proxy answers; it has one where it has a replica."""
    return _probe(_SERVE_PORT, "/-/healthz", period_s=5, failures=1)


def labels(name: str) -> dict[str, str]:
    """By these the parts of one manifest are found."""
    return {"app.kubernetes.io/part-of": "cogaudio-rl", "app.kubernetes.io/instance": name}


def pod_security() -> Document:
    """What the Pod Security Standard "restricted" asks of a pod."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> Document:
    """What it asks of a container, and a root file system that nothing can change."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def common_env(options: ManifestOptions) -> list[Document]:
    """Of every container."""
    env = {
        "HOME": HOME,
        "HF_HUB_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray would hide all GPUs from a worker that asks for none, and vLLM's import looks for them.
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        **options.env,
    }
    return plain_env(env)


def plain_env(env: Mapping[str, str]) -> list[Document]:
    """Environment variables that anybody may read."""
    return [{"name": name, "value": value} for name, value in env.items()]


def secret_env(options: ManifestOptions, names: Sequence[str], *, optional: bool) -> list[Document]:
    """Environment variables that hold keys, by reference."""
    return [
        {
            "name": name,
            "valueFrom": {
                "secretKeyRef": {"name": options.secret, "key": name, "optional": optional}
            },
        }
        for name in names
    ]


def scratch_mounts() -> list[Document]:
    """What any container needs whose root file system is read-only."""
    return [{"name": "scratch", "mountPath": "/tmp"}, {"name": "home", "mountPath": HOME}]


def scratch_volumes(options: ManifestOptions) -> list[Document]:
    return [
        {"name": "scratch", "emptyDir": {"sizeLimit": f"{options.scratch_gib}Gi"}},
        {"name": "home", "emptyDir": {"sizeLimit": f"{options.scratch_gib}Gi"}},
    ]


def storage_volumes(options: ManifestOptions) -> list[Document]:
    storage = options.storage
    inputs = {"claimName": storage.inputs_claim or storage.claim}
    return [
        {"name": "runs", "persistentVolumeClaim": {"claimName": storage.claim}},
        {"name": "inputs", "persistentVolumeClaim": inputs},
    ]


def storage_mounts(options: ManifestOptions) -> list[Document]:
    storage = options.storage
    inputs: Document = {"name": "inputs", "mountPath": storage.inputs, "readOnly": True}
    if storage.inputs_claim is None:
        inputs["subPath"] = "inputs"
    return [{"name": "runs", "mountPath": storage.runs, "subPath": "runs"}, inputs]


def _own_volumes(options: ManifestOptions) -> list[Document]:
    memory = {"medium": "Memory", "sizeLimit": f"{options.shm_gib}Gi"}
    return [{"name": "shm", "emptyDir": memory}, *scratch_volumes(options)]


def _own_mounts() -> list[Document]:
    return [{"name": "shm", "mountPath": "/dev/shm"}, *scratch_mounts()]


def _gpu_nodes(options: ManifestOptions) -> Document:
    selector = dict(options.node_selector)
    if options.gpu_class:
        selector["nvidia.com/gpu.product"] = options.gpu_class
    tolerations = [{"key": key, "operator": "Exists"} for key in (GPU, *options.tolerations)]
    return {"tolerations": tolerations} | ({"nodeSelector": selector} if selector else {})


def _probe(port: int, path: str, *, period_s: int, failures: int) -> Document:
    """Ray answers these without its token."""
    return {
        "httpGet": {"path": path, "port": port},
        "initialDelaySeconds": 10,
        "timeoutSeconds": 5,
        "periodSeconds": period_s,
        "failureThreshold": failures,
    }
