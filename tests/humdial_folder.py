"""HumDial folders of a few items with sounds, and somebody who speaks replies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sounds import sine, write_sine

from cogaudio_rl.data.lime.speakers import Line, Sound

COLUMNS = {
    "id": "uid",
    "audio": "wav",
    "text": "words",
    "options": "choices",
    "answer": "gold",
    "question": "ask",
    "kind": "relation",
}
WORDS = {
    "zh": ("今天开会。", "又改期了！", "算了。"),
    "en": ("A meeting.", "Moved again!", "Well."),
}
EMOTIONS = ("neutral", "angry", "sad")


def write_lines(path: Path, *items: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    return path


def a_dialogue(path: Path, name: str, **changes: Any) -> dict[str, Any]:
    """Three turns of 0.1 s to 0.3 s each with its own sound beside the file ``path``."""
    turns: list[dict[str, object]] = []
    for number, text in enumerate(WORDS[path.parent.name], start=1):
        write_sine(path.parent / f"{name}_{number}.wav", seconds=number / 10)
        turns.append({"turn_id": number, "text": text, "emotion": EMOTIONS[number - 1]})
    return {"dialogue_id": name, "turns": turns, **changes}


def a_challenge(root: Path) -> Path:
    """Two dialogues of T1 to T3 in each language, without questions."""
    for language in ("zh", "en"):
        for task in ("T1", "T2", "T3"):
            path = root / language / f"HD-Track1-{task}.jsonl"
            items = [a_dialogue(path, f"{language}_{task}_{i}") for i in (1, 2)]
            write_lines(path, *items)
    return root


class Beeper:
    """A speaker that beeps, longer for a longer line."""

    def __init__(self) -> None:
        self.said: list[Line] = []

    def voices(self, split: str, language: str) -> Sequence[str]:
        return [f"{split}_{language}", "another"]

    def say(self, lines: Sequence[Line]) -> list[Sound]:
        self.said += lines
        return [sine(seconds=0.1 + len(line.text) / 100) for line in lines]


def a_folder(root: Path) -> Path:
    """Of each task in each language: two questions of T1 (one without its text) and T2, two dialogues
    of T3, and of T4 one item of each kind. The right answer is always the second option."""
    for language in ("zh", "en"):
        folder = root / language
        for task in ("T1", "T2", "T3"):
            path = folder / f"HD-Track1-{task}.jsonl"
            asked = {"choices": ["down", "up", "flat"], "gold": "B"} if task != "T3" else {}
            items = [a_dialogue(path, f"{language}_{task}_{i}", **asked) for i in (1, 2)]
            if task == "T1":
                items[0]["ask"] = f"Where does it go in {language}?"
            write_lines(path, *items)
        singles: list[dict[str, object]] = []
        for kind in ("consistent", "conflict"):
            write_sine(folder / f"{kind}.wav")
            singles.append(
                {
                    "uid": f"{language}_{kind}",
                    "wav": f"{kind}.wav",
                    "words": WORDS[language][0] + kind,
                    "choices": {"A": "happy", "B": "sad"},
                    "gold": "sad",
                    "ask": "",
                    "relation": kind,
                }
            )
        write_lines(folder / "HD-Track1-T4.jsonl", *singles)
    return root
