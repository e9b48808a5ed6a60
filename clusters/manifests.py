"""A recipe → Kubernetes documents for KubeRay: a job, a service, or a cluster to submit to.

    recipe ──► paths on the storage ──► ConfigMap, mounted in the head
       └─────► layout ──► worker groups, one for each role ──► RayJob | RayService | RayCluster

Pure: nothing is read, asked or written. Field names are those of ``ray.io/v1``; why some are as they
are stands in ``clusters/kuberay/README.md``.
"""

from __future__ import annotations

import hashlib
import json
import math
import shlex

from clusters.kuberay.cluster import (
    RECIPE,
    ray_cluster,
    recipe_config_map,
    worker_group,
)
from clusters.kuberay.groups import serving_group, worker_groups
from clusters.kuberay.options import Kind, ManifestOptions
from clusters.kuberay.pods import RECIPE_DIGEST, ROLE_LABEL, Document, labels
from clusters.kuberay.serving import serve_config
from clusters.kuberay.storage import on_storage
from clusters.kuberay.submitter import submitter_pod
from clusters.kuberay.text import one_to_yaml
from cogaudio_rl.config import Config
from cogaudio_rl.errors import ConfigError
from cogaudio_rl.serve.opened import opened_with


def render(kind: Kind, config: Config, options: ManifestOptions) -> list[Document]:
    """All documents, in the order to apply them.

    Raises ConfigError for a recipe that cannot run in pods: its paths, its name, its size.
    """
    if config.cluster.backend != "ray":
        raise ConfigError(f"cluster.backend={config.cluster.backend} has no pods; give ray")
    name = options.named(config.name, kind)
    in_pods = on_storage(config, options.storage)
    builders = {Kind.RAYJOB: _ray_job, Kind.RAYSERVICE: _ray_service, Kind.RAYCLUSTER: _ray_cluster}
    documents = [
        *_claim(options),
        recipe_config_map(name, in_pods),
        _budget(name, kind, config),
        # Sizes are read from the recipe as it was given: its paths may be here, too.
        builders[kind](name, config, options),
    ]
    if options.namespace:
        for document in documents:
            document["metadata"]["namespace"] = options.namespace
    return documents


def _ray_job(name: str, config: Config, options: ManifestOptions) -> Document:
    if options.redis is not None:
        raise ConfigError(
            f"redis {options.redis.address!r}: a job's driver dies with the head, whatever Redis "
            "keeps; a retried job goes on by itself (--retries)"
        )
    job = options.job
    spec: Document = {
        "entrypoint": shlex.join(["cogaudio-rl", "run", "--recipe", RECIPE, "--resume"]),
        "submissionMode": "K8sJobMode",
        "submitterPodTemplate": submitter_pod(name, config, options),
        "backoffLimit": job.retries,
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": job.ttl_s,
        "rayClusterSpec": _training_cluster(name, config, options),
    }
    if job.deadline_s is not None:
        spec["activeDeadlineSeconds"] = job.deadline_s
    if options.queue:
        spec["suspend"] = True
    return _document("RayJob", name, options, spec)


def _ray_cluster(name: str, config: Config, options: ManifestOptions) -> Document:
    spec = _training_cluster(name, config, options)
    if options.queue:
        spec["suspend"] = True
    return _document("RayCluster", name, options, spec)


def _training_cluster(name: str, config: Config, options: ManifestOptions) -> Document:
    groups = worker_groups(config, options.memory_gib)
    workers = [worker_group(name, config, options, group, least=0) for group in groups]
    return ray_cluster(name, config, options, workers)


def _ray_service(name: str, config: Config, options: ManifestOptions) -> Document:
    group = serving_group(config, options.memory_gib)
    in_pods = on_storage(config, options.storage)
    # KubeRay begins another cluster for what stands in a pod's template alone, and not for a recipe.
    opened = {RECIPE_DIGEST: _digest_of_service(in_pods)}
    workers = [worker_group(name, config, options, group, least=group.pods, annotations=opened)]
    spec = {
        "serveConfigV2": one_to_yaml(serve_config(in_pods, options)),
        "upgradeStrategy": {"type": "NewCluster"},
        "excludeHeadPodFromServeSvc": True,
        "rayClusterDeletionDelaySeconds": math.ceil(config.serve.drain_s),
        "rayClusterConfig": ray_cluster(name, config, options, workers, drives=False),
    }
    return _document("RayService", name, options, spec)


def _digest_of_service(config: Config) -> str:
    """Equal for recipes whose services differ in their checkpoints alone, which Ray Serve hands to the
    replicas that run. How many there may be is in it: KubeRay gives a running cluster no more."""
    serve = config.serve
    facts = [opened_with(config), serve.replicas, serve.max_replicas, serve.target_ongoing_requests]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def _document(kind: str, name: str, options: ManifestOptions, spec: Document) -> Document:
    found_by = labels(name)
    if options.queue:
        found_by["kueue.x-k8s.io/queue-name"] = options.queue
    return {
        "apiVersion": "ray.io/v1",
        "kind": kind,
        "metadata": {"name": name, "labels": found_by},
        "spec": spec,
    }


def _budget(name: str, kind: Kind, config: Config) -> Document:
    """A drained node waits: for a run's head, and for all but one of the replicas that answer."""
    serving = kind is Kind.RAYSERVICE
    role = "responder" if serving else "head"
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": f"{name}-{role}", "labels": labels(name)},
        "spec": {
            "minAvailable": max(1, config.serve.replicas - 1) if serving else 1,
            "selector": {"matchLabels": {**labels(name), ROLE_LABEL: role}},
        },
    }


def _claim(options: ManifestOptions) -> list[Document]:
    storage = options.storage
    if storage.size is None:
        return []
    spec: Document = {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": storage.size}},
    }
    if storage.storage_class:
        spec["storageClassName"] = storage.storage_class
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": storage.claim},
            "spec": spec,
        }
    ]
