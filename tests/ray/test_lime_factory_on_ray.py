"""The factory through its command: killed and begun again, it makes the corpus it would have made."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from chat_server import Endpoint
from lime_model import Model

from cogaudio_rl.data.manifest import read_manifest

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

COMMAND = str(Path(sys.executable).with_name("cogaudio-rl"))
STARTED: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    for process in STARTED:
        if process.poll() is None:
            process.kill()


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [COMMAND, "data", "lime", "build", "-o", str(folder), "utterances=840", *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    STARTED.append(process)
    return process


def finished(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=400)
    assert process.returncode == 0, said[-3000:]
    return " ".join(said.split())


def digest(folder: Path) -> str:
    return json.loads((folder / "card.json").read_text("utf-8"))["facts"]["digest"]


def test_an_outage_is_one_line_and_loses_nothing(tmp_path: Path) -> None:
    endpoint = Endpoint()
    try:
        author = (f"author.base_url={endpoint.url}", "author.model=m", "author.max_attempts=1")
        asked = ("utterances=84", "families_per_part=2", "author.kind=llm", *author)
        model = Model(endpoint)
        # Half of the work is done when the key runs out.
        endpoint.script = lambda number: model(number) if number < 12 else (401, {}, b"{}")
        process = start(tmp_path / "lime", *asked)
        said, _ = process.communicate(timeout=400)
        assert process.returncode == 1
        (line,) = (one for one in said.splitlines() if one.startswith("error: "))
        assert "no answer: HTTP 401" in line
        assert "Traceback" not in said
        paid = len(endpoint.requests)
        endpoint.script = model
        said = finished(start(tmp_path / "lime", *asked))
        assert "84 utterances, 0 rejected" in said
        # A sentence, a guess and seven annotations each: what was answered is not asked again.
        assert len(endpoint.requests) - paid == 4 * 9 - 12
        facts = json.loads((tmp_path / "lime" / "card.json").read_text("utf-8"))["facts"]
        assert facts["model"] == "m"
        assert facts["annotations accepted"] == "28 of 28 (100.0%)"
    finally:
        endpoint.close()


def test_a_killed_build_ends_as_one_that_was_not(tmp_path: Path) -> None:
    finished(start(tmp_path / "calm"))
    killed = start(tmp_path / "killed")
    deadline = time.monotonic() + 200
    while not list((tmp_path / "killed" / "parts").glob("*/part.json")):
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    family = psutil.Process(killed.pid).children(recursive=True)
    os.kill(killed.pid, signal.SIGKILL)
    for process in family:
        try:
            process.kill()
        except psutil.Error:
            continue
    killed.wait(30)
    said = finished(start(tmp_path / "killed"))
    assert "of 3 parts to make" in said
    assert digest(tmp_path / "killed") == digest(tmp_path / "calm")
    ids = [
        u.id for s in ("train", "test") for u in read_manifest(tmp_path / "killed" / f"{s}.jsonl")
    ]
    assert len(ids) == len(set(ids)) == 840
    # A finished one is left as it is.
    assert "0 of 3 parts to make" in finished(start(tmp_path / "killed"))
    process = start(tmp_path / "killed", "seed=1")
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 2
    assert "was begun with seed=0, not 1" in " ".join(said.split())
