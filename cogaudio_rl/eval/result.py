"""What evaluating one model leaves behind: every answer, per utterance, and the estimates."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cogaudio_rl.eval.metrics import Estimate, mean_estimate
from cogaudio_rl.run_folder import write_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model said to one utterance through one route at one temperature."""

    text: str
    """As generated, tags and all."""
    reply: str
    """What the user would hear: see :func:`reply_of`."""
    emotion: str | None
    """The emotion of a well-formed chain; None when it does not parse or the route is direct."""
    failure: str | None
    """Why the text does not parse, None when it does."""
    empathy: float | None
    """1–4 by the rubric; None where the scorer had no verdict."""
    reply_emotion: str | None
    """The emotion the scorer hears in the reply; None where it names none."""
    tokens: int
    """How many were generated; 0 where nobody says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One utterance and every answer to it. ``answers`` by ``explicit``, ``direct``, ``…_t1``."""

    utterance_id: str
    text_id: str
    transcript: str
    emotion: str
    intensity: str
    speaker: str
    language: str
    audio_path: str
    lexical: str | None
    """The emotion that the *words* name, where that is known; see :class:`Suite`."""
    chosen: str
    """Emotion by constrained choice."""
    chosen_silenced: str
    """The same when the sound is replaced by silence of one fixed length."""
    chosen_read: str
    """The same when the words are read in the place of the sound."""
    chosen_mismatched: str | None
    """The same when a recording of other words stands in the place of its own; None without sound."""
    answers: Mapping[str, Answer]
    again: str
    """Another direct reply to the same sound, drawn as ``direct_t1`` was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One greedy answer that nothing else was generated beside."""

    route: str
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteRow:
    """One utterance, what a model said of it, and what it takes listeners to have heard."""

    utterance_id: str
    speaker: str
    text: str
    """As generated, tags and all."""
    failure: str | None
    """Why it does not parse; None when it does."""
    tokens: int
    votes: tuple[float, ...]
    predicted: tuple[float, ...]


Swap = tuple[tuple[tuple[float | None, ...], ...], ...]
"""[family, emotion e, emotion r]: how well the reply made for r suits e, on the rubric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelResult:
    """All rows of one model, and the estimates made from them (keys as in ``report.json``)."""

    labels: tuple[str, ...]
    rows: tuple[Row, ...]
    estimates: Mapping[str, Estimate]
    bootstrap_samples: int
    timings: tuple[Timing, ...] = ()
    swap: Swap = ()
    votes: tuple[VoteRow, ...] = ()
    """In the place of ``rows`` where it is asked how listeners' votes are shared."""

    def measured(self, metric: str) -> Estimate | None:
        """The estimate; None where it rests on nothing or nobody made it."""
        estimate = self.estimates.get(metric)
        return estimate if estimate is not None and estimate.n else None


def save_result(result: ModelResult, path: Path) -> None:
    """Write the result as JSON; :func:`load_result` gives the same result."""
    raw = asdict(result)
    for estimate in raw["estimates"].values():
        if estimate["n"] == 0:  # JSON has no NaN
            estimate |= {"value": None, "lo": None, "hi": None}
    write_whole(path, json.dumps(raw, ensure_ascii=False, allow_nan=False))


def load_result(path: Path) -> ModelResult:
    """Read what :func:`save_result` wrote."""
    raw: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return ModelResult(
        labels=tuple(raw["labels"]),
        rows=tuple(
            Row(**row | {"answers": {k: Answer(**a) for k, a in row["answers"].items()}})
            for row in raw["rows"]
        ),
        estimates={
            name: Estimate(**e) if e["n"] else mean_estimate([], samples=0, seed=0)
            for name, e in raw["estimates"].items()
        },
        bootstrap_samples=raw["bootstrap_samples"],
        timings=tuple(Timing(**timing) for timing in raw["timings"]),
        swap=tuple(tuple(map(tuple, family)) for family in raw["swap"]),
        votes=tuple(
            VoteRow(**row | {key: tuple(row[key]) for key in ("votes", "predicted")})
            for row in raw.get("votes", ())
        ),
    )


def save_timings(timings: Sequence[Timing], path: Path) -> None:
    """Times beside the answers that are kept: who answers from memory takes none."""
    write_whole(path, json.dumps([asdict(timing) for timing in timings]))


def load_timings(path: Path) -> tuple[Timing, ...]:
    """What :func:`save_timings` wrote; () where there is nothing."""
    if not path.is_file():
        return ()
    return tuple(Timing(**timing) for timing in json.loads(path.read_text("utf-8")))
