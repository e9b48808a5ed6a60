"""The server as a Ray Serve application: ``import_path: actors.responder:app``.

    Ray Serve's proxy ─HTTP─► Replica: build_app ─► Responder ─► ServingEngine ─► vLLM's process

Settings are a recipe: ``serve run actors.responder:app recipe=FILE serve.replicas=2``, ``args`` of a
``serve deploy`` file, or the recipe named by COGAUDIO_SERVE_CONFIG.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray import serve
from ray.serve import Application

from actors.adapters import check_servable, digest_of
from actors.environment import engine_env
from actors.weights import served_rank
from cogaudio_rl.config import Config, load_config, parse_config
from cogaudio_rl.config.serve import ServeConfig
from cogaudio_rl.models.architecture import resolve_checkpoint
from cogaudio_rl.revision import REVISION, source_digest
from cogaudio_rl.serve.http import build_app
from cogaudio_rl.serve.keys import Keys, require_keys
from cogaudio_rl.serve.opened import opened_with
from cogaudio_rl.serve.responder import Responder, check_name
from cogaudio_rl.serve.runs import RunShelf

RECIPE_VARIABLE = "COGAUDIO_SERVE_CONFIG"
DEPLOYMENT = "responder"
_SLACK = 64
"""Requests beyond those of the chat, such as health checks, that a replica takes at a time."""


@serve.ingress()
class Replica:
    """One engine behind the API. Ray Serve starts, checks and replaces it."""

    async def __init__(self, config: dict[str, Any]) -> None:
        """``config`` is a whole recipe; which adapters it serves comes by :meth:`reconfigure`."""
        # vLLM is imported where it runs; whoever only deploys need not wait for it.
        from actors.serving_engine import ServingEngine

        parsed = parse_config(config)
        self._keys = Keys.of(os.environ)
        # Asked where it counts: the variable may be set for who deploys and not on this node.
        require_keys(await asyncio.to_thread(_listens_on), self._keys)
        self._shelf = RunShelf()
        self._engine = ServingEngine(parsed)
        self._responder = Responder(self._engine, parsed.serve)
        self._config = parsed.serve

    def __serve_build_asgi_app__(self) -> Any:
        return build_app(self._responder, self._config, keys=self._keys, shelf=self._shelf)

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Serve these adapters from now on; what is under way ends with those it began with."""
        folders = user_config.get("checkpoints") or {}
        checkpoints = {name: Path(folder) for name, folder in folders.items()}
        if await self._engine.renew(checkpoints):
            self._shelf.show(checkpoints, others=self._config.runs)

    async def check_health(self) -> None:
        """Raises RunError when the engine has ended; Ray Serve then starts another replica."""
        self._engine.check()

    def __del__(self) -> None:
        """Ray Serve's call when the replica's last request has ended."""
        self._engine.close()


def _listens_on() -> str:
    """The address of the cluster's proxies: a recipe's own host is what `cogaudio-rl serve` asks for,
    and who deploys otherwise may have asked for another."""
    from ray.serve.context import _get_global_client

    client: Any = _get_global_client()
    return str(client.http_config.host or "0.0.0.0")


def app(args: Mapping[str, Any]) -> Application:
    """The application, from ``recipe`` and dotted overrides among ``args``."""
    given = dict(args)
    recipe = given.pop("recipe", None) or os.environ.get(RECIPE_VARIABLE) or "quickstart"
    return application(load_config(str(recipe), [f"{key}={value}" for key, value in given.items()]))


def application(config: Config) -> Application:
    """A recipe's server. Raises ConfigError, CheckpointError before anything is started."""
    settings = config.serve
    base, lora = resolve_checkpoint(config.model.path), config.model.lora
    for name, folder in settings.checkpoints.items():
        check_name(name)
        if lora is not None:
            check_servable(folder, base, max_rank=served_rank(lora.r))
    deployment: Any = serve.deployment(
        Replica,
        name=DEPLOYMENT,
        user_config=user_config(settings),
        max_ongoing_requests=settings.max_ongoing_requests + settings.max_queued_requests + _SLACK,
        max_queued_requests=settings.max_queued_requests,
        backpressure_config={"status_code": 429, "retry_after_s": settings.retry_after_s},
        graceful_shutdown_timeout_s=settings.drain_s,
        ray_actor_options={
            "num_cpus": settings.cpus_per_replica,
            "num_gpus": settings.gpus_per_replica,
            "runtime_env": {"env_vars": _env(settings)},
        },
        **_scale(settings),
    )
    own = opened_with(config)
    # Without a version of its own Ray Serve takes every deployment for new code, and its replicas go.
    deployment._version = hashlib.sha256(
        f"{source_digest()} {json.dumps(own, sort_keys=True)}".encode()
    ).hexdigest()[:12]
    return deployment.bind(own)


def user_config(settings: ServeConfig) -> dict[str, Any]:
    """What :meth:`Replica.reconfigure` is given. It changes whenever an adapter's weights do: Ray Serve
    calls it for nothing else."""
    folders = {name: folder.absolute() for name, folder in settings.checkpoints.items()}
    contents = "".join(digest_of(folder) for folder in folders.values())
    return {
        "checkpoints": {name: str(folder) for name, folder in folders.items()},
        "revision": hashlib.sha256(contents.encode()).hexdigest()[:12],
    }


def _env(settings: ServeConfig) -> dict[str, str]:
    env = engine_env(threads=settings.threads_per_replica, gpus=settings.gpus_per_replica) | {
        # oneDNN keeps a kernel for each number of rows it ever multiplied. A server meets them all, and
        # the 1,024 that it would keep take half a gigabyte.
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "256",
    }
    # Ray Serve starts replicas anew for another environment; a commit is no reason to.
    return {name: value for name, value in env.items() if name != REVISION}


def _scale(settings: ServeConfig) -> dict[str, Any]:
    if settings.max_replicas is None or settings.max_replicas == settings.replicas:
        return {"num_replicas": settings.replicas}
    return {
        "autoscaling_config": {
            "min_replicas": settings.replicas,
            "max_replicas": settings.max_replicas,
            "target_ongoing_requests": settings.target_ongoing_requests,
        }
    }
