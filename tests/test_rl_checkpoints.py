"""RL checkpoints: whole or not there, verified, the newest whole one, the last few and the best."""

from __future__ import annotations

from pathlib import Path

import pytest

from cogaudio_rl.rl_checkpoints import RlCheckpoint, RlCheckpoints
from cogaudio_rl.run_folder import RunFolder


def write(kept: RlCheckpoints, step: int, reward: float = 0.0) -> RlCheckpoint:
    draft = kept.draft(step)
    (draft / "adapter_model.safetensors").write_bytes(b"weights of step %d" % step)
    (draft / "optimizer-1-of-1.pt").write_bytes(b"moments")
    return kept.seal(draft, step=step, state={"position": step * 12}, reward=reward)


def steps(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_what_is_sealed_is_read_back(tmp_path: Path) -> None:
    kept = RlCheckpoints(tmp_path, keep=2)
    assert kept.newest() is None
    assert write(kept, 10, 0.5) == kept.newest()
    assert kept.newest() == RlCheckpoint(
        path=tmp_path / "step-00010", step=10, state={"position": 120}, reward=0.5
    )


def test_the_last_few_stay_and_the_best(tmp_path: Path) -> None:
    kept = RlCheckpoints(tmp_path, keep=2)
    for step, reward in ((1, 0.1), (2, 0.9), (3, 0.2), (4, 0.3), (5, 0.4)):
        write(kept, step, reward)
    assert steps(tmp_path) == ["step-00002", "step-00004", "step-00005"]
    best = kept.best()
    assert best is not None
    assert best.step == 2


def test_a_kill_while_writing_leaves_the_one_before(tmp_path: Path) -> None:
    kept = RlCheckpoints(tmp_path, keep=2)
    write(kept, 1)
    (kept.draft(2) / "adapter_model.safetensors").write_bytes(b"half of")
    newest = kept.newest()
    assert newest is not None
    assert newest.step == 1
    assert not list(kept.draft(2).iterdir()), "a new attempt begins with an empty folder"


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("change", "adapter_model.safetensors is not what was written"),
        ("remove", "optimizer-1-of-1.pt is missing"),
        ("seal", "seal.json is not readable"),
        ("unsealed", "seal.json is missing"),
    ],
)
def test_a_damaged_one_is_named_and_the_one_before_taken(
    damage: str, says: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = RlCheckpoints(tmp_path, keep=3)
    write(kept, 1)
    path = write(kept, 2).path
    if damage == "change":
        (path / "adapter_model.safetensors").write_bytes(b"weights of step 9")
    elif damage == "remove":
        (path / "optimizer-1-of-1.pt").unlink()
    elif damage == "seal":
        (path / "seal.json").write_text("{")
    else:
        (path / "seal.json").unlink()
    newest = kept.newest()
    assert newest is not None
    assert newest.step == 1
    assert says in caplog.text
    assert str(path) in caplog.text


def test_the_ledger_forgets_what_no_checkpoint_holds(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert run.ledger() == []
    for step in (1, 2, 3):
        run.trained(step, [f"u{step}/explicit", f"u{step}/direct"])
    run.forget_trained_after(2)
    run.trained(3, ["u7/direct"])
    assert [line["step"] for line in run.ledger()] == [1, 2, 3]
    assert run.ledger()[2]["prompts"] == ["u7/direct"]
    with (tmp_path / "ledger.jsonl").open("a") as file:
        file.write('{"step": 4, "prom')  # a kill in the midst of a line
    assert len(run.ledger()) == 3
