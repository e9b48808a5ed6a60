"""Rendered manifests and the ways tests look into them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sounds import REAL_DATA

from clusters.kuberay.options import Kind, ManifestOptions
from clusters.kuberay.pods import GPU, Document
from clusters.manifests import render
from cogaudio_rl.config import Config, load_config

SCHEMAS = REAL_DATA / "kuberay"
"""KubeRay's CRDs, which are not part of the project."""

_CLUSTER_FIELD = {
    Kind.RAYJOB: "rayClusterSpec",
    Kind.RAYSERVICE: "rayClusterConfig",
}


def paper(*overrides: str) -> Config:
    return load_config("qwen2_5_omni_7b", overrides)


def ray_document(kind: Kind, config: Config, options: ManifestOptions | None = None) -> Document:
    """The last of the documents, the one that KubeRay reads."""
    return render(kind, config, options or ManifestOptions())[-1]


def cluster_of(kind: Kind, document: Document) -> Document:
    spec = document["spec"]
    return spec[_CLUSTER_FIELD[kind]] if kind in _CLUSTER_FIELD else spec


def groups_of(kind: Kind, document: Document) -> dict[str, Document]:
    return {g["groupName"]: g for g in cluster_of(kind, document)["workerGroupSpecs"]}


def container_of(group: Document) -> Document:
    (container,) = group["template"]["spec"]["containers"]
    return container


def gpus_of(group: Document) -> int:
    """GPUs of all pods of a group when all are up."""
    return group["maxReplicas"] * container_of(group)["resources"]["limits"].get(GPU, 0)


def pod_specs(value: Any) -> Iterator[Document]:
    """Every pod's spec, wherever it stands."""
    if isinstance(value, dict):
        if "containers" in value:
            yield value
        for one in value.values():
            yield from pod_specs(one)
    elif isinstance(value, list):
        for one in value:
            yield from pod_specs(one)
