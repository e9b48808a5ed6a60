"""Ray's events become a trace; the trace says who was busy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clusters.timeline import spans_of
from cogaudio_rl.errors import DataError
from cogaudio_rl.eval.charts import timeline_chart
from cogaudio_rl.trace import Span, busy, excerpt, read_trace, write_trace


def event(worker: str, method: str, tid: str, start_s: float, seconds: float) -> dict[str, Any]:
    """As ray.timeline gives it."""
    return {
        "cat": f"task::{worker}.{method}",
        "name": method,
        "pid": "127.0.0.1",
        "tid": f"worker:{tid}",
        "ts": start_s * 1e6,
        "dur": seconds * 1e6,
        "ph": "X",
    }


EVENTS = [
    event("LearnerWorker", "update", "c", 4, 3),
    event("RolloutWorker", "__init__", "a", 0, 1),
    event("RolloutWorker", "stream", "a", 1, 3),
    event("LearnerWorker", "update", "b", 4, 3),
    event("RolloutWorker", "publish", "a", 7, 1),
    event("JudgeWorker", "score", "d", 2, 2),
    event("JudgeWorker", "score", "d", 3, 2),
    event("SomebodyElse", "work", "e", 0, 9),
    {"cat": "task:execute", "name": "x", "pid": "p", "tid": "t", "ts": 0, "dur": 1, "ph": "X"},
]


def test_only_our_workers_calls_each_on_its_own_track() -> None:
    spans = spans_of(EVENTS)
    assert {s.track for s in spans} == {"rollout 0", "judge 0", "learner 0", "learner 1"}
    assert [s.name for s in spans if s.track == "rollout 0"] == ["stream", "publish"]


def test_what_is_written_opens_as_a_chrome_trace_and_is_read_back(tmp_path: Path) -> None:
    spans = spans_of(EVENTS)
    write_trace(tmp_path / "trace.json", spans)
    content = json.loads((tmp_path / "trace.json").read_text())
    complete = [e for e in content["traceEvents"] if e["ph"] == "X"]
    assert len(complete) == len(spans)
    assert min(e["ts"] for e in complete) == 0
    assert {e["name"] for e in content["traceEvents"] if e["ph"] == "M"} == {"thread_name"}
    again = read_trace(tmp_path)
    assert sorted((s.track, s.name, s.seconds) for s in again) == (
        sorted((s.track, s.name, s.seconds) for s in spans)
    )


def test_busy_shares_by_hand() -> None:
    found = busy(spans_of(EVENTS))  # from 1 s to 8 s
    assert found["rollout 0"].share == pytest.approx(4 / 7)
    assert found["learner 1"].share == pytest.approx(3 / 7)
    assert found["judge 0"].share == pytest.approx(3 / 7), "overlapping calls count once"
    assert found["judge 0"].seconds == {"score": pytest.approx(4)}


def test_an_excerpt_is_a_few_updates_from_the_middle() -> None:
    spans = [
        Span(track="learner 0", name="update", start_s=10.0 * i, seconds=4) for i in range(20)
    ] + [Span(track="rollout 0", name="stream", start_s=10.0 * i + 4, seconds=6) for i in range(20)]
    shown = excerpt(spans, updates=3)
    assert 3 <= sum(s.name == "update" for s in shown) <= 4
    assert all(80 < s.start_s < 130 for s in shown)
    chart = timeline_chart(spans)
    assert chart is not None
    assert "rollout 0" in chart.svg
    assert timeline_chart([]) is None


def test_a_run_without_a_trace_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"trace\.json' does not exist"):
        read_trace(tmp_path)
    (tmp_path / "trace.json").write_text("[]")
    with pytest.raises(DataError, match="is not a trace this program wrote"):
        read_trace(tmp_path)
