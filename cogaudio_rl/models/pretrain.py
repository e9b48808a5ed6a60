"""Make the base: a thinker that hears and reads but does not care.

From random weights it learns to transcribe, to describe the voice (pitch, pace, loudness, movement),
to answer the words with a bland reply whatever the prompt, and to repeat text (``lessons.py``). So it
shows semantic dominance, as the paper's backbone does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cogaudio_rl.data.lime import synthesise
from cogaudio_rl.models import tiny
from cogaudio_rl.models.ears import EarTraining
from cogaudio_rl.models.lessons import (
    DESCRIBE,
    LEVELS,
    REPEAT,
    TRANSCRIBE,
    Clip,
    Example,
    ExampleMaker,
    TextSource,
    bland_turn,
    collate,
    conversation,
    describe,
    draw_clip,
    pad_features,
    tokenizer_corpus,
)
from cogaudio_rl.models.policy import quiet_transformers
from cogaudio_rl.seeding import rng_for

VOCAB_SIZE = 1280
_FRAGMENTS = 0.5
"""Share of clips that are a few words only."""
_TASKS = {"hear": 0.64, "reply": 0.12, "read": 0.24}
"""The lessons, and the share of steps that each gets."""


def said_logits(thinker: Any, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [N, V] and targets [N] at the N positions the model must say; the head skips the rest."""
    labels = batch["labels"][:, 1:]
    inputs = {
        k: v.to(thinker.dtype) if v.is_floating_point() else v
        for k, v in batch.items()
        if k != "labels"
    }
    kept: list[torch.Tensor] = []
    hook = thinker.lm_head.register_forward_pre_hook(
        lambda _module, args: kept.append(args[0]) or (args[0][:, :1],)
    )
    thinker(**inputs)
    hook.remove()
    spoken = labels != -100
    return thinker.lm_head(kept[0][:, :-1][spoken]), labels[spoken]


@torch.no_grad()
def hearing(thinker: Any, maker: ExampleMaker, clips: list[Clip]) -> dict[str, float]:
    """How well it hears: exact transcription, and each attribute of the voice at three levels.

    Teacher-forced: a sequence counts as exact when every token of the target is the argmax, which is
    the same event as greedy decoding producing it.
    """
    exact: list[bool] = []
    levels: dict[str, list[bool]] = {name: [] for name in LEVELS}
    three = {
        word: {0: 0, 1: 0, 2: 1, 3: 2, 4: 2}[i] if len(words) == 5 else i // 2
        for words in LEVELS.values()
        for i, word in enumerate(words)
    }
    word_of = {maker.ids(f" {word}")[0]: word for word in three}
    for start in range(0, len(clips), 32):
        part = clips[start : start + 32]
        written = [maker.audio(c, [(TRANSCRIBE, c.sentence.text)]) for c in part]
        logits, targets = said_logits(thinker, collate(written, maker.pad_id))
        right = iter((logits.argmax(-1) == targets).tolist())
        exact += [all(next(right) for _ in range(sum(e.spoken))) for e in written]
        described = [maker.audio(c, [(DESCRIBE, describe(c.prosody))]) for c in part]
        logits, targets = said_logits(thinker, collate(described, maker.pad_id))
        pairs = [
            (word_of.get(said, ""), word_of[meant])
            for said, meant in zip(logits.argmax(-1).tolist(), targets.tolist(), strict=True)
            if meant in word_of
        ]
        for i, (said, meant) in enumerate(pairs):
            levels[list(LEVELS)[i % len(LEVELS)]].append(three.get(said) == three[meant])
    return {"exact": float(np.mean(exact))} | {
        k.lower(): float(np.mean(v)) for k, v in levels.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainSettings:
    """How long and how hard to train."""

    ear_steps: int = 2_000
    steps: int = 4_000
    batch_size: int = 24
    learning_rate: float = 1.5e-3
    pool_size: int = 24_000
    seed: int = 0
    threads: int = 1


class MasterWeights:
    """bfloat16 weights for the passes, float32 copies for the optimiser: 1.6 times the speed.

    Attention stays in float32: PyTorch's bfloat16 attention on CPU is slower, not faster.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self._low = [p for p in module.parameters() if p.requires_grad]
        self.parameters = [p.detach().float().clone() for p in self._low]
        module.to(torch.bfloat16)

    def take_gradients(self) -> None:
        """Move the gradients of the bfloat16 weights to the float32 copies."""
        for low, master in zip(self._low, self.parameters, strict=True):
            master.grad = None if low.grad is None else low.grad.float()
            low.grad = None

    @torch.no_grad()
    def put_back(self) -> None:
        """Round the float32 copies into the weights of the passes."""
        for low, master in zip(self._low, self.parameters, strict=True):
            low.copy_(master)


def _float32_attention(thinker: Any) -> None:
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import sdpa_mask

    def attend(
        module: Any, query: Any, key: Any, value: Any, attention_mask: Any = None, **kwargs: Any
    ) -> Any:
        if attention_mask is not None and attention_mask.dtype is not torch.bool:
            attention_mask = attention_mask.float()
        out, weights = sdpa_attention_forward(
            module, query.float(), key.float(), value.float(), attention_mask, **kwargs
        )
        return out.to(query.dtype), weights

    AttentionInterface.register("sdpa_float32", attend)
    AttentionMaskInterface.register("sdpa_float32", sdpa_mask)
    for part in (thinker.model, thinker.audio_tower):
        part.config._attn_implementation = "sdpa_float32"


def schedule(step: int, steps: int) -> float:
    """Warm up, hold, then decay linearly over the last fifth."""
    return min(1.0, (step + 1) / 300, max(0.02, (steps - step) / (0.2 * steps)))


def train_ears(
    tower: Any,
    pool: list[Clip],
    extractor: Any,
    settings: PretrainSettings,
    rng: np.random.Generator,
    report: Callable[[str], None],
) -> None:
    """First the audio tower alone; the pool of clips grows meanwhile."""
    ears = EarTraining(tower, tower.config.d_model)
    optimiser = torch.optim.AdamW(ears.parameters(), settings.learning_rate, (0.9, 0.98))
    ctc_mean = mse_mean = 0.0
    started = time.monotonic()
    for step in range(settings.ear_steps):
        pool += [draw_clip("train", extractor, rng, fragments=_FRAGMENTS) for _ in range(4)]
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * schedule(step, settings.ear_steps)
        clips = [pool[int(i)] for i in rng.integers(len(pool), size=settings.batch_size)]
        batch = pad_features([c.features for c in clips])
        ctc, mse = ears(
            batch["input_features"],
            batch["feature_attention_mask"].sum(1),
            [c.words for c in clips],
            [c.prosody for c in clips],
        )
        (ctc + mse).backward()
        torch.nn.utils.clip_grad_norm_(ears.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        ctc_mean = 0.98 * ctc_mean + 0.02 * float(ctc.detach())
        mse_mean = 0.98 * mse_mean + 0.02 * float(mse.detach())
        if (step + 1) % 250 == 0:
            minutes = (time.monotonic() - started) / 60
            report(
                f"ears {step + 1}/{settings.ear_steps} {minutes:.1f} min, "
                f"CTC {ctc_mean:.3f} nats a letter, voice error {mse_mean:.3f}"
            )


def train_thinker(
    thinker: Any,
    pool: list[Clip],
    maker: ExampleMaker,
    extractor: Any,
    settings: PretrainSettings,
    rng: np.random.Generator,
    checkpoint: Callable[[str], None],
) -> None:
    """Then the whole thinker on all lessons; ``checkpoint`` is told how far it is, now and then."""
    _float32_attention(thinker)
    master, text = MasterWeights(thinker), TextSource()
    optimiser = torch.optim.AdamW(
        master.parameters, settings.learning_rate, (0.9, 0.98), weight_decay=0.01
    )
    losses: dict[str, float] = {}
    started = time.monotonic()
    for step in range(settings.steps):
        if len(pool) < settings.pool_size:
            pool += [draw_clip("train", extractor, rng, fragments=_FRAGMENTS) for _ in range(4)]
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * schedule(step, settings.steps)
        # One task a step keeps lengths alike, so little of a batch is padding.
        task = str(rng.choice(tuple(_TASKS), p=tuple(_TASKS.values())))
        examples = [lesson(task, pool, maker, text, rng) for _ in range(settings.batch_size)]
        thinker.train()
        logits, targets = said_logits(thinker, collate(examples, maker.pad_id))
        loss = torch.nn.functional.cross_entropy(logits.float(), targets)
        loss.backward()
        master.take_gradients()
        torch.nn.utils.clip_grad_norm_(master.parameters, 1.0)
        optimiser.step()
        master.put_back()
        value = float(loss.detach())
        losses[task] = 0.98 * losses.get(task, value) + 0.02 * value
        if (step + 1) % 250 == 0 or step + 1 == settings.steps:
            thinker.eval()
            minutes = (time.monotonic() - started) / 60
            shown = {k: round(v, 3) for k, v in losses.items()}
            checkpoint(f"step {step + 1}/{settings.steps} {minutes:.1f} min, losses {shown}")


def lesson(
    task: str, pool: list[Clip], maker: ExampleMaker, text: TextSource, rng: np.random.Generator
) -> Example:
    """One conversation of a task: ``hear``, ``reply`` or ``read``."""
    clip = pool[int(rng.integers(len(pool)))]
    if task == "read":
        line = text.line(rng)
        # With a clip beside it half of the time: what is read has nothing to do with what is heard,
        # and no voice may come to mean an emotion by chance.
        turn = (REPEAT + line, line)
        return maker.audio(clip, [turn]) if rng.random() < 0.5 else maker.text(*turn)
    while task == "reply" and not clip.whole:
        clip = pool[int(rng.integers(len(pool)))]
    return maker.audio(clip, conversation(clip, rng) if task == "hear" else bland_turn(clip, rng))


def make_base(
    folder: Path, settings: PretrainSettings, report: Callable[[str], None] = print
) -> dict[str, float]:
    """Train the base from nothing and write it to ``folder``; returns how well it hears.

    The pool of clips grows while training runs, a few new ones every step, so that training starts
    at once and hears ever more.
    """
    quiet_transformers()
    torch.set_num_threads(settings.threads)
    tokenizer = tiny.build_tokenizer(tokenizer_corpus(), vocab_size=VOCAB_SIZE)
    processor = tiny.build_processor(tokenizer)
    extractor = processor.feature_extractor
    # The pool needs short clips only; 30 s of padding would cost six times the work.
    extractor.chunk_length, extractor.n_samples = 5, 5 * synthesise.SAMPLE_RATE_HZ
    thinker = tiny.build_thinker(tokenizer, seed=settings.seed)
    maker = ExampleMaker(tokenizer)
    size = sum(p.numel() for p in thinker.parameters())
    report(f"vocabulary {len(tokenizer)}, {size / 1e6:.2f}M parameters")
    thinker.visual.requires_grad_(False)
    rng = rng_for(settings.seed, "pretrain")
    pool = [draw_clip("train", extractor, rng, fragments=_FRAGMENTS) for _ in range(1500)]
    check = [draw_clip("test", extractor, rng_for(1, "check", i)) for i in range(192)]
    heard: dict[str, float] = {}

    def checkpoint(progress: str) -> None:
        heard.update(hearing(thinker, maker, check))
        report(f"{progress}, hears { {k: round(v, 3) for k, v in heard.items()} }")
        tiny.save_checkpoint(thinker, tiny.build_processor(tokenizer), folder, dtype=torch.float16)

    train_ears(thinker.audio_tower, pool, extractor, settings, rng, report)
    train_thinker(thinker, pool, maker, extractor, settings, rng, checkpoint)
    return heard
