"""The whole HTTP side over a fake engine, and what must be true of all its answers."""

from __future__ import annotations

from typing import Any

import httpx
from fastapi import FastAPI
from serve.chatting import FakeEngine, make_app

KEY = "correct-horse-battery-1"
BEARER = {"authorization": f"Bearer {KEY}"}
CHAT = "/v1/chat/completions"
REPLY = "I am here."


def an_app(engine: FakeEngine | None = None, *, key: str = KEY, **settings: Any) -> FastAPI:
    """The application that is served, asking for ``key`` unless that is empty."""
    return make_app(engine or FakeEngine(), keys=(key,) if key else (), **settings)


def a_client(app: FastAPI, *, key: str = KEY) -> httpx.AsyncClient:
    """Asks it without a socket; what it raises is raised here."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://localhost", headers=headers
    )


def asks(clip: str, *, format: str = "wav", text: str | None = None) -> dict[str, Any]:
    """A body that asks about a clip."""
    parts: list[dict[str, Any]] = [
        {"type": "input_audio", "input_audio": {"data": clip, "format": format}}
    ]
    if text is not None:
        parts.append({"type": "text", "text": text})
    return {"model": "D", "messages": [{"role": "user", "content": parts}]}


BETRAYAL = ("Traceback", "object at 0x", '.py"', "site-packages", "/home/", "/tmp/", "File \\")


def is_proper(status: int, headers: Any, text: str, json: Any) -> None:
    """Asserts that an answer is no 5xx, and where it is a 4xx, an error as OpenAI writes it."""
    assert status < 500, text
    assert headers["x-content-type-options"] == "nosniff"
    if status < 400:
        return
    assert headers["content-type"].startswith("application/json")
    error = json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert error["message"]
    assert isinstance(error["code"], str)
    assert error["type"].endswith("_error")
    assert error["param"] is None or isinstance(error["param"], str)
    for word in BETRAYAL:
        assert word not in text
    assert len(text) < 2_000
