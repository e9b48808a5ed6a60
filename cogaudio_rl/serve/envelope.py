"""What stands around every answer: its number, its headers, one line in the log, never a traceback."""

from __future__ import annotations

import logging
import math
import secrets
import time
import traceback

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cogaudio_rl.serve.errors import ApiError

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "media-src 'self' blob:",  # the page plays back what was just recorded
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
SECURITY_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
"""Set where the answer does not say otherwise itself, as a page with a policy of its own does."""
_LOGGED_CHARACTERS = 200
_CLIENT_GONE = 499
"""The log's word for a client that did not wait; it is never sent."""

_log = logging.getLogger(__name__)


def error_response(error: ApiError, *, close: bool = False) -> JSONResponse:
    """The answer to a refused request; ``close`` where the rest of it will not be read."""
    headers: dict[str, str] = {}
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    if close:
        headers["connection"] = "close"
    return JSONResponse(error.body(), error.status, headers)


class Envelope:
    """ASGI middleware, outermost: nothing reaches the network but through it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # no websocket is served, so none passes the keys unasked
            await send({"type": "websocket.close", "code": 1008})
            return
        answer = _Answer(send)
        begun_s = time.monotonic()
        try:
            await self._app(scope, receive, answer.send)
        except ClientDisconnect:
            answer.status = _CLIENT_GONE
        except Exception as error:
            # The boundary: whatever went wrong inside, a client sees a number to ask about.
            _log_failure(error, answer.id)
            if answer.status:
                # The length or the stream that was announced is not kept: only the server can say
                # so, by cutting the connection.
                raise BrokenAnswer(f"request {answer.id} failed while it was answered") from None
            failed = ApiError(
                500, f"the server failed; it is noted under {answer.id}", code="server_error"
            )
            await error_response(failed)(scope, receive, answer.send)
        finally:
            _log.info(
                "%s %s %d %.0f ms %s",
                *(_short(scope["method"]), _short(scope["path"]), answer.status),
                *(1_000 * (time.monotonic() - begun_s), answer.id),
            )


class BrokenAnswer(Exception):
    """An answer that cannot be finished; names the request alone."""


class _Answer:
    """Sends on, adds headers at the start, and remembers how it began (status 0: not yet)."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.id = secrets.token_hex(8)
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self.id
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)


def _log_failure(error: Exception, request_id: str) -> None:
    """Where it failed, without its message: many quote what they were given, a body or a key."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    _log.error("request %s failed: %s\n%s", request_id, type(error).__name__, frames.rstrip())
    _log.debug("request %s: %s", request_id, error)


def _short(text: str) -> str:
    """One line of ASCII, so that no path writes a second line or colours a terminal."""
    return ascii(text)[1:-1][:_LOGGED_CHARACTERS]
