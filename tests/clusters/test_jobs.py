"""Following a job's log over connections that break: Ray's own client and a scripted server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest
from aiohttp import web

from clusters import jobs as jobs_module
from clusters.jobs import Jobs
from cogaudio_rl.errors import CogAudioError

# Of Ray's client.
pytestmark = pytest.mark.filterwarnings("ignore:ssl=None is deprecated:DeprecationWarning")

LINES = [f"step {number}\n" for number in range(1, 31)]


class JobServer:
    """One job, whose log grows by two lines a connection; each connection but the last breaks."""

    def __init__(self) -> None:
        self.told = 0
        """How many lines the job has printed."""
        self.questions_to_miss = 0
        """How often it does not answer after a connection broke."""
        self.missing = 0
        self.deaf = False
        """Whether connections break without a line."""

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/api/version", self.version)
        app.router.add_get("/api/jobs/", self.list)
        app.router.add_get("/api/jobs/{id}/logs/tail", self.tail)
        return app

    async def version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": "4", "ray_version": "2.60.0", "ray_commit": "x"})

    async def list(self, _: web.Request) -> web.Response:
        if self.missing:
            self.missing -= 1
            return web.Response(status=502, text="bad gateway")
        status = "SUCCEEDED" if self.told == len(LINES) else "RUNNING"
        job = {"type": "SUBMISSION", "submission_id": "long", "status": status, "entrypoint": "run"}
        return web.json_response([job | {"start_time": 1}])

    async def tail(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if not self.deaf:
            self.told = min(self.told + 2, len(LINES))
            for line in LINES[: self.told]:
                await socket.send_str(line)
        if self.told < len(LINES):
            self.missing = self.questions_to_miss
            assert request.transport is not None
            request.transport.close()
        else:
            await socket.close()
        return socket


@pytest.fixture
def server() -> JobServer:
    return JobServer()


@pytest.fixture
def jobs(server: JobServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")
    monkeypatch.setattr(jobs_module, "_BETWEEN_RECONNECTS_S", 0.01)
    loop, runner = asyncio.new_event_loop(), web.AppRunner(server.app())

    async def listen() -> str:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        return f"http://{host}:{port}"

    address = loop.run_until_complete(listen())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield Jobs(address)
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def followed(jobs: Jobs) -> tuple[str, list[str]]:
    said: list[str] = []
    write: Callable[[str], None] = said.append
    return jobs.follow("long", write).status, said


def test_a_job_is_followed_to_its_end_however_often_the_connection_breaks(jobs: Jobs) -> None:
    """Fourteen breaks, each after something new; no line is lost and none comes twice."""
    status, said = followed(jobs)
    assert status == "SUCCEEDED"
    assert "".join(said) == "".join(LINES)


def test_a_server_that_is_away_for_a_moment_is_asked_again(jobs: Jobs, server: JobServer) -> None:
    server.questions_to_miss = 2
    status, said = followed(jobs)
    assert status == "SUCCEEDED"
    assert "".join(said) == "".join(LINES)


def test_a_server_that_never_says_anything_is_given_up(jobs: Jobs, server: JobServer) -> None:
    server.deaf = True
    with pytest.raises(CogAudioError, match="closed unexpectedly"):
        followed(jobs)
