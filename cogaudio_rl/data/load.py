"""From a recipe's ``data`` section to checked splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from cogaudio_rl.config import Config
from cogaudio_rl.data.audio import log_conversions, probe_audio
from cogaudio_rl.data.corpora.emodb import load_emodb
from cogaudio_rl.data.lime.build import Progress, build_lime_mini
from cogaudio_rl.data.manifest import Splits, read_manifest, validate_split
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import KNOWN_EMOTIONS, LIME_EMOTIONS, Utterance

__all__ = ["Splits", "labels", "load_splits"]


def load_splits(config: Config, run_dir: Path, progress: Progress) -> Splits:
    """The utterances of a run: made in ``run_dir/data``, or read from ``data.root``.

    Raises DataError for a missing folder, a bad manifest, unknown labels, audio that is missing or
    unreadable by its header, an empty split, and splits that share texts (EmoDB: speakers).
    """
    source = config.data
    if source.kind == "emodb":
        return load_emodb(source, config.seed)
    if source.root is not None:
        splits = _read_splits(source.root)
    elif source.kind == "lime_mini":
        corpus = build_lime_mini(source, config.seed, run_dir / "data", progress=progress)
        splits = Splits(train=corpus.train, rl=corpus.rl, test=corpus.test)
    else:
        raise DataError("data.root is not set; name the folder with train, rl and test.jsonl")
    unseen_voices = source.kind == "lime_mini"
    validate_split(splits.train, splits.test, speakers=unseen_voices)
    validate_split(splits.rl, splits.test, names=("rl", "test"), speakers=unseen_voices)
    check_audio((*splits.train, *splits.rl, *splits.test))
    return splits


def labels(splits: Splits) -> tuple[str, ...]:
    """The emotions that occur, LIME's first and in the paper's order."""
    found = {u.emotion for u in (*splits.train, *splits.rl, *splits.test)}
    order = (*LIME_EMOTIONS, *sorted(KNOWN_EMOTIONS.difference(LIME_EMOTIONS)))
    return tuple(emotion for emotion in order if emotion in found)


def check_audio(utterances: Iterable[Utterance]) -> None:
    """Raise DataError for the first sound that is missing, unreadable or not as its manifest says.

    Reads headers only. Conversions that will be needed are logged, once for each kind.
    """
    notes: dict[str, list[str]] = defaultdict(list)
    for utterance in utterances:
        if utterance.audio is None:
            continue
        audio, conversions = probe_audio(utterance.audio.path)
        if audio != utterance.audio:
            stated = f"{utterance.audio.num_samples} samples at {utterance.audio.sample_rate_hz} Hz"
            raise DataError(
                f"audio file {audio.path!r} has {audio.num_samples} samples at"
                f" {audio.sample_rate_hz} Hz, but its manifest says {stated}"
            )
        for note in conversions:
            notes[note].append(audio.path)
    log_conversions(notes)


def _read_splits(root: Path) -> Splits:
    if not root.is_dir():
        raise DataError(f"folder {str(root)!r} does not exist")
    return Splits(
        train=read_manifest(root / "train.jsonl"),
        rl=read_manifest(root / "rl.jsonl"),
        test=read_manifest(root / "test.jsonl"),
    )
