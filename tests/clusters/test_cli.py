"""What a person types and what they get: help, one line per mistake, the right exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from clusters.cli import app
from cogaudio_rl.config import recipe_names

PAPER = ["run", "--recipe", "qwen2_5_omni_7b", "--dry-run"]


@pytest.fixture(autouse=True)
def plain_and_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No colours, a fixed width, and a working directory where nothing lies."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


def cogaudio(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def one_line_error(result: Result) -> str:
    """The single line on stderr of a command that was given something wrong."""
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert "Traceback" not in result.output
    return line


@pytest.mark.parametrize(
    ("words", "teaches"),
    [
        ([], "quickstart"),
        (["quickstart"], "report.html"),
        (["run"], "qwen2_5_omni_7b --dry-run"),
        (["sft"], "--stage stage2"),
        (["rl"], "DR-SAPO"),
        (["eval"], "--checkpoint"),
        (["data"], "lime"),
        (["data", "lime", "build"], "--out"),
        (["data", "lime", "mini"], "--out"),
        (["base", "make"], "model.path=runs/base"),
        (["doctor"], "--json"),
    ],
)
def test_help_teaches(words: list[str], teaches: str) -> None:
    result = cogaudio(*words, "--help")
    assert result.exit_code == 0
    assert teaches in result.stdout


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("rl.stpes=3", "unknown key 'rl.stpes'; did you mean 'steps'?"),
        ("clutser.nodes=1", "unknown key 'clutser'; did you mean 'cluster'?"),
        ("rl.steps=many", "rl.steps: "),
        ("rl.group_size=1", "rl.group_size: "),
        ("model.dtype=int8", "model.dtype: "),
        ("rl.epochs_per_batch=1", "epochs_per_batch * minibatches must be >= 2 for sapo"),
        ("seed", "override 'seed' is not of the form key.path=value"),
        ("cluster.gpus_per_node=4", "the roles need 8 GPUs"),
    ],
)
def test_a_wrong_override_is_one_line(override: str, says: str) -> None:
    assert says in one_line_error(cogaudio(*PAPER, override))


def test_an_unknown_recipe_is_one_line_with_the_known_ones() -> None:
    line = one_line_error(cogaudio("run", "--recipe", "nope"))
    assert "'nope'" in line
    assert "quickstart" in line


def test_a_recipe_file_that_is_no_mapping(tmp_path: Path) -> None:
    recipe = tmp_path / "list.yaml"
    recipe.write_text("- 1\n", encoding="utf-8")
    assert "must hold a mapping" in one_line_error(cogaudio("run", "--recipe", str(recipe)))


def test_resume_and_overwrite_exclude_each_other() -> None:
    assert "exclude each other" in one_line_error(cogaudio("run", "--resume", "--overwrite"))


def test_a_checkpoint_of_another_architecture_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}', "utf-8")
    line = one_line_error(cogaudio(*PAPER, f"model.path={tmp_path}"))
    assert "LlamaForCausalLM" in line


def test_a_run_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    backbone = tmp_path / "backbone"
    backbone.mkdir()
    (backbone / "config.json").write_text('{"architectures": ["Qwen2_5OmniModel"]}', "utf-8")
    kept = tmp_path / "run" / "config.yaml"
    kept.parent.mkdir()
    kept.write_text("name: mine", "utf-8")
    given = (f"out_dir={kept.parent}", f"model.path={backbone}")
    line = one_line_error(cogaudio("run", *given))
    assert str(kept.parent) in line
    assert "--resume" in line
    assert "--overwrite" in line
    assert "differs" in one_line_error(cogaudio("run", "--resume", *given))
    assert kept.read_text("utf-8") == "name: mine"


def test_lime_is_never_written_over_a_folder(tmp_path: Path) -> None:
    line = one_line_error(cogaudio("data", "lime", "mini", "--out", str(tmp_path)))
    assert str(tmp_path) in line


@pytest.mark.parametrize("recipe", recipe_names())
def test_every_shipped_recipe_is_valid(recipe: str) -> None:
    result = cogaudio("run", "--recipe", recipe, "--dry-run")
    assert result.exit_code == 0, result.output


def test_dry_run_of_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COGAUDIO_JUDGE_API_KEY", raising=False)
    result = cogaudio(*PAPER, "seed=7")
    assert result.exit_code == 0, result.output
    for part in (
        "seed: 7",
        "tau_neg: 1.05",
        "gemini-2.5-pro",
        "34 CPUs and 8 GPUs in all",
        "KV cache",
        "GPUs: 8 needed",
        "weights: model.path 'checkpoints/Qwen2.5-Omni-7B'",
        "data: data.root 'data/lime-440k' is not here",
        "COGAUDIO_JUDGE_API_KEY",
    ):
        assert part in result.stdout


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    cogaudio(*PAPER)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_doctor_speaks_json() -> None:
    result = cogaudio("doctor", "--json")
    report = json.loads(result.stdout)
    assert {"python", "torch", "vllm", "memory", "espeak-ng"} <= {
        f["name"] for f in report["findings"]
    }
    assert result.exit_code == (0 if report["healthy"] else 1)
    assert all(f["remedy"] for f in report["findings"] if f["verdict"] != "ok")


@pytest.mark.parametrize(("words", "steps"), [((), 4_000), (("--steps", "7"), 7)])
def test_base_make_trains_its_full_length_unless_told(
    words: tuple[str, ...], steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cogaudio_rl.models import pretrain

    asked: list[pretrain.PretrainSettings] = []
    monkeypatch.setattr(pretrain, "make_base", lambda _out, settings, _say: asked.append(settings))
    assert cogaudio("base", "make", *words).exit_code == 0
    assert asked[0].steps == steps


@pytest.mark.parametrize(
    ("recipe", "stage"),
    [("quickstart", "stage1"), ("ambiguity_mini", "chain"), ("ieat", "direct")],
)
def test_sft_begins_with_the_recipes_own_first_stage(
    recipe: str, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[str, ...]] = []
    monkeypatch.setattr(
        "clusters.cli._start", lambda config, stages, *_, **__: begun.append(stages)
    )
    assert cogaudio("sft", "--recipe", recipe).exit_code == 0
    assert begun == [(stage,)]
    line = one_line_error(cogaudio("sft", "models=[base]"))
    assert line == "error: recipe 'quickstart' has no model that SFT makes; give --stage"
