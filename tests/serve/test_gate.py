"""What stands around every answer, and who is let in."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from cogaudio_rl.errors import ConfigError
from cogaudio_rl.serve.envelope import BrokenAnswer
from cogaudio_rl.serve.gate import guard
from cogaudio_rl.serve.keys import KEYS_VARIABLE, Keys
from cogaudio_rl.serve.limits import BodyLimits

KEY = "correct-horse-battery-1"
SECRET = "what-the-user-said"
BEARER = {"authorization": f"Bearer {KEY}"}


async def fine(request: Request) -> Response:
    await request.body()
    return PlainTextResponse("fine")


async def fails(_: Request) -> Response:
    raise ValueError(f"cannot do {SECRET} with {KEY}")


async def breaks(_: Request) -> Response:
    async def pieces() -> AsyncGenerator[bytes]:
        yield b"begun"
        raise ValueError(SECRET)

    return StreamingResponse(pieces())


async def leaves(_: Request) -> Response:
    raise ClientDisconnect


async def own_policy(_: Request) -> Response:
    return Response(headers={"Content-Security-Policy": "default-src 'none'"})


def client(
    *, keys: str = KEY, origins: tuple[str, ...] = (), raises: bool = False, host: str = "localhost"
) -> httpx.AsyncClient:
    paths = ("/", "/health", "/web/app.js", "/v1/models", "/v1/chat/completions", "/metrics")
    app = Starlette(
        routes=[
            *(Route(path, fine, methods=["GET", "POST"]) for path in paths),
            *(Route(f"/{f.__name__}", f) for f in (fails, breaks, leaves, own_policy)),
        ]
    )
    guard(
        app,
        keys=Keys.of({KEYS_VARIABLE: keys}),
        bodies=BodyLimits(max_body_bytes=1_000),
        allowed_origins=origins,
    )
    transport = httpx.ASGITransport(app, raise_app_exceptions=raises)
    return httpx.AsyncClient(transport=transport, base_url=f"http://{host}")


@pytest.mark.parametrize("path", ["/", "/health", "/web/app.js"])
async def test_the_page_and_its_health_are_open(path: str) -> None:
    assert (await client().get(path)).status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/v1/models", "/v1/chat/completions", "/metrics", "/health/", "/healthz", "/web",
     "/nothing", "/openapi.json", "/HEALTH", "/v1/%2e%2e/health", "/%2e%2e/v1/models"],
)  # fmt: skip
async def test_all_else_needs_a_key(path: str) -> None:
    for method in ("GET", "POST", "DELETE", "OPTIONS"):
        answer = await client().request(method, path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["error"]["code"] == "invalid_api_key"
    assert (await client().get(path, headers=BEARER)).status_code in (200, 307, 404)


async def test_without_a_key_no_body_is_read() -> None:
    read = 0

    async def receive() -> dict[str, Any]:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": b"x" * 100, "more_body": True}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    app = client()._transport.app  # type: ignore[attr-defined]
    scope = {
        "type": "http", "method": "POST", "path": "/v1/chat/completions", "query_string": b"",
        "headers": [(b"content-type", b"application/json")], "root_path": "",
    }  # fmt: skip
    await app(scope, receive, send)
    assert (sent[0]["status"], read) == (401, 0)


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "127.0.0.1"])
async def test_without_keys_this_machine_s_names_are_answered(host: str) -> None:
    assert (await client(keys="", host=host).get("/v1/models")).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8000", "10.0.0.1"]
)
async def test_without_keys_a_rebound_name_is_not(host: str) -> None:
    answer = await client(keys="").get("/v1/models", headers={"host": host})
    assert answer.status_code == 403
    assert answer.json()["error"]["type"] == "permission_error"


HEADERS = {
    "content-security-policy": re.compile("default-src 'self'.*frame-ancestors 'none'"),
    "x-content-type-options": re.compile("nosniff"),
    "referrer-policy": re.compile("no-referrer"),
    "x-request-id": re.compile("[0-9a-f]{16}"),
}


@pytest.mark.parametrize(
    ("path", "status"), [("/", 200), ("/nothing", 404), ("/v1/models", 401), ("/fails", 500)]
)
async def test_every_answer_has_its_headers(path: str, status: int) -> None:
    answer = await client().get(path, headers={} if status == 401 else BEARER)
    assert answer.status_code == status
    for name, value in HEADERS.items():
        assert value.fullmatch(answer.headers[name]), name
    assert "access-control-allow-origin" not in answer.headers
    assert "server" not in answer.headers


async def test_a_page_may_have_a_policy_of_its_own() -> None:
    answer = await client().get("/own_policy", headers=BEARER)
    assert answer.headers.get_list("content-security-policy") == ["default-src 'none'"]


async def test_a_failure_is_a_number_to_the_client_and_frames_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    answer = await client(raises=True).get("/fails", headers=BEARER)
    error = answer.json()["error"]
    assert answer.status_code == 500
    assert error["type"] == "server_error"
    assert answer.headers["x-request-id"] in error["message"]
    for word in ("Traceback", "ValueError", ".py", SECRET, KEY):
        assert word not in answer.text
    assert answer.headers["x-request-id"] in caplog.text
    assert "ValueError" in caplog.text
    assert "in fails" in caplog.text
    for word in (SECRET, KEY):
        assert word not in caplog.text


async def test_an_answer_that_breaks_is_cut_and_not_ended(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(BrokenAnswer) as caught:
        await client(raises=True).get("/breaks", headers=BEARER)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert SECRET not in caplog.text


async def test_the_log_has_one_line_for_each_request_and_no_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="cogaudio_rl")
    asked = client()
    body = f'{{"text": "{SECRET}"}}'.encode()
    json_headers = {**BEARER, "content-type": "application/json"}
    await asked.post(f"/v1/chat/completions?key={KEY}", content=body, headers=json_headers)
    await asked.get("/v1/models", headers={"authorization": "Bearer wrong-but-a-key-elsewhere"})
    await asked.get("/a%0d%0aforged line%1b[31m", headers=BEARER)
    await asked.get("/" + "x" * 5_000, headers=BEARER)
    with pytest.raises(AssertionError):  # httpx waits for an answer that nobody would have read
        await asked.get("/leaves", headers=BEARER)
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split()[-4] for line in lines] == ["200", "401", "404", "404", "499"]
    assert lines[0].startswith("POST /v1/chat/completions 200 ")
    for line in lines:
        assert len(line) < 300
        assert line.isascii()
        assert line.isprintable()
        for word in (SECRET, KEY, "wrong-but", "Bearer"):
            assert word not in line


async def test_no_websocket_passes() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    app = client()._transport.app  # type: ignore[attr-defined]
    await app({"type": "websocket", "path": "/v1/models", "headers": []}, None, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]


PREFLIGHT = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,x-stainless-os",
}


async def test_other_origins_are_told_nothing_by_default() -> None:
    headers = {**PREFLIGHT, "origin": "https://a.example"}
    answer = await client().options("/v1/chat/completions", headers=headers)
    assert answer.status_code == 401
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_an_allowed_origin_may_ask_and_read_also_what_is_refused() -> None:
    asked = client(origins=("https://a.example", "http://localhost:3000"))
    for origin in ("https://a.example", "http://localhost:3000"):
        answer = await asked.options("/v1/models", headers={**PREFLIGHT, "origin": origin})
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == origin
        assert "x-stainless-os" in answer.headers["access-control-allow-headers"]
        assert "access-control-allow-credentials" not in answer.headers
        for headers, status in ((BEARER, 200), ({}, 401)):
            answer = await asked.get("/v1/models", headers={**headers, "origin": origin})
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize(
    "origin", ["https://b.example", "https://a.example.evil", "null", "https://a.example:444"]
)
async def test_any_other_origin_is_refused_in_json(origin: str) -> None:
    asked = client(origins=("https://a.example",))
    answer = await asked.options("/v1/models", headers={**PREFLIGHT, "origin": origin})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "cors")
    assert "access-control-allow-origin" not in answer.headers
    answer = await asked.get("/v1/models", headers={**BEARER, "origin": origin})
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "origin", ["*", "null", "a.example", "https://a.example/", "https://*.a", ""]
)
def test_an_origin_that_is_none_is_an_error_at_the_start(origin: str) -> None:
    with pytest.raises(ConfigError, match="allowed origin"):
        client(origins=(origin,))
