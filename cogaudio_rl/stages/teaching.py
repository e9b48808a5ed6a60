"""Token by token, what the policy itself would have said had everything been stated to it.

    words + emotion, cause and plan ─► the policy, before its first step ─► the likeliest tokens at each
                                                                            place of the dictated reply

Self-distillation (arXiv 2601.04960) needs no second model for that: the teacher is what the stage
begins with. It is asked once, before anything is trained; what it said is kept in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch

from cogaudio_rl.models.engine import Engine, rank_share
from cogaudio_rl.models.policy import Policy
from cogaudio_rl.stages.targets import Lesson
from cogaudio_rl.types import Prompt, Utterance
from cogaudio_rl.written import answer_to, stated


@torch.no_grad()
def lessons_of(
    policy: Policy,
    engine: Engine,
    utterances: Sequence[Utterance],
    *,
    tokens: int,
    micro_batch_tokens: int,
) -> Mapping[str, Lesson]:
    """By utterance's id, what was likely at each place of its dictated reply; the same on every rank.

    ``tokens`` are compared at each place: the one that was dictated, and the likeliest others. Raises
    DataError for an utterance without a thought or a reply.
    """
    prompts = [stated_best(u) for u in utterances]
    said = [policy.response_ids(answer_to(prompt)) for prompt in prompts]
    lengths = [policy.length(p, len(ids)) for p, ids in zip(prompts, said, strict=True)]
    was_training = policy.training
    policy.eval()
    mine: list[tuple[int, Lesson]] = []
    for rows in rank_share(lengths, engine, micro_batch_tokens):
        # An empty share still makes its forward passes, for the collectives inside them.
        chosen = rows or [0]
        batch = policy.pack([policy.sequence(prompts[i], said[i]) for i in chosen])
        logprobs_BT, _ = engine.forward(batch)
        ids_BTK, top_BTK = engine.forward(replace(batch, likeliest=tokens))
        for at, i in enumerate(rows):
            size = len(said[i])
            places = zip(
                said[i],
                logprobs_BT[at, :size].tolist(),
                ids_BTK[at, :size].tolist(),
                top_BTK[at, :size].tolist(),
                strict=True,
            )
            mine.append((i, _lesson(places, tokens)))
    policy.train(was_training)
    return {utterances[i].id: lesson for i, lesson in engine.all_gather(mine)}


def stated_best(utterance: Utterance) -> Prompt:
    """What the teacher is asked: everything stated, with the best plan that was written."""
    plan = utterance.attribution.plan if utterance.attribution else ""
    return stated(utterance, plan)


def _lesson(
    places: Iterable[tuple[int, float, Sequence[int], Sequence[float]]], tokens: int
) -> Lesson:
    """The token that was said first, then the likeliest others."""
    ids_TK: list[tuple[int, ...]] = []
    logprobs_TK: list[tuple[float, ...]] = []
    for token, logprob, ids, top in places:
        others = [(i, p) for i, p in zip(ids, top, strict=True) if i != token][: tokens - 1]
        ids_TK.append((token, *(i for i, _ in others)))
        logprobs_TK.append((logprob, *(p for _, p in others)))
    return Lesson(tuple(ids_TK), tuple(logprobs_TK))
