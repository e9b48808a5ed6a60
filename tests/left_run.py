"""A small run's folder as training leaves it: manifest, sounds, rollouts of two steps, reports."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile

EMOTIONS = ("neutral", "happy", "sad", "angry", "fear", "disgust", "surprise")
REPORT = "<!doctype html><style>p{color:rgb(1, 2, 3)}</style><p>What the run did.</p>"


def write_run(folder: Path) -> Path:
    """Writes it and returns the folder of its adapter."""
    checkpoint = folder / "checkpoints" / "stage3"
    checkpoint.mkdir(parents=True)
    (folder / "config.yaml").write_text("name: small\n")
    (folder / "report.html").write_text(REPORT)
    (folder / "data" / "audio").mkdir(parents=True)
    (folder / "rollouts").mkdir()
    manifest: list[str] = []
    for number in range(len(EMOTIONS)):
        name = f"rl_{number}"
        write_sound(folder / "data" / "audio" / f"{name}.flac", hertz=180 + 40 * number)
        audio = {"path": f"audio/{name}.flac", "sample_rate_hz": 16000, "num_samples": 16000}
        manifest.append(json.dumps({"id": name, "audio": audio}))
    (folder / "data" / "rl.jsonl").write_text("\n".join(manifest) + "\n")
    for step in (1, 10):
        lines = [
            rollout_line(number, route=route, step=step)
            for number in range(len(EMOTIONS))
            for route in ("explicit", "direct")
            for _ in range(2)
        ]
        path = folder / "rollouts" / f"step-{step:05d}.jsonl"
        path.write_text("\n".join(lines) + "\n")
    return checkpoint


def rollout_line(number: int, *, route: str = "direct", step: int = 1) -> str:
    """One rollout as JSON."""
    emotion = EMOTIONS[number]
    thought = (
        f"<thought>\nEmotion: {emotion}\nIntent: be heard\nPsychology: alone\nStrategy: stay\n"
        "</thought>\n"
        if route == "explicit"
        else ""
    )
    line = {
        "prompt": f"rl_{number}/{route}",
        "utterance": f"rl_{number}",
        "route": route,
        "transcript": f"The letter came on day {number}.",
        "emotion": emotion,
        "text": f"{thought}<response>I hear you at step {step}.</response>",
        "reward": 0.5,
    }
    return json.dumps(line)


def write_sound(path: Path, *, hertz: float = 220.0, seconds: float = 1.0) -> Path:
    """A tone that swells and fades, in the format that the name ends with."""
    at_s = np.arange(int(16000 * seconds)) / 16000
    tone = 0.4 * np.sin(2 * np.pi * hertz * at_s) * np.sin(np.pi * at_s / seconds)
    soundfile.write(path, tone.astype(np.float32), 16000)
    return path
