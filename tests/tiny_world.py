"""A world small enough for a test: a random checkpoint, spoken clips and made-up rollouts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from cogaudio_rl import eips
from cogaudio_rl.config import Config, parse_config
from cogaudio_rl.data.audio import write_audio
from cogaudio_rl.data.lime import author, synthesise
from cogaudio_rl.models import tiny
from cogaudio_rl.models.policy import Policy
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import (
    LIME_EMOTIONS,
    REPLY_ROUTES,
    Adapter,
    AmbiguityResponse,
    Prompt,
    Rollout,
    Sample,
    StopReason,
    Utterance,
)


def make_checkpoint(folder: Path) -> Path:
    """A thinker with random weights and a tokenizer that knows the annotator's words."""
    tokenizer = _tokenizer()
    thinker = tiny.build_thinker(tokenizer, seed=0, hidden=32, layers=2, encoder_layers=1, heads=2)
    _enliven(thinker)
    tiny.save_checkpoint(thinker, tiny.build_processor(tokenizer), folder, dtype=torch.float32)
    return folder


def _tokenizer() -> Any:
    sentences = author.split_sentences("en")["train"][:40]
    corpus = [
        eips.render(author.annotate(s, e, depth=3, variant=0).eips)
        for s in sentences
        for e in LIME_EMOTIONS
    ]
    return tiny.build_tokenizer(corpus, vocab_size=500)


def make_reader(folder: Path, family: Literal["qwen2", "qwen3"] = "qwen2") -> Path:
    """A backbone that only reads: random weights, the same tokenizer as the thinker's."""
    tokenizer = _tokenizer()
    reader = tiny.build_reader(tokenizer, family=family, seed=0, hidden=64, heads=2)
    _enliven(reader)
    tiny.save_reader(reader, tokenizer, folder)
    return folder


@torch.no_grad()
def _enliven(model: torch.nn.Module) -> None:
    """Wake a narrow language model: frozen at transformers' 0.02 it could say nothing for certain."""
    for name, parameter in model.named_parameters():
        if parameter.dim() >= 2 and name.startswith(("model.", "lm_head.")):
            parameter.mul_(15 if name.startswith("lm_head.") else 10)


def make_utterances(folder: Path, count: int) -> list[Utterance]:
    """Train sentences in train voices, the seven emotions in turn."""
    sentences, found = author.split_sentences("en")["train"], list[Utterance]()
    for i in range(count):
        rng, sentence = rng_for(0, "tiny world", i), sentences[i // 7]
        emotion, voice = (
            LIME_EMOTIONS[i % 7],
            synthesise.draw_voice("train", rng_for(0, "voice", i)),
        )
        manner = synthesise.prosody_for(emotion, "mid", rng)
        sound = synthesise.speak(sentence.text, voice=voice, language="en", prosody=manner, rng=rng)
        found.append(
            Utterance(
                id=f"u{i}",
                text_id=sentence.text_id,
                audio=write_audio(folder / f"u{i}.flac", sound),
                transcript=sentence.text,
                emotion=emotion,
                intensity="mid",
                speaker=voice,
                language="en",
                annotation=author.annotate(sentence, emotion, depth=2 + i % 3, variant=i),
            )
        )
    return found


def make_voted(utterances: list[Utterance]) -> list[Utterance]:
    """The same, with ten listeners' votes among three labels, one of several tokens, and a chain."""
    found: list[Utterance] = []
    for i, utterance in enumerate(utterances):
        happy = (0.9, 0.6, 0.3)[i % 3]
        votes = {"happy": happy, "boredom": round(0.9 - happy, 1), "sad": 0.1}
        chain = AmbiguityResponse(
            words="The words leave it open.",
            voice="A high pitch for one, a slow pace for another.",
            synthesis="I hear you.",
            emotion=max(votes, key=votes.__getitem__),
        )
        found.append(replace(utterance, votes=votes, listeners=10, ambiguity=chain))
    return found


def make_policy(config: Config) -> Policy:
    """A policy whose fresh LoRA is always the same."""
    torch.manual_seed(0)
    return Policy.load(config.model)


def make_config(checkpoint: Path, **rl: object) -> Config:
    """A config over the tiny checkpoint; ``rl`` overrides fields of that section."""
    return parse_config(
        {
            "model": {"path": str(checkpoint), "lora": {"r": 4, "alpha": 16}},
            "rl": {"learning_rate": 1e-3, "micro_batch_tokens": 512, **rl},
        }
    )


def make_samples(policy: Policy, utterances: list[Utterance], *, group_size: int) -> list[Sample]:
    """Random tokens in the place of rollouts, with this policy's own log-probs."""
    samples: list[Sample] = []
    for utterance in utterances:
        for route in REPLY_ROUTES:
            prompt = Prompt(utterance=utterance, route=route)
            rng = rng_for(0, "rollouts", prompt.id)
            for i in range(group_size):
                ids = tuple(int(t) for t in rng.integers(20, 400, int(rng.integers(3, 20))))
                with torch.no_grad():
                    logprobs_BT, _ = policy(policy.pack([policy.sequence(prompt, ids)]))
                rollout = Rollout(
                    token_ids=ids,
                    logprobs=tuple(logprobs_BT[0].tolist()),
                    text=policy.decode(ids),
                    stop=StopReason.EOS,
                    policy_version=0,
                )
                advantage = float(rng.standard_normal()) + 0.1 * i
                samples.append(Sample(prompt=prompt, rollout=rollout, advantage=advantage))
    return samples


def adapter_gap(a: Adapter, b: Adapter) -> float:
    """Mean |a - b| over all weights; 0 means equal to the last digit.

    Not the largest: Adam's first step is the gradient's sign, so where a gradient is all rounding one
    weight may move the other way.
    """
    assert set(a.tensors) == set(b.tensors)
    pairs = [(np.asarray(a.tensors[k]), np.asarray(b.tensors[k])) for k in a.tensors]
    return float(sum(np.abs(x - y).sum() for x, y in pairs) / sum(x.size for x, _ in pairs))
