"""Which job a command is, what goes along with it, and what is refused before anything is sent."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from clusters.job_request import (
    UPLOAD_LIMIT_MIB,
    JobRequest,
    job_request,
    passed_on,
    read_command,
    upload_of,
)
from clusters.runtime_env import driver_env
from cogaudio_rl.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
OUT = "out_dir=/shared/runs/a"


def job(*arguments: str, name: str | None = None, installed: bool = False) -> JobRequest:
    folder = None if installed else ROOT
    return job_request(arguments, name=name, env_vars={}, working_dir=folder)


def test_the_same_work_is_the_same_job_however_it_is_written() -> None:
    plain = job("run", OUT, "seed=3", "rl.steps=4")
    assert plain.id.startswith("quickstart-")
    for same in (
        ("run", "rl.steps=4", "seed=3", OUT),
        ("run", "--recipe", "quickstart", OUT, "seed=3", "rl.steps=4"),
        ("run", "--resume", OUT, "seed=3", "rl.steps=4"),
        ("run", "--overwrite", OUT, "seed=3", "rl.steps=4"),
    ):
        assert job(*same).id == plain.id
    for other in (
        ("run", OUT, "seed=4", "rl.steps=4"),
        ("rl", OUT, "seed=3", "rl.steps=4"),
        ("run", "out_dir=/shared/runs/b", "seed=3", "rl.steps=4"),
    ):
        assert job(*other).id != plain.id


def test_a_run_goes_on_where_there_is_something_to_go_on_with() -> None:
    assert job("run", OUT).arguments == ("run", "--resume", OUT)
    assert job("run", OUT, "--resume").arguments == ("run", OUT, "--resume")
    assert job("run", OUT, "--overwrite").arguments == ("run", OUT, "--overwrite")
    assert job("data", "lime", "build", "-o", "/x").arguments == (
        "data",
        "lime",
        "build",
        "-o",
        "/x",
    )


def test_what_the_shell_would_take_apart_stays_together() -> None:
    tricky = "rl.reward={empathy: 1}; $(touch /x) 'y'"
    entrypoint = job("eval", "--run", "/a b", tricky).entrypoint
    assert shlex.split(entrypoint) == ["exec", "cogaudio-rl", "eval", "--run", "/a b", tricky]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "--nope"), "cogaudio-rl run: No such option: --nope"),
        (("frob",), "No such command 'frob'"),
        (("run", OUT, "sed=3"), "did you mean 'seed'"),
        (("run", OUT, "--recipe", "gone"), "recipe 'gone' is neither a file nor"),
        (("run",), r"out_dir 'runs/quickstart' is relative: on the cluster .* out_dir=/shared"),
        (("submit", "--", "run", OUT), "cannot itself be submitted"),
        (("jobs", "list"), "cannot itself be submitted"),
        (("run", "--help"), "does no work"),
    ],
)
def test_what_would_fail_there_fails_here(arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        job(*arguments)


def test_a_recipe_must_go_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text("base: quickstart\nout_dir: /shared/x\n")
    with pytest.raises(ConfigError, match="does not go along"):
        job("run", "--recipe", str(tmp_path / "mine.yaml"))
    monkeypatch.chdir(tmp_path)
    asked = ["run", "--recipe", "mine.yaml"]
    request = job_request(asked, name=None, env_vars={}, working_dir=tmp_path)
    assert "--recipe mine.yaml" in request.entrypoint


def test_names_are_what_ray_takes() -> None:
    assert job("run", OUT, name="my-run_2").id == "my-run_2"
    for bad in ("a b", "a.2", "../x", "", "-x"):
        with pytest.raises(ConfigError, match="job name"):
            job("run", OUT, name=bad)


def test_installed_uploads_nothing_and_stopping_is_as_by_ctrl_c() -> None:
    env = driver_env()
    request = job_request(["doctor"], name="d", env_vars=env, working_dir=None)
    assert request.runtime_env == {"env_vars": env}
    assert env["RAY_JOB_STOP_SIGNAL"] == "SIGINT"
    assert int(env["RAY_JOB_STOP_WAIT_TIME_S"]) > 10  # after Ctrl-C everything ends within ten


def test_values_of_variables_are_neither_shown_nor_lightly_passed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_API_KEY", "sesame")
    monkeypatch.setenv("NCCL_DEBUG", "INFO")
    assert passed_on(["NCCL_DEBUG"], store_secrets=False) == {"NCCL_DEBUG": "INFO"}
    with pytest.raises(ConfigError, match="MY_API_KEY looks like a secret") as refused:
        passed_on(["MY_API_KEY"], store_secrets=False)
    found = passed_on(["MY_API_KEY"], store_secrets=True)
    assert found == {"MY_API_KEY": "sesame"}
    with pytest.raises(ConfigError, match="give the name alone") as written:
        passed_on(["MY_API_KEY=sesame"], store_secrets=True)
    with pytest.raises(ConfigError, match="not set here"):
        passed_on(["NOT_THERE_AT_ALL"], store_secrets=True)
    request = JobRequest(id="x", arguments=(), env_vars=found, working_dir=None)
    assert "sesame" not in f"{request!r}{refused.value}{written.value}{request.entrypoint}"


def test_what_goes_along(tmp_path: Path) -> None:
    for name in (
        *("cogaudio_rl/__init__.py", "cogaudio_rl/data/load.py", "mine.yaml", "ignored.bin"),
        *(".git/HEAD", "runs/a/big", "data/x.wav", ".venv/bin/python", ".env", "my_token"),
        *(".env.local", ".envrc", ".netrc"),
        *("a.egg-info/x", "sub/__pycache__/y.pyc", ".ruff_cache/z"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"123")
    (tmp_path / ".rayignore").write_text("*.bin\n")
    found = upload_of(tmp_path)
    # Our own folder called `data` among them, and the ignore file.
    assert (found.files, found.size_bytes, found.has_code) == (4, 3 * 3 + 6, True)


def test_an_enormous_folder_is_refused_with_its_biggest_part(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"x")
    (tmp_path / "sounds").mkdir()
    with (tmp_path / "sounds" / "a.wav").open("wb") as file:
        os.truncate(file.fileno(), (UPLOAD_LIMIT_MIB + 1) * 2**20)
    with pytest.raises(
        ConfigError, match=rf"more than {UPLOAD_LIMIT_MIB} MiB .* 'sounds'.*--installed"
    ):
        upload_of(tmp_path)
    with pytest.raises(ConfigError, match="is not a folder"):
        upload_of(tmp_path / "gone")


def test_plain_ray_job_submit_leaves_the_same_things_behind() -> None:
    """What our own list names at the root, the checkout's ignore files name too."""
    lines = {
        line.rstrip("/")
        for name in (".gitignore", ".rayignore")
        for line in (ROOT / name).read_text("utf-8").splitlines()
    }
    assert {
        ".git",
        ".venv",
        "/runs",
        "/data",
        ".env",
        ".env.*",
        "__pycache__",
        "*.egg-info",
    } <= lines


def test_commands_are_read_as_typer_reads_them() -> None:
    words, given = read_command(["data", "lime", "build", "-o", "/x", "seed=1"])
    assert words == ["data", "lime", "build"]
    assert given["out"] == Path("/x")
