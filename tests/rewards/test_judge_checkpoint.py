"""A judge's checkpoint is looked at before a run starts, without its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cogaudio_rl.config import Config, JudgeConfig, RewardConfig, load_config
from cogaudio_rl.errors import CheckpointError, ConfigError
from cogaudio_rl.rewards.judge import judge_digest, make_judge, probe_judge

CHAT = {"architectures": ["LlamaForCausalLM"]}


def checkpoint(
    folder: Path, config: Any = CHAT, *, weights: str = "model.safetensors", template: bool = True
) -> JudgeConfig:
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    (folder / weights).write_bytes(b"")
    if template:
        (folder / "tokenizer_config.json").write_text(
            '{"chat_template": "{{ messages }}"}', "utf-8"
        )
    return JudgeConfig(kind="vllm", model=str(folder))


async def test_a_chat_checkpoint_passes(tmp_path: Path) -> None:
    await probe_judge(checkpoint(tmp_path))


async def test_a_template_in_a_file_of_its_own_will_do(tmp_path: Path) -> None:
    config = checkpoint(tmp_path, template=False, weights="pytorch_model.bin")
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}", "utf-8")
    await probe_judge(config)


@pytest.mark.parametrize(
    ("config", "changes", "why"),
    [
        ({}, {}, "names no architecture"),
        ([], {}, "is not a JSON object"),
        ({"architectures": ["BertForSequenceClassification"]}, {}, "writes no text"),
        (CHAT, {"weights": "README.md"}, "holds no weights"),
        (CHAT, {"template": False}, "has no chat template"),
    ],
)
async def test_what_cannot_judge_is_named(
    config: Any, changes: dict[str, Any], why: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=why) as caught:
        await probe_judge(checkpoint(tmp_path, config, **changes))
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone' holds no config\.json"):
        await probe_judge(JudgeConfig(kind="vllm", model=str(tmp_path / "gone")))


async def test_ears_are_looked_for_wherever_they_are_kept(tmp_path: Path) -> None:
    deaf = checkpoint(tmp_path).model_copy(update={"hears": True})
    with pytest.raises(CheckpointError, match=r"without ears; set judge\.hears=false"):
        await probe_judge(deaf)
    for config in ({"audio_config": {}}, {"thinker_config": {"audio_config": {}}}):
        hears = {"architectures": ["Qwen2_5OmniModel"], **config}
        await probe_judge(checkpoint(tmp_path, hears).model_copy(update={"hears": True}))


async def test_a_member_of_an_ensemble_is_looked_at_too(tmp_path: Path) -> None:
    member = JudgeConfig(kind="vllm", model=str(tmp_path / "gone"))
    with pytest.raises(CheckpointError, match="gone"):
        await probe_judge(JudgeConfig(kind="ensemble", members=(JudgeConfig(), member)))


def test_without_a_process_of_its_own_there_is_no_engine(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a process of its own"):
        make_judge(checkpoint(tmp_path), RewardConfig())


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (["judge.kind=vllm"], "needs model, the folder of a chat checkpoint"),
        (["judge={kind: vllm, model: m}", "cluster.backend=local"], "needs cluster.backend=ray"),
        (["cluster.gpus_per_judge=1"], "gpus_per_judge=1 needs judge.kind=vllm, got .*embedded"),
        (
            ["judge={kind: ensemble, members: [{kind: vllm, model: a}, {kind: vllm, model: b}]}"],
            "2 members of kind=vllm would share one process",
        ),
        (["rl.held_out_judge={kind: vllm, model: m}"], "has no process to live in"),
        (
            ["rl.held_out_judge={kind: embedded}"],
            "rl.held_out_judge and the reward's judge are both embedded",
        ),
        (
            [
                "judge={kind: llm, base_url: http://a/v1, model: m}",
                "rl.held_out_judge={kind: llm, base_url: http://a/v1/, model: m, revision: '2'}",
            ],
            "are both m at http://a/v1",
        ),
        (
            [
                "judge={kind: ensemble, members: [{kind: embedded}]}",
                "rl.held_out_judge={kind: embedded}",
            ],
            "are both embedded",
        ),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_in_one_line(overrides: list[str], why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        load_config("quickstart", overrides)
    assert "\n" not in str(caught.value)


def test_a_held_out_judge_may_be_of_the_same_family() -> None:
    judge = JudgeConfig(kind="llm", base_url="http://a/v1", model="m")
    other = judge.model_copy(update={"model": "n"})
    assert Config.model_validate({"judge": judge, "rl": {"held_out_judge": other}})


def test_a_digest_changes_with_what_is_said_and_not_with_how_it_is_asked() -> None:
    judge = JudgeConfig(kind="llm", base_url="http://a/v1", model="m")
    same = ({"base_url": "http://b/v1"}, {"concurrency": 3}, {"cache": Path("x")})
    other = ({"model": "n"}, {"revision": "2"}, {"max_tokens": 50}, {"kind": "vllm"})
    own = judge_digest(judge)
    assert {judge_digest(judge.model_copy(update=change)) for change in same} == {own}
    found = {judge_digest(judge.model_copy(update=change)) for change in other}
    assert len(found | {own}) == len(other) + 1
    both = JudgeConfig(kind="ensemble", members=(judge, JudgeConfig()))
    worst = both.model_copy(update={"combine": "worst"})
    assert len({judge_digest(both), judge_digest(worst), own}) == 3
