"""The order in which RL meets its utterances, and how to go on from where it stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from cogaudio_rl.errors import DataError
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import Utterance


class UtteranceStream:
    """Endless passes over the utterances, each in a new order.

    Stopping and restoring equals never having stopped: the order of a pass depends on the seed and
    on the number of the pass alone, so the state is two numbers and a digest of what is streamed.
    """

    def __init__(self, utterances: Sequence[Utterance], seed: int) -> None:
        """Raises DataError when there is nothing to stream."""
        if not utterances:
            raise DataError("split 'rl' is empty: the stream needs at least one utterance")
        self._utterances = tuple(utterances)
        self._seed = seed
        self._position = 0

    @classmethod
    def restore(
        cls, utterances: Sequence[Utterance], seed: int, state: Mapping[str, Any]
    ) -> UtteranceStream:
        """Go on from ``state``. Raises DataError if it was taken over other utterances or seed."""
        stream = cls(utterances, seed)
        if state["digest"] != stream._digest():
            raise DataError(
                f"the saved stream was over other utterances, or another seed, than these"
                f" {len(utterances)} with seed {seed}; resume with the data it began with"
            )
        stream._position = int(state["position"])
        return stream

    def next(self, n: int) -> list[Utterance]:
        """The next ``n`` utterances; a pass that ends is followed by the next one."""
        chosen = self.peek(n)
        self._position += n
        return chosen

    def peek(self, n: int) -> list[Utterance]:
        """What :meth:`next` would return, without moving on."""
        if n < 1:
            raise ValueError(f"n must be >= 1, got {n}")
        size = len(self._utterances)
        chosen: list[Utterance] = []
        while len(chosen) < n:
            epoch, start = divmod(self._position + len(chosen), size)
            order = rng_for(self._seed, "stream", epoch).permutation(size)
            chosen += [self._utterances[i] for i in order[start : start + n - len(chosen)]]
        return chosen

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` needs, ready for JSON. ``position`` counts utterances ever given."""
        return {"position": self._position, "digest": self._digest()}

    def _digest(self) -> str:
        text = "\n".join([str(self._seed), *(u.id for u in self._utterances)])
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
