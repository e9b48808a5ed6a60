"""Who did what when: ``trace.json`` of a run, in Chrome's trace format, which Perfetto opens.

One track per worker, one span per call it answered. Ray records them; what is in between is idle.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogaudio_rl.errors import DataError
from cogaudio_rl.run_folder import write_whole

FILE_NAME = "trace.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One call: its worker, its name, when it began (seconds, any origin) and how long it took."""

    track: str
    name: str
    start_s: float
    seconds: float

    @property
    def end_s(self) -> float:
        return self.start_s + self.seconds


def write_trace(path: Path, spans: Iterable[Span]) -> None:
    """Chrome's trace format: complete events in microseconds, one thread per track."""
    spans = sorted(spans, key=lambda s: (s.start_s, s.track))
    numbers = {track: i for i, track in enumerate(sorted({s.track for s in spans}))}
    events: list[dict[str, Any]] = [
        {"ph": "M", "pid": 0, "tid": number, "name": "thread_name", "args": {"name": track}}
        for track, number in numbers.items()
    ]
    origin = spans[0].start_s if spans else 0.0
    events += [
        {
            "ph": "X",
            "pid": 0,
            "tid": numbers[s.track],
            "name": s.name,
            "cat": s.track.split()[0],
            "ts": round((s.start_s - origin) * 1e6, 1),
            "dur": round(s.seconds * 1e6, 1),
        }
        for s in spans
    ]
    write_whole(path, json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}))


def read_trace(run: Path) -> list[Span]:
    """The spans of a run, in order of time. Raises DataError when the run left none."""
    path = run / FILE_NAME
    if not path.is_file():
        raise DataError(f"{str(path)!r} does not exist; a run on Ray leaves it when it ends")
    try:
        events: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["traceEvents"]
        names = {e["tid"]: e["args"]["name"] for e in events if e["ph"] == "M"}
        return [
            Span(
                track=names[e["tid"]], name=e["name"], start_s=e["ts"] / 1e6, seconds=e["dur"] / 1e6
            )
            for e in events
            if e["ph"] == "X"
        ]
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{str(path)!r} is not a trace this program wrote") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """What one worker did: its share of the time in which any worker lived, and seconds by call."""

    share: float
    seconds: Mapping[str, float]


def busy(spans: Sequence[Span]) -> dict[str, Busy]:
    """By track. Calls that overlap (an async judge's) count once in the share."""
    if not spans:
        return {}
    begin, end = min(s.start_s for s in spans), max(s.end_s for s in spans)
    found: dict[str, Busy] = {}
    for track in sorted({s.track for s in spans}):
        own = sorted((s for s in spans if s.track == track), key=lambda s: s.start_s)
        covered, until = 0.0, begin
        seconds: dict[str, float] = {}
        for span in own:
            covered += max(0.0, span.end_s - max(until, span.start_s))
            until = max(until, span.end_s)
            seconds[span.name] = seconds.get(span.name, 0.0) + span.seconds
        found[track] = Busy(share=covered / max(end - begin, 1e-9), seconds=seconds)
    return found


def excerpt(spans: Sequence[Span], *, updates: int = 3) -> list[Span]:
    """The spans around a few of the learners' updates in the midst of training; [] without any."""
    begins = sorted({s.start_s for s in spans if s.name == "update"})
    tracks = {s.track for s in spans if s.name == "update"}
    if not begins or not tracks:
        return []
    steps = begins[:: len(tracks)]
    middle = max(0, len(steps) // 2 - updates // 2)
    window = steps[middle : middle + updates + 1]
    first, last = window[0], window[-1]
    if len(window) <= updates:
        last = max(s.end_s for s in spans if s.name == "update")
    margin = 0.4 * (last - first) / max(1, updates)
    return [s for s in spans if s.end_s > first - margin and s.start_s < last]
