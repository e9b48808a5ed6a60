"""Variants of model D: one thing changed, in a folder of its own, named where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from sounds import an_utterance

from cogaudio_rl.config import load_config
from cogaudio_rl.errors import ConfigError
from cogaudio_rl.stages.routes import route_prompts
from cogaudio_rl.stages.variants import Variant, config_of, load_variants, trained
from cogaudio_rl.types import Route

RUN = Path("runs/a")


@pytest.mark.parametrize("recipe", ["quickstart", "qwen2_5_omni_7b", "emodb"])
def test_every_shipped_variant_is_one_step_from_every_recipe(recipe: str):
    base = load_config(recipe)
    untouched = base.model_dump()
    for name, variant in load_variants("paper").items():
        found = config_of(base, RUN, name, variant)
        assert found.out_dir == RUN / "variants" / name
        changed = {k for k, v in found.model_dump().items() if v != untouched[k]}
        assert changed - {"name", "out_dir"} <= {"rl"}
        assert (changed >= {"rl"}) == bool(variant.set), name


def test_objectives_rewards_and_routes_are_what_they_say():
    base = load_config("quickstart")
    known = load_variants("paper")
    rl = {name: config_of(base, RUN, name, variant).rl for name, variant in known.items()}
    assert (rl["grpo"].objective.name, rl["gspo"].objective.name) == ("grpo", "gspo")
    assert rl["emotion_0"].reward.emotion == 0.0
    assert rl["emotion_0"].reward.response == base.rl.reward.response
    assert sum(rl["empathy_only"].reward.model_dump().values()) == 1.0
    assert known["no_stage2"].start == "stage1"


def test_one_route_alone_asks_each_utterance_once():
    utterances = [an_utterance(f"u{i}") for i in range(3)]
    for route in Route:
        asked = route_prompts(utterances, str(route))
        assert [p.route for p in asked] == [route] * 3


def test_a_variant_of_ones_own_and_what_is_wrong_with_another(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_text("judged:\n  about: another judge\n  set: [judge.kind=embedded]\n")
    assert load_variants(str(file)) == {
        "judged": Variant(about="another judge", set=("judge.kind=embedded",))
    }
    file.write_text("../evil:\n  about: a folder elsewhere\n")
    with pytest.raises(ConfigError, match=r"variant '\.\./evil' is the name of a folder"):
        load_variants(str(file))
    file.write_text("slow:\n  about: x\n  star: stage1\n")
    with pytest.raises(ConfigError, match="unknown key 'star'; did you mean 'start'"):
        load_variants(str(file))
    wrong = Variant(about="x", set=("rl.grup_size=4",))
    with pytest.raises(ConfigError, match=r"variant 'slow': unknown key 'rl\.grup_size'"):
        config_of(load_config("quickstart"), RUN, "slow", wrong)


def test_only_finished_variants_are_found(tmp_path: Path):
    (tmp_path / "variants" / "grpo" / "checkpoints" / "stage3").mkdir(parents=True)
    (tmp_path / "variants" / "gspo" / "checkpoints" / "rl").mkdir(parents=True)
    assert list(trained(tmp_path)) == ["grpo"]
