"""LIME-mini: the paper's lexically identical, multi-emotion corpus at a laptop's size.

    sentence × 7 emotions ─► voice, intensity, prosody ─► speech ─► manifest with EIPS annotations

The emotion is in the voice and nowhere else. A lexical family (one sentence in all seven emotions)
is the unit of work: espeak-ng carries state from one sentence to the next, so each family starts
from a fresh engine, and the corpus is the same to the byte for any number of workers.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cogaudio_rl.config import DataConfig
from cogaudio_rl.data.audio import write_audio
from cogaudio_rl.data.lime import author, check, synthesise
from cogaudio_rl.data.lime.author import Sentence
from cogaudio_rl.data.lime.depths import annotate_nth
from cogaudio_rl.data.lime.making import (
    CARD,
    SYNTHESISER,
    Progress,
    digest_of,
    in_processes,
    make_once,
)
from cogaudio_rl.data.lime.stats import describe
from cogaudio_rl.data.manifest import read_manifest, write_manifest
from cogaudio_rl.errors import DataError
from cogaudio_rl.seeding import rng_for, seed_for
from cogaudio_rl.types import INTENSITIES, LIME_EMOTIONS, Utterance

NAME = "LIME-mini"
SPLITS: tuple[str, ...] = ("train", "rl", "test", "chinese")
_SETTINGS = (
    "train_utterances",
    "rl_utterances",
    "test_families",
    "chinese_utterances",
    "depth_mix",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimeMini:
    """The corpus. ``chinese`` is a further training split in the other language."""

    train: tuple[Utterance, ...]
    rl: tuple[Utterance, ...]
    test: tuple[Utterance, ...]
    chinese: tuple[Utterance, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One utterance to be made; ``nth`` counts the earlier rounds over its sentence."""

    split: str
    index: int
    sentence: Sentence
    emotion: str
    intensity: str
    nth: int

    @property
    def voices(self) -> str:
        return "test" if self.split == "test" else "train"


_Family = tuple[_Job, ...]


def build_lime_mini(
    config: DataConfig,
    seed: int,
    folder: Path,
    *,
    workers: int = 2,
    progress: Progress = lambda done, total: None,
) -> LimeMini:
    """Make the corpus in ``folder``, or read it if one of the same settings is already there.

    ``folder`` appears only when it is complete; an interrupted build leaves nothing in it. Holds
    ``{train,rl,test,chinese}.jsonl``, ``audio/<split>/*.flac`` (16 kHz mono) and ``stats.json``.
    Raises DataError for sizes that do not make whole families, or a ``folder`` of something else.
    """
    digest = digest_of(config.model_dump_json(include=set(_SETTINGS)), seed)

    def make(partial: Path) -> None:
        made = _make_all(_plan(config, seed), config, seed, partial, workers, progress)
        _write(made, config, seed, digest, partial)

    make_once(folder, name=NAME, digest=digest, make=make)
    return read_lime_mini(folder)


def read_lime_mini(folder: Path) -> LimeMini:
    """Read a corpus that :func:`build_lime_mini` made. Raises DataError naming what is missing."""
    return LimeMini(**{split: read_manifest(folder / f"{split}.jsonl") for split in SPLITS})


def _plan(config: DataConfig, seed: int) -> list[_Family]:
    per_family = len(LIME_EMOTIONS)
    sizes = {
        "train": _families_in("train_utterances", config.train_utterances),
        "rl": _families_in("rl_utterances", config.rl_utterances),
        "test": config.test_families,
        "chinese": _families_in("chinese_utterances", config.chinese_utterances),
    }
    plan: list[_Family] = []
    for split, families in sizes.items():
        sides = author.split_sentences("zh" if split == "chinese" else "en")
        pool = sides["test" if split == "test" else "train"]
        if split == "test" and families > len(pool):
            raise DataError(f"data.test_families must be <= {len(pool)}, got {families}")
        plan += [_family(split, block, pool, seed, per_family) for block in range(families)]
    return plan


def _families_in(field: str, utterances: int) -> int:
    families, rest = divmod(utterances, len(LIME_EMOTIONS))
    if rest:
        near = utterances - rest + len(LIME_EMOTIONS)
        raise DataError(
            f"data.{field} must be a multiple of {len(LIME_EMOTIONS)}, so that every sentence is"
            f" said in every emotion, got {utterances}; {near} would do"
        )
    return families


def _family(
    split: str, block: int, pool: Sequence[Sentence], seed: int, per_family: int
) -> _Family:
    """All sentences come up once before any comes up again, in a new order each round."""
    nth, place = divmod(block, len(pool))
    order = rng_for(seed, split, "texts", nth).permutation(len(pool))
    return tuple(
        _Job(
            split=split,
            index=block * per_family + i,
            sentence=pool[int(order[place])],
            emotion=emotion,
            intensity=INTENSITIES[(block + i) % len(INTENSITIES)],
            nth=nth,
        )
        for i, emotion in enumerate(LIME_EMOTIONS)
    )


def _make_all(
    plan: Sequence[_Family],
    config: DataConfig,
    seed: int,
    folder: Path,
    workers: int,
    progress: Progress,
) -> dict[str, list[Utterance]]:
    work = functools.partial(_make_family, mix=config.depth_mix, seed=seed, folder=folder)
    made: dict[str, list[Utterance]] = {split: [] for split in SPLITS}
    done, total = 0, sum(map(len, plan))
    for jobs, family in zip(plan, in_processes(work, plan, workers), strict=True):
        made[jobs[0].split] += family
        done += len(family)
        progress(done, total)
    return made


def _make_family(
    jobs: _Family, *, mix: Sequence[float], seed: int, folder: Path
) -> list[Utterance]:
    rngs = [rng_for(seed, job.split, job.index) for job in jobs]
    language = jobs[0].sentence.language
    voices = [
        synthesise.draw_voice(job.voices, rng, language)
        for job, rng in zip(jobs, rngs, strict=True)
    ]
    synthesise.begin(voices, language)
    return [
        _make(job, voice, rng, mix, seed, folder)
        for job, voice, rng in zip(jobs, voices, rngs, strict=True)
    ]


def _make(
    job: _Job,
    voice: str,
    rng: np.random.Generator,
    mix: Sequence[float],
    seed: int,
    folder: Path,
) -> Utterance:
    sentence, name = job.sentence, f"{job.split}_{job.index:06d}"
    prosody = synthesise.prosody_for(job.emotion, job.intensity, rng)
    sound = synthesise.speak(
        sentence.text, voice=voice, language=sentence.language, prosody=prosody, rng=rng
    )
    return Utterance(
        id=name,
        text_id=sentence.text_id,
        audio=write_audio(folder / "audio" / job.split / f"{name}.flac", sound),
        transcript=sentence.text,
        emotion=job.emotion,
        intensity=job.intensity,
        speaker=voice,
        language=sentence.language,
        scenario=sentence.scenario,
        annotation=annotate_nth(
            sentence, job.emotion, nth=job.nth, mix=mix, seed=seed_for(seed, job.split)
        ),
    )


def _write(
    made: dict[str, list[Utterance]], config: DataConfig, seed: int, digest: str, folder: Path
) -> None:
    check.check_corpus(made["train"], made["rl"], made["test"])
    if made["chinese"]:
        check.check_split("chinese", made["chinese"])
    for split, utterances in made.items():
        write_manifest(folder / f"{split}.jsonl", utterances)
    card = {
        "name": NAME,
        "digest": digest,
        "seed": seed,
        "settings": config.model_dump(mode="json", include=set(_SETTINGS)),
        "synthesiser": SYNTHESISER,
        "splits": {split: describe(utterances) for split, utterances in made.items()},
    }
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    (folder / CARD).write_text(text, encoding="utf-8")
