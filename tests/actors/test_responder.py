"""What is deployed, before any of it runs: refused in time, and the same for as long as it may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_backbone import make_backbone, shaken_adapter

from cogaudio_rl.config import LoraConfig, ModelConfig, load_config
from cogaudio_rl.errors import CheckpointError
from cogaudio_rl.models.checkpoint import save_adapter
from cogaudio_rl.models.policy import Policy
from cogaudio_rl.revision import REVISION

pytestmark = [
    pytest.mark.slow,  # Ray Serve takes seconds to import
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of its own models
]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def trained(backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """An adapter of rank 8 and one of rank 32."""
    folder = tmp_path_factory.mktemp("adapters")
    for rank in (8, 32):
        model = ModelConfig(path=str(backbone), lora=LoraConfig(r=rank))
        with torch.no_grad():
            adapter = shaken_adapter(Policy.load(model), rank)
        save_adapter(adapter, folder / str(rank), lora=model.lora, base=str(backbone))
    return {rank: folder / str(rank) for rank in (8, 32)}


def deployment(backbone: Path, *overrides: str) -> Any:
    from actors.responder import application

    config = load_config("quickstart", [f"model.path={backbone}", *overrides])
    bound: Any = application(config)
    return bound._bound_deployment


def test_an_adapter_that_no_replica_can_hold_is_refused_before_it_gets_to_one(
    backbone: Path, trained: dict[int, Path]
) -> None:
    with pytest.raises(CheckpointError, match="has rank 32; the engine was opened for 8"):
        deployment(backbone, f"serve.checkpoints.D={trained[32]}")


def test_replicas_stay_where_only_adapters_or_their_number_change(
    backbone: Path, trained: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = deployment(backbone)
    monkeypatch.setenv(REVISION, "a commit later")
    assert deployment(backbone).ray_actor_options == before.ray_actor_options
    for more in (
        [f"serve.checkpoints.D={trained[8]}"],
        ["serve.replicas=2"],
        ["serve.max_replicas=4", "serve.target_ongoing_requests=8"],
    ):
        assert deployment(backbone, *more).version == before.version
    for more in (["serve.max_model_len=512"], ["serve.host=0.0.0.0"], ["seed=1"]):
        assert deployment(backbone, *more).version != before.version
