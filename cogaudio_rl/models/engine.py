"""What turns a loss into better weights. One Protocol; the plain engine here, DeepSpeed's in actors.

The caller divides each loss by *global* counts (all micro-batches of all ranks), so gradients must
add up: over :meth:`Engine.accumulate` calls and over ranks. Then no split changes the update.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from cogaudio_rl.models.policy import PackedBatch, Policy

T = TypeVar("T")

ADAM_BETAS = (0.9, 0.95)
ADAM_EPS = 1e-8


class Engine(Protocol):
    """One rank of a data-parallel trainer. Every rank must make the same calls in the same order."""

    @property
    def rank(self) -> int: ...

    @property
    def world_size(self) -> int: ...

    def forward(self, batch: PackedBatch) -> tuple[Tensor, Tensor]:
        """Log-probs and entropies ``[B, T]`` of the policy, ready for :meth:`accumulate`."""
        ...

    def accumulate(self, loss: Tensor) -> None:
        """Add the gradient of a loss that is already divided by the global count."""
        ...

    def step(self, learning_rate: float) -> float:
        """Clip the summed gradient, update, forget the gradient; returns its norm before clipping."""
        ...

    def all_sum(self, values: Sequence[float]) -> list[float]:
        """Each value summed over all ranks."""
        ...

    def all_gather(self, items: Sequence[T]) -> list[T]:
        """The items of all ranks, rank by rank."""
        ...

    def whole(
        self, parameters: Sequence[torch.nn.Parameter] | None = None
    ) -> AbstractContextManager[None]:
        """Within it these of the trainable weights (None: all) are in one piece on every rank, to be
        read, or replaced by the same values everywhere; what is sharded is gathered and cut again."""
        ...

    def reset(self) -> None:
        """Start anew from the weights the policy has now: they were replaced from outside."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """This rank's share of the optimiser's state."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what :meth:`state_dict` gave, after :meth:`reset` on the same weights."""
        ...


class LocalEngine:
    """AdamW in one process."""

    rank = 0
    world_size = 1

    def __init__(self, policy: Policy, *, gradient_clip: float) -> None:
        self._policy = policy
        self._clip = gradient_clip
        self._parameters = [p for _, p in policy.trained_parameters()]
        # The learning rate is given at every step.
        self._adam = torch.optim.AdamW(
            self._parameters, lr=0.0, betas=ADAM_BETAS, eps=ADAM_EPS, weight_decay=0.0
        )

    def forward(self, batch: PackedBatch) -> tuple[Tensor, Tensor]:
        return self._policy(batch)

    def accumulate(self, loss: Tensor) -> None:
        loss.backward()

    def step(self, learning_rate: float) -> float:
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._clip)
        for group in self._adam.param_groups:
            group["lr"] = learning_rate
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        return float(norm)

    def all_sum(self, values: Sequence[float]) -> list[float]:
        return [float(value) for value in values]

    def all_gather(self, items: Sequence[T]) -> list[T]:
        return list(items)

    def whole(
        self, parameters: Sequence[torch.nn.Parameter] | None = None
    ) -> AbstractContextManager[None]:
        return nullcontext()

    def reset(self) -> None:
        self._adam.zero_grad(set_to_none=True)
        self._adam.state.clear()

    def state_dict(self) -> dict[str, Any]:
        return self._adam.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._adam.load_state_dict(state)


def all_max(engine: Engine, value: float) -> float:
    """The largest of a value >= 0 over all ranks, by a sum in which each rank has its own place."""
    places = [value if rank == engine.rank else 0.0 for rank in range(engine.world_size)]
    return max(engine.all_sum(places))


def deal(lengths: Sequence[int], world_size: int) -> list[list[int]]:
    """Indices into ``lengths`` for each rank: longest first, dealt out like cards, so that all have
    equal work."""
    by_length = _longest_first(lengths)
    return [by_length[rank::world_size] for rank in range(world_size)]


def rank_share(lengths: Sequence[int], engine: Engine, budget: int) -> list[list[int]]:
    """This rank's micro-batches, as indices into a global batch that every rank knows.

    Each holds at most ``budget`` tokens, padding included, or one sequence that is longer by itself:
    nothing is ever cut short. Every rank gets the same number of micro-batches, at least one; where
    nothing is left they are empty, and a zero loss must be accumulated for them: ZeRO-2 reduces
    gradients in every backward pass, and a rank that makes one fewer would hang the others.
    """
    hands = deal(lengths, engine.world_size)
    shares = [_micro_batches(hand, lengths, budget) for hand in hands]
    return _padded(shares[engine.rank], max(len(share) for share in shares))


def own_micro_batches(lengths: Sequence[int], engine: Engine, budget: int) -> list[list[int]]:
    """As :func:`rank_share`, of a share that no other rank knows; ranks ask one another how many."""
    mine = _micro_batches(_longest_first(lengths), lengths, budget)
    return _padded(mine, int(all_max(engine, len(mine))))


def _longest_first(lengths: Sequence[int]) -> list[int]:
    return sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))


def _padded(mine: list[list[int]], count: int) -> list[list[int]]:
    return mine + [[]] * (max(1, count) - len(mine))


def _micro_batches(hand: Sequence[int], lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Cut a hand, longest first: the first row of a micro-batch is what the others are padded to."""
    found: list[list[int]] = []
    for i in hand:
        if found and (len(found[-1]) + 1) * lengths[found[-1][0]] <= budget:
            found[-1].append(i)
        else:
            found.append([i])
    return found
