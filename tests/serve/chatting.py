"""A fake engine and a client in the same process, for tests of the server without vLLM or Ray."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
import soundfile
from fastapi import FastAPI

from cogaudio_rl.config import ServeConfig
from cogaudio_rl.errors import RunError
from cogaudio_rl.serve.engine import Ask, Emotion, Piece
from cogaudio_rl.serve.http import build_app
from cogaudio_rl.serve.keys import KEYS_VARIABLE, Keys
from cogaudio_rl.serve.responder import Responder
from cogaudio_rl.types import Route, StopReason

EXPLICIT = (
    "<thought>\nEmotion: sad\nIntent: be held\nPsychology: feels a loss\nStrategy: stay near\n"
    "</thought>\n<response>I am here.</response>"
)
DIRECT = "<response>I am here.</response>"


class FakeEngine:
    """Says its line in pieces of a few characters, and remembers what it was asked."""

    max_seconds = 30.0

    def __init__(self, *, texts: Mapping[Route, str] | None = None) -> None:
        self.texts = dict(texts or {Route.EXPLICIT: EXPLICIT, Route.DIRECT: DIRECT})
        self.adapters: dict[str, int] = {"D": 1}
        self.asked: list[Ask] = []
        self.dropped = 0
        self.dead = False
        self.fails_after: int | None = None
        self.may_end = asyncio.Event()
        self.may_end.set()

    def check(self) -> None:
        if self.dead:
            raise RunError("the engine has ended")

    async def generate(self, ask: Ask) -> AsyncGenerator[Piece]:
        self.check()
        self.asked.append(ask)
        text, whole = self.texts[ask.route], False
        try:
            for at in range(0, len(text), 3):
                if self.fails_after is not None and at > self.fails_after:
                    raise RunError("the engine has failed")
                named = ask.route is Route.EXPLICIT and at <= text.find("sad") < at + 3
                yield Piece(
                    text=text[at : at + 3],
                    num_tokens=1,
                    prompt_tokens=7,
                    emotion=Emotion(label="sad", probabilities={"sad": 0.75, "happy": 0.25})
                    if named
                    else None,
                )
                await asyncio.sleep(0)
            await self.may_end.wait()
            yield Piece(text="", num_tokens=1, prompt_tokens=7, stop=StopReason.EOS)
            whole = True
        finally:
            self.dropped += not whole


def make_app(engine: FakeEngine, *, keys: tuple[str, ...] = (), **settings: Any) -> FastAPI:
    config = ServeConfig(**settings)
    known = Keys.of({KEYS_VARIABLE: ",".join(keys)})
    return build_app(Responder(engine, config), config, keys=known)


@asynccontextmanager
async def client_of(app: FastAPI, **headers: str) -> AsyncGenerator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://127.0.0.1", headers=headers
    ) as client:
        yield client


def clip(seconds: float = 0.5, *, format: str = "WAV", pitch_hz: float = 220.0) -> str:
    """A tone as base64."""
    time = np.arange(int(16_000 * seconds)) / 16_000
    file = io.BytesIO()
    soundfile.write(file, 0.3 * np.sin(2 * np.pi * pitch_hz * time), 16_000, format=format)
    return base64.b64encode(file.getvalue()).decode()


def heard(model: str = "D", *, question: str = "", **fields: Any) -> dict[str, Any]:
    """A request with a clip, and a question beside it."""
    content: list[dict[str, Any]] = [
        {"type": "input_audio", "input_audio": {"data": clip(), "format": "wav"}}
    ]
    if question:
        content.append({"type": "text", "text": question})
    return {"model": model, "messages": [{"role": "user", "content": content}], **fields}


def read(model: str = "D", text: str = "I lost my job.", **fields: Any) -> dict[str, Any]:
    """A request with words alone."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


def events_of(body: str) -> list[Any]:
    """The chunks of a stream, without its ``[DONE]``, which must be there."""
    lines = [line.removeprefix("data: ") for line in body.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]
