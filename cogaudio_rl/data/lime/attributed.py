"""Attribution-mini: LIME-mini with a thought about emotion and cause for every utterance.

``lime/`` is the corpus as it is made, ``{train,rl,test}.jsonl`` beside it are the same utterances with
their thoughts, ``quarantined.jsonl`` lists those whose thought failed a check.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path

from cogaudio_rl.config import DataConfig
from cogaudio_rl.data.lime.attributions import Attributed, with_attributions
from cogaudio_rl.data.lime.build import build_lime_mini
from cogaudio_rl.data.lime.making import CARD, Progress, digest_of, make_once
from cogaudio_rl.data.manifest import read_manifest, write_manifest
from cogaudio_rl.data.splits import Splits
from cogaudio_rl.types import Utterance

NAME = "Attribution-mini"
QUARANTINED = "quarantined.jsonl"
_SPLITS = ("train", "rl", "test")
_SETTINGS = ("train_utterances", "rl_utterances", "test_families", "depth_mix")


def build_attributed(
    config: DataConfig,
    seed: int,
    folder: Path,
    *,
    workers: int = 2,
    progress: Progress = lambda done, total: None,
) -> Splits:
    """Make the corpus in ``folder``, or read it if one of the same settings is already there.

    ``folder`` appears only when it is complete. Raises DataError as :func:`build_lime_mini` does.
    """
    config = config.model_copy(update={"chinese_utterances": 0})  # the small model knows none
    digest = digest_of(NAME + config.model_dump_json(include=set(_SETTINGS)), seed)

    def make(partial: Path) -> None:
        lime = build_lime_mini(config, seed, partial / "lime", workers=workers, progress=progress)
        splits: dict[str, tuple[Utterance, ...]] = {
            "train": lime.train,
            "rl": lime.rl,
            "test": lime.test,
        }
        total, before = sum(map(len, splits.values())), 0
        made: dict[str, Attributed] = {}
        for split, utterances in splits.items():
            told = functools.partial(_after, before, total, progress)
            made[split] = with_attributions(utterances, progress=told)
            before += len(utterances)
        _write(partial, made, digest=digest, seed=seed)

    make_once(folder, name=NAME, digest=digest, make=make)
    train, rl, test = (read_manifest(folder / f"{split}.jsonl") for split in _SPLITS)
    return Splits(train=train, rl=rl, test=test)


def _after(before: int, total: int, progress: Progress, done: int, _: int) -> None:
    progress(before + done, total)


def _write(folder: Path, made: Mapping[str, Attributed], *, digest: str, seed: int) -> None:
    for split, attributed in made.items():
        write_manifest(folder / f"{split}.jsonl", attributed.utterances)
    write_quarantined(
        folder / QUARANTINED,
        {name: why for one in made.values() for name, why in one.quarantined.items()},
    )
    card = {
        "name": NAME,
        "digest": digest,
        "seed": seed,
        "utterances": {split: len(one.utterances) for split, one in made.items()},
        "quarantined": {split: len(one.quarantined) for split, one in made.items()},
    }
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n", "utf-8")


def write_quarantined(path: Path, why: Mapping[str, tuple[str, ...]]) -> None:
    """One JSON object a line: what was set aside, and the reasons."""
    rows = ({"what": name, "reasons": list(reasons)} for name, reasons in why.items())
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), "utf-8")
