"""``cogaudio-rl compare``: which runs go together, what is refused, and two made runs end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_runs import a_run, an_adapter
from tiny_world import make_checkpoint, make_utterances, make_voted
from typer.testing import CliRunner

from clusters.cli import app
from clusters.compared_runs import Run, measuring_config, read_runs, suites_for
from clusters.comparing import systems_of
from clusters.launch import run_pipeline
from cogaudio_rl.config import load_config
from cogaudio_rl.data.manifest import write_manifest
from cogaudio_rl.errors import ConfigError
from cogaudio_rl.eval.suite_metrics import scale_of


def refused(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["compare", *arguments])
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.output
    return " ".join(done.output.split())


def names_of(runs: list[Run]) -> list[str]:
    systems, _ = systems_of(runs, (), measuring_config([r.config for r in runs], ()))
    return [system.name for system in systems]


def test_seeds_of_one_recipe_are_one_system(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        a_run(tmp_path / "all" / f"seed-{seed}", f"seed={seed}", f"out_dir=all/seed-{seed}")
    runs, overrides = read_runs([str(tmp_path / "all"), "eval.max_utterances=7"])
    assert overrides == ["eval.max_utterances=7"]
    assert [run.config.seed for run in runs] == [0, 1, 2]
    config = measuring_config([run.config for run in runs], overrides)
    assert config.eval.max_utterances == 7
    systems, models = systems_of(runs, (), config)
    assert [(s.name, s.seeds) for s in systems] == [("base", (0,)), ("quickstart/C", (0, 1, 2))]
    assert list(models) == ["base#0", "quickstart/C#0", "quickstart/C#1", "quickstart/C#2"]
    assert len({model.file for model in models.values()}) == 4


def test_runs_may_differ_in_how_they_were_measured_alone(tmp_path: Path) -> None:
    first = a_run(tmp_path / "first")
    second = a_run(tmp_path / "second", "seed=1", "eval.max_utterances=3", "cluster.backend=local")
    runs, _ = read_runs([str(first), str(second)])
    assert names_of(runs) == ["base", "quickstart/C"]
    other = a_run(tmp_path / "other", "seed=2", "rl.steps=7")
    with pytest.raises(
        ConfigError, match=r"differ in rl\.steps \(30 and 7\); give one another name"
    ):
        read_runs([str(first), str(other)])
    runs, _ = read_runs([str(first), f"short={other}"])
    assert names_of(runs) == ["base", "quickstart/C", "short/C"]
    with pytest.raises(ConfigError, match="with seed 0; give another seed, or another name"):
        read_runs([str(first), str(a_run(tmp_path / "twin"))])


def test_all_are_allowed_the_longest_answers_of_any(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    votes = a_run(tmp_path / "votes", "name=votes", "model.max_new_tokens_ambiguity=128")
    runs, _ = read_runs([str(run), str(votes)])
    config = measuring_config([r.config for r in runs], ())
    assert config.model.max_new_tokens_ambiguity == 128
    _, models = systems_of(runs, (), config)
    assert {m.built.max_new_tokens_ambiguity for m in models.values()} == {128}


def test_votes_are_measured_where_somebody_learnt_them(tmp_path: Path) -> None:
    runs, _ = read_runs([str(a_run(tmp_path / "run"))])
    assert suites_for(runs, ()) == ["lime", "conflict"]
    assert suites_for(runs, ["esd", "esd"]) == ["esd"]
    assert "test" not in suites_for(runs, ["all"])


def test_what_cannot_be_compared_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = make_checkpoint(tmp_path / "other")
    a_run(Path("one"))
    a_run(Path("two"), "name=two", f"model.path={other}")
    a_run(Path("three"), "name=three", "data.test_families=2")
    assert "--run 'nowhere' is not a run folder" in refused("nowhere")
    assert "nothing to compare; give run folders" in refused("eval.max_utterances=3")
    assert "'rl.steps=5' would change what a run was trained by" in refused("one", "rl.steps=5")
    assert "two/base stands on" in refused("one", "two")
    assert "to see them, --other-base two" in refused("one", "two")
    assert "--other-base 'too' is none of: base, one" in refused("one=one", "--other-base", "too")
    assert "--suite 'esdd' is not one of: test" in refused("one", "-s", "esdd")
    assert "quickstart and three have not the same" in refused("one", "three", "-s", "test")
    assert "esd: give its folder" in refused("one", "-s", "esd")
    assert "is a run's own folder" in refused("one", "-o", "one")
    an_adapter(Path("C"))
    assert "two models are called 'quickstart/C'" in refused("one", "-c", "quickstart/C=C")
    assert not Path("runs").exists()


SFT = "{epochs: 20, batch_size: 14, learning_rate: 5.0e-3"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_recipes_and_two_seeds_of_one_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spoken = make_voted(make_utterances(tmp_path / "corpus" / "audio", 28))
    for name, part in (("train", spoken[:14]), ("rl", spoken[14:21]), ("test", spoken[21:])):
        write_manifest(tmp_path / "corpus" / f"{name}.jsonl", part)
    common = (
        *("cluster.backend=local", "data.kind=manifest", f"data.root={tmp_path / 'corpus'}"),
        *("eval.bootstrap_samples=50", "eval.timed_utterances=1", "eval.swap_families=1"),
    )
    replies = (*common, "models=[base,B]", f"sft.stage1={SFT}}}")
    for seed in (0, 1):
        chosen = (*replies, f"seed={seed}", f"out_dir=replies/seed-{seed}")
        run_pipeline(load_config("quickstart", chosen), stages=("stage1",))
    votes = (*common, "models=[base,KL]", "out_dir=votes", f"sft.votes={SFT}, asks: ambiguity}}")
    run_pipeline(load_config("ambiguity_mini", votes), stages=("votes",))

    command = ["compare", "replies", "votes", "-s", "test", "-s", "ambiguity", "-o", "table"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    report = json.loads(Path("table/compare.json").read_text("utf-8"))
    systems = report["systems"]
    assert list(systems) == ["base", "quickstart/B", "ambiguity_mini/KL"]
    assert systems["quickstart/B"]["seeds"] == [0, 1]
    for name, system in systems.items():
        # Whoever never learnt the chain is asked behind its place, and has a distribution too.
        assert system["suites"]["ambiguity"]["votes_js"]["n"] == 7, name
        assert system["suites"]["ambiguity"]["seconds_ambiguity"]["n"] == 1
        assert system["suites"]["test"]["emotion_accuracy"]["n"] == 7
        assert system["suites"]["test"]["tokens_direct"]["value"] > 0
        why = system["suites"]["ambiguity"]["empathy_direct"]["not_applicable"]
        assert why == "this test set asks how votes are shared, and for no reply"
    accuracy = systems["quickstart/B"]["suites"]["test"]["emotion_accuracy"]
    assert accuracy["value"] == pytest.approx(sum(accuracy["by_seed"].values()) / 2)
    budget = systems["quickstart/B"]["budget"]["by_seed"]["1"]
    assert (budget["utterances"], budget["stages"]) == (20 * 14, ["stage1"])
    assert budget["tokens"] > 0
    assert report["budget"]["equal"] is False or report["budget"]["equal"] is True
    assert "quickstart/B" in done.output
    # Everything was answered: the same again asks nothing, and has the same figures.
    kept = {p: p.read_bytes() for p in Path("table").rglob("answers.jsonl")}
    assert CliRunner().invoke(app, command).exit_code == 0
    assert {p: p.read_bytes() for p in Path("table").rglob("answers.jsonl")} == kept
    assert json.loads(Path("table/compare.json").read_text("utf-8"))["systems"] == systems


def test_seeds_of_a_variant_that_was_trained_otherwise_are_no_one_system(tmp_path: Path) -> None:
    for seed, rate in ((0, "1.0e-4"), (1, "2.0e-4")):
        run = a_run(tmp_path / "all" / f"seed-{seed}", f"seed={seed}")
        a_run(run / "variants" / "grpo", f"seed={seed}", f"rl.learning_rate={rate}")
        (run / "variants" / "grpo" / "checkpoints" / "stage3").mkdir(parents=True, exist_ok=True)
    with pytest.raises(ConfigError, match=r"variant 'grpo' of .* differ in rl\.learning_rate"):
        read_runs([str(tmp_path / "all")])


def test_signed_figures_keep_their_intervals() -> None:
    assert scale_of("teacher_excess")[0] < 0
    assert scale_of("empathy_gain")[0] < 0
    assert scale_of("empathy_direct") == (1.0, 4)
