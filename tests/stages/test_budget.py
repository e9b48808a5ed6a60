"""What a system cost, read from folders as runs leave them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cogaudio_rl.config import dump_config, load_config
from cogaudio_rl.run_folder import RunFolder
from cogaudio_rl.stages.budget import spent_on

SIZES = (
    "sft.stage1.batch_size=32",
    "sft.stage2.batch_size=16",
    "rl.utterances_per_step=12",
)


def a_run(folder: Path, *overrides: str, tokens: bool = True) -> Path:
    """Ten steps of stage I, four of stage II and three of RL, of which one drew nothing."""
    for stage in ("stage1", "stage2", "stage3"):
        (folder / "checkpoints" / stage).mkdir(parents=True)
    (folder / "config.yaml").write_text(
        dump_config(load_config("quickstart", (*SIZES, *overrides)))
    )
    lines = [
        {"step": step, "stage": stage} | ({"sft/tokens": 1000.0} if tokens else {})
        for stage, steps in (("stage1", 10), ("stage2", 4))
        for step in range(1, steps + 1)
    ]
    lines += [
        {"step": step, "stage": "stage3", "rollout/count": drawn, "rollout/tokens": 30.0 * drawn}
        for step, drawn in ((1, 192.0), (2, 184.0), (3, 0.0))
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = RunFolder(folder)
    for stage, seconds in (("stage1", 100.0), ("stage2", 40.0), ("stage3", 60.0)):
        run.mark_done(stage, seconds)
    return folder


def test_the_base_took_nothing() -> None:
    spent = spent_on(None)
    assert (spent.steps, spent.utterances, spent.tokens, spent.seconds) == (0, 0, 0, 0.0)
    assert spent.is_whole


def test_every_stage_behind_an_adapter_counts(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    spent = spent_on(run / "checkpoints" / "stage3")
    assert spent.stages == ("stage1", "stage2", "stage3")
    assert spent.steps == 10 + 4 + 3
    assert spent.utterances == 10 * 32 + 4 * 16 + 3 * 12
    assert spent.rollouts == 192 + 184
    assert spent.tokens == 14 * 1000 + 30 * (192 + 184)
    assert spent.seconds == 200.0
    assert spent_on(run / "checkpoints" / "stage1").seconds == 100.0


def test_what_a_run_did_not_count_is_not_nought(tmp_path: Path) -> None:
    spent = spent_on(a_run(tmp_path / "run", tokens=False) / "checkpoints" / "stage2")
    assert spent.tokens is None
    assert spent.utterances == 10 * 32 + 4 * 16


def test_a_start_in_another_run_is_followed(tmp_path: Path) -> None:
    first = a_run(tmp_path / "first")
    start = first / "checkpoints" / "stage2"
    second = a_run(tmp_path / "second", f"sft.start={start}")
    spent = spent_on(second / "checkpoints" / "stage1")
    assert spent.stages == ("stage1", "stage2", "stage1")
    assert spent.seconds == 240.0


@pytest.mark.parametrize("noted", [True, False])
def test_a_variant_goes_on_from_the_run_it_belongs_to(noted: bool, tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    variant = a_run(run / "variants" / "grpo")
    for stage in ("stage1", "stage2"):
        (variant / "checkpoints" / stage).rmdir()
    if noted:
        RunFolder(variant).note_start("stage3", run / "checkpoints" / "stage1")
    spent = spent_on(variant / "checkpoints" / "stage3")
    assert spent.stages == (("stage1",) if noted else ("stage1", "stage2")) + ("stage3",)
    assert spent.is_whole


def test_an_adapter_from_nowhere_is_not_known_whole(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", f"sft.start={tmp_path / 'lost' / 'adapter'}")
    spent = spent_on(run / "checkpoints" / "stage1")
    assert (spent.steps, spent.is_whole) == (10, False)
    assert not spent_on(tmp_path / "lost" / "adapter").is_whole
