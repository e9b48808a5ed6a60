"""Which models are evaluated, and by which recipes they were taught."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_runs import a_run, an_adapter

from clusters.contestants import model_of, recipes_behind, refuse_twins, run_of
from cogaudio_rl.config import Config
from cogaudio_rl.errors import CheckpointError, ConfigError
from cogaudio_rl.types import Route


def test_a_run_has_its_base_its_stages_and_its_finished_variants(tmp_path: Path):
    run = a_run(tmp_path / "run")
    an_adapter(run / "variants" / "grpo" / "checkpoints" / "stage3")
    config, models = run_of(run, ["eval.max_utterances=7"])
    assert [m.name for m in models] == ["base", "C", "D/grpo"]
    assert models[2].file == "D.grpo"
    assert config.eval.max_utterances == 7


def test_a_folder_may_have_an_equals_sign_and_needs_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    odd = an_adapter(Path("lr=1e-5/stage2"))
    config = Config()
    assert model_of(str(odd), config).name == "stage2"
    named = model_of(f"other={odd}", config)
    assert (named.name, named.adapter) == ("other", odd)
    monkeypatch.chdir(odd)
    with pytest.raises(ConfigError, match="has no name; give it one: -c NAME="):
        model_of(".", config)
    with pytest.raises(CheckpointError, match="'nowhere'"):
        model_of("D=nowhere", config)


@pytest.mark.parametrize("names", [("D", "D"), ("D/grpo", "D.grpo"), ("other", "Other")])
def test_two_models_may_not_share_a_name_or_a_file(names: tuple[str, str]):
    with pytest.raises(ConfigError, match="two models are called"):
        refuse_twins(names)
    refuse_twins(("base", "D", "D/grpo"))


def test_what_taught_an_adapter_is_followed_to_its_beginning(tmp_path: Path):
    first = a_run(tmp_path / "first", "name=first")
    start = first / "checkpoints" / "stage2"
    second = a_run(tmp_path / "second", "name=second", f"sft.start={start}")
    behind, is_all = recipes_behind(second / "checkpoints" / "stage2")
    assert ([c.name for c in behind], is_all) == (["second", "first"], True)
    assert recipes_behind(an_adapter(tmp_path / "lost" / "somewhere" / "adapter")) == ([], False)


def test_a_model_is_asked_in_the_form_that_its_stage_taught(tmp_path: Path):
    votes = a_run(
        tmp_path / "votes", "rl.route_mix=ambiguity", "judge.kind=votes", "models=[base, D]"
    )
    replies = a_run(tmp_path / "replies")
    asked = {
        (run.name, stage): model_of(str(an_adapter(run / "checkpoints" / stage)), Config()).thinks
        for run in (votes, replies)
        for stage in ("chain", "votes", "distil", "speak", "stage1", "direct", "stage3")
    }
    for (run, stage), thinks in asked.items():
        if stage in ("chain", "votes") or (run, stage) == ("votes", "stage3"):
            assert thinks is Route.AMBIGUITY, (run, stage)
        elif stage in ("distil", "speak"):
            assert thinks is Route.ATTRIBUTION, (run, stage)
        else:
            assert thinks is Route.EXPLICIT, (run, stage)
    variant = an_adapter(votes / "variants" / "grpo" / "checkpoints" / "stage3")
    (votes / "variants" / "grpo" / "config.yaml").write_bytes((votes / "config.yaml").read_bytes())
    assert model_of(str(variant), Config()).thinks is Route.AMBIGUITY
    assert model_of("base", Config()).thinks is Route.EXPLICIT
    elsewhere = an_adapter(tmp_path / "lost" / "somewhere" / "stage3")
    assert model_of(str(elsewhere), Config()).thinks is Route.EXPLICIT
