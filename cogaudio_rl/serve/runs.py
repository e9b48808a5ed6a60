"""What runs left, to look at and listen to: reports, and rollouts with the sound they answer.

Read-only. A request names a run by its id and a clip by a digest; both are looked up in tables that
are made from the run's folder, so nothing of a request ever becomes a path. What a symlink leads to
outside the folder is not there.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from cogaudio_rl.types import Route

REPORTS = {"report.html": "report.html", "suites.html": "suites/report.html"}
"""What a report is called in an address → where it lies in the run's folder."""
SOUND_TYPES = {
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
}
MAX_ROLLOUTS = 96
MAX_STEPS = 8
"""How many of a run's steps are shown; the first and the last always are."""
_SHOWN = ("prompt", "utterance", "transcript", "emotion", "route", "text", "reward")
"""Fields of a rollout that are kept of it."""
MAX_LINE_BYTES = 4_000_000
"""A longer line is no rollout of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A sound in a run's folder."""

    path: Path
    media_type: str


@dataclass(slots=True, kw_only=True)
class Run:
    """One run's folder, its links resolved."""

    id: str
    folder: Path
    models: tuple[str, ...] = ()
    """Names under which adapters of this run are served."""
    clips: dict[str, Clip] = field(default_factory=dict)
    """Sounds of the rollouts that were shown so far, by their keys."""

    def report(self, name: str) -> Path | None:
        """A report's file; None for another name and where the run has not written it."""
        return self._inside(self.folder / REPORTS[name]) if name in REPORTS else None

    def reports(self) -> tuple[str, ...]:
        """Names of the reports that are there."""
        return tuple(name for name in REPORTS if self.report(name) is not None)

    def clip(self, key: str) -> Clip | None:
        """The sound of this key; None where there is none."""
        if key not in self.clips:
            self.rollouts(MAX_ROLLOUTS)  # another replica may have told the key
        clip = self.clips.get(key)
        return clip if clip is not None and self._inside(clip.path) == clip.path else None

    def rollouts(self, limit: int) -> list[dict[str, Any]]:
        """The first answer to each of up to ``limit`` prompts, in turn from steps spread evenly
        over the run, the newest first. Lines that are no rollouts are passed over."""
        steps = [_first_answers(path, path.stat().st_mtime_ns) for path in self._steps()]
        chosen = [
            answers[place]
            for place in range(max(map(len, steps), default=0))
            for answers in steps
            if place < len(answers)
        ][: min(limit, MAX_ROLLOUTS)]
        keys = self._keys({line["utterance"] for line in chosen})
        return [_shown(line) | {"audio": keys.get(line["utterance"])} for line in chosen]

    def _steps(self) -> list[Path]:
        """Rollout files, newest first."""
        there = sorted((self.folder / "rollouts").glob("step-*.jsonl"), reverse=True)
        files = [file for path in there if (file := self._inside(path)) is not None]
        if len(files) <= MAX_STEPS:
            return files
        stride = (len(files) - 1) / (MAX_STEPS - 1)
        return [files[round(i * stride)] for i in range(MAX_STEPS)]

    def _keys(self, utterances: set[str]) -> dict[str, str]:
        """Utterance id → key of its sound, for those whose sound lies in this folder."""
        wanted, keys = set(utterances), {}
        for manifest in self._manifests():
            for line in _lines(manifest):
                name, audio = line.get("id"), line.get("audio")
                if name not in wanted or not isinstance(audio, dict):
                    continue
                wanted.discard(name)
                clip = self._sound(manifest.parent / str(audio.get("path", "")))
                if clip is not None:
                    keys[name] = _digest(self.id, name)
                    self.clips[keys[name]] = clip
                if not wanted:
                    return keys
        return keys

    def _manifests(self) -> list[Path]:
        """The corpus' manifests, the one that stage III asks from first."""
        there = sorted((self.folder / "data").glob("*.jsonl"), key=lambda p: (p.stem != "rl", p))
        return [file for path in there if (file := self._inside(path)) is not None]

    def _sound(self, path: Path) -> Clip | None:
        file, media_type = self._inside(path), SOUND_TYPES.get(path.suffix.lower())
        return Clip(path=file, media_type=media_type) if file and media_type else None

    def _inside(self, path: Path) -> Path | None:
        """The file itself, all links followed, if it lies in this folder."""
        try:
            file = path.resolve(strict=True)
        except (OSError, ValueError, RuntimeError):
            return None
        return file if file.is_file() and file.is_relative_to(self.folder) else None


class RunShelf:
    """The runs that the served adapters came from."""

    def __init__(self, checkpoints: Mapping[str, Path] | None = None) -> None:
        self._runs: dict[str, Run] = {}
        self.show(checkpoints or {})

    def show(self, checkpoints: Mapping[str, Path], *, others: Sequence[Path] = ()) -> None:
        """From now on these: the runs of ``checkpoints`` (served name → adapter's folder), and
        ``others``, runs' folders. A checkpoint that lies in no run's folder has nothing to show."""
        models: dict[Path, list[str]] = {}
        for name, checkpoint in checkpoints.items():
            folder = run_of(checkpoint)
            if folder is not None:
                models.setdefault(folder, []).append(name)
        for folder in others:
            models.setdefault(folder.resolve(), [])
        runs: dict[str, Run] = {}
        for folder, names in models.items():
            name = _unused(re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name).strip(".-"), runs)
            runs[name] = Run(id=name, folder=folder, models=tuple(names))
        self._runs = runs

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs.values())

    def get(self, name: str) -> Run | None:
        """The run of this id; None where there is none."""
        return self._runs.get(name)


def run_of(checkpoint: Path) -> Path | None:
    """The run's folder that an adapter lies in, known by its ``config.yaml``; None without one."""
    resolved = checkpoint.resolve()
    # checkpoints/stage3 is two deep, checkpoints/rl/step-00010 three.
    near = resolved.parents[1:3]
    return next((folder for folder in near if (folder / "config.yaml").is_file()), None)


def _unused(name: str, taken: Mapping[str, Run]) -> str:
    name = name or "run"
    number = 1
    while (candidate := name if number == 1 else f"{name}-{number}") in taken:
        number += 1
    return candidate


@lru_cache(maxsize=4 * MAX_STEPS)
def _first_answers(path: Path, written_ns: int) -> tuple[dict[str, Any], ...]:
    """For each prompt of a step the first of its rollouts that can be shown.

    Read once for each ``written_ns``, the file's own time: a large run's take seconds to parse.
    """
    seen = dict[str, dict[str, Any]]()
    step = int(digits) if (digits := path.stem.removeprefix("step-")).isdecimal() else None
    for line in _lines(path):
        prompt = line.get("prompt")
        if isinstance(prompt, str) and prompt not in seen and _is_rollout(line):
            shown = {name: line.get(name) for name in _SHOWN}
            seen[prompt] = shown | {"step": step}
    return tuple(seen.values())


def _is_rollout(line: Mapping[str, Any]) -> bool:
    texts = all(isinstance(line.get(name), str) for name in ("utterance", "transcript", "text"))
    return texts and line.get("route") in tuple(Route)


def _shown(line: Mapping[str, Any]) -> dict[str, Any]:
    reward, emotion = line.get("reward"), line.get("emotion")
    scored = isinstance(reward, int | float) and abs(reward) < math.inf
    return {
        "id": _whole_text(f"{line['step']}/{line['prompt']}"),
        "transcript": _whole_text(line["transcript"]),
        "emotion": _whole_text(emotion) if isinstance(emotion, str) else "",
        "route": line["route"],
        "text": _whole_text(line["text"]),
        "reward": reward if scored else None,
        "step": line["step"],
    }


def _whole_text(text: str) -> str:
    """Without lone surrogates, which JSON can write and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Every JSON object of a JSON lines file; what is damaged is passed over."""
    try:
        with path.open("rb") as file:
            while raw := file.readline(MAX_LINE_BYTES):
                try:
                    line = json.loads(raw, parse_constant=_no_number)
                except (ValueError, RecursionError):
                    continue
                if isinstance(line, dict):
                    yield line
    except OSError:
        return  # gone since it was listed


def _no_number(name: str) -> None:
    """NaN and infinities, which JSON does not know and a browser would refuse."""


def _digest(*parts: str) -> str:
    joined = "\0".join(parts).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(joined, digest_size=16).hexdigest()
