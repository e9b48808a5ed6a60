"""Benchmarks: parity and race with TRL, what pipelining gives, what a step costs beside its work.

    python scripts/bench/run.py --out runs/bench [--parts parity race pipeline publish cost driver]
                                [--parts clock --start runs/quickstart]

Every number is taken with everything else on the machine at rest. Both sides of a comparison are
processes that stay up and take turns, so that a drift of the machine hits both. ``bench.json`` is
written after each part, so an interrupted run keeps what it has.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from clock import clock
from ours import check_trained, engine, fresh_adapter, seconds_per_step
from parity import compare
from rich.console import Console
from rich.table import Table
from world import (
    COMPLETION_TOKENS,
    GROUP_SIZE,
    INNER_UPDATES,
    UTTERANCES_PER_STEP,
    make_backbone,
    make_config,
    save_json,
)

from cogaudio_rl.stages.publish import publish

COMPLETIONS = 2 * UTTERANCES_PER_STEP * GROUP_SIZE
LATENCIES = (0.0, 0.5, 1.0)
QUICKSTART = "builtin:tiny-omni"
"""All but the race is measured at the quickstart's size, on sentences that are read."""
PHASES = ("time/generate", "time/judge", "time/update", "time/publish")
PARTS = ("parity", "race", "pipeline", "publish", "cost", "driver", "clock")
_REST_S = 2.0
"""Between two sides' turns: OpenMP's threads spin for a while after their work."""


class TrlArm:
    """TRL's trainer in a process of its own, which waits for orders."""

    def __init__(self, world: Path, threads: int) -> None:
        log = (world / "trl.log").open("w")
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("trl_arm.py")), str(world), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"},
        )
        self.version = self._answer()["trl"]

    def seconds_per_step(self, steps: int, judge_s: float) -> float:
        """Of whole steps: generation, reward, updates."""
        assert self._process.stdin is not None
        print(
            json.dumps({"steps": steps, "judge_s": judge_s}), file=self._process.stdin, flush=True
        )
        return self._answer()["wall"][-1] / steps

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("@"):
                return json.loads(line[1:])
        raise SystemExit("TRL's process ended; its output is in trl.log")


def main() -> int:
    options = argparse.ArgumentParser(description="Benchmarks; writes bench.json.")
    options.add_argument("--out", type=Path, default=Path("runs/bench"))
    options.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument(
        "--start", type=Path, default=Path("runs/quickstart"), help="a finished run, for clock"
    )
    options.add_argument("--trl-threads", type=int, default=os.cpu_count() or 1)
    asked = options.parse_args()
    out: Path = asked.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    make_backbone(out / "backbone")
    path = out / "bench.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    found["machine"] = machine()
    run: dict[str, Callable[[], dict[str, Any]]] = {
        "parity": lambda: parity(out, asked.trl_threads),
        "race": lambda: race(out, asked.repeats, asked.trl_threads),
        "pipeline": lambda: pipeline(out, asked.repeats),
        "publish": lambda: publishing(out, asked.repeats),
        "cost": lambda: cost(out, asked.repeats),
        "driver": lambda: driver(out),
        "clock": lambda: clock(asked.start, out),
    }
    for part in asked.parts:
        print(f"▶ {part}", flush=True)
        started = time.monotonic()
        found |= run[part]()
        save_json(path, found)
        print(f"  {part}: {time.monotonic() - started:.0f} s", flush=True)
    show(found)
    return 0


def machine() -> dict[str, Any]:
    return {
        "cpus": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_before": os.getloadavg()[0],
    }


def parity(out: Path, threads: int) -> dict[str, Any]:
    """TRL's loss and gradient beside ours on TRL's own rollouts."""
    TrlArm(out, threads).close()
    return {"trl_parity": compare(out, make_config(str(out / "backbone")))}


def race(out: Path, repeats: int, threads: int) -> dict[str, Any]:
    """Samples a second, in turns; the judge takes 0, half and all of TRL's own compute time."""
    config = make_config(str(out / "backbone"))
    trl = TrlArm(out, threads)
    rows: dict[str, dict[str, Any]] = {}
    with engine(config, out) as ours:
        ours.begin(fresh_adapter(config))
        ours.steps(3, max_staleness=1)
        trl.seconds_per_step(1, 0.0)
        compute_s = statistics.median(trl.seconds_per_step(1, 0.0) for _ in range(3))
        for share in LATENCIES:
            judge_s = share * compute_s
            pairs: list[tuple[float, float]] = []
            profiles: list[dict[str, float]] = []
            for _ in range(repeats):
                time.sleep(_REST_S)
                theirs = trl.seconds_per_step(1, judge_s)
                time.sleep(_REST_S)
                steps = ours.steps(5, judge_s=judge_s, max_staleness=1)
                check_trained(steps, INNER_UPDATES)
                pairs.append((COMPLETIONS / seconds_per_step(steps, skip=2), COMPLETIONS / theirs))
                profiles.append(profile(steps[2:]))
            rows[named(share)] = {
                "ours": statistics.median(a for a, _ in pairs),
                "trl": statistics.median(b for _, b in pairs),
                "ratio": statistics.median(a / b for a, b in pairs),
                "pairs": pairs,
                "judge_s": judge_s,
                "profile": mean_of(profiles),
            }
            print(f"  judge {share:g}: {rows[named(share)]['ratio']:.2f} x TRL", flush=True)
    trl.close()
    return {"race": rows, "race_setup": race_setup(config, trl, threads, compute_s)}


def named(share: float) -> str:
    """0, 0.5, 1.0"""
    return str(share) if share else "0"


def race_setup(config: Any, trl: TrlArm, threads: int, compute_s: float) -> dict[str, Any]:
    cluster = config.cluster
    return {
        "trl": trl.version,
        "trl_threads": threads,
        "our_threads": {
            "rollout": cluster.threads_per_rollout,
            "learners": cluster.learner_workers * cluster.threads_per_learner,
        },
        "trl_compute_s": compute_s,
        "completions_per_step": COMPLETIONS,
        "completion_tokens": COMPLETION_TOKENS,
        "our_max_staleness": 1,
        "generation": {"trl": "transformers' generate", "ours": "vLLM"},
    }


def profile(steps: list[dict[str, float]]) -> dict[str, float]:
    """Mean seconds in each phase; the phases of a pipelined step overlap."""
    return {k: statistics.fmean(s.get(k, 0.0) for s in steps) for k in PHASES}


def mean_of(rows: list[dict[str, float]]) -> dict[str, float]:
    return {k: round(statistics.fmean(r[k] for r in rows), 3) for k in rows[0]}


def pipeline(out: Path, repeats: int) -> dict[str, Any]:
    """A judge as slow as the rest of a step: what overlapping makes of it, and what it may cost."""
    config = make_config(QUICKSTART)
    bounds, speedups, overheads = list[float](), list[float](), list[float]()
    with engine(config, out) as ours:
        ours.begin(fresh_adapter(config))
        ours.steps(3)
        for _ in range(repeats):
            alone = ours.steps(5)
            compute = seconds_per_step(alone, skip=1)
            overheads += [overhead(b, a) for a, b in itertools.pairwise(alone)]
            judged = seconds_per_step(ours.steps(5, judge_s=compute), skip=1)
            ahead = seconds_per_step(ours.steps(9, judge_s=compute, max_staleness=1), skip=2)
            bounds.append(ahead / compute)
            speedups.append(judged / ahead)
    return {
        "pipeline": {
            "step_over_bound": statistics.median(bounds),
            "speedup": statistics.median(speedups),
            "all": {"step_over_bound": bounds, "speedup": speedups},
        },
        "step": {"overhead_share": statistics.median(overheads), "all": overheads},
    }


def overhead(step: dict[str, float], before: dict[str, float]) -> float:
    """The share of a synchronous step that is none of its four phases."""
    whole = step["wall"] - before["wall"]
    return (whole - sum(step[p] for p in PHASES)) / whole


def publishing(out: Path, repeats: int) -> dict[str, Any]:
    """The quickstart's own model: what a publish takes, without and with its canary."""
    config = make_config(QUICKSTART)
    rows: list[dict[str, float]] = []
    size = 0
    with engine(config, out) as ours:
        ours.begin(fresh_adapter(config))
        for _ in range(4 * repeats + 1):
            done = ours.run(publish(ours.ports, ours.canaries, tolerance=1e-3))
            size = done.bytes
            rows.append({"ms": 1e3 * done.seconds, "canary_ms": 1e3 * done.canary_seconds})
    whole = sum(p.stat().st_size for p in _weights_of(QUICKSTART))
    return {
        "publish": {
            "ms": statistics.median(r["ms"] for r in rows[1:]),
            "canary_ms": statistics.median(r["canary_ms"] for r in rows[1:]),
            "bytes": size,
            "model_bytes": whole,
        }
    }


def _weights_of(path: str) -> list[Path]:
    from cogaudio_rl.models.architecture import resolve_checkpoint

    return list(resolve_checkpoint(path).glob("*.safetensors"))


def cost(out: Path, repeats: int) -> dict[str, Any]:
    """Step time against group size, and against the number of rollout workers."""
    by_group: dict[int, list[float]] = {g: [] for g in (2, 4, 8, 16)}
    config = make_config(QUICKSTART)
    with engine(config, out) as ours:
        ours.begin(fresh_adapter(config))
        ours.steps(2)
        for _ in range(repeats):
            for size, times in by_group.items():
                times.append(seconds_per_step(ours.steps(3, group_size=size), skip=1))
    medians = {g: statistics.median(t) for g, t in by_group.items()}
    by_workers: dict[int, float] = {}
    for workers in (1, 2, 4):
        more = make_config(
            QUICKSTART,
            cluster={"rollout_workers": workers, "cpus_per_rollout": 0.5, "threads_per_rollout": 1},
        )
        with engine(more, out) as ours:
            ours.begin(fresh_adapter(more))
            ours.steps(2)
            by_workers[workers] = statistics.median(
                seconds_per_step(ours.steps(3), skip=1) for _ in range(repeats)
            )
    return {
        "cost": {
            "group_size_exponent": exponent(medians),
            "seconds_by_group_size": medians,
            "seconds_by_rollout_workers": by_workers,
        }
    }


def exponent(seconds: dict[int, float]) -> float:
    """Least squares of log seconds against log size: 1 where time is proportional to work."""
    xs, ys = [math.log(g) for g in seconds], [math.log(s) for s in seconds.values()]
    return statistics.linear_regression(xs, ys).slope


def driver(out: Path) -> dict[str, Any]:
    """The driver's memory over 200 steps."""
    config = make_config(
        QUICKSTART, model={"max_new_tokens_explicit": 8, "max_new_tokens_direct": 8}
    )
    process, sizes = psutil.Process(), list[int]()
    with engine(config, out) as ours:
        ours.begin(fresh_adapter(config))
        for _ in range(10):
            ours.steps(20, utterances_per_step=1, group_size=2)
            sizes.append(process.memory_info().rss)
    return {
        "driver": {
            "rss_growth": sizes[-1] / sizes[0] - 1,
            "rss_mib_every_20_steps": [round(s / 2**20, 1) for s in sizes],
        }
    }


def show(found: dict[str, Any]) -> None:
    """The figures with what is wanted of each."""
    table = Table("figure", "measured", "wanted", title="bench.json")
    wanted = {
        ("trl_parity", "loss_max_abs_diff"): "≤ 1e-5",
        ("trl_parity", "grad_max_abs_diff"): "≤ 1e-5",
        ("race", "0", "ratio"): "≥ 1.1",
        ("race", "0.5", "ratio"): "≥ 1.3",
        ("race", "1.0", "ratio"): "≥ 1.7",
        ("pipeline", "step_over_bound"): "≤ 1.15",
        ("pipeline", "speedup"): "",
        ("step", "overhead_share"): "≤ 0.05",
        ("publish", "ms"): "≤ 100",
        ("publish", "bytes"): "the adapter's",
        ("cost", "group_size_exponent"): "",
        ("driver", "rss_growth"): "flat",
        ("clock", "difference"): "≥ 0",
    }
    for path, want in wanted.items():
        value: Any = found
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            table.add_row(".".join(path), f"{value:.4g}", want)
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
