"""Bodies that are too large, too slow or too branched never reach the application."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cogaudio_rl.serve.errors import ApiError
from cogaudio_rl.serve.limits import BodyLimiter, BodyLimits, check_json

LIMITS = BodyLimits(max_body_bytes=100_000)
JSON = {"content-type": "application/json"}
RAW_JSON = [(b"content-type", b"application/json")]


class World:
    """An application behind the limiter that remembers what reached it."""

    def __init__(self, limits: BodyLimits = LIMITS) -> None:
        self.seen: list[bytes] = []
        self.wait = asyncio.Event()
        self.wait.set()
        app = Starlette(routes=[Route("/", self._answer, methods=["GET", "POST", "PUT"])])
        limiter = BodyLimiter(app, limits=limits)
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(limiter), base_url="http://localhost"
        )

    async def _answer(self, request: Request) -> Response:
        self.seen.append(await request.body())
        await self.wait.wait()
        return JSONResponse({"ok": True})

    async def post(self, content: Any, **headers: str) -> tuple[int, str | None]:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await self.client.post("/", content=content, headers={**JSON, **headers})
        error = answer.json().get("error", {})
        return answer.status_code, error.get("code")


async def in_pieces(*pieces: bytes, wait_s: float = 0.0) -> AsyncGenerator[bytes]:
    for piece in pieces:
        yield piece
        await asyncio.sleep(wait_s)


async def test_what_fits_arrives_as_it_was_sent() -> None:
    world = World()
    body = json.dumps({"a": ["x" * 1_000, {"b": None}]}).encode()
    assert await world.post(body) == (200, None)
    assert await world.post(in_pieces(body[:7], b"", body[7:])) == (200, None)
    assert await world.post(b"") == (200, None)
    assert world.seen == [body, body, b""]
    assert (await world.client.get("/")).status_code == 200


async def test_a_length_that_is_too_much_is_refused_unread() -> None:
    world = World()
    asked = 0

    async def never() -> AsyncGenerator[bytes]:
        nonlocal asked
        asked += 1
        yield b"{}"

    assert await world.post(never(), content_length="100001") == (413, "body_too_large")
    assert await world.post(never(), content_length="9" * 30) == (400, "bad_length")
    assert await world.post(never(), content_length="-1") == (400, "bad_length")
    assert world.seen == []
    # httpx gathers what it sends before it asks; what matters is that the limiter never did.
    assert asked <= 3


async def test_a_body_that_never_said_its_length_is_cut_where_it_is_too_much() -> None:
    world = World()
    assert await world.post(in_pieces(*[b'"' + b"x" * 9_998 + b'"'] * 11)) == (
        413,
        "body_too_large",
    )
    # And one whose length was a lie.
    lying = in_pieces(*[b"x" * 10_000] * 11)
    assert await world.post(lying, content_length="10") == (413, "body_too_large")
    assert world.seen == []


async def test_a_slow_body_is_given_up() -> None:
    world = World(BodyLimits(max_body_bytes=1_000, body_timeout_s=0.2))
    begun_s = time.monotonic()

    async def messages() -> AsyncGenerator[dict[str, Any]]:
        while True:
            await asyncio.sleep(0.05)
            yield {"type": "http.request", "body": b" ", "more_body": True}

    coming = messages()
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    limiter = world.client._transport.app  # type: ignore[attr-defined]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": RAW_JSON}
    await limiter(scope, lambda: anext(coming), send)
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    assert time.monotonic() - begun_s < 2.0
    assert world.seen == []


async def test_all_bodies_together_have_a_limit_and_give_their_room_back() -> None:
    world = World(BodyLimits(max_body_bytes=1_000, max_held_bytes=2_500))
    body = json.dumps("x" * 900).encode()
    world.wait.clear()
    first = [asyncio.create_task(world.post(body)) for _ in range(2)]
    while len(world.seen) < 2:
        await asyncio.sleep(0)
    busy = await world.client.post("/", content=body, headers=JSON)
    assert busy.status_code == 429
    assert busy.headers["retry-after"] == "1"
    assert await world.post(in_pieces(body[:500], body[500:])) == (429, "server_busy")
    world.wait.set()
    assert await asyncio.gather(*first) == [(200, None)] * 2
    for _ in range(5):
        assert await world.post(body) == (200, None)
    assert await world.post(b"{" * 900) == (400, "bad_json")
    assert await world.post(b"x" * 1_001) == (413, "body_too_large")
    assert [await world.post(body) for _ in range(3)] == [(200, None)] * 3


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "multipart/form-data; boundary=x"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": ""}, 415),
        ({"content-type": "application/json; charset=utf-8"}, 200),
        ({"content-type": "Application/JSON"}, 200),
        ({**JSON, "content-encoding": "gzip"}, 415),
        ({**JSON, "content-encoding": "identity"}, 200),
    ],
)
async def test_only_plain_json_is_read(headers: dict[str, str], status: int) -> None:
    answer = await World().client.post("/", content=b"{}", headers=headers)
    assert answer.status_code == status


async def test_a_client_that_leaves_before_its_body_is_whole_is_not_answered() -> None:
    world = World()
    limiter = world.client._transport.app  # type: ignore[attr-defined]

    async def left() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        raise AssertionError("nobody is there")

    scope = {"type": "http", "method": "POST", "path": "/", "headers": RAW_JSON}
    await limiter(scope, left, send)
    assert world.seen == []


def refuses(body: bytes, limits: BodyLimits = LIMITS) -> str:
    with pytest.raises(ApiError) as caught:
        check_json(body, limits=limits)
    assert (caught.value.status, caught.value.code) == (400, "bad_json")
    return caught.value.message


def test_depth_is_counted_outside_of_strings_alone() -> None:
    most = LIMITS.max_depth
    check_json(b"[" * most + b"]" * most, limits=LIMITS)
    assert "nested" in refuses(b"[" * (most + 1) + b"]" * (most + 1))
    assert "nested" in refuses(b'{"a":' * (most + 1) + b"1" + b"}" * (most + 1))
    brackets = json.dumps({"text": '[{"' * 5_000, "more": ["\\", '\\"', "}"]}).encode()
    check_json(brackets, limits=LIMITS)


def test_many_values_are_refused_and_long_texts_are_not() -> None:
    check_json(json.dumps({"data": "A" * 2**20}).encode(), limits=LIMITS)
    check_json(json.dumps({"text": '難しい\n"\\' * 10_000}).encode(), limits=LIMITS)
    assert "not text" in refuses(b"[" + b"1," * 40_000 + b"1]")
    assert "not text" in refuses(b" " * 70_000)
    assert "strings" in refuses(b"[" + b'"",' * 5_000 + b'""]')


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"a": 1}).encode("utf-16"),
        json.dumps({"a": 1}).encode("utf-16-le"),
        json.dumps({"a": 1}).encode("utf-32-be"),
        b"\xff\xfe[",
        b'{"a": "\xc3\x28"}',
        b'{"a": "\xed\xa0\x80"}',
        b'{"a": "\x00"}',
        b'{"a": "open',
        b'{"a": "open\\"',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
    ],
)
def test_what_only_some_parsers_read_is_refused(body: bytes) -> None:
    refuses(body)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
        | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=20,
    ),
    st.booleans(),
)  # fmt: skip
def test_all_json_of_ordinary_depth_passes(value: Any, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    try:
        body = text.encode()
    except UnicodeEncodeError:
        return
    wide = BodyLimits(max_body_bytes=2**20, max_depth=40)
    if b"\0" not in body and "NaN" not in text and "Infinity" not in text:
        check_json(body, limits=wide)


@given(st.text(alphabet='[]{}"\\a,:1 ', max_size=200))
def test_depth_is_never_underestimated(text: str) -> None:
    """What passes has no more open brackets at any place than a lexer written by hand finds."""
    limits = BodyLimits(max_body_bytes=2**20, max_depth=3)
    depth, deepest, inside, escaped = 0, 0, False, False
    for letter in text:
        if inside:
            inside = escaped or letter != '"'
            escaped = letter == "\\" and not escaped
        elif letter == '"':
            inside = True
        else:
            depth += (letter in "[{") - (letter in "]}")
            deepest = max(deepest, depth)
    if inside or deepest > 3:
        refuses(text.encode(), limits)
    else:
        check_json(text.encode(), limits=limits)


@pytest.mark.parametrize(
    "body",
    [b"[" * 2**23, b'"' * 2**23, b'"",' * 2**21, b'"' + b"\\\\" * 2**22, b'"' + b'\\"' * 2**22,
     b'"\\u4f60' * 2**20, b" " * 2**23, b"\\" * 2**23],
)  # fmt: skip
def test_eight_megabytes_of_anything_take_a_moment(body: bytes) -> None:
    begun_s = time.thread_time()
    refuses(body)
    assert time.thread_time() - begun_s < 1.0
