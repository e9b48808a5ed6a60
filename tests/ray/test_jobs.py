"""Jobs on a real head: followed, stopped, gone on with; and plain `ray job submit`."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from job_cluster import BIN, Head, ray_head

from cogaudio_rl.metrics import read_metrics
from cogaudio_rl.run_folder import RunFolder

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
STEPS = 12
SMALL = (
    *("data.train_utterances=70", "data.rl_utterances=35", "data.test_families=2"),
    *("data.chinese_utterances=7", "rl.readiness.prompts=2", "rl.log_rollouts_every=1"),
    *("rl.utterances_per_step=2", "rl.group_size=4", "rl.save_every=1"),
    "sft.direct={epochs: 8, batch_size: 16, learning_rate: 3.0e-3}",
)
HERE = "cluster.backend=local"
"""Everything in the job's driver, without workers: quick."""


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that has something to learn, and the corpus."""
    folder = tmp_path_factory.mktemp("start") / "start"
    command = [BIN / "cogaudio-rl", "sft", "--stage", "direct", f"out_dir={folder}", *SMALL, HERE]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with ray_head() as found:
        yield found


def rl(start: Path, out: Path, *more: str) -> list[str]:
    adapter = start / "checkpoints" / "direct"
    given = (f"out_dir={out}", f"data.root={start / 'data'}", f"rl.steps={STEPS}")
    return ["rl", "--from", str(adapter), *given, *SMALL, *more]


def submit(head: Head, *arguments: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    command = ("cogaudio-rl", "submit", "--address", head.address, *arguments)
    done = head.command(*command, cwd=ROOT, env=env, limit_s=600)
    return done.returncode, done.stdout + done.stderr


def jobs(head: Head, *arguments: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    command = ("cogaudio-rl", "jobs", *arguments, "--address", head.address)
    done = head.command(*command, cwd=ROOT, env=env)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def ledger(folder: Path) -> list[dict[str, object]]:
    return RunFolder(folder).ledger()


def wait_for_step(folder: Path, *, limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while not read_metrics(folder):
        assert time.monotonic() < deadline, f"no step within {limit_s:g} s"
        time.sleep(0.1)


def test_stopped_half_way_and_submitted_again_it_ends_as_if_undisturbed(
    head: Head, start: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = rl(start, run, HERE)
    named = ("--name", "drilled")
    code, said = submit(head, *named, "--no-wait", "--", *command)
    assert code == 0, said
    assert "this checkout's code runs" in said
    assert "submitted drilled" in said
    wait_for_step(run, limit_s=300)
    assert jobs(head, "stop", "drilled") == (0, "drilled STOPPED")
    code, said = jobs(head, "status", "drilled")
    assert (code, said[:17]) == (1, "drilled STOPPED b")
    assert "--resume goes on" in jobs(head, "logs", "drilled")[1]
    before = len(ledger(run))
    assert 1 <= before < STEPS

    code, said = submit(head, *named, "--", *command)
    assert code == 0, said
    assert "drilled was STOPPED" in said
    assert "submitted drilled.2" in said
    assert f"stage3 {STEPS}/{STEPS}" in said
    assert "drilled.2: SUCCEEDED" in said

    calm = tmp_path / "calm"
    alone = [BIN / "cogaudio-rl", *rl(start, calm, HERE)]
    subprocess.run(alone, check=True, capture_output=True, env=head.env)
    assert ledger(run) == ledger(calm)
    assert [line["step"] for line in read_metrics(run)] == list(range(1, STEPS + 1))

    code, said = submit(head, *named, "--", *command)
    assert code == 0
    assert "drilled.2 has succeeded already" in said
    told = jobs(head, "list")[1]
    assert "drilled STOPPED" in told
    assert "drilled.2 SUCCEEDED" in told


def test_a_failure_there_is_a_failure_here(head: Head, tmp_path: Path) -> None:
    code, said = submit(head, "--", "eval", "--run", str(tmp_path / "gone"))
    assert code == 2
    assert "error: " in said
    assert "FAILED" in said


def test_a_running_job_is_followed_not_started_twice(head: Head, tmp_path: Path) -> None:
    command = ("--name", "twice", "--", "data", "lime", "build", "-o", str(tmp_path / "lime"))
    asked = (*command, "utterances=84", "families_per_part=2")
    code, said = submit(head, "--no-wait", *asked)
    assert code == 0, said
    code, said = submit(head, *asked)
    assert code == 0, said
    assert "twice is PENDING already" in said or "twice is RUNNING already" in said
    # On the cluster's own workers, which the job has joined without being told where it is.
    assert "84 utterances" in " ".join(said.split())
    assert jobs(head, "list")[1].count("twice") == 1


def test_a_secret_is_passed_on_only_when_told_to_and_never_shown(
    head: Head, tmp_path: Path
) -> None:
    secret = {"MY_API_KEY": "sesame-open-wide"}
    work = ("--name", "secretive", "--env", "MY_API_KEY", "--", "doctor", "--json")
    code, said = submit(head, *work, env=secret)
    assert code == 2
    assert "set it on the nodes instead" in said
    code, more = submit(head, "--store-secrets", *work, env=secret)
    assert "MY_API_KEY is stored with the job, in plain text" in more
    shown = said + more + "".join(jobs(head, verb, "secretive")[1] for verb in ("status", "logs"))
    assert "sesame" not in shown + jobs(head, "list")[1]


@pytest.mark.parametrize("token", ["wrong", ""])
def test_a_wrong_token_is_one_line(head: Head, token: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(token)
    code, said = jobs(head, "list", env={"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")})
    assert code == 2
    assert said.startswith("error: the cluster at")
    assert "RAY_AUTH_TOKEN_PATH" in said


def test_an_unknown_job_is_one_line(head: Head) -> None:
    for verb in ("status", "logs", "stop"):
        code, said = jobs(head, verb, "nobody")
        assert code == 2
        assert said.startswith("error: no job 'nobody' on the cluster at")


def test_plain_ray_job_submit_on_the_clusters_workers(
    head: Head, start: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    # The last override of a key holds.
    work = rl(start, run, "rl.steps=1", "cluster.learner_workers=1")
    asked = ("ray", "job", "submit", "--address", head.address, "--working-dir", ".", "--")
    done = head.command(*asked, "cogaudio-rl", *work, cwd=ROOT, limit_s=600)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert len(ledger(run)) == 1
    logs = Path(head.env["RAY_AUTH_TOKEN_PATH"]).parent / "ray" / "session_latest" / "logs"
    told = [
        line
        for log in logs.glob("worker-*.out")
        for line in log.read_text("utf-8").splitlines()
        if ": cogaudio_rl " in line
    ]
    for role in ("rollout", "judge", "learner"):
        (line,) = (one for one in told if one.startswith(f"{role}: "))
        assert "working_dir_files" in line, line  # not the installed package


def test_a_run_in_a_job_may_not_write_where_it_would_be_lost(head: Head) -> None:
    asked = ("ray", "job", "submit", "--address", head.address, "--working-dir", ".", "--")
    done = head.command(*asked, "cogaudio-rl", "run", "out_dir=runs/lost", cwd=ROOT, limit_s=300)
    assert done.returncode != 0
    assert "error: out_dir 'runs/lost' is relative" in done.stdout + done.stderr
