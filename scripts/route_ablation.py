"""What each way of sharing out the two routes does, from one stage II adapter, on the quickstart.

    python scripts/route_ablation.py --start runs/quickstart --out runs/routes

As many steps in every arm; ``adaptive`` leaves out prompts of the route that is ahead, and so trains on
fewer rollouts. Prints a table in Markdown and writes ``routes.json``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from cogaudio_rl.metrics import read_metrics

COMMAND = str(Path(sys.executable).with_name("cogaudio-rl"))
ARMS: dict[str, tuple[str, ...]] = {
    "both": (),
    "alternate": ("rl.route_mix=alternate", "rl.utterances_per_step=24"),
    "adaptive": ("rl.route_mix=adaptive",),
    "direct weighs double": ("rl.route_scale={explicit: 1.0, direct: 2.0}",),
}
WANTED = ("emotion_accuracy", "empathy_direct", "empathy_explicit")


def main() -> int:
    options = argparse.ArgumentParser(description="Route control, arm by arm.")
    options.add_argument("--start", type=Path, default=Path("runs/quickstart"))
    options.add_argument("--out", type=Path, default=Path("runs/routes"))
    asked = options.parse_args()
    found: dict[str, Any] = {}
    for arm, overrides in ARMS.items():
        folder = asked.out / arm.replace(" ", "-")
        common = (f"out_dir={folder}", f"data.root={asked.start / 'data'}", *overrides)
        start = str(asked.start / "checkpoints" / "stage2")
        if not (folder / "checkpoints" / "stage3").is_dir():
            subprocess.run([COMMAND, "rl", "--from", start, *common], check=True)
        report = folder / "eval-stage3" / "report.json"
        if not report.is_file():
            trained = str(folder / "checkpoints" / "stage3")
            subprocess.run([COMMAND, "eval", "-c", trained, *common], check=True)
        found[arm] = figures(folder, report)
        (asked.out / "routes.json").write_text(json.dumps(found, indent=2), "utf-8")
    print(table(found))
    return 0


def figures(folder: Path, report: Path) -> dict[str, Any]:
    """What was measured, and how the prompts were shared out and what they earned on the way."""
    (model,) = json.loads(report.read_text("utf-8"))["models"].values()
    steps = [line for line in read_metrics(folder) if line["stage"] == "stage3"]
    shares = [step["rollout/explicit_share"] for step in steps]
    last = steps[-5:]
    return {name: model[name] for name in WANTED} | {
        "explicit_share": sum(shares) / len(shares),
        "rollouts": sum(step["rollout/count"] for step in steps),
        "reward_direct": sum(s["reward/direct/mean"] for s in last) / len(last),
        "reward_explicit": sum(s["reward/explicit/mean"] for s in last) / len(last),
    }


def table(found: dict[str, Any]) -> str:
    rows = [
        "| routes | rollouts | through A | emotion | empathy, direct | empathy, explicit |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for arm, one in found.items():
        cells = [f"{one[name]:.2f}" for name in WANTED]
        share = f"{one['rollouts']:.0f} | {one['explicit_share']:.0%}"
        rows.append(f"| {arm} | {share} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
