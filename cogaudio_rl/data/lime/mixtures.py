"""Voices between two emotions, and how SIMULATED listeners' votes are shared between them.

    sentence × 7 pairs of emotions ─► weight, voice, prosody ─► speech
                                                     └► crowd.py: simulated votes ─► chain, manifest

A mixture's prosody is that of the first emotion, moved by ``weight`` towards the second's, and jittered
as no one says a thing twice alike. The pairs form a ring through all seven emotions, in which listeners
halfway between two hear each of the two more than any third. A family is one sentence in all pairs,
with weights that rotate from family to family, so that words tell neither pair nor weight. Nothing here
was heard by a human: every utterance says so in ``scenario``, and so do card and README.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from cogaudio_rl.data.audio import write_audio
from cogaudio_rl.data.lime import author, synthesise
from cogaudio_rl.data.lime.author import Sentence
from cogaudio_rl.data.lime.chains import ranked, write_chain
from cogaudio_rl.data.lime.crowd import draw_crowd
from cogaudio_rl.data.lime.cues import cues_of
from cogaudio_rl.data.lime.making import (
    CARD,
    SYNTHESISER,
    Progress,
    digest_of,
    in_processes,
    make_once,
)
from cogaudio_rl.data.lime.mixtures_card import card_of, readme_of
from cogaudio_rl.data.lime.synthesise import PROTOTYPES, Prosody
from cogaudio_rl.data.manifest import read_manifest, validate_split, write_manifest
from cogaudio_rl.data.splits import Splits
from cogaudio_rl.data.votes import shares_of
from cogaudio_rl.errors import DataError
from cogaudio_rl.seeding import rng_for, seed_for
from cogaudio_rl.types import Utterance

NAME = "Ambiguity-mini"
SIMULATED = "SIMULATED listeners, synthetic voice"
"""``scenario`` of every utterance."""

PAIRS: tuple[tuple[str, str], ...] = (
    ("neutral", "fear"),
    ("fear", "happy"),
    ("happy", "surprise"),
    ("surprise", "angry"),
    ("angry", "disgust"),
    ("disgust", "sad"),
    ("sad", "neutral"),
)
WEIGHTS: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of a pair's second emotion."""

MIXTURES, README = "mixtures.jsonl", "README.md"
_SPLITS = ("train", "rl", "test")
DEV = "dev"

_DEV_VOICES = frozenset(
    {"f1", "Annie", "linda", "m2", "m5", "Gene2", "Storm", "ed", "max", "travis"}
)
"""Of the training voices those that are left out of training where there is a ``dev`` split."""
_DEV_SEED = 0
"""Which sentences are for choosing is the same for every corpus, as with those for testing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """What was made, beside what simulated listeners heard in it."""

    id: str
    first: str
    second: str
    weight: float
    prosody: Prosody
    expected: Mapping[str, float]
    """Shares that infinitely many votes of the crowd would have: what a model can at best predict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    split: str
    family: int
    sentence: Sentence


def build_mixtures(
    folder: Path,
    *,
    utterances: int,
    rl_utterances: int,
    test_families: int,
    seed: int,
    dev_families: int = 0,
    workers: int = 2,
    progress: Progress = lambda done, total: None,
) -> Splits:
    """Make the corpus in ``folder``, or read it if one of the same settings is already there.

    ``folder`` appears only when it is complete. Holds ``{train,rl,test}.jsonl``, ``README.md``,
    ``audio/<split>/*.flac`` (16 kHz mono), ``mixtures.jsonl`` and ``stats.json``, with ``dev_families``
    also ``dev.jsonl``. Texts and voices of test and dev are in no other split. Raises DataError for
    numbers that make no whole families of ``len(PAIRS)``, and a ``folder`` of something else.
    """
    families = {
        "train": _families("utterances", utterances),
        "rl": _families("rl_utterances", rl_utterances),
        "test": test_families,
    } | ({DEV: dev_families} if dev_families else {})
    settings = json.dumps([NAME, families])
    digest = digest_of(settings, seed)

    def make(partial: Path) -> None:
        sides = _sides(with_dev=DEV in families)
        plan = [
            job
            for split, count in families.items()
            for job in _plan(split, count, sides[split], seed)
        ]
        made: dict[str, list[Utterance]] = {split: [] for split in families}
        mixtures: list[Mixture] = []
        work = functools.partial(_make_family, seed=seed, folder=partial, with_dev=DEV in families)
        for job, family in zip(plan, in_processes(work, plan, workers), strict=True):
            made[job.split] += [utterance for utterance, _ in family]
            mixtures += [mixture for _, mixture in family]
            progress(len(mixtures), len(plan) * len(PAIRS))
        _write(partial, made, mixtures, seed=seed, digest=digest)

    make_once(folder, name=NAME, digest=digest, make=make)
    return read_splits(folder)


def read_splits(folder: Path) -> Splits:
    """Read a corpus that :func:`build_mixtures` made. Raises DataError naming what is missing."""
    train, rl, test = (read_manifest(folder / f"{split}.jsonl") for split in _SPLITS)
    dev = folder / f"{DEV}.jsonl"
    return Splits(train=train, rl=rl, test=test, dev=read_manifest(dev) if dev.is_file() else ())


def read_mixtures(folder: Path) -> dict[str, Mixture]:
    """What each utterance was made of, by id."""
    path = folder / MIXTURES
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read: {error.strerror}") from None
    adapter = TypeAdapter(Mixture)
    return {mixture.id: mixture for mixture in map(adapter.validate_json, lines)}


def blend(first: str, second: str, weight: float) -> Prosody:
    """The prosody between two emotions: the first's at 0, the second's at 1, in equal steps."""
    return PROTOTYPES[first].scaled(1 - weight) + PROTOTYPES[second].scaled(weight)


def _families(field: str, utterances: int) -> int:
    families, rest = divmod(utterances, len(PAIRS))
    if rest or not families:
        near = (families + 1) * len(PAIRS)
        raise DataError(
            f"{field} must be a multiple of {len(PAIRS)}, so that every sentence is said between every"
            f" pair of emotions, got {utterances}; {near} would do"
        )
    return families


def _sides(*, with_dev: bool) -> dict[str, tuple[Sentence, ...]]:
    """The sentences of each split; with one for choosing, every seventh of training's goes there."""
    sides = author.split_sentences("en")
    train = sides["train"]
    if not with_dev:
        return {"train": train, "rl": train, "test": sides["test"]}
    order = rng_for(_DEV_SEED, "mixtures", "dev texts").permutation(len(train))
    dev = {int(i) for i in order[: len(train) // 7]}
    kept = tuple(s for i, s in enumerate(train) if i not in dev)
    chosen = tuple(s for i, s in enumerate(train) if i in dev)
    return {"train": kept, "rl": kept, "test": sides["test"], DEV: chosen}


def _voice(split: str, rng: np.random.Generator, *, with_dev: bool) -> str:
    """A voice of the split; those for choosing are taken out of training's where there are such."""
    side = "test" if split == "test" else "train"
    while True:
        voice = synthesise.draw_voice(side, rng)
        if side == "test" or not with_dev or (voice in _DEV_VOICES) == (split == DEV):
            return voice


def _plan(split: str, families: int, pool: Sequence[Sentence], seed: int) -> list[_Job]:
    """All sentences come up once before any comes up again, in a new order each round."""
    if families < 1:
        raise DataError(f"split {split!r} needs at least one family, got {families}")
    jobs: list[_Job] = []
    for family in range(families):
        nth, place = divmod(family, len(pool))
        order = rng_for(seed, "mixtures", split, "texts", nth).permutation(len(pool))
        jobs.append(_Job(split=split, family=family, sentence=pool[int(order[place])]))
    return jobs


def _make_family(
    job: _Job, *, seed: int, folder: Path, with_dev: bool
) -> list[tuple[Utterance, Mixture]]:
    rngs = [rng_for(seed, "mixtures", job.split, job.family, place) for place in range(len(PAIRS))]
    voices = [_voice(job.split, rng, with_dev=with_dev) for rng in rngs]
    synthesise.begin(voices, "en")
    return [
        _make(job, place, voice, rng, seed, folder)
        for place, (voice, rng) in enumerate(zip(voices, rngs, strict=True))
    ]


def _make(
    job: _Job, place: int, voice: str, rng: np.random.Generator, seed: int, folder: Path
) -> tuple[Utterance, Mixture]:
    name = f"{job.split}_{job.family * len(PAIRS) + place:06d}"
    first, second = PAIRS[place]
    weight = WEIGHTS[(job.family + place) % len(WEIGHTS)]
    prosody = blend(first, second, weight) + synthesise.jitter(rng)
    sound = synthesise.speak(
        job.sentence.text, voice=voice, language="en", prosody=prosody, rng=rng
    )
    crowd = draw_crowd(seed)
    counts = crowd.vote(prosody, rng)
    votes, cues = shares_of(counts), cues_of(prosody)
    utterance = Utterance(
        id=name,
        text_id=job.sentence.text_id,
        audio=write_audio(folder / "audio" / job.split / f"{name}.flac", sound),
        transcript=job.sentence.text,
        emotion=ranked(votes, cues)[0],
        intensity="mid",
        speaker=voice,
        language="en",
        scenario=SIMULATED,
        votes=votes,
        listeners=sum(counts.values()),
        ambiguity=write_chain(votes, cues, seed=seed_for(seed, "chain", name)),
    )
    mixture = Mixture(
        id=name,
        first=first,
        second=second,
        weight=weight,
        prosody=prosody,
        expected=crowd.expected(prosody, rng),
    )
    return utterance, mixture


def _write(
    folder: Path,
    made: Mapping[str, Sequence[Utterance]],
    mixtures: Sequence[Mixture],
    *,
    seed: int,
    digest: str,
) -> None:
    for split, other in itertools.product(("train", "rl", DEV), ("test", DEV)):
        if split != other and split in made and other in made:
            validate_split(made[split], made[other], names=(split, other), speakers=True)
    for split, utterances in made.items():
        write_manifest(folder / f"{split}.jsonl", utterances)
    rows = [json.dumps(dataclasses.asdict(mixture)) + "\n" for mixture in mixtures]
    (folder / MIXTURES).write_text("".join(rows), "utf-8")
    facts = {
        "name": NAME,
        "simulated": SIMULATED,
        "digest": digest,
        "seed": seed,
        "synthesiser": SYNTHESISER,
        "pairs": PAIRS,
        "weights": WEIGHTS,
    }
    card = facts | card_of(made, {mixture.id: mixture.weight for mixture in mixtures})
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    (folder / CARD).write_text(text, "utf-8")
    (folder / README).write_text(readme_of(card, mixtures=MIXTURES), "utf-8")
