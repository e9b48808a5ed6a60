"""The page's files: all there, all from here, nothing else."""

from __future__ import annotations

import re

import httpx
import pytest
from fastapi import FastAPI

from cogaudio_rl.serve.page import page_router, web_files


@pytest.fixture
def http() -> httpx.AsyncClient:
    app = FastAPI()
    app.include_router(page_router())
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here")


async def test_the_page_and_all_it_names_are_served(http: httpx.AsyncClient) -> None:
    page = await http.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    scripts = " ".join(file.body.decode() for file in web_files().values())
    named = set(re.findall(r"/web/[a-z]+\.[a-z]+", page.text + scripts))
    assert {"/web/app.js", "/web/style.css", "/web/recorder.js"} <= named
    for address in named:
        got = await http.get(address)
        assert got.status_code == 200, address
        assert got.headers["x-content-type-options"] == "nosniff"
    types = {(await http.get(a)).headers["content-type"].split(";")[0] for a in named}
    assert types == {"text/javascript", "text/css", "image/svg+xml"}


async def test_the_policy_allows_this_server_alone(http: httpx.AsyncClient) -> None:
    headers = (await http.get("/")).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["referrer-policy"] == "no-referrer"
    assert "microphone=(self)" in headers["permissions-policy"]


def test_nothing_is_inline_and_nothing_comes_from_elsewhere() -> None:
    files = web_files()
    page = files["index.html"].body.decode()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page)
    assert re.findall(r"<script[^>]*>", page) == ['<script type="module" src="/web/app.js">']
    for name, file in files.items():
        text = file.body.decode().replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text, name
        assert "https:" not in text, name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)


async def test_an_unchanged_file_is_not_sent_again(http: httpx.AsyncClient) -> None:
    first = await http.get("/web/app.js")
    again = await http.get("/web/app.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = await http.head("/")
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize(
    "name", ["", "none.js", "..%2Fpage.py", "%2e%2e/page.py", "__init__.py", "app.js%00"]
)
async def test_there_is_nothing_else(http: httpx.AsyncClient, name: str) -> None:
    assert (await http.get(f"/web/{name}")).status_code == 404
