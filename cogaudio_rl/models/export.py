"""Merge what was trained into its backbone: a plain Hugging Face folder that needs no PEFT.

    W' = W + (alpha / r) * B @ A        for every layer a LoRA touches
    W' = what was trained               where the language model was trained whole

Works shard by shard on the stored weights, without building the model: a 7B backbone needs the memory
of its largest shard. Talker, vision and audio weights are copied as they are.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cogaudio_rl.errors import CheckpointError, DataError
from cogaudio_rl.models.architecture import Architecture, resolve_checkpoint
from cogaudio_rl.models.checkpoint import PEFT_PREFIX, is_whole, load_adapter, lora_scale
from cogaudio_rl.types import Adapter

_WEIGHTS = "*.safetensors"


def merge(
    base: str,
    adapter: Path,
    out: Path,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Write the merged checkpoint to ``out`` and return how many layers the adapter changed.

    ``out`` appears only when it is whole. Raises DataError when it is there already, CheckpointError
    for an adapter that does not fit the backbone.
    """
    if out.exists():
        raise DataError(f"{str(out)!r} is already there; name another folder")
    source = resolve_checkpoint(base)
    prefix = Architecture.of(source, name=base).stored_prefix
    trained, added = load_adapter(adapter), not is_whole(adapter)
    values = (
        lora_deltas(trained, lora_scale(adapter), prefix)
        if added
        else {name: lambda t=t: t for name, t in stored_names(trained, prefix).items()}
    )
    if not values:
        raise CheckpointError(f"adapter {str(adapter)!r} holds no weights of a language model")
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    shards = sorted(source.glob(_WEIGHTS))
    changed: set[str] = set()
    for number, shard in enumerate(shards):
        changed |= _merge_shard(shard, partial / shard.name, values, added=added)
        progress(number + 1, len(shards))
    if left := sorted(set(values) - changed):
        shutil.rmtree(partial)
        raise CheckpointError(
            f"adapter {str(adapter)!r} changes {left[0]!r}, which backbone {base!r} does not have; "
            "is it of another architecture?"
        )
    for file in source.iterdir():
        if file.is_file() and not file.match(_WEIGHTS) and file.name != "README.md":
            shutil.copyfile(file, partial / file.name)
    partial.rename(out)
    return len(changed)


def lora_deltas(
    adapter: Adapter, scale: float, stored_prefix: str
) -> dict[str, Callable[[], Tensor]]:
    """Name of a stored weight → ``scale * B @ A``, computed when it is needed.

    Raises CheckpointError for half a layer.
    """
    tensors: Mapping[str, Any] = adapter.tensors
    found: dict[str, Callable[[], Tensor]] = {}
    for name, a in tensors.items():
        layer, is_a, _ = name.partition(".lora_A.weight")
        if not is_a:
            continue
        b = tensors.get(f"{layer}.lora_B.weight")
        if b is None:
            raise CheckpointError(f"the adapter has {name!r} without its lora_B")
        target = f"{stored_prefix}{layer.removeprefix(PEFT_PREFIX)}.weight"
        found[target] = lambda a=a, b=b: scale * (torch.as_tensor(b) @ torch.as_tensor(a))
    return found


def stored_names(adapter: Adapter, stored_prefix: str) -> dict[str, Tensor]:
    """The tensors of a language model trained whole, under the names a checkpoint stores them by."""
    tensors: Mapping[str, Any] = adapter.tensors
    return {stored_prefix + name: torch.as_tensor(t) for name, t in tensors.items()}


def stored_weights(folder: Path, names: Collection[str]) -> dict[str, Tensor]:
    """Those of the named weights that a checkpoint's folder holds."""
    from safetensors import safe_open

    found: dict[str, Tensor] = {}
    for shard in sorted(folder.glob(_WEIGHTS)):
        with safe_open(shard, "pt") as stored:
            found |= {n: stored.get_tensor(n) for n in stored.keys() if n in names}  # noqa: SIM118
    return found


def stored_weight_names(folder: Path) -> set[str]:
    """Of all weights that a checkpoint's folder holds."""
    from safetensors import safe_open

    found: set[str] = set()
    for shard in sorted(folder.glob(_WEIGHTS)):
        with safe_open(shard, "pt") as stored:
            found |= set(stored.keys())
    return found


def check_fits(adapter: Path, base: Path) -> None:
    """Raise CheckpointError for a LoRA with a layer that the backbone lacks or has otherwise.

    vLLM drops such layers without a word.
    """
    from safetensors import safe_open

    prefix = Architecture.of(base, name=str(base)).stored_prefix
    wanted: dict[str, tuple[int, ...]] = {
        name: tuple(delta().shape)
        for name, delta in lora_deltas(load_adapter(adapter), 1.0, prefix).items()
    }
    if not wanted:
        raise CheckpointError(f"adapter {str(adapter)!r} holds no LoRA of a language model")
    for shard in sorted(base.glob(_WEIGHTS)):
        with safe_open(shard, "pt") as stored:
            for name in set(stored.keys()) & set(wanted):
                shape, changed = tuple(stored.get_slice(name).get_shape()), wanted.pop(name)
                if shape != changed:
                    raise CheckpointError(
                        f"adapter {str(adapter)!r} changes {name!r} by {changed}, the backbone's "
                        f"is {shape}; it was trained on another"
                    )
    if wanted:
        raise CheckpointError(
            f"adapter {str(adapter)!r} changes {sorted(wanted)[0]!r}, which the backbone does not "
            "have; it was trained on another"
        )


def _merge_shard(
    source: Path, out: Path, values: Mapping[str, Callable[[], Tensor]], *, added: bool
) -> set[str]:
    """Copy a shard with its named weights replaced, or with the values added to them."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    changed: set[str] = set()
    with safe_open(source, "pt") as stored:
        metadata: dict[str, str] = stored.metadata() or {"format": "pt"}
        for name in stored.keys():  # noqa: SIM118 - safe_open is not a mapping
            weight: Tensor = stored.get_tensor(name)
            if name in values:
                value = values[name]()
                if value.shape != weight.shape:
                    raise CheckpointError(
                        f"the adapter's change of {name!r} has shape {tuple(value.shape)}, the "
                        f"backbone's weight {tuple(weight.shape)}"
                    )
                # In float32: a bfloat16 sum would round most of a small change away.
                weight = (weight.float() + value if added else value).to(weight.dtype)
                changed.add(name)
            tensors[name] = weight
    save_file(tensors, out, metadata=metadata)
    return changed
