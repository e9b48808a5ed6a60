"""Three ways in which what was trained becomes what a vLLM engine answers with.

:class:`LoraKernels` runs vLLM's LoRA kernels beside the backbone's: an adapter is a few MB to load, the
backbone keeps its bits. :class:`MergedWeights` folds the adapter into the engine's own weights: nothing
runs beside them, and on a CPU, where vLLM's LoRA kernels copy the adapter for every token, generation
is several times as fast. Only the adapter travels, either way. :class:`WholeWeights` takes a language
model that was trained without LoRA, all of it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from cogaudio_rl.config import LoraConfig, ModelConfig
from cogaudio_rl.errors import ConfigError, PublishError
from cogaudio_rl.models.architecture import Architecture
from cogaudio_rl.models.checkpoint import for_vllm, save_adapter
from cogaudio_rl.models.export import (
    lora_deltas,
    stored_names,
    stored_weight_names,
    stored_weights,
)
from cogaudio_rl.types import Adapter

_LORA_ID = 1
_FUSED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
_VLLM_LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


class EngineWeights(Protocol):
    """Called in the engine's own thread, between two of its steps."""

    def put(self, adapter: Adapter | None) -> Any:
        """Answer with this adapter from the next token on; None is the bare base.

        Returns the LoRA request that new prompts need, or None. Raises PublishError when the adapter
        has no place in the engine; the engine then answers with what it had.
        """
        ...


class LoraKernels:
    """The adapter as a LoRA of vLLM's."""

    def __init__(self, llm: Any, model: ModelConfig, architecture: Architecture) -> None:
        self._llm, self._model, self._architecture = llm, model, architecture
        self._holds: Adapter | None = None
        self._loads = 0

    @staticmethod
    def options(model: ModelConfig, *, adapters: int = 1) -> dict[str, Any]:
        """What the engine has to be built with. Raises ConfigError for a rank vLLM does not serve."""
        assert model.lora is not None
        rank = served_rank(model.lora.r)
        return {"enable_lora": True, "max_loras": adapters, "max_lora_rank": rank}

    def put(self, adapter: Adapter | None) -> Any:
        try:
            request = self._load(adapter)
        except PublishError:
            self._load(self._holds)
            raise
        self._holds = adapter
        held, wanted = set(self._llm.llm_engine.list_loras()), {_LORA_ID} if adapter else set()
        if held != wanted:
            raise PublishError(f"the engine lists adapters {sorted(held)}, not {sorted(wanted)}")
        return request

    def _load(self, adapter: Adapter | None) -> Any:
        from vllm.lora.request import LoRARequest

        engine = self._llm.llm_engine
        if adapter is None:
            engine.remove_lora(_LORA_ID)
            return None
        self._loads += 1
        version = adapter.version
        assert self._model.lora is not None
        with tempfile.TemporaryDirectory(prefix="adapter-") as name:
            write_for_vllm(adapter, Path(name), self._model.lora, self._architecture)
            # One id for all: what is under way asks for its adapter by the id at every step. Another
            # name each time: it is part of a prefix block's key, so no stale block is ever shared.
            called = f"policy-{version}-{self._loads}"
            try:
                engine.add_lora(LoRARequest(called, _LORA_ID, name, load_inplace=True))
            except ValueError as error:
                first = str(error).splitlines()[0]
                raise PublishError(f"vLLM refuses policy version {version}: {first}") from None
        for placed, homeless in self._llm.collective_rpc(_lora_modules, args=(_LORA_ID,)):
            if homeless or not placed:
                raise _no_place(homeless, version)
        return LoRARequest(called, _LORA_ID, name)


def write_for_vllm(
    adapter: Adapter, folder: Path, lora: LoraConfig, architecture: Architecture
) -> None:
    """A folder that vLLM loads a LoRA from: it takes them from disk, under its own names."""
    renamed = replace(adapter, tensors=for_vllm(adapter, architecture))
    save_adapter(renamed, folder, lora=lora, base="")


class MergedWeights:
    """The adapter inside the engine's own weights: ``W + (alpha / r) * B @ A``, from the base's W.

    Keeps the base's weights of the layers that change, in host memory.
    """

    def __init__(
        self, llm: Any, model: ModelConfig, architecture: Architecture, folder: Path
    ) -> None:
        assert model.lora is not None
        self._llm, self._architecture = llm, architecture
        self._scale = model.lora.alpha / model.lora.r
        self._folder = folder
        self._dtype = getattr(torch, model.dtype)
        self._base: dict[str, Tensor] = {}

    def put(self, adapter: Adapter | None) -> Any:
        deltas: Mapping[str, Callable[[], Tensor]] = {}
        if adapter is not None:
            deltas = lora_deltas(adapter, self._scale, self._architecture.stored_prefix)
            if not deltas:
                raise _no_place(sorted(adapter.tensors), adapter.version)
            self._remember(deltas)
            if homeless := sorted(set(deltas) - set(self._base)):
                raise _no_place(homeless, adapter.version)
        merged = [
            # In float32, then in the engine's own type, whatever the checkpoint is stored in: a
            # sum in 16 bits would round most of a small change away.
            (name, (w.float() + deltas[name]()).to(self._dtype) if name in deltas else w)
            for name, w in self._base.items()
        ]
        if merged:
            self._llm.collective_rpc(_reload, args=(merged,))

    def _remember(self, names: Collection[str]) -> None:
        """The base's weights of every layer an adapter has ever touched, with those that vLLM keeps
        in one matrix with them, and their biases: it loads a layer as a whole."""
        if any(name not in self._base for name in names):
            wanted = {sibling for name in names for sibling in _siblings(name)}
            biases = {name.removesuffix("weight") + "bias" for name in wanted}
            self._base |= stored_weights(self._folder, wanted | biases)


class WholeWeights:
    """A language model that was trained whole, in the place of the engine's own."""

    def __init__(
        self, llm: Any, model: ModelConfig, architecture: Architecture, folder: Path
    ) -> None:
        self._llm, self._architecture, self._folder = llm, architecture, folder
        self._dtype = getattr(torch, model.dtype)
        self._replaced: frozenset[str] = frozenset()
        """Names of what is no longer the base's."""

    def put(self, adapter: Adapter | None) -> Any:
        prefix = self._architecture.stored_prefix
        if adapter is None:
            weights = stored_weights(self._folder, self._replaced)
        else:
            weights = stored_names(adapter, prefix)
            if homeless := sorted(set(weights) - stored_weight_names(self._folder)):
                raise _no_place(homeless, adapter.version)
        if weights:
            cast = [(name, weight.to(self._dtype)) for name, weight in weights.items()]
            self._llm.collective_rpc(_reload, args=(cast,))
        self._replaced = frozenset(weights) if adapter is not None else frozenset()


def _siblings(name: str) -> list[str]:
    """A weight and those that vLLM fuses with it."""
    for fused in _FUSED:
        for part in fused:
            if f".{part}." in name:
                return [name.replace(f".{part}.", f".{other}.") for other in fused]
    return [name]


def served_rank(r: int) -> int:
    """The smallest rank that vLLM's kernels serve and that holds ``r``."""
    for rank in _VLLM_LORA_RANKS:
        if rank >= r:
            return rank
    raise ConfigError(f"model.lora.r must be <= {_VLLM_LORA_RANKS[-1]} for vLLM, got {r}")


def _no_place(homeless: list[str], version: int) -> PublishError:
    return PublishError(
        f"{len(homeless)} modules of policy version {version} have no place in the engine: "
        f"{homeless[:1]}; check the adapter's names"
    )


def _reload(worker: Any, weights: list[tuple[str, Tensor]]) -> None:
    """Inside an engine's worker: load layers in place.

    Its own ``reload_weights`` would also forget what the ears made, which does not change, and which
    prompts under way still wait for.
    """
    from vllm.model_executor.model_loader.reload.inplace import reload_weights

    runner = worker.model_runner
    reload_weights(
        runner.vllm_config,
        runner.get_model(),
        weights_iterator=weights,
        weights_path=None,
        is_checkpoint_format=True,
    )


def _lora_modules(worker: Any, lora_id: int) -> tuple[list[str], list[str]]:
    """Inside an engine's worker: an adapter's modules that the model has, and that it has not.

    vLLM drops weights whose names match nothing without a word; only its own tables show it.
    """
    manager = worker.model_runner.lora_manager._adapter_manager
    names = sorted(manager.get_adapter(lora_id).loras)
    placed = [name for name in names if name in manager.modules]
    return placed, [name for name in names if name not in manager.modules]
