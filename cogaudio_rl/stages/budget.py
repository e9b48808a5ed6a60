"""What a system cost: every stage behind its adapter, as its runs' folders have kept it.

checkpoints/stage3 ─► the stages before it, in this run or in the one it went on from ─► sums
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cogaudio_rl.config import Config, load_config
from cogaudio_rl.eval.comparison import Spent
from cogaudio_rl.metrics import read_metrics
from cogaudio_rl.run_folder import RunFolder
from cogaudio_rl.stages.pipeline import SFT_STAGES

RL = "stage3"

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True)
class _Stage:
    run: Path
    name: str


def spent_on(adapter: Path | None) -> Spent:
    """All that was trained until this adapter (None: the base, on which nothing was).

    What a run did not keep (tokens, before they were counted) is None, and so is its sum; of an adapter
    that lies in no run's folder, or that came from one, not all is known and ``is_whole`` is False.
    """
    if adapter is None:
        return Spent(stages=(), steps=0, utterances=0, rollouts=0, tokens=0, seconds=0.0)
    stages, is_whole = _behind(adapter)
    found = [_spent(stage) for stage in stages]
    return Spent(
        stages=tuple(stage.name for stage in stages),
        steps=sum(one.steps for one in found),
        utterances=sum(one.utterances for one in found),
        rollouts=sum(one.rollouts for one in found),
        tokens=_sum([one.tokens for one in found]),
        seconds=_sum([one.seconds for one in found]),
        is_whole=is_whole,
    )


def _behind(adapter: Path) -> tuple[list[_Stage], bool]:
    """The stages that made it, first to last, and whether those are all."""
    stages: list[_Stage] = []
    at: Path | None = adapter.absolute()
    while at is not None:
        run, stage = at.parents[1], at.name
        known = (run / "config.yaml").is_file() and (stage == RL or stage in SFT_STAGES)
        if not known or _Stage(run, stage) in stages:
            return stages[::-1], False
        stages.append(_Stage(run, stage))
        at = _start_of(run, stage)
    return stages[::-1], True


def _start_of(run: Path, stage: str) -> Path | None:
    """The adapter that a stage began with; None: a fresh one."""
    noted = RunFolder(run).state.get("starts", {}).get(stage)
    if noted is not None:
        return Path(noted)
    config = load_config(str(run / "config.yaml"))
    before = config.rl.start if stage == RL else SFT_STAGES[stage][1]
    if before is None or getattr(config.sft, before) is None:  # the recipe may leave it out
        return None if config.sft.start is None else config.sft.start.absolute()
    here = run / "checkpoints" / before
    # A variant goes on from a stage of the run that it belongs to.
    beside = run.parents[1] / "checkpoints" / before
    return here if here.is_dir() or not beside.is_dir() else beside


def _spent(stage: _Stage) -> Spent:
    config = load_config(str(stage.run / "config.yaml"))
    lines = [line for line in read_metrics(stage.run) if line["stage"] == stage.name]
    seconds = RunFolder(stage.run).state.get("seconds", {}).get(stage.name)
    return Spent(
        stages=(stage.name,),
        steps=len(lines),
        utterances=len(lines) * _utterances_a_step(config, stage.name),
        rollouts=round(sum(_known(line, "rollout/count") for line in lines)),
        tokens=_tokens(lines, "rollout/tokens" if stage.name == RL else "sft/tokens"),
        seconds=seconds,
    )


def _utterances_a_step(config: Config, stage: str) -> int:
    if stage == RL:
        return config.rl.utterances_per_step
    return getattr(config.sft, stage).batch_size


def _tokens(lines: list[dict[str, Any]], key: str) -> int | None:
    if not lines or any(line.get(key) is None for line in lines):
        return None
    return round(sum(line[key] for line in lines))


def _known(line: dict[str, Any], key: str) -> float:
    return line.get(key) or 0.0


def _sum(numbers: list[Number | None]) -> Number | None:
    """None where one of them is not known."""
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) else None  # pyright: ignore[reportReturnType]
