"""The server's API over answers that a test writes down: real HTTP, real streams, no model."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from cogaudio_rl.serve.keys import KEYS_VARIABLE, Keys
from cogaudio_rl.serve.page import page_router
from cogaudio_rl.serve.runs import RunShelf
from cogaudio_rl.serve.runs_http import runs_router

SAD = {
    "label": "sad",
    "probabilities": {
        "neutral": 0.04,
        "happy": 0.01,
        "sad": 0.83,
        "angry": 0.05,
        "fear": 0.04,
        "disgust": 0.02,
        "surprise": 0.01,
    },
}
THOUGHT = (
    "\nEmotion: sad",
    "\nInte",
    "nt: be told that waiting was not foolish",
    "\nPsychology: let down, and a little ashamed to mind",
    "\nStrategy: name the disappointment, then stay with it",
    "\n",
)
REPLY = ("You waited ", "all day for that letter, ", "and it did not come. ", "That hurts.")
BASE_REPLY = ("The letter ", "may arrive ", "tomorrow.")


class Wait:
    """In an answer: go on when the test says so."""


class Break:
    """In an answer: the connection ends here."""


def heard(emotion: dict[str, Any]) -> dict[str, Any]:
    return {"cogaudio": {"emotion": emotion}}


def direct(*reply: str) -> list[Any]:
    return [heard(SAD), *({"content": piece} for piece in reply or REPLY)]


def thinking(*reply: str) -> list[Any]:
    return [
        {"reasoning_content": THOUGHT[0]},
        heard(SAD),
        *({"reasoning_content": piece} for piece in THOUGHT[1:]),
        *({"content": piece} for piece in reply or REPLY),
    ]


@dataclass
class Script:
    """What the server says to each model name, and what it was asked."""

    answers: dict[str, list[Any]] = field(
        default_factory=lambda: {
            "D": direct(),
            "D-think": thinking(),
            "base": direct(*BASE_REPLY),
            "base-think": thinking(*BASE_REPLY),
        }
    )
    """Deltas of a message, :class:`Wait`, :class:`Break` or ``{"error": …}``; or one Response."""
    keys: tuple[str, ...] = ()
    finish: str = "stop"
    ready: bool = True
    max_audio_s: float = 30.0
    asked: list[dict[str, Any]] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    """Models whose listener went away."""
    _go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def go_on(self, times: int = 1) -> None:
        """Let answers pass their next :class:`Wait`."""
        self._go.release(times)

    async def told(self) -> None:
        while not self._go.acquire(blocking=False):
            await asyncio.sleep(0.01)


def refusal(status: int, message: str, **headers: str) -> JSONResponse:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return JSONResponse({"error": error}, status_code=status, headers=headers)


def build_app(script: Script, shelf: RunShelf) -> FastAPI:
    """The endpoints that the page uses."""
    app = FastAPI()
    app.include_router(page_router())
    app.include_router(runs_router(shelf, keys=Keys.of({KEYS_VARIABLE: ",".join(script.keys)})))

    @app.middleware("http")
    async def keys(request: Request, call: Any) -> Response:  # pyright: ignore[reportUnusedFunction]
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        asks = request.url.path.startswith("/v1/")
        if asks and script.keys and given not in script.keys:
            return refusal(401, "unknown key")
        return await call(request)

    @app.get("/v1/models")
    async def models() -> Response:  # pyright: ignore[reportUnusedFunction]
        if not script.ready:
            return refusal(503, "the engine is starting")
        rows = [
            {
                "id": name,
                "object": "model",
                "created": 0,
                "owned_by": "cogaudio-rl",
                "cogaudio": {
                    "adapter": name.removesuffix("-think"),
                    "route": "explicit" if name.endswith("-think") else "direct",
                    "max_audio_s": script.max_audio_s,
                },
            }
            for name in script.answers
        ]
        return JSONResponse({"object": "list", "data": rows})

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        body = await request.json()
        script.asked.append(body)
        answer = script.answers[body["model"]]
        if isinstance(answer[0], Response):
            return answer[0]
        return StreamingResponse(stream(script, body["model"]), media_type="text/event-stream")

    return app


async def stream(script: Script, model: str) -> AsyncIterator[str]:
    """An answer as server-sent events."""
    whole = False
    try:
        yield event(choice({"role": "assistant"}))
        for piece in script.answers[model]:
            if isinstance(piece, Wait):
                await script.told()
            elif isinstance(piece, Break):
                whole = True
                raise ConnectionAbortedError("as the test wants it")
            elif "error" in piece:
                whole = True
                yield event(piece)
                return
            else:
                yield event(choice(piece))
                await asyncio.sleep(0.01)
        yield event(choice({}, finish=script.finish))
        usage = {"prompt_tokens": 40, "completion_tokens": 27, "total_tokens": 67}
        yield event({"object": "chat.completion.chunk", "choices": [], "usage": usage})
        yield "data: [DONE]\n\n"
        whole = True
    finally:
        if not whole:
            script.dropped.append(model)


def choice(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    one = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"object": "chat.completion.chunk", "choices": [one]}


def event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value)}\n\n"


@dataclass(kw_only=True)
class Serving:
    """A server that runs in a thread."""

    address: str
    server: uvicorn.Server
    thread: threading.Thread

    def stop(self) -> None:
        self.server.should_exit = True
        self.server.force_exit = True
        self.thread.join(10)


@contextmanager
def serving(app: FastAPI) -> Iterator[Serving]:
    """The app on a free port of the loopback address."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started:
        if time.monotonic() > until:
            raise TimeoutError("the server did not start within 20 s")
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    running = Serving(address=f"http://127.0.0.1:{port}", server=server, thread=thread)
    try:
        yield running
    finally:
        running.stop()
