"""What lies in clusters/kuberay and docker is what the code says today."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from kuberay_world import SCHEMAS
from typer.testing import CliRunner

from clusters.cli import app

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "clusters" / "kuberay"
DOCKERFILES = sorted((ROOT / "docker").glob("Dockerfile.*"))
ARGUMENTS = {
    "rayjob": [],
    "rayservice": ["-c", "D=runs/qwen2_5_omni_7b/checkpoints/stage3"],
    "raycluster": [],
}


def rendered(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["manifest", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", ARGUMENTS)
def test_an_example_is_what_the_command_renders(kind: str) -> None:
    """Render it again: cogaudio-rl manifest KIND … -o clusters/kuberay/KIND.yaml."""
    example = (EXAMPLES / f"{kind}.yaml").read_text("utf-8")
    assert example == rendered(kind, *ARGUMENTS[kind])


def test_the_readme_names_how_each_example_is_rendered() -> None:
    readme = (EXAMPLES / "README.md").read_text("utf-8")
    for kind, arguments in ARGUMENTS.items():
        assert f"| `{' '.join(['cogaudio-rl manifest', kind, *arguments])}` |" in readme


def test_every_option_in_the_readme_is_one_of_the_commands() -> None:
    readme = (EXAMPLES / "README.md").read_text("utf-8")
    commands = re.findall(r"cogaudio-rl manifest (?:[^\n`|]|\\\n)*", readme)
    assert len(commands) > 5
    known = set(re.findall(r"--[a-z-]+", rendered_help()))
    for command in commands:
        used = set(re.findall(r"--[a-z-]+", command))
        assert used <= known, command


def rendered_help() -> str:
    return CliRunner().invoke(app, ["manifest", "--help"], env={"COLUMNS": "200"}).stdout


def test_a_file_is_written_and_nothing_said(tmp_path: Path) -> None:
    out = tmp_path / "job.yaml"
    assert rendered("rayjob", "rl.steps=7", "--namespace", "speech", "-o", str(out)) == ""
    documents = list(yaml.safe_load_all(out.read_text("utf-8")))
    assert {d["metadata"]["namespace"] for d in documents} == {"speech"}
    assert "steps: 7\n" in documents[0]["data"]["recipe.yaml"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rayjob", "model.path=/home/x/w"], "error: model.path '/home/x/w' is not on the shared"),
        (["rayjob", "--replicas", "1:2"], "error: --replicas belongs to rayservice, not to rayjob"),
        (["raycluster", "--retries", "1"], "error: --retries belongs to rayjob, not to raycluster"),
        (["rayservice", "--replicas", "many"], "error: --replicas must be MIN:MAX"),
        (["rayservice", "-c", "D"], "error: --checkpoint 'D' is not of the form KEY=VALUE"),
        (
            ["rayservice", "-c", "D=/tmp/x"],
            "error: serve.checkpoints.D '/tmp/x' is not on the shared",
        ),
        (["rayjob", "--memory", "rollout=lots"], "error: --memory rollout=lots"),
        (["rayjob", "--memory", "rollout=-1"], "error: --memory rollout=-1"),
        (["rayjob", "--queue", "q"], "error: queue 'q' admits a cluster of fixed size"),
        (["rayjob", "--env", "HF_TOKEN=abc"], "error: environment variable HF_TOKEN looks like"),
        (["rayjob", "--recipe", "nothing"], "error: recipe 'nothing' is neither a file nor"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["manifest", *arguments])
    assert done.exit_code == 2
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1
    assert "abc" not in done.stderr


def test_the_command_checks_against_schemas_that_it_is_given(tmp_path: Path) -> None:
    if not SCHEMAS.is_dir():
        pytest.skip(f"{SCHEMAS} is not here")
    assert rendered("raycluster", "--schemas", str(SCHEMAS))
    done = CliRunner().invoke(app, ["manifest", "raycluster", "--schemas", str(tmp_path)])
    assert done.exit_code == 2
    assert "holds no CustomResourceDefinition" in done.stderr


# The images.


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.name)
def test_an_image_runs_as_the_user_of_the_pods(path: Path) -> None:
    from clusters.kuberay.pods import HOME, USER

    lines = path.read_text("utf-8").splitlines()
    last_stage = lines[max(i for i, line in enumerate(lines) if line.startswith("FROM")) :]
    assert f"USER {USER}:{USER}" in last_stage
    assert f"WORKDIR {HOME}" in last_stage
    assert all("useradd" not in line or f"--uid {USER} " in line for line in last_stage)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.name)
def test_what_an_image_copies_is_let_through(path: Path) -> None:
    """Everything is kept out of the build that .dockerignore does not name."""
    ignore = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert "*" in ignore
    allowed = {line[1:] for line in ignore if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", path.read_text("utf-8"), flags=re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    assert sources <= allowed
    assert all((ROOT / source).exists() for source in sources)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.name)
def test_an_image_installs_pinned_versions_of_an_extra_that_is_there(path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    text = path.read_text("utf-8")
    (extra,) = re.findall(r"cogaudio_rl-\*\.whl\)\[(\w+)\]", text)
    assert path.suffix == f".{extra}"
    constraints = re.findall(r"--constraint (\S+)", text)
    assert constraints == ["constraints.txt" if extra == "cpu" else "constraints-gpu.txt"]
    folder = ROOT if extra == "cpu" else ROOT / "docker"
    pinned = (folder / constraints[0]).read_text("utf-8")
    for requirement in project["optional-dependencies"][extra]:
        assert f"\n{requirement}\n" in pinned
    assert not re.search(r":latest\b|ENV \S*(KEY|TOKEN|SECRET)", text)


def test_both_images_run_the_versions_that_are_tested() -> None:
    ours, gpu = (_pins(ROOT / p) for p in ("constraints.txt", "docker/constraints-gpu.txt"))
    differ = {name for name in ours.keys() & gpu.keys() if ours[name] != gpu[name]}
    assert differ == {"apache-tvm-ffi"}  # vLLM's CUDA build pins an older one
    needed = {"torch", "ray", "transformers", "peft", "deepspeed", "safetensors", "numpy"}
    assert needed <= ours.keys() & gpu.keys()


def _pins(path: Path) -> dict[str, str]:
    lines = path.read_text("utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
