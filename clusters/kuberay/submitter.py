"""The pod that hands a RayJob's job to the head."""

from __future__ import annotations

from clusters.kuberay.cluster import image
from clusters.kuberay.options import ManifestOptions
from clusters.kuberay.pods import (
    ROLE_LABEL,
    Document,
    common_env,
    container_security,
    labels,
    pod_security,
    scratch_mounts,
    scratch_volumes,
)
from cogaudio_rl.config import Config


def submitter_pod(name: str, config: Config, options: ManifestOptions) -> Document:
    """The pod that hands the job to the head and follows its log."""
    container = {
        "name": "submitter",
        "image": image(config, options),
        "imagePullPolicy": "IfNotPresent",
        "securityContext": container_security(),
        "env": common_env(options),
        "resources": {
            "requests": {"cpu": "500m", "memory": "1Gi"},
            "limits": {"memory": "1Gi"},
        },
        "volumeMounts": scratch_mounts(),
    }
    spec: Document = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "containers": [container],
        "volumes": scratch_volumes(options),
    }
    if options.pull_secret:
        spec["imagePullSecrets"] = [{"name": options.pull_secret}]
    return {"metadata": {"labels": {**labels(name), ROLE_LABEL: "submitter"}}, "spec": spec}
