"""Who is let in: keys, origins, and names of the machine; then how much of it is read.

    Envelope ─► Cors ─► Gate ─► BodyLimiter ─► the application

The key is asked for before the body is read: FastAPI's own dependencies come after it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from cogaudio_rl.errors import ConfigError
from cogaudio_rl.serve.envelope import Envelope, error_response
from cogaudio_rl.serve.errors import ApiError
from cogaudio_rl.serve.keys import Keys, is_loopback
from cogaudio_rl.serve.limits import BodyLimiter, BodyLimits

OPEN_PATHS = ("/", "/health")
OPEN_FOLDERS = ("/web/", "/runs/")
"""Reports under ``/runs/`` are opened by links that carry a seal; their router asks for it."""
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:\d{1,5})?|https?://\[[0-9a-f:]+\](:\d{1,5})?")


def guard(
    app: Starlette, *, keys: Keys, bodies: BodyLimits, allowed_origins: Sequence[str] = ()
) -> None:
    """Put everything that a request must pass before ``app``; call it once, last.

    ``allowed_origins`` are those of other pages that may ask from a browser (`https://host[:port]`).
    Raises ConfigError for an origin that is none, `*` among them.
    """
    for origin in allowed_origins:
        if not _ORIGIN.fullmatch(origin):
            raise ConfigError(f"allowed origin {origin!r} must be written as https://host[:port]")
    # What is added last is outermost.
    app.add_middleware(BodyLimiter, limits=bodies)
    app.add_middleware(Gate, keys=keys)
    if allowed_origins:
        app.add_middleware(
            Cors,
            allow_origins=allowed_origins,
            allow_methods=("GET", "POST"),
            # The openai client sends a dozen x-stainless-… headers from a browser.
            allow_headers=("*",),
            expose_headers=("x-request-id", "retry-after"),
        )
    app.add_middleware(Envelope)


class Gate:
    """ASGI middleware: 401 without a key; without keys at all, 403 but for this machine's own names.

    A page elsewhere can let its own name point at 127.0.0.1 and then ask as if it were at home ("DNS
    rebinding"); its name is still in the Host header.
    """

    def __init__(self, app: ASGIApp, *, keys: Keys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refusal := self._refusal(scope)):
            await error_response(refusal)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> ApiError | None:
        headers = Headers(scope=scope)
        if not self._keys:
            if is_loopback(_host(headers.get("host", ""))):
                return None
            return ApiError(
                403, "a server without keys answers to localhost alone", code="wrong_host"
            )
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path in OPEN_PATHS or path.startswith(OPEN_FOLDERS):
            return None
        if self._keys.admit(headers.get("authorization")):
            return None
        return ApiError(
            401, "send a valid key: Authorization: Bearer <key>", code="invalid_api_key"
        )


class Cors(CORSMiddleware):
    """Starlette's, with refusals in the form of all others."""

    def preflight_response(self, request_headers: Headers) -> Response:
        answer = super().preflight_response(request_headers)
        if answer.status_code == 200:
            return answer
        return error_response(
            ApiError(403, "this origin, method or header is not allowed", code="cors")
        )


def _host(header: str) -> str:
    """The name in a Host header, without its port."""
    name, bracket, _ = header.rpartition("]")
    return name + bracket if bracket else header.partition(":")[0]
