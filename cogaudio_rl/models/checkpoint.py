"""What was trained, on disk, written whole or not at all.

LoRA    adapter_config.json, adapter_model.safetensors      PEFT's own format
whole   trained_model.json, trained_model.safetensors       the language model under its own names
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from cogaudio_rl.config import LoraConfig
from cogaudio_rl.errors import CheckpointError
from cogaudio_rl.models.architecture import Architecture
from cogaudio_rl.types import Adapter

LORA_WEIGHTS = "adapter_model.safetensors"
WHOLE_WEIGHTS = "trained_model.safetensors"
_LORA_CARD = "adapter_config.json"
_WHOLE_CARD = "trained_model.json"
_REFERENCE = "reference.safetensors"
PEFT_PREFIX = "base_model.model."


def save_adapter(adapter: Adapter, folder: Path, *, lora: LoraConfig | None, base: str) -> None:
    """Write a folder that PEFT opens on the model it was trained on; without LoRA, a folder that
    ``cogaudio-rl export`` makes a model of."""
    from cogaudio_rl.models.policy import LORA_TARGETS

    folder.mkdir(parents=True, exist_ok=True)
    card: dict[str, Any] = {"base_model_name_or_path": base}
    if lora is not None:
        card |= {
            "peft_type": "LORA",
            "r": lora.r,
            "lora_alpha": lora.alpha,
            "lora_dropout": 0.0,
            "bias": "none",
            "target_modules": LORA_TARGETS,
            "inference_mode": True,
            "task_type": None,
        }
    name = _LORA_CARD if lora is not None else _WHOLE_CARD
    _write(folder / name, json.dumps(card, indent=2).encode())
    _write(folder / "version.json", json.dumps({"policy_version": adapter.version}).encode())
    tensors: dict[str, Any] = dict(adapter.tensors)
    weights = folder / (LORA_WEIGHTS if lora is not None else WHOLE_WEIGHTS)
    partial = weights.with_name(weights.name + ".partial")
    save_file(tensors, partial)
    os.replace(partial, weights)


def load_adapter(folder: Path) -> Adapter:
    """Read what :func:`save_adapter` wrote. Raises CheckpointError naming the folder."""
    weights = folder / (WHOLE_WEIGHTS if is_whole(folder) else LORA_WEIGHTS)
    if not weights.is_file():
        raise CheckpointError(f"checkpoint {str(folder)!r} holds no {weights.name}")
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


def is_whole(folder: Path) -> bool:
    """Whether a checkpoint holds the whole language model and not a LoRA."""
    return (folder / _WHOLE_CARD).is_file()


def lora_scale(folder: Path) -> float:
    """alpha / r of an adapter's folder. Raises CheckpointError naming the file."""
    config = _card(folder)
    try:
        return float(config["lora_alpha"]) / float(config["r"])
    except (ValueError, KeyError, TypeError, ZeroDivisionError):
        raise CheckpointError(
            f"{_LORA_CARD} of {str(folder)!r} has no usable r and lora_alpha"
        ) from None


def lora_of(folder: Path) -> LoraConfig:
    """What an adapter's folder says of its LoRA. Raises CheckpointError naming the file."""
    config = _card(folder)
    try:
        return LoraConfig(r=config["r"], alpha=config["lora_alpha"])
    except (ValueError, KeyError):
        raise CheckpointError(
            f"{_LORA_CARD} of {str(folder)!r} has no usable r and lora_alpha"
        ) from None


def adapter_base(folder: Path) -> str:
    """The backbone an adapter was trained on. Raises CheckpointError when it does not say."""
    base = _card(folder).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise CheckpointError(f"adapter {str(folder)!r} does not name its backbone; give --base")
    return base


def _card(folder: Path) -> dict[str, Any]:
    path = folder / (_WHOLE_CARD if is_whole(folder) else _LORA_CARD)
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
