"""The shelf of runs: what is shown, what never is, and who may open a report."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from left_run import REPORT, rollout_line, write_run

from cogaudio_rl.serve.keys import KEYS_VARIABLE, Keys
from cogaudio_rl.serve.runs import MAX_STEPS, RunShelf, run_of
from cogaudio_rl.serve.runs_http import SEAL_SECONDS, runs_router


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_run(tmp_path / "runs" / "small")
    return tmp_path / "runs" / "small"


@pytest.fixture
def shelf(run: Path) -> RunShelf:
    return RunShelf({"D": run / "checkpoints" / "stage3"})


def known(*keys: str) -> Keys:
    return Keys.of({KEYS_VARIABLE: ",".join(f"{key} is the key".replace(" ", "-") for key in keys)})


def client(
    shelf: RunShelf, keys: tuple[str, ...] = (), clock: Callable[[], float] = lambda: 0.0
) -> httpx.AsyncClient:
    app = FastAPI()
    app.include_router(runs_router(shelf, keys=known(*keys), clock=clock))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here")


async def rollouts(shelf: RunShelf, **query: int) -> list[dict[str, object]]:
    async with client(shelf) as http:
        return (await http.get("/v1/runs/small/rollouts", params=query)).json()["data"]


# -- what is shown ------------------------------------------------------------------------------


async def test_runs_name_their_models_and_what_can_be_opened(shelf: RunShelf) -> None:
    async with client(shelf) as http:
        assert (await http.get("/v1/runs")).json()["data"] == [
            {
                "id": "small",
                "models": ["D"],
                "report": "/runs/small/report.html",
                "suites": None,
                "rollouts": "/v1/runs/small/rollouts",
            }
        ]


async def test_a_report_comes_with_a_policy_that_lets_no_script_run(
    shelf: RunShelf, run: Path
) -> None:
    (run / "suites").mkdir()
    (run / "suites" / "report.html").write_text("suites")
    async with client(shelf) as http:
        report = await http.get("/runs/small/report.html")
        assert (await http.get("/runs/small/suites.html")).text == "suites"
    assert report.text == REPORT
    assert report.headers["content-type"] == "text/html; charset=utf-8"
    policy = report.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "sandbox" in policy
    assert report.headers["x-content-type-options"] == "nosniff"


async def test_rollouts_are_first_answers_from_all_steps_the_newest_first(shelf: RunShelf) -> None:
    lines = await rollouts(shelf, limit=4)
    assert [line["id"] for line in lines] == [
        "10/rl_0/explicit",
        "1/rl_0/explicit",
        "10/rl_0/direct",
        "1/rl_0/direct",
    ]
    assert lines[0]["transcript"] == "The letter came on day 0."
    assert (lines[0]["emotion"], lines[0]["reward"], lines[0]["step"]) == ("neutral", 0.5, 10)
    everything = await rollouts(shelf, limit=96)
    assert len(everything) == len({line["id"] for line in everything}) == 2 * 7 * 2


async def test_a_step_that_is_written_anew_is_told_anew(shelf: RunShelf, run: Path) -> None:
    """A run under way replaces its last file when it resumes."""
    before = await rollouts(shelf, limit=96)
    steps = {int(p.stem.removeprefix("step-")): p for p in (run / "rollouts").iterdir()}
    file = steps[int(str(before[0]["step"]))]
    file.write_text(file.read_text("utf-8").replace("on day 0", "on day 99"), "utf-8")
    os.utime(file, ns=(1, 1))
    after = await rollouts(shelf, limit=96)
    assert len(after) == len(before)
    assert after[0]["transcript"] == "The letter came on day 99."


async def test_a_rollouts_sound_is_the_file_itself(shelf: RunShelf, run: Path) -> None:
    line = (await rollouts(shelf))[0]
    async with client(shelf) as http:
        sound = await http.get(str(line["audio"]))
    assert sound.content == (run / "data/audio/rl_0.flac").read_bytes()
    assert sound.headers["content-type"] == "audio/flac"


async def test_another_replica_knows_the_same_keys(run: Path) -> None:
    checkpoints = {"D": run / "checkpoints" / "stage3"}
    told = (await rollouts(RunShelf(checkpoints)))[0]["audio"]
    async with client(RunShelf(checkpoints)) as http:
        assert (await http.get(str(told))).status_code == 200


def test_of_many_steps_the_first_and_the_last_are_among_those_shown(
    shelf: RunShelf, run: Path
) -> None:
    for step in range(20, 400, 10):
        (run / "rollouts" / f"step-{step:05d}.jsonl").write_text(rollout_line(0) + "\n")
    (shown,) = shelf
    steps = [line["step"] for line in shown.rollouts(96)]
    assert (max(steps), min(steps)) == (390, 1)
    assert len(set(steps)) == MAX_STEPS


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    checkpoints = {
        name: write_run(tmp_path / name / "my run") for name in ("first", "second", "third")
    }
    shelf = RunShelf(checkpoints)
    assert [(run.id, run.models) for run in shelf] == [
        ("my-run", ("first",)),
        ("my-run-2", ("second",)),
        ("my-run-3", ("third",)),
    ]


def test_two_adapters_of_one_run_share_its_place(run: Path) -> None:
    step = run / "checkpoints" / "rl" / "step-00010"
    step.mkdir(parents=True)
    shelf = RunShelf({"D": run / "checkpoints" / "stage3", "early": step})
    assert [run.models for run in shelf] == [("D", "early")]


def test_a_checkpoint_of_no_run_has_nothing_to_show(tmp_path: Path) -> None:
    alone = tmp_path / "adapters" / "mine"
    alone.mkdir(parents=True)
    assert run_of(alone) is None
    assert list(RunShelf({"mine": alone})) == []


def test_a_new_checkpoint_brings_its_run(shelf: RunShelf, tmp_path: Path) -> None:
    shelf.show({"E": write_run(tmp_path / "runs" / "later")})
    assert [run.id for run in shelf] == ["later"]


# -- what is damaged ----------------------------------------------------------------------------


async def test_damaged_lines_are_passed_over(shelf: RunShelf, run: Path) -> None:
    good = rollout_line(3)
    wrong = [
        "{",
        "[]",
        "null",
        "7",
        "[" * 5000,
        json.dumps({"prompt": "x"}),
        json.dumps(json.loads(rollout_line(4)) | {"route": "by sea"}),
        json.dumps(json.loads(rollout_line(4)) | {"text": None}),
        rollout_line(5)[:40],
    ]
    odd = json.dumps(json.loads(rollout_line(6)) | {"text": "\ud800 <script>", "reward": 1e300})
    path = run / "rollouts" / "step-00001.jsonl"
    path.write_bytes("\n".join([*wrong, good, odd.replace("1e+300", "1e999")]).encode() + b"\n\xff")
    (run / "rollouts" / "step-00010.jsonl").unlink()
    lines = await rollouts(shelf)
    assert [line["id"] for line in lines] == ["1/rl_3/direct", "1/rl_6/direct"]
    assert lines[1]["text"] == "? <script>"
    assert lines[1]["reward"] is None


@pytest.mark.parametrize("gone", ["rollouts", "data", "report.html"])
async def test_what_a_run_has_not_written_is_not_there(
    shelf: RunShelf, run: Path, gone: str
) -> None:
    path = run / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    lines = await rollouts(shelf)
    async with client(shelf) as http:
        report = await http.get("/runs/small/report.html")
    assert report.status_code == (404 if gone == "report.html" else 200)
    assert bool(lines) == (gone != "rollouts")
    assert {line["audio"] is None for line in lines} <= {gone == "data"}


# -- what never leaves --------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["sound", "folder", "manifest", "rollouts", "report"])
async def test_what_a_link_leads_to_outside_the_folder_is_not_served(
    shelf: RunShelf, run: Path, tmp_path: Path, where: str
) -> None:
    other = tmp_path / "other"
    write_run(other)
    inside = {
        "sound": "data/audio/rl_0.flac",
        "folder": "data/audio",
        "manifest": "data/rl.jsonl",
        "rollouts": "rollouts/step-00010.jsonl",
        "report": "report.html",
    }[where]
    target = run / inside
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    target.symlink_to(other / inside)
    lines = await rollouts(shelf, limit=2)
    async with client(shelf) as http:
        status = (await http.get("/runs/small/report.html")).status_code
    assert status == (404 if where == "report" else 200)
    steps = [line["step"] for line in lines]
    assert steps == ([1, 1] if where == "rollouts" else [10, 1])
    assert (lines[0]["audio"] is None) == (where in ("sound", "folder", "manifest"))


async def test_a_manifest_cannot_name_a_file_elsewhere(shelf: RunShelf, run: Path) -> None:
    secret = run.parent / "secret.wav"
    secret.write_bytes(b"secret")
    for path in (str(secret), "../../secret.wav", "../config.yaml", "\0", ""):
        audio = {"path": path}
        (run / "data" / "rl.jsonl").write_text(json.dumps({"id": "rl_0", "audio": audio}))
        assert {line["audio"] for line in await rollouts(shelf, limit=2)} == {None}, path


async def test_a_sound_that_became_a_link_since_it_was_shown_is_gone(
    shelf: RunShelf, run: Path
) -> None:
    line = (await rollouts(shelf))[0]
    sound = run / "data" / "audio" / "rl_0.flac"
    sound.rename(run.parent / "moved.flac")
    sound.symlink_to(run.parent / "moved.flac")
    async with client(shelf) as http:
        assert (await http.get(str(line["audio"]))).status_code == 404


@pytest.mark.parametrize(
    "address",
    [
        "/runs/small/config.yaml",
        "/runs/small/..%2Fsmall%2Fconfig.yaml",
        "/runs/small/%2e%2e/config.yaml",
        "/runs/..%2F..%2Fetc/report.html",
        "/runs/small%00/report.html",
        "/v1/runs/elsewhere/rollouts",
        "/v1/runs/small/audio/rl_0",
        "/v1/runs/small/audio/..%2F..%2Fconfig.yaml",
        "/v1/runs/small/audio/data%2Faudio%2Frl_0.flac",
    ],
)
async def test_no_address_reaches_another_file(shelf: RunShelf, address: str) -> None:
    async with client(shelf) as http:
        assert (await http.get(address)).status_code == 404


@given(name=st.text(min_size=1, max_size=40), report=st.text(min_size=1, max_size=40))
def test_whatever_is_asked_for_only_reports_are_there(name: str, report: str) -> None:
    shelf = RunShelf()
    assert shelf.get(name) is None
    run = next(iter(_shelf_here()))
    if report not in ("report.html", "suites.html"):
        assert run.report(report) is None
    assert run.clip(report) is None


def _shelf_here() -> RunShelf:
    shelf = RunShelf()
    shelf.show({}, others=[Path(__file__).parent])
    return shelf


# -- who may open a report ----------------------------------------------------------------------


async def test_links_to_reports_are_good_for_a_day_and_for_that_run_alone(
    shelf: RunShelf,
) -> None:
    now = [1000.0]
    async with client(shelf, ("secret",), lambda: now[0]) as http:
        link = (await http.get("/v1/runs")).json()["data"][0]["report"]
        assert "secret" not in link
        assert (await http.get(link)).status_code == 200
        assert (await http.get(link.replace("until=", "until=1"))).status_code == 401
        assert (await http.get(link.replace("/runs/small/", "/runs/other/"))).status_code == 401
        assert (await http.get("/runs/small/report.html")).status_code == 401
        assert (
            await http.get("/runs/small/report.html?seal=é&until=9999999999")
        ).status_code == 401
        now[0] += SEAL_SECONDS
        assert (await http.get(link)).status_code == 401


async def test_a_key_opens_a_report_too(shelf: RunShelf) -> None:
    async with client(shelf, ("one-of-two", "two-of-two")) as http:
        for key, status in (("two-of-two", 200), ("three", 401), ("", 401), ("é", 401)):
            headers = {b"Authorization": f"Bearer {key}-is-the-key".encode()}
            got = await http.get("/runs/small/report.html", headers=headers)
            assert got.status_code == status, key


async def test_replicas_with_the_same_keys_honour_each_others_links(shelf: RunShelf) -> None:
    async with client(shelf, ("aaaaa", "bbbbb")) as one, client(shelf, ("aaaaa", "bbbbb")) as two:
        link = (await one.get("/v1/runs")).json()["data"][0]["report"]
        assert (await two.get(link)).status_code == 200
    async with client(shelf, ("aaaaa", "ccccc")) as changed:
        assert (await changed.get(link)).status_code == 401
