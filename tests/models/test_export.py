"""A merged checkpoint says what backbone and adapter say together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_world import make_checkpoint, make_config, make_policy, make_utterances

from cogaudio_rl.config import LoraConfig
from cogaudio_rl.errors import CheckpointError, DataError
from cogaudio_rl.models.checkpoint import adapter_base, save_adapter
from cogaudio_rl.models.export import merge
from cogaudio_rl.models.policy import Policy
from cogaudio_rl.types import Adapter, Prompt, Route


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("backbone"))


@pytest.fixture
def trained(backbone: Path, tmp_path: Path) -> tuple[Policy, Path]:
    """A policy whose LoRA is not nothing, and its adapter on disk."""
    policy = make_policy(make_config(backbone))
    with torch.no_grad():
        for _, parameter in policy.trained_parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    save_adapter(
        policy.adapter(3), tmp_path / "adapter", lora=LoraConfig(r=4, alpha=16), base=str(backbone)
    )
    return policy, tmp_path / "adapter"


def test_merged_log_probs_are_the_adapters(
    trained: tuple[Policy, Path], backbone: Path, tmp_path: Path
) -> None:
    policy, adapter = trained
    layers = merge(str(backbone), adapter, tmp_path / "merged")
    assert layers == 2 * 7  # two layers of seven linear maps
    merged = Policy.load(make_config(tmp_path / "merged").model)
    bare = Policy.load(make_config(backbone).model)
    utterance = make_utterances(tmp_path / "sound", 1)[0]
    ids = tuple(int(i) for i in np.random.default_rng(0).integers(20, 400, 12))

    def said(p: Policy) -> torch.Tensor:
        p.eval()
        prompt = Prompt(utterance=utterance, route=Route.DIRECT)
        with torch.no_grad():
            return p(p.pack([p.sequence(prompt, ids)]))[0]

    torch.testing.assert_close(said(merged), said(policy), atol=1e-4, rtol=1e-4)
    assert float((said(bare) - said(policy)).abs().max()) > 0.01


def test_an_adapter_names_its_backbone(
    trained: tuple[Policy, Path], backbone: Path, tmp_path: Path
) -> None:
    assert adapter_base(trained[1]) == str(backbone)
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="give --base"):
        adapter_base(tmp_path / "bare")


def test_nothing_is_written_over(trained: tuple[Policy, Path], backbone: Path) -> None:
    with pytest.raises(DataError, match="already there"):
        merge(str(backbone), trained[1], trained[1])


def test_an_adapter_of_another_architecture(backbone: Path, tmp_path: Path) -> None:
    name = "base_model.model.transformer.h.0.attn"
    foreign = Adapter(
        version=0,
        tensors={
            f"{name}.lora_A.weight": np.zeros((4, 8), np.float32),
            f"{name}.lora_B.weight": np.zeros((8, 4), np.float32),
        },
    )
    save_adapter(foreign, tmp_path / "foreign", lora=LoraConfig(r=4, alpha=16), base="gpt2")
    with pytest.raises(CheckpointError, match="is it of another architecture"):
        merge(str(backbone), tmp_path / "foreign", tmp_path / "out")
    assert not list(tmp_path.glob("out*"))
