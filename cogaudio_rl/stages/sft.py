"""Stages I and II: supervised fine-tuning on what the annotator wrote.

    utterance ─► prompt A ─► thought + response      (explicit_share of what is seen)
              └► prompt B ─► response                (the rest)

The loss is the negative log-likelihood of the target, a mean over the tokens of the global batch. Where
the chain is about how listeners' votes are shared, ``distribution_weight`` times the divergence of the
emotion's probabilities from the votes is added, a mean over utterances (arXiv 2603.08230); where a
reply says how it should sound, that of each attribute from the voice that suits, a mean over
attributes. A target that comes with a teacher's lesson has its divergence from that in the place of its
likelihood (arXiv 2601.04960).
The loop knows the Engine only: one process with AdamW, or one rank of DeepSpeed under Ray Train.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing

import torch
from torch import Tensor

from cogaudio_rl.config import SftConfig, SftStageConfig
from cogaudio_rl.data.mixture import Mixture
from cogaudio_rl.errors import ConfigError
from cogaudio_rl.models.engine import Engine, own_micro_batches
from cogaudio_rl.models.policy import Policy
from cogaudio_rl.objectives.distil import distil_token_loss
from cogaudio_rl.objectives.distribution import vote_divergence
from cogaudio_rl.objectives.reduce import token_mean
from cogaudio_rl.objectives.sft import nll_token_loss
from cogaudio_rl.stages.feeds import make_feed
from cogaudio_rl.stages.targets import Lesson, PackedTargets, pack, target_length
from cogaudio_rl.stages.teaching import lessons_of
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
    lessons: Mapping[str, Lesson] = {}
    if config.distil == "token_kl":
        lessons = lessons_of(
            policy,
            engine,
            _listed(train),
            tokens=config.teacher_tokens,
            micro_batch_tokens=sft.micro_batch_tokens,
        )
    feed = make_feed(train, policy, engine, config, stage=stage, seed=seed, lessons=lessons)
    with closing(feed):
        total = total_steps(feed.utterances, config)
        policy.train()
        for step in range(1, total + 1):
            started = time.perf_counter()
            share = feed.next()
            weight, voted = engine.all_sum(
                [
                    sum(sum(t.weights) for t in share.targets),
                    sum(len(t.votes) for t in share.targets),
                ]
            )
            local = [0.0, 0.0, 0.0]
            lengths = [target_length(policy, t) for t in share.targets]
            for rows in own_micro_batches(lengths, engine, sft.micro_batch_tokens):
                chosen = [share.targets[i] for i in rows] or [share.spare]
                packed = pack(policy, chosen, votes=config.distribution_weight > 0)
                logprobs_BT, _ = engine.forward(packed.batch)
                loss_BT = _token_loss(logprobs_BT, packed)
                loss = token_mean(loss_BT, packed.weights_BT, global_tokens=weight)
                apart = _divergence(logprobs_BT, packed) / max(1.0, voted)
                # An empty share still makes its backward pass, for the collective inside it.
                whole = loss + config.distribution_weight * apart
                engine.accumulate(whole if rows else whole * 0.0)
                if rows:
                    local[0] += float(loss.detach())
                    local[1] += float(apart.detach())
                    local[2] += float(packed.batch.attention_mask_BS.sum())
            rate = learning_rate(step, total, config)
            norm = engine.step(rate)
            loss_sum, apart_sum, tokens = engine.all_sum(local)
            seconds = time.perf_counter() - started
            metrics = {"sft/loss": loss_sum, "sft/learning_rate": rate, "sft/grad_norm": norm}
            if config.distribution_weight > 0:
                about = "vote" if config.asks == "ambiguity" else "voice"
                metrics[f"sft/{about}_divergence"] = apart_sum
            metrics |= {"sft/tokens": tokens, "time/tokens_per_s": tokens / seconds}
            log(step, total, metrics)
    policy.eval()


def _token_loss(logprobs_BT: Tensor, packed: PackedTargets) -> Tensor:
    """Of each token [B, T]: how unlikely it was, or how far its place is from what a teacher taught."""
    rows = list(nll_token_loss(logprobs_BT).unbind(0))
    for placed in packed.lessons:
        student_TK = placed.logprobs(logprobs_BT, packed.batch)
        teacher_TK = torch.tensor(placed.lesson.logprobs_TK, device=student_TK.device)
        loss_T = distil_token_loss(student_TK, teacher_TK)
        rows[placed.row] = torch.cat([loss_T, rows[placed.row][len(loss_T) :]])
    return torch.stack(rows)


def _listed(train: Sequence[Utterance] | Mixture) -> Sequence[Utterance]:
    if isinstance(train, Mixture):
        raise ConfigError(
            "distil=token_kl keeps what the teacher would say in memory, and data.kind=manifest is "
            "streamed; take distil=sequence"
        )
    return train


def _divergence(logprobs_BT: Tensor, packed: PackedTargets) -> Tensor:
    """Sum of the divergences of those of these targets that have votes."""
    total = logprobs_BT.new_zeros(())
    for placed in packed.votes:
        labels_K = placed.logprobs(logprobs_BT, packed.batch)
        votes_K = torch.tensor(placed.vote.shares, dtype=torch.float64, device=labels_K.device)
        total = total + vote_divergence(labels_K.double()[None], votes_K[None]).sum()
    return total.to(logprobs_BT.dtype)


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
