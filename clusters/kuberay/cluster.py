"""The Ray cluster inside every manifest: a head that only drives, and a group of workers per role."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from clusters.kuberay.groups import RESPONDER, WorkerGroup
from clusters.kuberay.options import ManifestOptions
from clusters.kuberay.pods import (
    RECIPE_FILE,
    RECIPE_FOLDER,
    ROLE_LABEL,
    Document,
    common_env,
    container_security,
    labels,
    plain_env,
    pod_template,
    ray_container,
    scratch_mounts,
    secret_env,
    serve_ready,
    start_params,
)
from clusters.layout import Role, layout, total
from clusters.serve_tuning import SERVE_TUNING
from cogaudio_rl.config import Config, JudgeConfig, dump_config

RECIPE = f"{RECIPE_FOLDER}/{RECIPE_FILE}"
SERVE_PORT = 8000

_HEAD_PORTS = {"gcs-server": 6379, "dashboard": 8265, "client": 10001}
_LOGGING_KEYS = ("WANDB_API_KEY",)
_SERVING_KEYS = ("COGAUDIO_API_KEYS",)


def ray_cluster(
    name: str,
    config: Config,
    options: ManifestOptions,
    workers: list[Document],
    *,
    drives: bool = True,
) -> Document:
    """``drives``: the head runs a driver of ours, which asks judges and logs; a service has none."""
    auth: Document = {"mode": "token"}
    if options.auth_secret:
        auth["secretName"] = options.auth_secret
    spec: Document = {
        "rayVersion": options.ray_version,
        "authOptions": auth,
        "enableInTreeAutoscaling": options.autoscale,
        "headGroupSpec": _head(name, config, options, drives=drives),
        "workerGroupSpecs": workers,
    }
    if options.autoscale:
        spec["autoscalerOptions"] = {
            "version": "v2",
            "idleTimeoutSeconds": options.idle_s,
            "upscalingMode": "Default",
            "securityContext": container_security(),
            "volumeMounts": scratch_mounts(),
            "env": common_env(options),
            "resources": {
                "requests": {"cpu": "500m", "memory": "1Gi"},
                "limits": {"cpu": "500m", "memory": "1Gi"},
            },
        }
    if options.redis is not None:
        password = {"name": options.redis.secret, "key": "password"}
        spec["gcsFaultToleranceOptions"] = {
            "redisAddress": options.redis.address,
            "redisPassword": {"valueFrom": {"secretKeyRef": password}},
        }
    return spec


def _head(name: str, config: Config, options: ManifestOptions, *, drives: bool) -> Document:
    """The driver runs here and nothing else: with no CPUs to give, Ray places no worker on it."""
    recipe = {"name": "recipe", "mountPath": RECIPE_FOLDER, "readOnly": True}
    env: list[Document] = []
    if drives:
        env += secret_env(options, _judge_keys(config), optional=False)
        env += secret_env(options, _LOGGING_KEYS, optional=True)
    else:
        env += plain_env(SERVE_TUNING)
    container = ray_container(
        options,
        name="ray-head",
        image=image(config, options),
        cpus=options.head_cpus,
        memory_gib=options.head_memory_gib,
        env=env,
        mounts=[recipe],
        ports=_HEAD_PORTS,
    )
    template = pod_template(
        options,
        name=name,
        role="head",
        container=container,
        volumes=[_recipe_volume(name)],
        needs_api=options.autoscale,
    )
    params = start_params(options, cpus=0) | {"dashboard-host": "0.0.0.0"}
    return {"rayStartParams": params, "labels": {ROLE_LABEL: "head"}, "template": template}


def worker_group(
    name: str,
    config: Config,
    options: ManifestOptions,
    group: WorkerGroup,
    *,
    least: int,
    annotations: Mapping[str, str] | None = None,
) -> Document:
    serving = group.role == RESPONDER
    keys: Sequence[str] = ()
    if serving:
        keys = _SERVING_KEYS
    elif group.role == Role.JUDGE:
        keys = _judge_keys(config)
    container = ray_container(
        options,
        name="ray-worker",
        image=image(config, options),
        cpus=group.cpus,
        gpus=group.gpus,
        memory_gib=group.memory_gib,
        env=[
            *plain_env(SERVE_TUNING if serving else {}),
            *secret_env(options, keys, optional=False),
        ],
        mounts=[{"name": "recipe", "mountPath": RECIPE_FOLDER, "readOnly": True}] * serving,
        ports={"serve": SERVE_PORT} if serving else None,
        ready=serve_ready() if serving else None,
    )
    template = pod_template(
        options,
        name=name,
        role=group.role,
        container=container,
        volumes=[_recipe_volume(name)] * serving,
        gpus=group.gpus,
        grace_s=math.ceil(config.serve.drain_s) + 30 if serving else 30,
        annotations=annotations,
    )
    least = least if options.autoscale else group.pods
    return {
        "groupName": group.role,
        "replicas": least,
        "minReplicas": least,
        "maxReplicas": group.max_pods if options.autoscale else group.pods,
        "labels": {ROLE_LABEL: group.role},
        "rayStartParams": start_params(options, cpus=group.cpus, gpus=group.gpus),
        "template": template,
    }


def image(config: Config, options: ManifestOptions) -> str:
    """One image for all pods, so that all run the same code."""
    gpus = total(layout(config.cluster))["GPU"] + config.serve.gpus_per_replica
    return options.image_for(gpus)


def _judge_keys(config: Config) -> list[str]:
    """Names of the environment variables with the keys of all endpoints that judge or compete."""
    judges: list[JudgeConfig | None] = [config.judge, config.rl.held_out_judge, config.eval.judge]
    voices = [voice for judge in judges if judge is not None for voice in judge.voices]
    names = [voice.api_key_env for voice in voices if voice.kind == "llm"]
    names += [baseline.api_key_env for baseline in config.eval.baselines]
    return list(dict.fromkeys(names))


def recipe_config_map(name: str, config: Config) -> Document:
    """The resolved recipe: the image need not know it, and a retry reads the same."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{name}-recipe", "labels": labels(name)},
        "data": {RECIPE_FILE: dump_config(config)},
    }


def _recipe_volume(name: str) -> Document:
    return {"name": "recipe", "configMap": {"name": f"{name}-recipe"}}
