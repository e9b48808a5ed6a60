"""A corpus that listeners voted on, ready to train on: votes in one task's labels, chains, and folds.

manifest ─► votes in the labels ─► chain from what is measured ─► OUT/<fold>/{train,dev,test}.jsonl
                └► rejected.jsonl
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from cogaudio_rl.config import Strict
from cogaudio_rl.data.corpora.emotions import CREMA_D, FOUR_CLASSES
from cogaudio_rl.data.corpora.reading import Progress, silent
from cogaudio_rl.data.folds import Fold, leave_one_session_out, speaker_folds
from cogaudio_rl.data.lime.chains import with_chains
from cogaudio_rl.data.load import check_audio
from cogaudio_rl.data.manifest import disjoint, read_manifest, write_manifest
from cogaudio_rl.data.votes import with_votes
from cogaudio_rl.errors import DataError
from cogaudio_rl.run_folder import write_whole
from cogaudio_rl.types import Utterance


class VotedRecipe(Strict):
    """How votes are told and who is held apart."""

    labels: tuple[str, ...]
    merge: Mapping[str, str] = Field(default_factory=dict)
    """Votes of one name count for another."""
    renormalise: bool = False
    """Whether votes outside the labels are left out; False: such an utterance is quarantined."""
    protocol: Literal["sessions", "speakers"]
    """IEMOCAP's sessions, each left out once; or speakers, each tested in one fold."""
    folds: Annotated[int, Field(ge=2)] = 5
    """Of speakers; sessions are as many as there are."""
    dev: bool = False
    """Whether those whom the next fold tests are held out of training, to choose settings on."""
    seed: Annotated[int, Field(ge=0)] = 0


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "crema_d": {"labels": list(CREMA_D.values()), "protocol": "speakers"},
    "iemocap": {
        "labels": list(FOUR_CLASSES),
        "merge": {"excited": "happy"},
        "protocol": "sessions",
    },
}
"""Each corpus as arXiv 2603.08230 has it, where it says: IEMOCAP in four classes, a session left out.
That "excited" counts as happy, and five folds of CREMA-D's speakers, are ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What was written."""

    folds: Mapping[str, Mapping[str, int]]
    """Fold → how many utterances each of its splits has."""
    rejected: int
    renormalised: int


def prepare_voted(
    manifest: Path, out: Path, recipe: VotedRecipe, progress: Progress = silent
) -> Prepared:
    """Write a folder for each fold, what could not be used, and a card.

    Cues are measured relative to all clips of a speaker, which is no label and so no leak. Raises
    DataError for a bad manifest, a sound that is missing or unreadable, and where none has votes in
    these labels, and for a folder with folds of another protocol.
    """
    utterances = read_manifest(manifest)
    _refuse_soundless(manifest, utterances)
    voted = with_votes(
        utterances, recipe.labels, merge=recipe.merge, renormalise=recipe.renormalise
    )
    if not voted.utterances:
        name, why = next(iter(voted.quarantined.items()), ("", "it holds no utterance"))
        raise DataError(
            f"manifest {str(manifest)!r}: no utterance has votes in these labels; {name!r}: {why}"
        )
    check_audio(voted.utterances)
    written = with_chains(voted.utterances, seed=recipe.seed, progress=progress)
    folds = _folds(written, recipe)
    there = {path.parent.name for path in out.glob("*/test.jsonl")}
    if others := sorted(there - {fold.name for fold in folds}):
        raise DataError(
            f"{str(out)!r} holds {', '.join(others)} of another protocol; name another --out"
        )
    sizes = {
        fold.name: _write(out / fold.name, fold, folds[(place + 1) % len(folds)], recipe)
        for place, fold in enumerate(folds)
    }
    rejected = [{"what": name, "reason": why} for name, why in voted.quarantined.items()]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rejected)
    write_whole(out / "rejected.jsonl", lines)
    done = Prepared(folds=sizes, rejected=len(rejected), renormalised=len(voted.renormalised))
    card = {"manifest": str(manifest), "recipe": recipe.model_dump(mode="json")} | asdict(done)
    write_whole(out / "card.json", json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    return done


def _refuse_soundless(manifest: Path, utterances: Sequence[Utterance]) -> None:
    missing = [u.id for u in utterances if u.audio is None]
    if missing:
        raise DataError(
            f"manifest {str(manifest)!r}: {len(missing)} utterances have no sound, such as "
            f"{missing[0]!r}; chains are about the voice"
        )


def _folds(utterances: Sequence[Utterance], recipe: VotedRecipe) -> tuple[Fold, ...]:
    if recipe.protocol == "sessions":
        return leave_one_session_out(utterances)
    return speaker_folds(utterances, count=recipe.folds, seed=recipe.seed)


def _write(folder: Path, fold: Fold, following: Fold, recipe: VotedRecipe) -> dict[str, int]:
    splits = {"train": fold.train, "test": fold.test}
    if recipe.dev:
        held = {u.speaker for u in following.test}
        dev = tuple(u for u in fold.train if u.speaker in held)
        train = tuple(u for u in fold.train if u.speaker not in held)
        if not train:
            raise DataError(f"{fold.name}: nobody is left to train on; dev=true takes three folds")
        disjoint({u.speaker for u in train}, held, "speaker", ("train", "dev"))
        splits = {"train": train, "dev": dev, "test": fold.test}
    return {name: write_manifest(folder / f"{name}.jsonl", split) for name, split in splits.items()}
