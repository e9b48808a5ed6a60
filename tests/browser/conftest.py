"""A real browser on a real server. Skipped, with the reason, where there is no browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from browser.scripted_server import Script, Serving, build_app, serving
from left_run import write_run
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from cogaudio_rl.serve.runs import RunShelf

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)


# The synchronous client keeps an event loop in this thread: it must be gone before other tests.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser: install one of {', '.join(BROWSERS)}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        expect.set_options(timeout=10_000)
        yield browser
        browser.close()


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture(scope="session")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapter of a small finished run."""
    return write_run(tmp_path_factory.mktemp("runs") / "quickstart")


@pytest.fixture
def server(script: Script, left: Path) -> Iterator[Serving]:
    with serving(build_app(script, RunShelf({"D": left}))) as running:
        yield running


@dataclass
class Watched:
    """What no page of ours may do."""

    complaints: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    def expect_complaints(self) -> None:
        """Chromium notes each 4xx in its console; where a test causes them that is no fault."""
        self.complaints.clear()


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(
        viewport={"width": 1180, "height": 900}, permissions=["microphone"], color_scheme="light"
    )
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, server: Serving, watched: Watched) -> Iterator[Page]:
    """The page, ready to ask. Fails for an error in its console and for a request elsewhere."""
    page = context.new_page()
    watch(page, server.address, watched)
    page.goto(server.address)
    yield page
    assert watched.complaints == []
    assert watched.strangers == []


def watch(page: Page, address: str, watched: Watched) -> None:
    page.on(
        "console",
        lambda said: (
            watched.complaints.append(said.text) if said.type in ("error", "warning") else None
        ),
    )
    page.on("pageerror", lambda error: watched.complaints.append(str(error)))
    page.on(
        "request",
        lambda asked: (
            None if asked.url.startswith(address) else watched.strangers.append(asked.url)
        ),
    )
