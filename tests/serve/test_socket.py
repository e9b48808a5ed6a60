"""A real server on a real socket, and clients that do not speak HTTP as they should."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import httpx
import pytest
import uvicorn
from encoded import a_clip
from fastapi import FastAPI
from serve.asking import BETRAYAL, CHAT, KEY, REPLY, an_app, asks
from serve.chatting import FakeEngine, read

from clusters.serving import asks_for_key
from cogaudio_rl.errors import RunError

HEAD = (
    f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\n"
    "Content-Type: application/json\r\n"
)


@pytest.fixture(scope="module", params=["h11", "httptools"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    app = an_app(FakeEngine(), max_body_bytes=200_000)
    with listening(app, http=request.param) as bound:
        yield bound


@contextmanager
def listening(app: FastAPI, *, http: str = "auto") -> Iterator[int]:
    with closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            app, http=http, log_level="critical", access_log=False, lifespan="off"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield bound.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def said(port: int, *pieces: bytes, wait_s: float = 0.0, patience_s: float = 0.5) -> bytes:
    """All that comes back, until the server closes or has nothing more to say for a while."""
    answer = b""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=patience_s)) as client:
        try:
            for piece in pieces:
                client.sendall(piece)
                time.sleep(wait_s)
            while more := client.recv(65_536):
                answer += more
        except OSError:  # reset, or silence
            pass
    return answer


def statuses(answer: bytes) -> list[int]:
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


def is_well(port: int) -> None:
    """It still answers, and rightly."""
    answer = httpx.post(
        f"http://127.0.0.1:{port}{CHAT}", json=asks(a_clip()),
        headers={"authorization": f"Bearer {KEY}"}, timeout=30.0,
    )  # fmt: skip
    assert answer.json()["choices"][0]["message"]["content"] == REPLY


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


def test_an_ordinary_request_and_a_chunked_one(port: int) -> None:
    is_well(port)
    body = json.dumps(read(text="hello")).encode()
    sent = HEAD + "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    answer = said(port, sent.encode() + chunked(body[:9], body[9:], b""), patience_s=5.0)
    assert statuses(answer) == [200]
    assert REPLY.encode() in answer


BROKEN: dict[str, tuple[bytes, set[int]]] = {
    "a length that is too much": (f"{HEAD}Content-Length: 999999999\r\n\r\n".encode(), {413}),
    "a negative length": (f"{HEAD}Content-Length: -5\r\n\r\n".encode(), {400}),
    "a length that is none": (f"{HEAD}Content-Length: many\r\n\r\n".encode(), {400}),
    "two lengths": (f"{HEAD}Content-Length: 2\r\nContent-Length: 9\r\n\r\n{{}}".encode(), {400}),
    "a body without end": (
        f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode() + chunked(*[b" " * 50_000] * 5),
        {413},
    ),
    "a chunk that is none": (f"{HEAD}Transfer-Encoding: chunked\r\n\r\nzz\r\n".encode(), {400}),
    "no key": (b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n", {401}),
    "a line in a header": (f"{HEAD}X-A: b\r\n c: d\r\nContent-Length: 2\r\n\r\n{{}}".encode(), {400}),
    "a zero byte in a header": (f"{HEAD}X-A: \0\r\nContent-Length: 2\r\n\r\n{{}}".encode(), {400}),
    "a path with a line": (b"GET /\r\nX: y HTTP/1.1\r\nHost: a\r\n\r\n", {200, 400, 404}),
    "another protocol": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", {400}),
    "nothing at all": (b"\r\n\r\n\r\n", {400}),
    "a header without end": (b"GET / HTTP/1.1\r\nA: " + b"a" * 200_000, {400, 431}),
}  # fmt: skip


@pytest.mark.parametrize(("sent", "expected"), BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_refused_or_cut(sent: bytes, expected: set[int], port: int) -> None:
    answer = said(port, sent)
    assert set(statuses(answer)) <= expected
    for word in BETRAYAL:
        assert word.encode() not in answer
    is_well(port)


def test_a_path_in_capitals_dots_and_escapes_reaches_no_file(port: int) -> None:
    for path in (
        "/web/../../errors.py",
        "/web/%2e%2e/%2e%2e/errors.py",
        "/web/..%2f..%2ferrors.py",
        "/web//etc/passwd",
        "/web/%00",
        "/..%5c..%5cerrors.py",
        "/web/%c0%ae%c0%ae/errors.py",
    ):
        sent = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\n\r\n"
        answer = said(port, sent.encode())
        assert set(statuses(answer)) <= {400, 404, 405}, path
        assert b"ApiError" not in answer


def test_many_slow_clients_keep_nobody_waiting(port: int) -> None:
    slow = []
    try:
        for _ in range(50):
            client = socket.create_connection(("127.0.0.1", port))
            client.sendall(f"{HEAD}Content-Length: 1000\r\n\r\n{{".encode())
            slow.append(client)
        begun_s = time.monotonic()
        is_well(port)
        assert time.monotonic() - begun_s < 5.0
    finally:
        for client in slow:
            client.close()


@pytest.mark.parametrize("seed", range(3))
def test_noise_is_survived(seed: int, port: int) -> None:
    rng = random.Random(seed)
    body = json.dumps(asks(a_clip(seconds=0.15))).encode()
    honest = f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body
    for _ in range(25):
        sent = bytearray(honest)
        for _ in range(rng.choice((1, 3, 20))):
            within = rng.choice((200, 400, len(sent)))
            at = rng.randrange(min(within, len(sent)))
            match rng.randrange(4):
                case 0:
                    sent[at] = rng.randrange(256)
                case 1:
                    del sent[at : at + rng.randrange(1, 30)]
                case 2:
                    sent[at:at] = rng.randbytes(rng.randrange(1, 30))
                case _:
                    sent[at:at] = rng.choice((b"\r\n", b"\0", b"\r\n\r\n", b"%0d%0a", b"\xff"))
        cut = rng.randrange(len(sent))
        answer = said(port, bytes(sent[:cut]), bytes(sent[cut:]), patience_s=0.15)
        assert all(status < 500 for status in statuses(answer)), bytes(sent[:400])
        for word in BETRAYAL:
            assert word.encode() not in answer
    is_well(port)


@pytest.mark.parametrize("key", [KEY, ""])
def test_whether_a_server_asks_for_a_key_is_seen_by_asking_it(key: str) -> None:
    """Not by what is set where it was started from: its replicas have an environment of their own."""
    with listening(an_app(key=key)) as bound:
        assert asks_for_key("127.0.0.1", bound) == bool(key)
        assert asks_for_key("0.0.0.0", bound) == bool(key)


def test_a_server_that_is_not_there_is_not_taken_for_one() -> None:
    with closing(socket.socket()) as bound:  # bound, and nobody listens
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(RunError, match="does not answer on 127"):
            asks_for_key("127.0.0.1", bound.getsockname()[1], patience_s=0.3)
