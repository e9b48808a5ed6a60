"""Stages I and II: supervised fine-tuning on what the annotator wrote.

    utterance ─► prompt A ─► thought + response      (explicit_share of what is seen)
              └► prompt B ─► response                (the rest)

The loss is the negative log-likelihood of the target, a mean over the tokens of the global batch.
The loop knows the Engine only: one process with AdamW, or one rank of DeepSpeed under Ray Train.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from cogaudio_rl import eips
from cogaudio_rl.config import SftConfig, SftStageConfig
from cogaudio_rl.errors import DataError
from cogaudio_rl.models.engine import Engine, rank_share
from cogaudio_rl.models.policy import PackedBatch, Policy
from cogaudio_rl.objectives.reduce import token_mean
from cogaudio_rl.objectives.sft import nll_token_loss
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import Prompt, Route, Utterance

LogStep = Callable[[int, int, Mapping[str, float]], None]
"""(step, of how many, metrics)"""

_FINAL_RATE = 0.02
"""Where the cosine ends, as a share of the peak learning rate."""


def run_sft(
    policy: Policy,
    engine: Engine,
    utterances: Sequence[Utterance],
    config: SftStageConfig,
    sft: SftConfig,
    *,
    stage: str,
    seed: int,
    log: LogStep,
) -> None:
    """Train ``policy`` in place through one stage; every rank is given all utterances.

    Raises DataError for an empty split or an utterance without an annotation.
    """
    if not utterances:
        raise DataError(f"stage {stage!r} has no utterances to train on")
    maker = TargetMaker(policy, emotion_token_weight=config.emotion_token_weight)
    total = total_steps(len(utterances), config)
    prompts = draw_prompts(utterances, config.explicit_share, stage=stage, seed=seed)
    policy.train()
    for step in range(1, total + 1):
        started = time.perf_counter()
        targets = [maker.make(next(prompts)) for _ in range(config.batch_size)]
        weight = sum(sum(t.weights) for t in targets)
        local = [0.0, 0.0]
        lengths = [policy.length(t.prompt, len(t.token_ids)) for t in targets]
        for rows in rank_share(lengths, engine, sft.micro_batch_tokens):
            chosen = [targets[i] for i in rows] or targets[:1]
            batch, weights_BT = maker.pack(chosen)
            logprobs_BT, _ = engine.forward(batch)
            loss = token_mean(nll_token_loss(logprobs_BT), weights_BT, global_tokens=weight)
            # An empty share still makes its backward pass, for the collective inside it.
            engine.accumulate(loss if rows else loss * 0.0)
            local[0] += float(loss.detach()) if rows else 0.0
            local[1] += float(batch.attention_mask_BS.sum()) if rows else 0.0
        rate = learning_rate(step, total, config)
        norm = engine.step(rate)
        loss_sum, tokens = engine.all_sum(local)
        seconds = time.perf_counter() - started
        metrics = {"sft/loss": loss_sum, "sft/learning_rate": rate, "sft/grad_norm": norm}
        log(step, total, metrics | {"time/tokens_per_s": tokens / seconds})
    policy.eval()


def total_steps(num_utterances: int, config: SftStageConfig) -> int:
    """Optimiser steps of a stage; ``epochs`` may be a fraction."""
    return max(1, round(config.epochs * num_utterances / config.batch_size))


def learning_rate(step: int, total: int, config: SftStageConfig) -> float:
    """Linear warm-up, then a cosine down to 2 % of the peak; ``step`` counts from 1."""
    warmup = round(config.warmup_share * total)
    if step <= warmup:
        return config.learning_rate * step / warmup
    done = (step - warmup - 1) / max(1, total - warmup - 1)
    cosine = 0.5 * (1 + math.cos(math.pi * done))
    return config.learning_rate * (_FINAL_RATE + (1 - _FINAL_RATE) * cosine)


def draw_prompts(
    utterances: Sequence[Utterance], explicit_share: float, *, stage: str, seed: int
) -> Iterator[Prompt]:
    """Prompts without end, epoch after epoch, each epoch in its own order.

    Every epoch sees every utterance once, and ``explicit_share`` of them through prompt A. Which
    ones moves on from epoch to epoch: at a share of 1/2 an utterance takes both routes in turn.
    """
    count, epoch = len(utterances), 0
    places = rng_for(seed, "sft", stage, "routes").permutation(count)
    while True:
        for i in rng_for(seed, "sft", stage, epoch).permutation(count):
            # Bresenham's line: the whole parts of share·epoch rise in `share` of the epochs.
            phase = (places[i] + 0.5) / count
            rises = math.floor((epoch + 1) * explicit_share + phase)
            explicit = rises > math.floor(epoch * explicit_share + phase)
            route = Route.EXPLICIT if explicit else Route.DIRECT
            yield Prompt(utterance=utterances[i], route=route)
        epoch += 1


@dataclass(frozen=True, slots=True)
class Target:
    """A prompt, the tokens of its answer and what each weighs in the loss."""

    prompt: Prompt
    token_ids: tuple[int, ...]
    weights: tuple[float, ...]


class TargetMaker:
    """Writes annotations as tokens; the emotion label of an explicit answer can weigh more."""

    def __init__(self, policy: Policy, *, emotion_token_weight: float) -> None:
        self._policy = policy
        self._emotion_weight = emotion_token_weight

    def make(self, prompt: Prompt) -> Target:
        """Raises DataError for an utterance without an annotation."""
        annotation = prompt.utterance.annotation
        if annotation is None:
            raise DataError(f"utterance {prompt.utterance.id!r} has no annotation to learn from")
        if prompt.route is Route.DIRECT:
            ids = self._policy.response_ids(eips.render_direct(annotation.eips.response))
            return Target(prompt, ids, (1.0,) * len(ids))
        text = eips.render(annotation.eips)
        first = len(eips.EMOTION_PREFIX) + 1  # after the space
        last = first + len(annotation.eips.emotion)
        spans = self._policy.tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True
        ).offset_mapping
        weights = [
            self._emotion_weight if start < last and end > first else 1.0 for start, end in spans
        ]
        # The end token has no place in the text.
        return Target(prompt, self._policy.response_ids(text), (*weights, 1.0))

    def pack(self, targets: Sequence[Target]) -> tuple[PackedBatch, torch.Tensor]:
        """One batch and its weights ``[B, T]``, 0 where padded."""
        batch = self._policy.pack([self._policy.sequence(t.prompt, t.token_ids) for t in targets])
        weights_BT = torch.zeros_like(batch.response_mask_BT)
        for row, target in enumerate(targets):
            weights_BT[row, : len(target.weights)] = torch.tensor(target.weights)
        return batch, weights_BT
