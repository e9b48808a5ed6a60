"""Parameter counts against the real classes; the estimate against sums made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from clusters.layout import Role
from clusters.memory import GIB, RoleMemory, estimate
from clusters.model_size import KNOWN, AudioSize, ModelSize, TextSize, VisionSize, read_size
from cogaudio_rl.config import load_config
from cogaudio_rl.errors import CheckpointError
from cogaudio_rl.models import tiny

SMALL: dict[str, Any] = {
    "text_config": {
        "hidden_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 96,
        "vocab_size": 200,
        "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3]},
    },
    "audio_config": {
        "d_model": 48,
        "encoder_layers": 2,
        "encoder_ffn_dim": 80,
        "encoder_attention_heads": 4,
        "num_mel_bins": 20,
        "output_dim": 64,
    },
    "vision_config": {
        "hidden_size": 32,
        "depth": 2,
        "intermediate_size": 40,
        "num_heads": 2,
        "out_hidden_size": 64,
    },
}

OMNI: dict[str, Any] = {"architectures": ["Qwen2_5OmniModel"], "thinker_config": SMALL}


@pytest.fixture(scope="module")
def thinker() -> Any:
    """The real class without memory for its weights."""
    from transformers import (
        Qwen2_5OmniThinkerConfig,
        Qwen2_5OmniThinkerForConditionalGeneration,
    )

    with torch.device("meta"):
        return Qwen2_5OmniThinkerForConditionalGeneration(Qwen2_5OmniThinkerConfig(**SMALL))


def counted(module: Any) -> int:
    return sum(p.numel() for p in module.parameters())


def test_counts_equal_the_real_architecture(thinker: Any) -> None:
    size = read_size(OMNI)
    assert size.audio is not None
    assert size.vision is not None
    assert size.text.parameters == counted(thinker.model) + counted(thinker.lm_head)
    assert size.audio.parameters == counted(thinker.audio_tower)
    assert size.vision.parameters == counted(thinker.visual)


def test_lora_count_equals_peft(thinker: Any) -> None:
    from peft import LoraConfig, get_peft_model

    from cogaudio_rl.models.policy import LORA_TARGETS

    with torch.device("meta"):
        adapted = get_peft_model(thinker, LoraConfig(r=8, target_modules=LORA_TARGETS))
    trainable = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert read_size(OMNI).text.lora_parameters(8) == trainable


@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
def test_a_reader_s_count_equals_the_real_architecture(family: Literal["qwen2", "qwen3"]) -> None:
    tokenizer = tiny.build_tokenizer(["some words"], vocab_size=400)
    reader = tiny.build_reader(tokenizer, family=family, seed=0, hidden=48, heads=4)
    size = read_size(reader.config.to_dict() | {"architectures": [type(reader).__name__]})
    assert size.audio is None
    assert size.sampler_parameters == size.learner_parameters == counted(reader)


def test_the_7b_has_the_published_size() -> None:
    size = KNOWN["Qwen2.5-Omni-7B"]
    assert size == ModelSize(text=TextSize(), audio=AudioSize(), vision=VisionSize())
    assert size.text.parameters == pytest.approx(7.6e9, rel=0.01)
    assert size.learner_parameters == pytest.approx(8.25e9, rel=0.01)
    assert size.sampler_parameters == 8_931_813_888  # the public thinker


def of(role: Role, *overrides: str) -> RoleMemory:
    config = load_config("qwen2_5_omni_7b", overrides)
    return next(memory for memory in estimate(config) if memory.role is role)


def test_the_paper_recipe_fits_its_gpus() -> None:
    for memory in estimate(load_config("qwen2_5_omni_7b")):
        assert memory.fits, memory


def test_learner_parts_by_hand() -> None:
    parts = of(Role.LEARNER).parts
    lora = 20_185_088
    assert parts["weights"] == pytest.approx((2 * 7_615_616_512 + 4 * lora) / GIB)
    assert parts["ears"] == pytest.approx(2 * 639_647_232 / GIB)
    assert parts["gradients"] == pytest.approx(4 * lora / 4 / GIB)
    assert parts["Adam"] == pytest.approx(12 * lora / 4 / GIB)


def test_without_lora_all_of_the_language_model_counts() -> None:
    parts = of(Role.LEARNER, "model.lora=null", "cluster.zero_stage=3").parts
    for name, width in (("weights", 4), ("gradients", 4), ("Adam", 12)):
        assert parts[name] == pytest.approx(width * 7_615_616_512 / 4 / GIB)


@pytest.mark.parametrize(
    ("stage", "sharded"),
    [
        (0, set()),
        (1, {"Adam"}),
        (2, {"Adam", "gradients"}),
        (3, {"Adam", "gradients", "weights"}),
    ],
)
def test_each_zero_stage_shards_one_thing_more(stage: int, sharded: set[str]) -> None:
    whole = of(Role.LEARNER, "cluster.zero_stage=0").parts
    parts = of(Role.LEARNER, f"cluster.zero_stage={stage}").parts
    for name in ("Adam", "gradients", "weights"):
        ranks = 4 if name in sharded else 1
        copy = 12 / 8 if name == "Adam" and stage > 0 else 1
        assert parts[name] == pytest.approx(copy * whole[name] / ranks)


def test_kv_cache_by_hand() -> None:
    # two (K and V) x layers x KV heads x head x bytes, for every token of every sequence
    token = 2 * 28 * 4 * 128 * 2
    assert of(Role.ROLLOUT).parts["KV cache"] == pytest.approx(128 * 2048 * token / GIB)


def test_a_judges_engine_by_hand(tmp_path: Path) -> None:
    config = {
        "architectures": ["LlamaForCausalLM"],
        "num_hidden_layers": 3,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "hidden_size": 512,
    }
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "a.safetensors").write_bytes(bytes(1000))
    (tmp_path / "b.safetensors").write_bytes(bytes(24))
    judge = f"judge={{kind: vllm, model: {tmp_path}, concurrency: 4, max_model_len: 1000}}"
    found = of(Role.JUDGE, judge, "cluster.gpus_per_judge=2")
    # two (K and V) x layers x KV heads x head x bytes, for every token, over two GPUs
    assert found.parts["KV cache"] == pytest.approx(4 * 1000 * 2 * 3 * 2 * 64 * 2 / 2 / GIB)
    assert found.parts["weights"] == pytest.approx(512 / GIB)
    assert (found.on_gpu, found.limit_gib) == (True, pytest.approx(80 * 0.85))
    host = of(Role.JUDGE, judge)
    assert (host.on_gpu, host.parts["KV cache"]) == (False, 1.0)
    assert of(Role.JUDGE).parts == {"process": 0.3}


def test_of_a_judge_that_is_not_here_the_process_is_known() -> None:
    found = of(Role.JUDGE, "judge={kind: vllm, model: checkpoints/elsewhere}")
    assert found.parts["weights"] == 0
    assert found.parts["process"] > 1


def test_a_micro_batch_too_large_does_not_fit() -> None:
    assert not of(Role.LEARNER, "rl.micro_batch_tokens=65536").fits


def test_a_backbone_of_unknown_size_has_no_estimate() -> None:
    assert estimate(load_config("qwen2_5_omni_7b", ["model.path=checkpoints/other"])) == []


def test_a_config_with_holes_is_named(tmp_path: Path) -> None:
    config = {"architectures": ["Qwen2_5OmniModel"], "thinker_config": {}}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(CheckpointError, match="lacks 'text_config'"):
        estimate(load_config("qwen2_5_omni_7b", [f"model.path={tmp_path}"]))
