"""Fakes that implement the ports: the real loops run on them in one process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

from cogaudio_rl.types import Adapter, Group, Prefix, Prompt, Rollout, StopReason, Utterance


class FakeSampler:
    """Says what ``say(prompt, temperature, i)`` says and chooses what ``name(prompt)`` names.

    One token per character, each with log-prob −1; ``seen`` keeps every prompt it was asked.
    """

    def __init__(
        self,
        say: Callable[[Prompt, float, int], str],
        name: Callable[[Prompt], str] = lambda prompt: prompt.utterance.emotion,
    ) -> None:
        self._say, self._name = say, name
        self.adapter: Adapter | None = None
        self.seen: list[Prompt] = []

    async def sample(
        self, prompts_P: Sequence[Prompt], *, n: int, temperature: float, seed: int
    ) -> list[Group]:
        self.seen += prompts_P
        version = self.adapter.version if self.adapter else 0
        return [
            Group(
                prompt=p,
                rollouts=tuple(_rollout(self._say(p, temperature, i), version) for i in range(n)),
            )
            for p in prompts_P
        ]

    async def stream(
        self, prompts_P: Sequence[Prompt], *, n: int, temperature: float, seed: int
    ) -> AsyncGenerator[tuple[int, Group]]:
        for i, group in enumerate(
            await self.sample(prompts_P, n=n, temperature=temperature, seed=seed)
        ):
            yield i, group

    async def probe(self, prompts_P: Sequence[Prompt]) -> list[Group]:
        return await self.sample(prompts_P, n=1, temperature=0.0, seed=0)

    async def choose(
        self, prompts_P: Sequence[Prompt], *, prefix: str, options: Sequence[str]
    ) -> list[str]:
        self.seen += prompts_P
        return [options[[o.strip() for o in options].index(self._name(p))] for p in prompts_P]

    async def weigh(
        self, prompts_P: Sequence[Prompt], prefixes_P: Sequence[Prefix], options: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """One part for each option, and one more for each time that the prefix names it."""
        self.seen += prompts_P
        found: list[tuple[float, ...]] = []
        for prefix in prefixes_P:
            counts = [1 + prefix.text.count(option.strip()) for option in options]
            found.append(tuple(count / sum(counts) for count in counts))
        return found

    async def publish(self, adapter: Adapter | None) -> None:
        self.adapter = adapter


class FakeScorer:
    """Reads its verdict off the reply: ``"sad 3: …"`` is a 3 for sadness; else 1, and neutral."""

    async def score(self, asked: Sequence[tuple[Utterance, str]]) -> list[float | None]:
        return [
            float(reply.split()[1].rstrip(":"))
            if _is_verdict(reply) and reply.split()[0] == utterance.emotion
            else 1.0
            for utterance, reply in asked
        ]

    @property
    def unscored(self) -> Mapping[str, int]:
        return {}

    def emotion_of(self, utterance: Utterance, reply: str) -> str:
        return reply.split()[0] if _is_verdict(reply) else "neutral"


def _is_verdict(reply: str) -> bool:
    head = reply.partition(":")[0].split()
    return len(head) == 2 and head[1].isdigit()


def _rollout(text: str, version: int) -> Rollout:
    return Rollout(
        token_ids=tuple(map(ord, text)),
        logprobs=(-1.0,) * len(text),
        text=text,
        stop=StopReason.EOS,
        policy_version=version,
    )
