"""The folder of one run: what is where, what is already done, and how to go on.

config.yaml        the resolved config
state.json         stages that are finished, and the last RL checkpoint
metrics.jsonl      one line per step; tb/ holds the same for TensorBoard
data/              the corpus, where the recipe makes one
checkpoints/       stage1, stage2, stage3/step-N, each a PEFT adapter
rollouts/          sampled rollouts with their scores, as JSON lines
eval/              one JSON file per evaluated model
report.html, report.json
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cogaudio_rl.config import Config, dump_config
from cogaudio_rl.errors import ConfigError, DataError
from cogaudio_rl.types import Group, Score, Unscored


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

    def rl_checkpoint(self, step: int) -> Path:
        """Where RL's state after a step lies."""
        return self.path / "checkpoints" / "rl" / f"step-{step:05d}"

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

    def mark_done(self, stage: str, seconds: float) -> None:
        state = self.state
        seconds_by_stage = dict(state.get("seconds", {})) | {stage: round(seconds, 1)}
        self.update_state(done=[*state["done"], stage], seconds=seconds_by_stage)

    def saved_rl(self, step: int, stream_state: Mapping[str, Any], keep: int) -> None:
        """Record an RL checkpoint as the one to resume from, then drop the oldest."""
        self.update_state(rl={"step": step, "stream": dict(stream_state)})
        folders = sorted((self.path / "checkpoints" / "rl").glob("step-*"))
        for old in folders[:-keep]:
            shutil.rmtree(old)

    # -- rollouts -------------------------------------------------------------------------------

    def write_rollouts(
        self, name: str, groups: Sequence[Group], scores: Sequence[Sequence[Score | Unscored]]
    ) -> None:
        """Every rollout of a step with its score, one JSON object per line."""
        lines = []
        for group, row in zip(groups, scores, strict=True):
            for rollout, score in zip(group.rollouts, row, strict=True):
                verdict: dict[str, Any] = (
                    {"reward": score.reward, "terms": dict(score.terms)}
                    if isinstance(score, Score)
                    else {"unscored": score.reason}
                )
                lines.append(
                    json.dumps(
                        {
                            "prompt": group.prompt.id,
                            "transcript": group.prompt.utterance.transcript,
                            "emotion": group.prompt.utterance.emotion,
                            "policy_version": rollout.policy_version,
                            "stop": rollout.stop,
                            "text": rollout.text,
                        }
                        | verdict,
                        ensure_ascii=False,
                    )
                )
        write_whole(self.path / "rollouts" / f"{name}.jsonl", "\n".join(lines) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the new one, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
