"""A whole run of IEAT in one process: teacher, dictation, two stages, report; and going on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_world import make_utterances

from clusters.launch import run_pipeline
from cogaudio_rl.config import load_config
from cogaudio_rl.data.lime.attributions import with_attributions
from cogaudio_rl.data.manifest import read_manifest, write_manifest
from cogaudio_rl.dictation import read_dictation
from cogaudio_rl.metrics import read_metrics

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

HARD = "epochs: 30, batch_size: 14, learning_rate: 2.0e-3, warmup_share: 0.1"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    clips = make_utterances(folder / "corpus" / "audio", 28)
    said = with_attributions(clips).utterances
    for name, part in (("train", said[:14]), ("rl", said[14:21]), ("test", said[21:])):
        write_manifest(folder / "corpus" / f"{name}.jsonl", part)
    return folder


def settings(world: Path, out: Path) -> tuple[str, ...]:
    return (
        *("cluster.backend=local", "data.kind=manifest", f"data.root={world / 'corpus'}"),
        f"out_dir={out}",
        f"sft.teacher={{asks: stated, {HARD}}}",
        f"sft.distil={{asks: dictated, {HARD}, explicit_share: 0.5}}",
        f"sft.speak={{asks: spoken, {HARD}, distribution_weight: 1.0}}",
        f"sft.direct={{{HARD}, explicit_share: 0.0}}",
        "eval.bootstrap_samples=50",
    )


@pytest.fixture(scope="module")
def run(world: Path) -> Path:
    run_pipeline(load_config("ieat", settings(world, world / "run")))
    return world / "run"


def test_every_model_has_its_figures(run: Path) -> None:
    report = json.loads((run / "report.json").read_text("utf-8"))
    models = report["suites"]["attribution"]["models"]
    assert list(models) == ["base", "A", "T", "I1", "I2"]
    for name, figures in models.items():
        assert figures["teacher_excess"]["n"] == figures["empathy_direct"]["n"] > 0
        assert ("empathy_gain" in figures) == (name != "A")
    assert models["I2"]["format_spoken"]["value"] > 0.5
    assert models["base"]["format_spoken"]["value"] == 0
    assert models["I1"]["unasked_thoughts"]["value"] == 0
    assert list((run / "eval" / "I2.spoken").glob("*.flac"))


def test_students_learn_what_the_teacher_said(run: Path) -> None:
    said = read_dictation(run / "dictation" / "train-0.jsonl")
    assert len(said) == 14
    kept = read_manifest(run / "dictation" / "manifest-0.jsonl")
    assert {u.id: u.dictated for u in kept} == {
        name: one.replies[0] for name, one in said.items() if one.replies[0] is not None
    }
    losses: dict[str, list[float]] = {}
    for line in read_metrics(run):
        if "sft/loss" in line:
            losses.setdefault(line["stage"], []).append(line["sft/loss"])
    assert {"teacher", "distil", "speak", "direct"} <= set(losses)
    assert losses["distil"][-1] < 0.5 * losses["distil"][0]


def test_a_stopped_dictation_goes_on_where_it_was(world: Path, run: Path) -> None:
    path = run / "dictation" / "train-0.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    state = json.loads((run / "state.json").read_text("utf-8"))
    state["done"] = [name for name in state["done"] if name in ("teacher", "direct")]
    (run / "state.json").write_text(json.dumps(state), "utf-8")
    run_pipeline(load_config("ieat", settings(world, run)), resume=True)
    assert path.read_bytes() == whole
