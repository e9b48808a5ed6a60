"""A protocol over folds as one command: a run for each, then all of them as one test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_world import make_utterances, make_voted
from typer.testing import CliRunner

from clusters.cli import app
from clusters.launch import run_folds
from cogaudio_rl.config import load_config
from cogaudio_rl.data.folds import speaker_folds
from cogaudio_rl.data.manifest import write_manifest
from cogaudio_rl.errors import ConfigError
from cogaudio_rl.metrics import read_metrics


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_utterance_is_tested_by_a_model_that_never_heard_its_speaker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spoken = make_voted(make_utterances(tmp_path / "audio", 14))
    for fold in speaker_folds(spoken, count=2, seed=0):
        for name, part in (("train", fold.train), ("test", fold.test)):
            write_manifest(Path("voted") / fold.name / f"{name}.jsonl", part)
    command = [
        *("run", "-r", "ambiguity_mini", "--folds", "voted", "models=[base,CE]", "out_dir=runs"),
        *("cluster.backend=local", "data.kind=manifest", "data.apart_by=speaker"),
        *("data.rl_utterances=2", "eval.bootstrap_samples=50", "model.max_new_tokens_ambiguity=16"),
        "sft.chain={asks: ambiguity, epochs: 1, batch_size: 4, learning_rate: 1.0e-3}",
    ]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    report = json.loads(Path("runs/folds.json").read_text("utf-8"))
    assert report["folds"] == ["fold1", "fold2"]
    for name in ("base", "CE"):
        js = report["models"][name]["votes_js"]
        assert js["n"] == 14
        assert set(js["by_fold"]) == {"fold1", "fold2"}
        low, high = js["ci95"]
        assert 0 <= low <= js["value"] <= high <= 1
    assert all(read_metrics(Path("runs") / fold) for fold in ("fold1", "fold2"))
    # What is finished is not run again.
    written = {p: p.stat().st_mtime_ns for p in Path("runs").glob("fold*/report.json")}
    assert CliRunner().invoke(app, [*command, "--resume"]).exit_code == 0
    assert {p: p.stat().st_mtime_ns for p in Path("runs").glob("fold*/report.json")} == written


def test_folds_that_would_not_test_all_once_are_refused_before_anything_trains(
    tmp_path: Path,
) -> None:
    spoken = make_voted(make_utterances(tmp_path / "audio", 14))
    for fold in speaker_folds(spoken, count=2, seed=0):
        write_manifest(tmp_path / "voted" / fold.name / "test.jsonl", fold.test)
    config = load_config("ambiguity_mini", [f"out_dir={tmp_path}/runs", "eval.max_utterances=6"])
    with pytest.raises(ConfigError, match=r"eval\.max_utterances is 6; set it to"):
        run_folds(config, tmp_path / "voted", resume=False, overwrite=False)
    write_manifest(tmp_path / "voted" / "fold3" / "test.jsonl", spoken[:1])
    config = load_config("ambiguity_mini", [f"out_dir={tmp_path}/runs"])
    with pytest.raises(ConfigError, match=r"is tested in fold\d and in fold3"):
        run_folds(config, tmp_path / "voted", resume=False, overwrite=False)
    assert not (tmp_path / "runs").exists()
