"""What SFT imitates: annotations as tokens, and what each token weighs in the loss."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from cogaudio_rl import eips
from cogaudio_rl.errors import DataError
from cogaudio_rl.models.policy import PackedBatch, Policy
from cogaudio_rl.types import Prompt, Route, Utterance


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
            raise DataError(_bare(prompt.utterance))
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


def check_annotated(utterances: Iterable[Utterance]) -> None:
    """Raise DataError for the first that SFT could not learn from, before it has begun."""
    for utterance in utterances:
        if utterance.annotation is None:
            raise DataError(_bare(utterance))


def _bare(utterance: Utterance) -> str:
    return f"utterance {utterance.id!r} has no annotation to learn from"


def target_length(policy: Policy, target: Target) -> int:
    """Tokens of prompt, sound and answer, without hearing it."""
    return policy.length(target.prompt, len(target.token_ids))


def pack(policy: Policy, targets: Sequence[Target]) -> tuple[PackedBatch, torch.Tensor]:
    """One batch and its weights ``[B, T]``, 0 where padded."""
    batch = policy.pack([policy.sequence(t.prompt, t.token_ids) for t in targets])
    weights_BT = torch.zeros_like(batch.response_mask_BT)
    for row, target in enumerate(targets):
        weights_BT[row, : len(target.weights)] = torch.tensor(target.weights)
    return batch, weights_BT
