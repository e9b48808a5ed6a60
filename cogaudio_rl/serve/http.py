"""The HTTP side: routes and errors over a Responder. It knows neither Ray nor vLLM."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from cogaudio_rl.config.serve import ServeConfig
from cogaudio_rl.errors import RunError
from cogaudio_rl.serve import wire
from cogaudio_rl.serve.envelope import error_response
from cogaudio_rl.serve.errors import ApiError
from cogaudio_rl.serve.gate import guard
from cogaudio_rl.serve.gauges import Gauges
from cogaudio_rl.serve.keys import Keys
from cogaudio_rl.serve.limits import BodyLimits
from cogaudio_rl.serve.page import page_router
from cogaudio_rl.serve.responder import Ended, Event, Responder
from cogaudio_rl.serve.runs import RunShelf
from cogaudio_rl.serve.runs_http import runs_router
from cogaudio_rl.serve.schema import ChatRequest

_log = logging.getLogger(__name__)

_JSON = "application/json"
_LEFT = 499
"""The client left before it had its answer; no one reads this status but the log."""
_KEYED = Security(HTTPBearer(auto_error=False, description="One of COGAUDIO_API_KEYS."))
"""Says so in the OpenAPI document; the gate asks for it, before a body is read."""
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": what}
    for status, what in {
        400: "Not a request that can be answered",
        401: "No key, or a wrong one",
        404: "No such model, run, report or sound",
        413: "Too large",
        415: "Not audio that can be read",
        429: "Too many requests are under way",
        503: "There is no engine",
    }.items()
}


def build_app(
    responder: Responder,
    config: ServeConfig,
    *,
    keys: Keys | None = None,
    shelf: RunShelf | None = None,
) -> FastAPI:
    """The page and the API. Without ``keys`` it asks for none; ``shelf`` is what runs have left."""
    keys = keys or Keys()
    # The documentation pages that FastAPI would add load their scripts from elsewhere.
    app = FastAPI(title="cogaudio-rl", docs_url=None, redoc_url=None)
    gauges = Gauges(responder)

    @app.get("/health")
    async def health() -> Response:
        """Whether it can answer."""
        responder.check()
        return Response(b'{"status":"ok"}', media_type=_JSON)

    @app.get("/metrics", dependencies=[_KEYED])
    async def metrics() -> Response:
        """What this replica has counted, for Prometheus."""
        return Response(gauges.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/models", dependencies=[_KEYED])
    async def models() -> Response:
        """What can be asked."""
        return Response(wire.model_list(responder.models()), media_type=_JSON)

    # A name may hold slashes.
    @app.get(
        "/v1/models/{name:path}",
        responses={status: _ERRORS[status] for status in (401, 404)},
        dependencies=[_KEYED],
    )
    async def model(name: str) -> Response:
        """One of them."""
        return Response(wire.model(responder.model(name)), media_type=_JSON)

    @app.post("/v1/chat/completions", responses=_ERRORS, dependencies=[_KEYED])
    async def chat(body: ChatRequest, request: Request) -> Response:
        """A clip, or words, and a reply to them; with ``stream`` as server-sent events."""
        began = time.perf_counter()
        status = 500
        try:
            if body.stream:
                response = await _stream(responder, body, gauges, began)
            else:
                response = await _unless_gone(request, _whole(responder, body, gauges, began))
            status = response.status_code
            return response
        except ApiError as error:
            status = error.status
            raise
        except RunError:
            status = 503
            raise
        except asyncio.CancelledError:
            status = _LEFT
            raise
        finally:
            gauges.requests.labels(status).inc()

    app.include_router(page_router())
    app.include_router(
        runs_router(shelf or RunShelf(), keys=keys),
        dependencies=[_KEYED],
        responses={status: _ERRORS[status] for status in (400, 401, 404)},
    )
    app.add_exception_handler(ApiError, _on_api_error)
    app.add_exception_handler(RunError, _on_run_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_error)
    guard(
        app,
        keys=keys,
        bodies=BodyLimits(max_body_bytes=config.max_body_bytes),
        allowed_origins=config.cors_origins,
    )
    return app


# -- answers -------------------------------------------------------------------------------------


async def _whole(responder: Responder, body: ChatRequest, gauges: Gauges, began: float) -> Response:
    answer = wire.Whole(body.model)
    async with aclosing(responder.respond(body)) as events:
        async for event in events:
            answer.add(event)
            _count(event, gauges, began)
    return Response(answer.body(), media_type=_JSON)


async def _stream(
    responder: Responder, body: ChatRequest, gauges: Gauges, began: float
) -> Response:
    """Whatever is wrong before the first event still has a status of its own."""
    events = responder.respond(body)
    first = await anext(events)
    gauges.first_s.observe(time.perf_counter() - began)
    usage = body.stream_options is not None and bool(body.stream_options.include_usage)
    chunks = wire.Chunks(body.model, with_usage=usage)
    return StreamingResponse(
        _sent(first, events, chunks, gauges, began),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


async def _sent(
    first: Event,
    events: AsyncGenerator[Event],
    chunks: wire.Chunks,
    gauges: Gauges,
    began: float,
) -> AsyncGenerator[bytes]:
    async with aclosing(events):
        try:
            _count(first, gauges, began)
            yield chunks.begin() + chunks.render(first)
            async for event in events:
                _count(event, gauges, began)
                yield chunks.render(event)
        except ApiError as error:
            yield wire.broken_off(error)
        except RunError as error:
            _log.error("a stream was broken off: %s", error)
            yield wire.broken_off(_unavailable())


def _count(event: Event, gauges: Gauges, began: float) -> None:
    if isinstance(event, Ended):
        gauges.whole_s.observe(time.perf_counter() - began)
        gauges.tokens.labels("prompt").inc(event.prompt_tokens)
        gauges.tokens.labels("completion").inc(event.completion_tokens)


async def _unless_gone(request: Request, work: Any) -> Response:
    """The response, or its end as soon as nobody waits for it any more."""
    answer, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        return answer.result() if answer.done() else Response(status_code=_LEFT)
    finally:
        answer.cancel()
        gone.cancel()
        await asyncio.gather(answer, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


# -- errors --------------------------------------------------------------------------------------


def _unavailable() -> ApiError:
    return ApiError(503, "the engine is not available", code="unavailable", retry_after_s=1)


async def _on_api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error_response(error)


async def _on_run_error(_: Request, error: Exception) -> Response:
    _log.error("no answer: %s", error)
    return error_response(_unavailable())


async def _on_invalid(_: Request, error: Exception) -> Response:
    """What is wrong, named by its path; what stood there is not repeated."""
    assert isinstance(error, RequestValidationError)
    # Of a union's alternatives, the one that got furthest is the one that was meant.
    problem = max(error.errors(), key=lambda found: len(found["loc"]))
    # Beside names and places, the path holds the kinds of a union that were tried.
    path = [str(p) for p in problem["loc"] if p != "body" and "[" not in str(p)]
    where = ".".join(path) or None
    message = f"{where}: {problem['msg']}" if where else str(problem["msg"])
    return error_response(ApiError(400, message, code="invalid_body", param=where))


async def _on_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
    return error_response(
        ApiError(
            error.status_code,
            str(error.detail),
            code=code.get(error.status_code, "invalid_body"),
        )
    )
