"""Fault drill: kill a worker or the driver at a random moment, and look whether anything was lost.

    python scripts/drill.py --kills 5 --out drill

A short synchronous stage III on Ray runs once undisturbed; then once for each kill (SIGKILL) of a
rollout worker, a judge worker, a learner and the driver. A run whose driver was killed is resumed.
Every run must end; its ledger must hold each prompt of the undisturbed one exactly once, and its
curve must be the undisturbed one. ``drill.json`` has one line per kill.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from cogaudio_rl.metrics import read_metrics
from cogaudio_rl.run_folder import RunFolder

COMMAND = str(Path(sys.executable).with_name("cogaudio-rl"))
TARGETS = {
    "rollout": "RolloutWorker",
    "judge": "JudgeWorker",
    "learner": "LearnerWorker",
    "driver": "",
}
NOTICED = {
    "rollout": "a new one takes its place",
    "judge": "a new one takes its place",
    "learner": "going on from the last checkpoint",
}
"""What a run says when it has met the kill; a kill after the last use of a worker is a miss."""
STEPS = 6
SMALL = (
    *("data.train_utterances=280", "data.rl_utterances=70", "data.test_families=2"),
    *("data.chinese_utterances=7", "model.max_new_tokens_explicit=64"),
    "sft.stage1={epochs: 6, batch_size: 16, learning_rate: 3.0e-3, emotion_token_weight: 10}",
    "sft.stage2={epochs: 2, batch_size: 16, learning_rate: 3.0e-3, explicit_share: 0.5}",
    *(f"rl.steps={STEPS}", "rl.utterances_per_step=4", "rl.group_size=4", "rl.save_every=2"),
    *("rl.readiness.prompts=2", "rl.log_rollouts_every=1", "cluster.max_num_seqs=32"),
)
CURVE = ("reward/direct/mean", "reward/explicit/mean", "policy/loss", "policy/kl")
_LIMIT_S = 600.0


def main() -> int:
    options = argparse.ArgumentParser(description="Kill parts of real runs; look what is lost.")
    options.add_argument("--kills", type=int, default=5, help="kills of each target")
    options.add_argument("--seed", type=int, default=0, help="seed of the moments")
    options.add_argument("--out", type=Path, default=Path("drill"), help="folder for the runs")
    options.add_argument("--targets", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    asked = options.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    start = prepare(asked.out)
    calm = asked.out / "undisturbed"
    if not finished(calm):
        print("undisturbed run", flush=True)
        end(run(calm, start))
    found: list[dict[str, Any]] = []
    for target in asked.targets:
        for number in range(asked.kills):
            seed = asked.seed + number
            found.append(kill_once(asked.out, start, calm, target, seed))
            print(json.dumps(found[-1]), flush=True)
            (asked.out / "drill.json").write_text(json.dumps(found, indent=2), "utf-8")
    hits = [k for k in found if k["hit"]]
    bad = [k for k in hits if k["lost"] or k["repeated"] or not k["equal_curve"]]
    print(
        f"{len(hits) - len(bad)} of {len(hits)} kills left no trace; {len(found) - len(hits)} missed"
    )
    return 1 if bad else 0


def prepare(out: Path) -> Path:
    """Stages I and II once; every run begins with their adapter."""
    folder = out / "start"
    if not (folder / "checkpoints" / "stage2").is_dir():
        for stage in ("stage1", "stage2"):
            command = [COMMAND, "sft", "--stage", stage, f"out_dir={folder}", *SMALL]
            subprocess.run([*command, *(["--resume"] if folder.is_dir() else [])], check=True)
    return folder


def run(folder: Path, start: Path, *more: str) -> subprocess.Popen[str]:
    """Stage III in its own process group, from the prepared adapter and over the same corpus."""
    command = [COMMAND, "rl", "--from", str(start / "checkpoints" / "stage2")]
    log = (folder.parent / f"{folder.name}.log").open("a")
    return subprocess.Popen(
        [*command, f"out_dir={folder}", f"data.root={start / 'data'}", *SMALL, *more],
        stdout=log,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def end(process: subprocess.Popen[str]) -> None:
    """Wait until a run is over; it must have ended well."""
    code = process.wait(_LIMIT_S)
    if code != 0:
        raise SystemExit(f"a run ended with {code}; its output is beside its folder")


def finished(folder: Path) -> bool:
    return (folder / "checkpoints" / "stage3").is_dir()


def steps_of(folder: Path) -> list[dict[str, Any]]:
    return [line for line in read_metrics(folder) if line["stage"] == "stage3"]


def kill_once(out: Path, start: Path, calm: Path, target: str, seed: int) -> dict[str, Any]:
    """One run with one kill; what it lost, what it repeated, whether its curve is the calm one."""
    rng = random.Random(f"{target}-{seed}")
    folder = out / f"{target}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    log = folder.with_name(f"{folder.name}.log")
    log.unlink(missing_ok=True)
    step, delay = rng.randint(1, STEPS - 2), rng.uniform(0.0, 2.0)
    process = run(folder, start)
    deadline = time.monotonic() + _LIMIT_S
    while len(steps_of(folder)) < step:
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{folder} did not come to step {step}")
        time.sleep(0.1)
    time.sleep(delay)
    strike(process, target, rng)
    if target == "driver":
        process.wait(30)
        hit = not finished(folder)
        process = run(folder, start, "--resume")
        end(process)
    else:
        end(process)
        hit = NOTICED[target] in " ".join(log.read_text("utf-8").split())
    facts = {"target": target, "seed": seed, "step": step, "delay_s": round(delay, 2)}
    return facts | {"hit": hit} | compare(folder, calm)


def strike(process: subprocess.Popen[str], target: str, rng: random.Random) -> None:
    """SIGKILL the driver, or one of its workers of a kind."""
    if target == "driver":
        os.kill(process.pid, signal.SIGKILL)
        return
    workers = [
        p
        for p in psutil.Process(process.pid).children(recursive=True)
        if TARGETS[target] in command_of(p)
    ]
    if not workers:
        raise SystemExit(f"no {target} worker is running")
    os.kill(rng.choice(workers).pid, signal.SIGKILL)


def command_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # gone between listing and looking
        return ""


def ledger_of(folder: Path) -> list[tuple[int, str]]:
    """(step, prompt) of everything that was trained on."""
    return [(line["step"], p) for line in RunFolder(folder).ledger() for p in line["prompts"]]


def compare(folder: Path, calm: Path) -> dict[str, Any]:
    """Prompts lost and trained twice, and how far the curve lies from the undisturbed one."""
    ours, theirs = ledger_of(folder), ledger_of(calm)
    a, b = steps_of(folder), steps_of(calm)
    gap = max(
        (
            abs((x.get(key) or 0.0) - (y.get(key) or 0.0))
            for x, y in zip(a, b, strict=False)
            for key in CURVE
        ),
        default=0.0,
    )
    same_steps = [x["step"] for x in a] == [y["step"] for y in b] == list(range(1, STEPS + 1))
    return {
        "lost": len(set(theirs) - set(ours)),
        "repeated": len(ours) - len(set(ours)),
        "equal_curve": same_steps and gap < 1e-4,
        "curve_max_abs_diff": gap,
    }


if __name__ == "__main__":
    sys.exit(main())
