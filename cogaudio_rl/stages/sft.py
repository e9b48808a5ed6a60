"""Stages I and II: supervised fine-tuning on what the annotator wrote.

    utterance ─► prompt A ─► thought + response      (explicit_share of what is seen)
              └► prompt B ─► response                (the rest)

The loss is the negative log-likelihood of the target, a mean over the tokens of the global batch.
The loop knows the Engine only: one process with AdamW, or one rank of DeepSpeed under Ray Train.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing

from cogaudio_rl.config import SftConfig, SftStageConfig
from cogaudio_rl.data.mixture import Mixture
from cogaudio_rl.models.engine import Engine, own_micro_batches
from cogaudio_rl.models.policy import Policy
from cogaudio_rl.objectives.reduce import token_mean
from cogaudio_rl.objectives.sft import nll_token_loss
from cogaudio_rl.stages.feeds import make_feed
from cogaudio_rl.stages.targets import pack, target_length
from cogaudio_rl.types import Utterance

LogStep = Callable[[int, int, Mapping[str, float]], None]
"""(step, of how many, metrics)"""

_FINAL_RATE = 0.02
"""Where the cosine ends, as a share of the peak learning rate."""


def run_sft(
    policy: Policy,
    engine: Engine,
    train: Sequence[Utterance] | Mixture,
    config: SftStageConfig,
    sft: SftConfig,
    *,
    stage: str,
    seed: int,
    log: LogStep,
) -> None:
    """Train ``policy`` in place through one stage; every rank is given the same.

    Raises DataError for an empty split or an utterance without an annotation.
    """
    with closing(make_feed(train, policy, engine, config, stage=stage, seed=seed)) as feed:
        total = total_steps(feed.utterances, config)
        policy.train()
        for step in range(1, total + 1):
            started = time.perf_counter()
            share = feed.next()
            (weight,) = engine.all_sum([sum(sum(t.weights) for t in share.targets)])
            local = [0.0, 0.0]
            lengths = [target_length(policy, t) for t in share.targets]
            for rows in own_micro_batches(lengths, engine, sft.micro_batch_tokens):
                batch, weights_BT = pack(policy, [share.targets[i] for i in rows] or [share.spare])
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
