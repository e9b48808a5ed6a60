"""Routes of the shelf of runs.

    GET /v1/runs                       what is there
    GET /v1/runs/{run}/rollouts        answers of its training, with the keys of their sounds
    GET /v1/runs/{run}/audio/{key}     a sound
    GET /runs/{run}/{report}           report.html, suites.html

Whoever mounts this asks for keys under ``/v1/`` as everywhere. Reports are opened as pages of their
own, where a browser sends no ``Authorization``: those links carry a seal instead, made from the keys
and good for a day, and this router checks it.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.responses import FileResponse, JSONResponse, Response

from cogaudio_rl.serve.envelope import error_response
from cogaudio_rl.serve.errors import ApiError
from cogaudio_rl.serve.keys import Keys
from cogaudio_rl.serve.runs import MAX_ROLLOUTS, Run, RunShelf

SEAL_SECONDS = 86_400
# All that a report holds is inline, and none of it is a script.
REPORT_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "media-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-cache",
}
CLIP_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, max-age=3600",
}


def runs_router(
    shelf: RunShelf, *, keys: Keys, clock: Callable[[], float] = time.time
) -> APIRouter:
    """The routes above; ``keys`` are those of the server."""
    router = APIRouter()
    seals = Seals(keys, clock)

    @router.get("/v1/runs")
    def runs() -> JSONResponse:
        return JSONResponse({"object": "list", "data": [_run(run, seals) for run in shelf]})

    @router.get("/v1/runs/{run_id}/rollouts")
    def rollouts(
        run_id: str, limit: Annotated[int, Query(ge=1, le=MAX_ROLLOUTS)] = 24
    ) -> JSONResponse:
        run = shelf.get(run_id)
        if run is None:
            return _missing("run")
        lines = run.rollouts(limit)
        for line in lines:
            line["audio"] = line["audio"] and f"/v1/runs/{run.id}/audio/{line['audio']}"
        return JSONResponse({"object": "list", "data": lines})

    @router.get("/v1/runs/{run_id}/audio/{key}")
    def audio(run_id: str, key: str) -> Response:
        run = shelf.get(run_id)
        clip = run and run.clip(key)
        if not clip:
            return _missing("sound")
        return FileResponse(clip.path, media_type=clip.media_type, headers=CLIP_HEADERS)

    @router.get("/runs/{run_id}/{report}")
    def report(
        run_id: str,
        report: str,
        until: int = 0,
        seal: str = "",
        authorization: Annotated[str, Header()] = "",
    ) -> Response:
        if not (seals.holds(run_id, until, seal) or keys.admit(authorization)):
            return _error(401, "this link is old; open the page again", "invalid_api_key")
        run = shelf.get(run_id)
        path = run and run.report(report)
        if not path:
            return _missing("report")
        return FileResponse(path, media_type="text/html; charset=utf-8", headers=REPORT_HEADERS)

    return router


class Seals:
    """What a link to a report carries in the place of a key. Replicas with the same keys agree."""

    def __init__(self, keys: Keys, clock: Callable[[], float]) -> None:
        self._keys = keys
        self._secret = keys.secret("report links")
        self._clock = clock

    def query(self, run: str) -> str:
        """``?until=…&seal=…``; empty where the server asks for no key."""
        if not self._keys:
            return ""
        until = int(self._clock()) + SEAL_SECONDS
        return f"?until={until}&seal={self._seal(run, until)}"

    def holds(self, run: str, until: int, seal: str) -> bool:
        good = hmac.compare_digest(seal.encode(), self._seal(run, until).encode())
        return good and until > self._clock()

    def _seal(self, run: str, until: int) -> str:
        return hmac.new(self._secret, f"{until}\0{run}".encode(), "sha256").hexdigest()


def _run(run: Run, seals: Seals) -> dict[str, Any]:
    links = {name: f"/runs/{run.id}/{name}{seals.query(run.id)}" for name in run.reports()}
    return {
        "id": run.id,
        "models": run.models,
        "report": links.get("report.html"),
        "suites": links.get("suites.html"),
        "rollouts": f"/v1/runs/{run.id}/rollouts",
    }


def _missing(what: str) -> JSONResponse:
    return _error(404, f"there is no such {what}", "not_found")


def _error(status: int, message: str, code: str) -> JSONResponse:
    return error_response(ApiError(status, message, code=code))
