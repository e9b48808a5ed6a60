"""A backbone without ears goes through the same commands, on manifests with and without sound."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_world import make_reader, make_utterances
from typer.testing import CliRunner

from clusters.cli import app
from cogaudio_rl.data.manifest import write_manifest
from cogaudio_rl.metrics import read_metrics

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SMALL = (
    *("cluster.backend=local", "data.kind=manifest", "out_dir=run", "models=[base, C, D]"),
    *("sft.stage1.epochs=1", "sft.stage1.batch_size=14"),
    *("sft.stage2.epochs=1", "sft.stage2.batch_size=14"),
    *("rl.steps=2", "rl.utterances_per_step=2", "rl.group_size=2", "rl.readiness.prompts=2"),
    *("model.max_new_tokens_explicit=12", "model.max_new_tokens_direct=8"),
    *("eval.max_utterances=7", "eval.bootstrap_samples=50"),
)


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    monkeypatch.chdir(tmp_path)
    heard = make_utterances(tmp_path / "corpus" / "audio", 28)
    mute = [replace(u, audio=None) if i % 2 else u for i, u in enumerate(heard)]
    for name, part in (("train", mute[:14]), ("rl", mute[14:21]), ("test", mute[21:])):
        write_manifest(tmp_path / "corpus" / f"{name}.jsonl", part)
    reader = make_reader(tmp_path / "reader", "qwen3")
    return f"model.path={reader}", f"data.root={tmp_path / 'corpus'}"


def test_a_reader_goes_through_every_stage(given: tuple[str, str]) -> None:
    done = CliRunner().invoke(app, ["run", *SMALL, *given])
    assert done.exit_code == 0, done.output
    steps = [m["step"] for m in read_metrics(Path("run")) if m["stage"] == "stage3"]
    assert steps == [1, 2]
    report = json.loads(Path("run/report.json").read_text("utf-8"))
    # It cannot hear: silence changes nothing.
    for model in report["models"].values():
        assert model["emotion_accuracy_silenced"] == model["emotion_accuracy"]
    assert Path("run/report.html").stat().st_size > 10_000
    one = CliRunner().invoke(app, ["eval", "-c", "run/checkpoints/stage3", *SMALL, *given])
    assert one.exit_code == 0, one.output
    alone = models_of("test")
    assert alone["stage3"]["empathy_direct"]["value"] == report["models"]["D"]["empathy_direct"]
    assert Path("run/suites/report.html").stat().st_size > 10_000
    # What each part is worth: a variant from the run's own adapter, beside the others.
    varied = CliRunner().invoke(
        app, ["ablate", "--run", "run", "--variant", "direct_only", "--variant", "no_stage2"]
    )
    assert varied.exit_code == 0, varied.output
    varied_steps = read_metrics(Path("run/variants/direct_only"))
    assert [m["rollout/explicit_share"] for m in varied_steps] == [0.0, 0.0]
    again = CliRunner().invoke(app, ["eval", "--run", "run", "-s", "test"])
    assert again.exit_code == 0, again.output
    names = ["base", "B", "C", "D", "D/direct_only", "D/no_stage2"]
    assert list(models_of("test")) == names
    assert models_of("test")["D"] == alone["stage3"]


def models_of(suite: str) -> dict[str, dict[str, dict[str, float]]]:
    report = json.loads(Path("run/suites/report.json").read_text("utf-8"))
    return report["suites"][suite]["models"]


def test_one_half_at_a_time(given: tuple[str, str]) -> None:
    run = CliRunner().invoke
    assert run(app, ["sft", *SMALL, *given]).exit_code == 0
    start = ["--from", "run/checkpoints/stage1"]
    first = run(app, ["rl", *SMALL, *given, "out_dir=a", *start, "--debug-rollouts-only"])
    assert first.exit_code == 0, first.output
    saved = sorted(Path("a/rollouts_only").glob("*.jsonl"))
    assert len(saved) == 2
    second = run(
        app, ["rl", *SMALL, *given, "out_dir=b", *start, "--debug-train-only", "a/rollouts_only"]
    )
    assert second.exit_code == 0, second.output
    assert [m["step"] for m in read_metrics(Path("b"))] == [1, 2]
