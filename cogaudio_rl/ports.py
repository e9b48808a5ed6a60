"""What the loops need from the outside world. Fakes implement these in tests, Ray pools on a cluster.

Shape suffixes in names: ``_P`` one per prompt, ``_G`` one per rollout of a group.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from cogaudio_rl.types import (
    Adapter,
    Group,
    Prefix,
    Prompt,
    Rollout,
    Sample,
    Score,
    Unscored,
    Update,
)

T = TypeVar("T")

PROBE_TOKENS = 8
"""Length of a canary's answer."""


class Sampler(Protocol):
    """Generates with the policy it was last given."""

    async def sample(
        self, prompts_P: Sequence[Prompt], *, n: int, temperature: float, seed: int
    ) -> list[Group]:
        """``n`` rollouts for each prompt, in order; temperature 0 is greedy.

        Log-probs are those of the model at temperature 1, whatever the sampling temperature.
        """
        ...

    def stream(
        self, prompts_P: Sequence[Prompt], *, n: int, temperature: float, seed: int
    ) -> AsyncGenerator[tuple[int, Group]]:
        """The same groups as :meth:`sample`, each with its place, as soon as it is whole."""
        ...

    async def probe(self, prompts_P: Sequence[Prompt]) -> list[Group]:
        """The first few greedy tokens for each prompt, from every engine there is; for the canary."""
        ...

    async def choose(
        self, prompts_P: Sequence[Prompt], *, prefix: str, options: Sequence[str]
    ) -> list[str]:
        """For each prompt, the option whose first token is most probable after ``prefix``; where two
        begin with the same token, the option that is most probable as a whole."""
        ...

    async def weigh(
        self, prompts_P: Sequence[Prompt], prefixes_P: Sequence[Prefix], options: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """For each prompt, how probable each option is behind its prefix, among the options alone.

        A softmax over the options' total log-probs: a name of several tokens counts with the product
        of all of them. Raises InputError for an option that another begins with.
        """
        ...

    async def publish(self, adapter: Adapter | None) -> None:
        """Generate with this adapter from now on; None is the bare base model."""
        ...


async def in_order_of_place(answers: AsyncIterable[tuple[int, T]]) -> list[T]:
    """What :meth:`Sampler.stream` gives, once all of it is there, in the order of the prompts."""
    found = {place: answer async for place, answer in answers}
    return [found[place] for place in sorted(found)]


class Judge(Protocol):
    """Scores replies; never raises for a reply it cannot score."""

    async def score(self, groups_P: Sequence[Group]) -> list[list[Score | Unscored]]:
        """One verdict for each rollout of each group, in order."""
        ...

    async def spent(self) -> dict[str, float]:
        """What judging took since this was last asked, as metrics ``judge/...``: requests, retries,
        tokens and US dollars as far as they are known. Steps add up to the run."""
        ...


class Learner(Protocol):
    """Holds the trainable policy and its optimiser."""

    async def update(self, samples: Sequence[Sample]) -> Update:
        """Train on the samples; the returned version is one higher than before."""
        ...

    async def adapter(self) -> Adapter:
        """The policy's LoRA weights and their version."""
        ...

    async def logprobs(self, groups_P: Sequence[Group]) -> list[list[tuple[float, ...]]]:
        """The learner's own log-probs of every rollout's tokens; the canary compares them."""
        ...

    async def references(self, prompts_P: Sequence[Prompt]) -> list[Rollout]:
        """What was written for each prompt, as if this policy had said it: its tokens, and their
        log-probs under the present weights."""
        ...

    async def save(self, folder: Path) -> None:
        """Write adapter and optimiser state so that :meth:`load` continues exactly."""
        ...

    async def begin(self, folder: Path) -> None:
        """Start at version 0 from an adapter's weights, wherever they were trained."""
        ...

    async def load(self, folder: Path) -> None:
        """Read what :meth:`save` wrote, and go on from there."""
        ...

    async def restart(self) -> None:
        """Fresh processes after a worker died; :meth:`begin` or :meth:`load` has to follow."""
        ...


class HandOver(Protocol):
    """How what was trained gets from the learner to the sampler."""

    async def __call__(self, learner: Learner, sampler: Sampler) -> tuple[int, int]:
        """The version the sampler now answers with, and how many bytes that took."""
        ...


async def by_value(learner: Learner, sampler: Sampler) -> tuple[int, int]:
    """The adapter passes through the driver's hands; on Ray, as a reference to one copy."""
    adapter = await learner.adapter()
    await sampler.publish(adapter)
    return adapter.version, adapter.num_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPorts:
    """What answers and what scores, already running."""

    sampler: Sampler
    judge: Judge


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports(RolloutPorts):
    """All three."""

    learner: Learner
    hand_over: HandOver = by_value
