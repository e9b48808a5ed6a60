"""From what Ray recorded of its tasks to the run's own trace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cogaudio_rl.trace import Span, write_trace

_TASK = "task::"
_WORKERS = ("RolloutWorker", "JudgeWorker", "LearnerWorker")
_HIDDEN = ("__init__",)


def save_timeline(path: Path, *, since_s: float) -> None:
    """Write the calls our workers have answered since a moment (seconds since the epoch).

    Ray keeps a bounded number of events: of a very long run only the last part is left.
    """
    import ray

    write_trace(path, spans_of(ray.timeline() or [], since_s=since_s))


def spans_of(events: Iterable[Mapping[str, Any]], *, since_s: float = 0.0) -> list[Span]:
    """Our workers' calls among Ray's events; workers of a class are numbered as they appeared.

    A standing cluster remembers the workers of earlier runs: what lies before ``since_s`` is theirs.
    """
    calls = [
        (event, *event["cat"].removeprefix(_TASK).split(".", 1))
        for event in events
        if event.get("ph") == "X" and event["cat"].startswith(_TASK) and "." in event["cat"]
    ]
    ours = [
        (event, worker, method)
        for event, worker, method in calls
        if worker in _WORKERS and method not in _HIDDEN and event["ts"] >= since_s * 1e6
    ]
    ours.sort(key=lambda call: call[0]["ts"])
    numbers: dict[tuple[str, str], str] = {}
    for event, worker, _ in ours:
        count = sum(known[0] == worker for known in numbers)
        numbers.setdefault(
            (worker, f"{event['pid']}/{event['tid']}"),
            f"{worker.removesuffix('Worker').lower()} {count}",
        )
    return [
        Span(
            track=numbers[worker, f"{event['pid']}/{event['tid']}"],
            name=method,
            start_s=event["ts"] / 1e6,
            seconds=event["dur"] / 1e6,
        )
        for event, worker, method in ours
    ]
