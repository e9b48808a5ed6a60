"""From what Ray recorded of its tasks to the run's own trace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cogaudio_rl.trace import Span, write_trace

_TASK = "task::"
_WORKERS = ("RolloutWorker", "JudgeWorker", "LearnerWorker")
_HIDDEN = ("__init__",)


def save_timeline(path: Path) -> None:
    """Write every call our workers have answered so far."""
    import ray

    write_trace(path, spans_of(ray.timeline() or []))


def spans_of(events: Iterable[Mapping[str, Any]]) -> list[Span]:
    """Our workers' calls among Ray's events; workers of a class are numbered as they appeared."""
    calls = [
        (event, *event["cat"].removeprefix(_TASK).split(".", 1))
        for event in events
        if event.get("ph") == "X" and event["cat"].startswith(_TASK) and "." in event["cat"]
    ]
    ours = [
        (event, worker, method)
        for event, worker, method in calls
        if worker in _WORKERS and method not in _HIDDEN
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
