"""What Ray Serve is told of the application that answers users."""

from __future__ import annotations

from clusters.kuberay.cluster import RECIPE, SERVE_PORT
from clusters.kuberay.options import ManifestOptions
from clusters.kuberay.pods import Document
from cogaudio_rl.config import Config

IMPORT_PATH = "actors.responder:app"
APPLICATION = "cogaudio"
DEPLOYMENT = "responder"
"""As ``clusters/serving.py`` and ``actors/responder.py`` name them."""


def serve_config(config: Config, options: ManifestOptions) -> Document:
    """The application reads its settings from the recipe, ``config``, that lies in its pods.

    Checkpoints and replicas stand here as well: KubeRay hands a change of these to the application that
    runs, and neither a pod nor a replica restarts.
    """
    serve = config.serve
    deployment: Document = {
        "name": DEPLOYMENT,
        "user_config": {
            "checkpoints": {name: path.as_posix() for name, path in serve.checkpoints.items()}
        },
    }
    most = serve.max_replicas or serve.replicas
    if options.autoscale and most > serve.replicas:
        deployment["autoscaling_config"] = {
            "min_replicas": serve.replicas,
            "max_replicas": most,
            "target_ongoing_requests": serve.target_ongoing_requests,
        }
    else:
        # More replicas than pods would wait for ever where nothing brings pods up. What is left out
        # here the application would take from its recipe.
        deployment |= {"num_replicas": serve.replicas, "autoscaling_config": None}
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": "0.0.0.0", "port": SERVE_PORT},
        "applications": [
            {
                "name": APPLICATION,
                "import_path": IMPORT_PATH,
                "route_prefix": "/",
                "args": {"recipe": RECIPE},
                "deployments": [deployment],
            }
        ],
    }
