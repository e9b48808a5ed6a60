"""A random-weight backbone and made-up sounds, for tests that need the real model classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from cogaudio_rl import prompts
from cogaudio_rl.data.audio import SAMPLE_RATE_HZ, write_audio
from cogaudio_rl.eips import EMOTION_PREFIX
from cogaudio_rl.models import tiny
from cogaudio_rl.models.policy import Policy
from cogaudio_rl.types import LIME_EMOTIONS, Adapter, Route, Utterance

VOCAB_SIZE = 600


def make_backbone(folder: Path, *, seed: int = 0) -> Path:
    """Write a checkpoint of two narrow layers in float32."""
    words = [prompts.for_route(route) for route in Route]
    emotions = " ".join(LIME_EMOTIONS)
    corpus = [*words, f"{EMOTION_PREFIX} {emotions}\nIntent: talk\n</thought>"] * 20
    tokenizer = tiny.build_tokenizer(corpus, vocab_size=VOCAB_SIZE)
    thinker = tiny.build_thinker(tokenizer, seed=seed, layers=2, encoder_layers=1)
    tiny.save_checkpoint(thinker, tiny.build_processor(tokenizer), folder, dtype=torch.float32)
    return folder


def make_utterance(folder: Path, name: str, num_samples: int, *, seed: int = 0) -> Utterance:
    """A gliding tone in noise, written as a file."""
    rng = np.random.default_rng([seed, num_samples])
    seconds = np.arange(num_samples) / SAMPLE_RATE_HZ
    glide = np.sin(2 * np.pi * (rng.uniform(120, 400) + 60 * seconds) * seconds)
    sound = (0.2 * glide + 0.02 * rng.standard_normal(num_samples)).astype(np.float32)
    return Utterance(
        id=name,
        text_id="t0",
        audio=write_audio(folder / f"{name}.flac", sound),
        transcript="hello",
        emotion="happy",
        intensity="mid",
        speaker="s0",
        language="en",
    )


def shaken_adapter(policy: Policy, version: int) -> Adapter:
    """An adapter that changes what the policy says, different for each version."""
    generator = torch.Generator().manual_seed(version)
    with torch.no_grad():
        for name, parameter in policy.trained_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.1 * noise if "lora_" in name else parameter * (1 + 0.1 * noise))
    return policy.adapter(version)
