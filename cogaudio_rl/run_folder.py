"""The folder of one run: what is where, what is already done, and how to go on.

config.yaml        the resolved config
state.json         stages that are finished
metrics.jsonl      one line per step; tb/ holds the same for TensorBoard
data/              the corpus, where the recipe makes one
checkpoints/       stage1, stage2, stage3, each a PEFT adapter; rl/step-N, stage III on its way
ledger.jsonl       which prompts each RL step trained on
rollouts/          what was said and how it was scored, step by step, as JSON lines
judge_cache/       an LLM judge's verdicts, a file for each; a resumed run asks none of them again
canaries.json      what the judge gave replies that none may like, before stage III began
eval/              one JSON file per evaluated model
report.html, report.json
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cogaudio_rl.config import Config, dump_config
from cogaudio_rl.errors import ConfigError, DataError
from cogaudio_rl.rl_checkpoints import RlCheckpoints

LEDGER = "ledger.jsonl"
JUDGE_CACHE = "judge_cache"
CANARIES = "canaries.json"


class RunFolder:
    """Opened once by the driver; every write is whole or not there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, config: Config, *, resume: bool, overwrite: bool) -> RunFolder:
        """Make the folder, or go on in it.

        Raises DataError when it is there and neither ``resume`` nor ``overwrite`` was asked for,
        ConfigError when a resumed run's config differs from the one it began with.
        """
        folder = cls(config.out_dir)
        there = folder.path.exists() and any(folder.path.iterdir())
        if there and overwrite:
            if not (folder.path / "config.yaml").is_file():
                raise DataError(
                    f"{str(folder.path)!r} is not a run folder; refusing to overwrite it"
                )
            shutil.rmtree(folder.path)
        elif there and not resume:
            raise DataError(
                f"run folder {str(folder.path)!r} is already there; "
                "go on with --resume or start anew with --overwrite"
            )
        text = dump_config(config)
        written = folder.path / "config.yaml"
        if written.is_file() and written.read_text("utf-8") != text:
            raise ConfigError(
                f"{str(written)!r} differs from this recipe; resume with the recipe it began with, "
                "or start anew with --overwrite"
            )
        folder.path.mkdir(parents=True, exist_ok=True)
        write_whole(written, text)
        return folder

    def checkpoint(self, model: str) -> Path:
        """Where the finished adapter of a stage lies."""
        return self.path / "checkpoints" / model

    def rl_checkpoints(self, *, keep: int) -> RlCheckpoints:
        """Where RL's states after some of its steps lie."""
        return RlCheckpoints(self.path / "checkpoints" / "rl", keep=keep)

    def rollouts(self, stage: str, step: int) -> Path:
        """The file of an RL step's rollouts."""
        folder = "rollouts" if stage == "stage3" else stage
        return self.path / folder / f"step-{step:05d}.jsonl"

    # -- what is done ---------------------------------------------------------------------------

    @property
    def state(self) -> dict[str, Any]:
        path = self.path / "state.json"
        return json.loads(path.read_text("utf-8")) if path.is_file() else {"done": []}

    def update_state(self, **changes: Any) -> None:
        """Merge changes into state.json."""
        write_whole(self.path / "state.json", json.dumps(self.state | changes, indent=2))

    def is_done(self, stage: str) -> bool:
        return stage in self.state["done"]

    def note_start(self, stage: str, adapter: Path | None) -> None:
        """Note which adapter a stage begins with, where that is not the one before it in this run."""
        if adapter is not None:
            starts = dict(self.state.get("starts", {})) | {stage: str(adapter.absolute())}
            self.update_state(starts=starts)

    def mark_done(self, stage: str, seconds: float) -> None:
        state = self.state
        seconds_by_stage = dict(state.get("seconds", {})) | {stage: round(seconds, 1)}
        self.update_state(done=[*state["done"], stage], seconds=seconds_by_stage)

    # -- the ledger -----------------------------------------------------------------------------

    def trained(self, step: int, prompt_ids: Sequence[str]) -> None:
        """Note which prompts a step trained on."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / LEDGER).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "prompts": list(prompt_ids)}) + "\n")

    def ledger(self) -> list[dict[str, Any]]:
        """``{"step": …, "prompts": […]}`` for each step that trained, in order."""
        return read_lines(self.path / LEDGER)

    def forget_trained_after(self, step: int) -> None:
        """Forget steps whose updates are not in the checkpoint a run goes on from."""
        kept = [line for line in self.ledger() if line["step"] <= step]
        write_whole(self.path / LEDGER, "".join(json.dumps(line) + "\n" for line in kept))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Every whole line of a JSON lines file in order; [] when there is none."""
    if not path.is_file():
        return []
    lines: list[dict[str, Any]] = []
    # Not splitlines(): text may hold what Unicode takes for the end of a line, and JSON does not.
    for text in path.read_text("utf-8").split("\n"):
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break  # the empty end, or cut short by a kill; only the last line can be
    return lines


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the new one, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
