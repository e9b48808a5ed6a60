"""How much of a request is read, and how long it may take, before anything understands it.

A body is refused by what it says of itself, then by what arrives, then by its outline: brackets within
brackets and millions of values cost a parser more than they cost who sends them. What passes is handed
on as it came.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cogaudio_rl.serve.envelope import error_response
from cogaudio_rl.serve.errors import ApiError

_BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")
_NO_NUMBER = re.compile(rb"NaN|Infinity")


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyLimits:
    """How large, how slow and how branched a body may be."""

    max_body_bytes: int
    body_timeout_s: float = 30.0
    """From the first byte to the last; 2 MB, a minute at 16 kHz, are 0.6 Mbit/s."""
    max_held_bytes: int = 512 * 2**20
    """Bodies of all requests under way; more are told to come again."""
    max_depth: int = 16
    max_strings: int = 4_096
    max_bytes_outside_strings: int = 64 * 2**10
    """Numbers and brackets: at most so many values can be in them."""


class BodyLimiter:
    """ASGI middleware: 400, 408, 413, 415 or 429 for a body that is not worth parsing."""

    def __init__(self, app: ASGIApp, *, limits: BodyLimits) -> None:
        self._app = app
        self._limits = limits
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in _BODILESS:
            await self._app(scope, receive, send)
            return
        body = bytearray()
        try:
            try:
                self._check_headers(Headers(scope=scope))
                async with asyncio.timeout(self._limits.body_timeout_s):
                    await self._read(receive, body)
                check_json(given := bytes(body), limits=self._limits)
            except TimeoutError:
                slow = ApiError(408, "the body came too slowly", code="request_timeout")
                await error_response(slow, close=True)(scope, receive, send)
                return
            except ApiError as error:
                await error_response(error, close=error.status == 413)(scope, receive, send)
                return
            except ClientDisconnect:
                return
            await self._app(scope, _then(given, receive), send)
        finally:
            self._held_bytes -= len(body)

    def _check_headers(self, headers: Headers) -> None:
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            # A page of another origin cannot send this type unasked (CORS, "simple requests").
            raise ApiError(
                415, "Content-Type must be application/json", code="unsupported_media_type"
            )
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise ApiError(415, "a body must not be compressed", code="unsupported_encoding")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > 18:
            raise ApiError(400, "Content-Length is not a number of bytes", code="bad_length")
        self._check_room(int(length), more=int(length))

    async def _read(self, receive: Receive, body: bytearray) -> None:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            piece: bytes = message.get("body", b"")
            self._check_room(len(body) + len(piece), more=len(piece))
            self._held_bytes += len(piece)
            body += piece
            if not message.get("more_body", False):
                return

    def _check_room(self, size: int, *, more: int) -> None:
        if size > self._limits.max_body_bytes:
            most = self._limits.max_body_bytes
            raise ApiError(413, f"a body may have {most} bytes at most", code="body_too_large")
        if self._held_bytes + more > self._limits.max_held_bytes:
            raise ApiError(
                429, "too many large requests at a time", code="server_busy", retry_after_s=1.0
            )


def check_json(body: bytes, *, limits: BodyLimits) -> None:
    """Raises ApiError 400 for a body whose outline alone says that no parser should see it.

    What passes need not be JSON: the parser says that better. Takes time linear in the length.
    """
    # Python's parser also reads UTF-16 and UTF-32, in which quotes and brackets are other bytes.
    if b"\0" in body:
        raise _not_json("it holds a zero byte")
    try:
        body.decode()
    except UnicodeDecodeError:
        raise _not_json("it is not UTF-8") from None
    depth = outside = at = 0
    for _ in range(limits.max_strings + 1):
        quote = body.find(b'"', at)
        end = len(body) if quote < 0 else quote
        outside += end - at
        if outside > limits.max_bytes_outside_strings:
            raise _not_json(f"more than {limits.max_bytes_outside_strings} bytes are not text")
        between = body[at:end]
        if _NO_NUMBER.search(between):
            raise _not_json("NaN and Infinity are no JSON numbers")
        for bracket in _BRACKETS.findall(between):
            depth += 1 if bracket in b"[{" else -1
            if depth > limits.max_depth:
                raise _not_json(f"nested deeper than {limits.max_depth}")
        if quote < 0:
            return
        at = _behind_string(body, quote)
    raise _not_json(f"more than {limits.max_strings} strings")


def _behind_string(body: bytes, quote: int) -> int:
    """Where the string that opens at ``quote`` has ended."""
    end = body.find(b'"', quote + 1)
    # A clip has nothing escaped in it, and looking for one byte is fifty times as fast.
    if end >= 0 and body.find(b"\\", quote, end) < 0:
        return end + 1
    text = _STRING.match(body, quote)
    if text is None:
        raise _not_json("a string does not end")
    return text.end()


def _not_json(why: str) -> ApiError:
    return ApiError(400, f"the body is not JSON that is read here: {why}", code="bad_json")


def _then(body: bytes, receive: Receive) -> Receive:
    """The body that was read already, then whatever comes after it: that the client has gone."""
    waiting = [body]

    async def once() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return once
