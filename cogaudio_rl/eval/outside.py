"""Somebody else's audio language model, asked what our own is asked, behind an OpenAI-style endpoint.

It gets the same prompt texts with the same recording, or with the words where there is nothing to
hear, and answers in words; its emotion it names by JSON. What got no answer is never made up: the
evaluation stops with the reason, and goes on from there when it is asked again.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from cogaudio_rl import prompts
from cogaudio_rl.config import BaselineConfig
from cogaudio_rl.endpoint import ChatEndpoint, MalformedAnswerError, NoAnswer, Outage
from cogaudio_rl.errors import PublishError, RunError
from cogaudio_rl.ports import PROBE_TOKENS, in_order_of_place
from cogaudio_rl.rewards.hearing import clip_of
from cogaudio_rl.types import Adapter, Group, Prefix, Prompt, Rollout, Route, StopReason, Utterance

T = TypeVar("T")

AT_HAND = 4
"""Prompts put together for each request at a time: all at once would keep every recording in memory."""
CHOOSE = (
    "Please analyze the emotion in the user's voice. Which one of these comes nearest to it: {}?"
)
CHOOSE_BY_WORDS = (
    "Please analyze the emotion of the user. Which one of these comes nearest to it: {}?"
)


class EndpointSampler:
    """Implements the Sampler port over one baseline. Rollouts have words alone: no tokens."""

    def __init__(self, config: BaselineConfig) -> None:
        self._config = config
        self._endpoint = ChatEndpoint(config)

    async def sample(
        self, prompts_P: Sequence[Prompt], *, n: int, temperature: float, seed: int
    ) -> list[Group]:
        """See :class:`cogaudio_rl.ports.Sampler`; raises what :meth:`stream` raises."""
        return await in_order_of_place(
            self.stream(prompts_P, n=n, temperature=temperature, seed=seed)
        )

    def stream(
        self, prompts_P: Sequence[Prompt], *, n: int, temperature: float, seed: int
    ) -> AsyncGenerator[tuple[int, Group]]:
        """See :class:`cogaudio_rl.ports.Sampler`. ``seed`` is not sent: not every endpoint takes one.

        Raises RunError behind the last group when a prompt had no answer, at the first outage at once,
        and DataError for a recording that cannot be read.
        """
        ask = partial(self._group, n=n, temperature=temperature, max_tokens=None)
        return self._each(prompts_P, ask)

    async def probe(self, prompts_P: Sequence[Prompt]) -> list[Group]:
        """See :class:`cogaudio_rl.ports.Sampler`."""
        ask = partial(self._group, n=1, temperature=0.0, max_tokens=PROBE_TOKENS)
        return await in_order_of_place(self._each(prompts_P, ask))

    async def choose(
        self, prompts_P: Sequence[Prompt], *, prefix: str, options: Sequence[str]
    ) -> list[str]:
        """The option that it names when it is asked to name one; raises as :meth:`stream` does."""
        return await in_order_of_place(
            self.stream_choices(prompts_P, prefix=prefix, options=options)
        )

    def stream_choices(
        self, prompts_P: Sequence[Prompt], *, prefix: str, options: Sequence[str]
    ) -> AsyncGenerator[tuple[int, str]]:
        """As :meth:`choose`, each with its place as soon as it is there. ``prefix`` is not sent: a chat
        model cannot be made to go on from it."""
        return self._each(prompts_P, partial(self._choice, options=options))

    async def weigh(
        self, prompts_P: Sequence[Prompt], prefixes_P: Sequence[Prefix], options: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """Raises RunError: it answers in words, and tells no probabilities."""
        raise RunError(
            f"baseline {self._config.name!r} tells no probabilities; leave it out where distributions "
            "are compared (eval.baselines=[])"
        )

    async def publish(self, adapter: Adapter | None) -> None:
        """It answers with what it is; raises PublishError for anything else."""
        if adapter is not None:
            raise PublishError(
                f"baseline {self._config.name!r} takes no adapter; it is evaluated as it is"
            )

    def metrics(self) -> Mapping[str, float]:
        """Requests, retries and tokens so far, and US dollars where prices are known."""
        return self._endpoint.metrics()

    async def close(self) -> None:
        """Close the connections."""
        await self._endpoint.close()

    async def _each(
        self, prompts_P: Sequence[Prompt], ask: Callable[[Prompt], Awaitable[T]]
    ) -> AsyncGenerator[tuple[int, T]]:
        """What each prompt is answered, with its place, as soon as it is there."""
        at_hand = asyncio.Semaphore(AT_HAND * self._config.concurrency)

        async def one(place: int) -> tuple[int, T | NoAnswer]:
            async with at_hand:
                try:
                    return place, await ask(prompts_P[place])
                except NoAnswer as error:
                    return place, error

        asking = [asyncio.create_task(one(place)) for place in range(len(prompts_P))]
        answered, first = 0, None
        try:
            for coming in asyncio.as_completed(asking):
                place, answer = await coming
                if not isinstance(answer, NoAnswer):
                    answered += 1
                    yield place, answer
                    continue
                first = first or f"{prompts_P[place].id!r}: {answer}"
                if isinstance(answer, Outage):
                    first = str(answer)  # whatever else failed, this is why it ends here
                    break
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        if first is not None:
            raise RunError(
                f"baseline {self._config.name!r} at {self._config.base_url} (model "
                f"{self._config.model!r}) gave no answer to {len(prompts_P) - answered} of "
                f"{len(prompts_P)} prompts ({first}); mend it and give the same command again, which "
                "goes on where it stopped"
            )

    async def _group(
        self, prompt: Prompt, *, n: int, temperature: float, max_tokens: int | None
    ) -> Group:
        asked = await self._messages(prompt, prompt.question or prompts.for_route(prompt.route))
        # One after another: other prompts are under way, and the first that fails is the last asked.
        said = [
            await self._endpoint.ask(
                asked,
                response_format=None,
                read=_words,
                temperature=temperature,
                max_tokens=max_tokens or self._config.max_tokens,
            )
            for _ in range(n)
        ]
        return Group(prompt=prompt, rollouts=tuple(map(_rollout, said)))

    async def _choice(self, prompt: Prompt, *, options: Sequence[str]) -> str:
        named = "answer" if prompt.question else "emotion"
        listed = ", ".join(map(str.strip, options))
        choose = CHOOSE if self._listens(prompt.utterance) else CHOOSE_BY_WORDS
        return await self._endpoint.ask(
            await self._messages(prompt, prompt.question or choose.format(listed)),
            response_format=choice_format(options, named),
            read=lambda content: read_choice(content, options, named),
            max_tokens=self._config.max_tokens,
        )

    def _listens(self, utterance: Utterance) -> bool:
        return self._config.hears and utterance.audio is not None

    async def _messages(self, prompt: Prompt, wish: str) -> list[dict[str, Any]]:
        """The dialogue, built as our own policy's is; what is wanted stands in its last turn alone."""
        said: list[dict[str, Any]] = []
        for turn in prompt.history:
            said.append(await self._user(turn.utterance, ""))
            said.append({"role": "assistant", "content": turn.reply})
        return [*said, await self._user(prompt.utterance, wish)]

    async def _user(self, utterance: Utterance, wish: str) -> dict[str, Any]:
        """A user's turn: what was said, then what is wanted, if anything."""
        if not self._listens(utterance):
            words = f"{utterance.transcript}\n{wish}" if wish else utterance.transcript
            return {"role": "user", "content": words}
        clip = await asyncio.to_thread(clip_of, utterance)
        wanted = [{"type": "text", "text": wish}] if wish else []
        return {"role": "user", "content": [clip.part, *wanted]}


def baseline_digest(config: BaselineConfig) -> str:
    """Stands for what a baseline answers with, as ``model_digest`` does for our own models."""
    told: list[object] = [
        "a prompt's own question is asked as it stands",
        *(config.base_url, config.model, config.hears, config.max_tokens),
        *(prompts.for_route(route) for route in Route),
        *(CHOOSE, CHOOSE_BY_WORDS),
    ]
    return hashlib.blake2b(json.dumps(told).encode(), digest_size=16).hexdigest()


def choice_format(options: Sequence[str], named: str = "emotion") -> dict[str, Any]:
    """The JSON schema that leaves a model nothing but one of the options."""
    schema = {
        "type": "object",
        "properties": {named: {"type": "string", "enum": [o.strip() for o in options]}},
        "required": [named],
        "additionalProperties": False,
    }
    return {
        "type": "json_schema",
        "json_schema": {"name": named, "strict": True, "schema": schema},
    }


def read_choice(content: str, options: Sequence[str], named: str = "emotion") -> str:
    """The option that a model named, in small or capital letters.

    Raises MalformedAnswerError for anything else: the nearest option would be our guess.
    """
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise MalformedAnswerError(f"not JSON: {error}") from None
    if not isinstance(answer, dict) or not isinstance(answer.get(named), str):
        raise MalformedAnswerError(f'not {{"{named}": "…"}}')
    told = answer[named].strip()
    for option in options:
        if option.strip().lower() == told.lower():
            return option
    known = ", ".join(map(str.strip, options))
    raise MalformedAnswerError(f"{named} {told[:40]!r} is not one of: {known}")


def _words(content: str) -> str:
    """Whatever was said; half a surrogate pair, which JSON can say, is no text that a file takes."""
    return content.encode("utf-8", "replace").decode("utf-8")


def _rollout(text: str) -> Rollout:
    return Rollout(token_ids=(), logprobs=(), text=text, stop=StopReason.EOS, policy_version=0)
