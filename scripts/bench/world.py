"""What both sides of the race share: weights, prompts, reward, and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from cogaudio_rl import eips, prompts
from cogaudio_rl.config import Config, parse_config
from cogaudio_rl.data.lime import author
from cogaudio_rl.models import tiny
from cogaudio_rl.types import LIME_EMOTIONS, Route, Utterance

GROUP_SIZE = 8
UTTERANCES_PER_STEP = 2
"""Each through both routes: 4 prompts, 32 completions a step."""
COMPLETION_TOKENS = 64
INNER_UPDATES = 2
LORA = {"r": 8, "alpha": 32}
LEARNING_RATE = 1e-6
"""So small that rewards keep their spread for as long as it takes to time them."""
TAU_POS, TAU_NEG = 1.0, 1.05


def make_backbone(folder: Path) -> Path:
    """A random Qwen2 of at least 20M parameters that never ends an answer by itself.

    Completions have one length on both sides without asking either side to force it: a constant
    part of every hidden state speaks against the end token.
    """
    if (folder / "config.json").is_file():
        return folder
    corpus = [
        eips.render(author.annotate(s, e, depth=d, variant=v).eips)
        for s in author.split_sentences("en")["train"]
        for e in LIME_EMOTIONS
        for d, v in ((2, 0), (3, 1), (4, 2))
    ]
    tokenizer = tiny.build_tokenizer(corpus, vocab_size=4096)
    reader = tiny.build_reader(tokenizer, seed=0, hidden=512, layers=6, heads=8)
    with torch.no_grad():
        reader.model.embed_tokens.weight[:, 0] = 0.1
        reader.lm_head.weight.mul_(8)  # otherwise every token would be as likely as any other
        reader.lm_head.weight[:, 0] = 0.0
        reader.lm_head.weight[tokenizer.eos_token_id] = 0.0
        reader.lm_head.weight[tokenizer.eos_token_id, 0] = -10.0
    size = sum(p.numel() for p in reader.parameters())
    if size < 20e6:
        raise SystemExit(f"the racing backbone has {size} parameters, fewer than 20M")
    tiny.save_reader(reader, tokenizer, folder)
    return folder


def make_utterances(count: int) -> list[Utterance]:
    """Sentences without sound."""
    sentences = author.split_sentences("en")["train"]
    return [
        Utterance(
            id=f"u{i}",
            text_id=f"t{i}",
            audio=None,
            transcript=sentences[i % len(sentences)].text,
            emotion=LIME_EMOTIONS[i % 7],
            intensity="mid",
            speaker="none",
            language="en",
        )
        for i in range(count)
    ]


def chat_messages(utterance: Utterance, route: Route) -> list[dict[str, str]]:
    """The words our own prompt says, for a library that applies the chat template itself."""
    return [{"role": "user", "content": f"{utterance.transcript}\n{prompts.for_route(route)}"}]


def lottery(token_ids: Sequence[int]) -> float:
    """A draw in [0, 1) by the tokens themselves: nothing can be learnt, so that no group ever loses
    its spread and every timed step trains on all of its completions."""
    digest = hashlib.blake2b(json.dumps(list(token_ids)).encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48


def make_config(backbone: str, **sections: Any) -> Config:
    """The race's settings for our side; sections are merged over them."""
    raw: dict[str, dict[str, Any]] = {
        "model": {
            "path": backbone,
            "lora": LORA,
            "max_new_tokens_explicit": COMPLETION_TOKENS,
            "max_new_tokens_direct": COMPLETION_TOKENS,
        },
        "rl": {
            "steps": 100_000,
            "utterances_per_step": UTTERANCES_PER_STEP,
            "group_size": GROUP_SIZE,
            "epochs_per_batch": INNER_UPDATES,
            "learning_rate": LEARNING_RATE,
            "micro_batch_tokens": 4096,
            "save_every": 100_000,
            "readiness": {"prompts": 1},
        },
        "cluster": {
            "learner_workers": 2,
            "threads_per_learner": 1,
            "threads_per_rollout": 2,
            "max_num_seqs": 64,
            "max_model_len": 384,
        },
    }
    for name, values in sections.items():
        raw[name] = raw.get(name, {}) | values
    return parse_config(raw)


def save_json(path: Path, found: Any) -> None:
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
