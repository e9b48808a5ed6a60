"""A chat checkpoint too small to judge, which a schema makes say what a judge may say."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from cogaudio_rl import prompts
from cogaudio_rl.config import ClusterConfig, JudgeConfig
from cogaudio_rl.models import tiny

CLUSTER = ClusterConfig(threads_per_judge=1)


def make_judge_model(folder: Path, family: Literal["qwen2", "qwen3"] = "qwen2") -> Path:
    """Random weights, lively enough to prefer one word to another, and a tokenizer that knows the
    rubric's words. Heads of 32: vLLM's CPU attention takes none smaller."""
    names = ("judge_empathy.md", "judge_chain.md", "judge_voice.md")
    corpus = [*map(prompts.load, names), '{"reasoning": "It meets her.", "score": 3}'] * 20
    tokenizer = tiny.build_tokenizer(corpus, vocab_size=900)
    model = tiny.build_reader(tokenizer, family=family, seed=0, hidden=64, heads=2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.mul_(10)
    tiny.save_reader(model, tokenizer, folder)
    return folder


def vllm_judge(model: Path, **settings: object) -> JudgeConfig:
    """Short of breath: 30 characters of reasoning."""
    values = {"max_model_len": 2048, "max_tokens": 30, "dtype": "float32", "concurrency": 16}
    return JudgeConfig.model_validate({"kind": "vllm", "model": str(model), **values, **settings})
