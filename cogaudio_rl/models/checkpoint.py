"""Adapters on disk: PEFT's own format, written whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from cogaudio_rl.errors import CheckpointError
from cogaudio_rl.models.architecture import Architecture
from cogaudio_rl.types import Adapter

WEIGHTS = "adapter_model.safetensors"
_REFERENCE = "reference.safetensors"
PEFT_PREFIX = "base_model.model."


def save_adapter(adapter: Adapter, folder: Path, *, r: int, alpha: int, base: str) -> None:
    """Write a folder that PEFT opens on the model it was trained on."""
    from cogaudio_rl.models.policy import LORA_TARGETS

    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "peft_type": "LORA",
        "r": r,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": LORA_TARGETS,
        "base_model_name_or_path": base,
        "inference_mode": True,
        "task_type": None,
    }
    _write(folder / "adapter_config.json", json.dumps(config, indent=2).encode())
    _write(folder / "version.json", json.dumps({"policy_version": adapter.version}).encode())
    tensors: dict[str, Any] = dict(adapter.tensors)
    partial = folder / (WEIGHTS + ".partial")
    save_file(tensors, partial)
    os.replace(partial, folder / WEIGHTS)


def load_adapter(folder: Path) -> Adapter:
    """Read what :func:`save_adapter` wrote. Raises CheckpointError naming the folder."""
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise CheckpointError(f"checkpoint {str(folder)!r} holds no {WEIGHTS}")
    try:
        tensors = load_file(weights)
    except SafetensorError as error:
        raise CheckpointError(f"{str(weights)!r} is damaged: {error}") from None
    version = 0
    if (folder / "version.json").is_file():
        version = int(json.loads((folder / "version.json").read_text("utf-8"))["policy_version"])
    return Adapter(version=version, tensors=tensors)


def save_reference(adapter: Adapter, folder: Path) -> None:
    """Leave the policy RL began with beside a checkpoint."""
    partial = folder / (_REFERENCE + ".partial")
    tensors: dict[str, Any] = dict(adapter.tensors)
    save_file(tensors, partial)
    os.replace(partial, folder / _REFERENCE)


def load_reference(folder: Path) -> Adapter | None:
    """What :func:`save_reference` left, or None."""
    path = folder / _REFERENCE
    return Adapter(version=0, tensors=load_file(path)) if path.is_file() else None


def lora_scale(folder: Path) -> float:
    """alpha / r of an adapter's folder. Raises CheckpointError naming the file."""
    config = _adapter_config(folder)
    try:
        return float(config["lora_alpha"]) / float(config["r"])
    except (ValueError, KeyError, TypeError, ZeroDivisionError):
        raise CheckpointError(
            f"adapter_config.json of {str(folder)!r} has no usable r and lora_alpha"
        ) from None


def adapter_base(folder: Path) -> str:
    """The backbone an adapter was trained on. Raises CheckpointError when it does not say."""
    base = _adapter_config(folder).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise CheckpointError(f"adapter {str(folder)!r} does not name its backbone; give --base")
    return base


def _adapter_config(folder: Path) -> dict[str, Any]:
    path = folder / "adapter_config.json"
    try:
        config = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"checkpoint {str(folder)!r} holds no {path.name}") from None
    except ValueError:
        raise CheckpointError(f"{str(path)!r} is not valid JSON") from None
    if not isinstance(config, dict):
        raise CheckpointError(f"{str(path)!r} must hold a mapping")
    return config


def for_vllm(adapter: Adapter, architecture: Architecture) -> dict[str, Any]:
    """The adapter's tensors under the names vLLM expects.

    It looks for the thinker inside a whole Qwen2.5-Omni, and ignores other names in silence.
    """
    prefix = PEFT_PREFIX + architecture.stored_prefix
    return {
        prefix + name.removeprefix(PEFT_PREFIX): tensor for name, tensor in adapter.tensors.items()
    }


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    os.replace(partial, path)
