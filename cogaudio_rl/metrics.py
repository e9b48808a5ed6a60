"""Where numbers go while a run runs: ``metrics.jsonl`` for us, TensorBoard events for the eye, and
whatever :mod:`cogaudio_rl.sinks` finds switched on.

One JSON object per line: ``{"step": 3, "stage": "stage1", "sft/loss": 1.9}``. No clock is
written by itself, so two runs of one seed differ only where a metric measures time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tensorboardX import SummaryWriter

from cogaudio_rl.run_folder import read_lines, write_whole
from cogaudio_rl.sinks import Sink

FILE_NAME = "metrics.jsonl"


class MetricsLog:
    """Appends to a run folder's ``metrics.jsonl`` and ``tb/<stage>/``; close it or use ``with``."""

    def __init__(self, run_dir: Path, sinks: Sequence[Sink] = ()) -> None:
        self._sinks = tuple(sinks)
        self._path = run_dir / FILE_NAME
        self._tensorboard = run_dir / "tb"
        self._writers: dict[str, SummaryWriter] = {}
        self._purge_from: dict[str, int] = {}
        run_dir.mkdir(parents=True, exist_ok=True)
        # A kill can cut the last line short; what is appended must not continue it.
        if self._path.is_file():
            self._rewrite(read_metrics(run_dir))
        self._file = self._path.open("a", encoding="utf-8")

    def forget_after(self, stage: str, step: int) -> None:
        """Forget what a stage logged beyond ``step``: a resumed stage logs those steps again."""
        self._file.close()
        lines = read_metrics(self._path.parent)
        self._rewrite([at for at in lines if at["stage"] != stage or at["step"] <= step])
        self._file = self._path.open("a", encoding="utf-8")
        if stage in self._writers:
            self._writers.pop(stage).close()
        self._purge_from[stage] = step + 1

    def log(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        """Write one step's metrics; NaN and infinity become null (a gap in the curve)."""
        finite = {k: float(v) if math.isfinite(v) else None for k, v in metrics.items()}
        self._file.write(json.dumps({"step": step, "stage": stage} | finite) + "\n")
        self._file.flush()
        writer = self._writer(stage)
        for key, value in finite.items():
            if value is not None:
                writer.add_scalar(key, value, step)
        known = {key: value for key, value in finite.items() if value is not None}
        for sink in self._sinks:
            sink.log(stage, step, known)

    def close(self) -> None:
        self._file.close()
        for writer in self._writers.values():
            writer.close()
        for sink in self._sinks:
            sink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _writer(self, stage: str) -> SummaryWriter:
        # One writer per stage: purging is per event folder and must not touch other stages.
        if stage not in self._writers:
            self._writers[stage] = SummaryWriter(
                str(self._tensorboard / stage), purge_step=self._purge_from.get(stage)
            )
        return self._writers[stage]

    def _rewrite(self, lines: list[dict[str, Any]]) -> None:
        write_whole(self._path, "".join(json.dumps(line) + "\n" for line in lines))


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """Every whole line of a run's ``metrics.jsonl`` in order; [] when there is none."""
    return read_lines(run_dir / FILE_NAME)
