"""The paths of a recipe, as pods see them: on the shared storage or nowhere.

A relative path is taken to lie on the storage: ``runs/…`` in its runs, all else in its inputs. An
absolute path must lie there already, since a pod has nothing else.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from clusters.kuberay.groups import WORKERS
from clusters.kuberay.options import Storage
from clusters.kuberay.pods import ROLE_LABEL
from cogaudio_rl.config import Config, parse_config
from cogaudio_rl.errors import ConfigError
from cogaudio_rl.models.architecture import BUILTIN

_WRITTEN = ("out_dir", "cache")
"""Keys of paths that a run writes to."""


def on_storage(config: Config, storage: Storage) -> Config:
    """The same recipe with every path on the storage, each role on the pods that were made for it.

    Raises ConfigError naming the first path that no pod would see or might not write to.
    """
    raw = _moved(config.model_dump(), storage, ())
    if config.model.path != BUILTIN:
        raw["model"]["path"] = locate(config.model.path, storage, "model.path")
    raw["cluster"]["address"] = "auto"
    raw["cluster"]["node_labels"] = {role.value: {ROLE_LABEL: role.value} for role in WORKERS}
    return parse_config(raw)


def locate(path: str, storage: Storage, name: str, *, written: bool = False) -> str:
    """Where a pod finds ``path``; ``name`` is what the recipe calls it."""
    given = PurePosixPath(path)
    if ".." in given.parts:
        raise ConfigError(f"{name} {path!r} leaves the storage; give a path without '..'")
    if not given.is_absolute():
        given = PurePosixPath(storage.mount if _in_runs(given) else storage.inputs) / given
    readable = (storage.runs,) if written else (storage.runs, storage.inputs)
    if not any(given.is_relative_to(folder) for folder in readable):
        where, deed = " or ".join(readable), "write" if written else "read"
        raise ConfigError(
            f"{name} {path!r} is not on the shared storage, and no pod could {deed} it; "
            f"put it under {where} (claim {storage.claim!r}) and give it so: "
            f"{name}={readable[-1]}/{given.name}"
        )
    return str(given)


def _in_runs(path: PurePosixPath) -> bool:
    return path.parts[:1] == ("runs",)


def _moved(value: Any, storage: Storage, keys: tuple[str, ...]) -> Any:
    """A dumped section with its paths moved; what is a path there is known by its type."""
    if isinstance(value, dict):
        moved = {key: _moved(one, storage, (*keys, str(key))) for key, one in value.items()}
        # A judge that is an engine names a folder where one behind an address names a model.
        if moved.get("kind") == "vllm":
            moved["model"] = locate(moved["model"], storage, ".".join((*keys, "model")))
        return moved
    if isinstance(value, list | tuple):
        return [_moved(one, storage, (*keys, str(i))) for i, one in enumerate(value)]
    if isinstance(value, Path):
        written = keys[-1] in _WRITTEN
        return locate(value.as_posix(), storage, ".".join(keys), written=written)
    return value
