"""The page at ``/`` and what it is made of, from the package's own files.

They are read once; a request's name is looked up among them and never becomes a path.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import PlainTextResponse, Response

TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
# Everything from this server; nobody may frame it; of the devices the microphone alone.
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Asked for again each time and answered 304: a new version of the server has a new page at once.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WebFile:
    """One file of the page."""

    body: bytes
    media_type: str
    etag: str


def web_files() -> dict[str, WebFile]:
    """Every file of the page by its name."""
    files: dict[str, WebFile] = {}
    for entry in resources.files("cogaudio_rl.serve").joinpath("web").iterdir():
        media_type = TYPES.get(entry.name.rpartition(".")[2])
        if media_type is not None:
            body = entry.read_bytes()
            etag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
            files[entry.name] = WebFile(body=body, media_type=media_type, etag=etag)
    return files


def page_router() -> APIRouter:
    """Routes ``/`` and ``/web/{name}``, for GET and HEAD."""
    router = APIRouter()
    files = web_files()

    @router.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    def index(if_none_match: Annotated[str, Header()] = "") -> Response:
        return _answer(files.get("index.html"), if_none_match)

    @router.api_route("/web/{name}", methods=["GET", "HEAD"], include_in_schema=False)
    def asset(name: str, if_none_match: Annotated[str, Header()] = "") -> Response:
        return _answer(files.get(name), if_none_match)

    return router


def _answer(file: WebFile | None, if_none_match: str) -> Response:
    if file is None:
        return PlainTextResponse("not found", status_code=404, headers=HEADERS)
    headers = HEADERS | {"ETag": file.etag}
    if if_none_match == file.etag:
        return Response(status_code=304, headers=headers)
    return Response(file.body, media_type=file.media_type, headers=headers)
