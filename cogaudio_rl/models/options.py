"""How probable each of several names is at one place of an answer.

prompt + answer ... | sad        names of one token stand as alternatives in one row
prompt + answer ... | sur prise  a longer one takes a row of its own, and is the product of its tokens
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cogaudio_rl.errors import InputError
from cogaudio_rl.models.chat import Chat
from cogaudio_rl.models.policy import PackedBatch, Sequenced


@dataclass(frozen=True, slots=True)
class Options:
    """K names as tokens."""

    ids_K: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, chat: Chat, options: Sequence[str]) -> Options:
        """Names with the space they begin with, if they do.

        Raises InputError for an empty name, and for one that another begins with: every time the longer
        is said, so is the shorter.
        """
        ids_K = tuple(chat.encode(option) for option in options)
        if () in ids_K or not ids_K:
            raise InputError(f"options are names of at least one letter, got {list(options)}")
        for i, one in enumerate(ids_K):
            for j, other in enumerate(ids_K):
                if i != j and one == other[: len(one)]:
                    raise InputError(
                        f"option {options[j]!r} begins with the tokens of {options[i]!r}; choose names "
                        "of which none begins another"
                    )
        return cls(ids_K)

    @property
    def first_ids(self) -> tuple[int, ...] | None:
        """The first token of each; None where two begin alike."""
        first = tuple(ids[0] for ids in self.ids_K)
        return first if len(set(first)) == len(first) else None

    @property
    def rows(self) -> int:
        """How many rows of a batch :meth:`sequences` takes for one place."""
        return 1 + sum(len(ids) > 1 for ids in self.ids_K)

    def sequences(self, sequence: Sequenced, place: int) -> list[Sequenced]:
        """The same sequence with the names at this place of its response as further alternatives; then
        one for each name that needs it."""
        short = tuple((place, ids[0]) for ids in self.ids_K if len(ids) == 1)
        before = sequence.prompt_ids + sequence.response_ids[:place]
        return [
            replace(sequence, alternatives=(*sequence.alternatives, *short)),
            *(Sequenced(before, ids, sequence.audio) for ids in self.ids_K if len(ids) > 1),
        ]

    def logprobs(
        self, logprobs_BT: Tensor, batch: PackedBatch, row: int, *, skip: int = 0, own: int = 1
    ) -> Tensor:
        """Total log-probs [K] of the names whose :meth:`sequences` begin at ``row`` of the batch.

        ``skip`` alternatives of the row are others'; the rows of longer names begin ``own`` behind it.
        """
        column, own = batch.alternatives_from + skip, row + own
        found: list[Tensor] = []
        for ids in self.ids_K:
            if len(ids) == 1:
                found.append(logprobs_BT[row, column])
                column += 1
            else:
                found.append(logprobs_BT[own, : len(ids)].sum())
                own += 1
        return torch.stack(found)


def shares(logprobs_K: Tensor) -> tuple[float, ...]:
    """The options' probabilities among themselves; they sum to 1."""
    return tuple(logprobs_K.double().softmax(-1).tolist())
