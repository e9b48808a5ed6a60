"""From a chat request to the events of its answer, over whatever engine there is.

ChatRequest ─► Question ─► Engine.generate ─► Unfolder ─► Said | Felt | Ended …
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from functools import partial

from cogaudio_rl import eips
from cogaudio_rl.config.serve import ServeConfig
from cogaudio_rl.errors import ConfigError
from cogaudio_rl.serve.admission import AudioLimits, admit_audio
from cogaudio_rl.serve.engine import BASE, Ask, Emotion, Engine
from cogaudio_rl.serve.errors import ApiError
from cogaudio_rl.serve.schema import ChatRequest, question_of, refuse_unsupported
from cogaudio_rl.serve.unfold import Kind, Part, Unfolder, steps_of
from cogaudio_rl.types import Route, StopReason

THINK = "-think"
"""What a model's name ends with when it is to reason first."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,63}")
_NAMED_CHARACTERS = 200
_DECODERS = 2
CHARACTERS_PER_TOKEN = 8
"""A text with more of them for each token of the model's room is refused before anybody tokenises it.
English has five; 16 MB of text kept a tokeniser, and with it every other request, busy for minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A model as requests name it."""

    id: str
    adapter: str
    route: Route
    created: int
    max_seconds: float
    """Longest clip that it takes; 0 where it only reads."""


@dataclass(frozen=True, slots=True)
class Said:
    """What was ready; an answer's reasoning is whole before its content begins."""

    reasoning: str
    content: str


@dataclass(frozen=True, slots=True)
class Felt:
    """The emotion is known."""

    emotion: Emotion


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The answer is whole."""

    stop: StopReason
    steps: dict[str, str] | None
    parse: str
    """``ok``, or why it is no answer of its route's form."""
    prompt_tokens: int
    completion_tokens: int


Event = Said | Felt | Ended


def check_name(name: str) -> None:
    """Raise ConfigError for an adapter's name that requests could not tell from another."""
    if not _NAME.fullmatch(name) or name == BASE or name.endswith(THINK):
        raise ConfigError(
            f"checkpoint name {name!r} must begin with a letter or digit, hold up to 64 of "
            f"A-Z a-z 0-9 . _ / -, not be {BASE!r} and not end in {THINK!r}"
        )


class Responder:
    """Answers requests, as many at a time as its configuration allows."""

    def __init__(self, engine: Engine, config: ServeConfig) -> None:
        self._engine, self._config = engine, config
        self._limits = AudioLimits(
            max_bytes=config.max_body_bytes,
            max_seconds=min(config.max_audio_s, engine.max_seconds or config.max_audio_s),
        )
        self._decoders = ThreadPoolExecutor(_DECODERS, thread_name_prefix="decode")
        self._since = int(time.time())
        self.under_way = 0
        """Requests that are being answered or wait for it."""

    def models(self) -> list[Served]:
        """Every adapter and the base, through both routes."""
        loaded = {**self._engine.adapters, BASE: self._since}
        longest = self._limits.max_seconds if self._engine.max_seconds else 0.0
        return [
            Served(id=name + end, adapter=name, route=route, created=created, max_seconds=longest)
            for name, created in loaded.items()
            for end, route in (("", Route.DIRECT), (THINK, Route.EXPLICIT))
        ]

    def check(self) -> None:
        """Raises RunError when nothing can be answered any more."""
        self._engine.check()

    def model(self, name: str) -> Served:
        """The one that is called so. Raises ApiError 404."""
        models = self.models()
        served = next((one for one in models if one.id == name), None)
        if served is None:
            known = ", ".join(one.id for one in models)
            raise ApiError(
                404,
                f"there is no model {name[:_NAMED_CHARACTERS]!r}; there are {known}",
                code="model_not_found",
                param="model",
            )
        return served

    def admit(self, request: ChatRequest) -> Served:
        """The model that is to answer. Raises ApiError for what is known to be wrong at once."""
        refuse_unsupported(request)
        return self.model(request.model)

    @contextmanager
    def _place(self) -> Iterator[None]:
        """A place among the requests under way. Raises ApiError when there is none left."""
        config = self._config
        if self.under_way >= config.max_ongoing_requests + config.max_queued_requests:
            raise ApiError(
                429,
                "too many requests are under way; try again",
                code="rate_limit_exceeded",
                retry_after_s=config.retry_after_s,
            )
        self.under_way += 1
        try:
            yield
        finally:
            self.under_way -= 1

    async def respond(self, request: ChatRequest) -> AsyncGenerator[Event]:
        """The events of a request's answer. Raises ApiError before the first, RunError at any time.

        Whoever closes it before its end has the engine drop the request.
        """
        served = self.admit(request)
        with self._place():
            ask = await self._ask(request, served)
            async with aclosing(self._answer(ask, stream=bool(request.stream))) as events:
                async for event in events:
                    yield event

    async def _ask(self, request: ChatRequest, served: Served) -> Ask:
        """The request as the engine takes it. Raises ApiError for a clip that is not admitted."""
        clip, text = question_of(request)
        most = CHARACTERS_PER_TOKEN * self._config.max_model_len
        if len(text) > most:
            raise ApiError(
                400,
                f"a text may have {most} characters at most, got {len(text)}",
                code="context_length_exceeded",
                param="messages",
            )
        sound = None
        if clip is not None:
            if not self._engine.max_seconds:
                raise ApiError(
                    400, "this model reads and cannot hear; send text", code="unsupported_value"
                )
            decode = partial(admit_audio, clip.data, format=clip.format, limits=self._limits)
            sound = await asyncio.get_running_loop().run_in_executor(self._decoders, decode)
        config = self._config
        return Ask(
            adapter=served.adapter,
            route=served.route,
            sound=sound,
            text=text,
            max_tokens=request.max_completion_tokens or request.max_tokens,
            temperature=config.temperature if request.temperature is None else request.temperature,
            top_p=config.top_p if request.top_p is None else request.top_p,
            seed=request.seed,
        )

    async def _answer(self, ask: Ask, *, stream: bool) -> AsyncGenerator[Event]:
        """The events of one answer; without ``stream`` each kind comes once, at the end.

        Raises what :meth:`Engine.generate` raises.
        """
        unfolder, ready = Unfolder(), list[Part]()
        texts: list[str] = []
        reasoning: list[str] = []
        prompt_tokens = completion_tokens = 0
        stop = StopReason.ABORTED
        quiet_until = 0.0
        async with aclosing(self._engine.generate(ask)) as pieces:
            async for piece in pieces:
                texts.append(piece.text)
                prompt_tokens = piece.prompt_tokens
                completion_tokens += piece.num_tokens
                stop = piece.stop or stop
                ready += unfolder.feed(piece.text)
                if piece.emotion is not None:
                    yield Felt(piece.emotion)
                if stream and ready and time.monotonic() >= quiet_until:
                    # Every event costs as much as many tokens: with more streams, fewer of each.
                    pause_s = self.under_way / self._config.max_chunks_per_s
                    quiet_until = time.monotonic() + pause_s
                    said, ready = _said(ready), []
                    reasoning.append(said.reasoning)
                    yield said
        ready += unfolder.finish()
        if ready:
            said = _said(ready)
            reasoning.append(said.reasoning)
            yield said
        yield Ended(
            stop=stop,
            steps=steps_of("".join(reasoning)) if ask.route is Route.EXPLICIT else None,
            parse=_parse(ask.route, "".join(texts)),
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
        )


def _said(parts: Sequence[Part]) -> Said:
    texts = {kind: "".join(p.text for p in parts if p.kind is kind) for kind in Kind}
    return Said(texts[Kind.REASONING], texts[Kind.CONTENT])


def _parse(route: Route, text: str) -> str:
    """``ok``, or the reason why the text is not of the route's form."""
    read = eips.parse(text) if route is Route.EXPLICIT else eips.parse_direct(text)
    return read.value if isinstance(read, eips.ParseFailure) else "ok"
