"""From parts to a corpus: manifests by split, what was rejected, the lists of the splits, the card."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cogaudio_rl import prompts
from cogaudio_rl.config import EndpointConfig, parse
from cogaudio_rl.data.audio import read_audio
from cogaudio_rl.data.lime import quality
from cogaudio_rl.data.lime.card import Card, Tally, acceptance, write_card
from cogaudio_rl.data.lime.factory import MANIFEST, REJECTED, SEAL, part_folder
from cogaudio_rl.data.lime.leak import MIN_FAMILIES, Features, Leaks, features, measure
from cogaudio_rl.data.lime.plan import family
from cogaudio_rl.data.lime.recipe import STYLES, LimeRecipe
from cogaudio_rl.data.manifest import iter_manifest, write_manifest
from cogaudio_rl.errors import DataError
from cogaudio_rl.run_folder import write_whole
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import LIME_EMOTIONS, Utterance

RECIPE = "recipe.yaml"
SPLITS = ("train", "test")
_PROMPTS = ("write", "ambiguity", "annotate")
_WHEREABOUTS = {
    "author": tuple(EndpointConfig.model_fields.keys() - {"model"}),
    "speaker": ("model_dir", "gpus"),
}
_SAMPLE = 3_000
"""Utterances that the leak test listens to."""
_ABOUT = (
    "The same sentences in every emotion and intensity: the words tell nothing, only the voice does. "
    "Each utterance has a four-step annotation (emotion, intent, psychology, strategy) and a reply."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """Counts of a corpus and the digest of all it holds."""

    utterances: int
    rejected: int
    reasons: dict[str, int]
    digest: str
    leaks: Leaks | None = None


def claim(root: Path, recipe: LimeRecipe) -> None:
    """Begin in an empty folder, or go on in one of the same recipe. Raises DataError otherwise."""
    path, text = root / RECIPE, yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
    if path.is_file():
        before = _asked_for(parse(LimeRecipe, yaml.safe_load(path.read_text("utf-8"))))
        now = _asked_for(recipe)
        changed = [name for name in now if before[name] != now[name]]
        if changed:
            name = changed[0]
            raise DataError(
                f"{str(root)!r} was begun with {name}={before[name]!r}, not {now[name]!r}; "
                "name another folder"
            )
        return
    if root.exists() and any(p.suffix != ".partial" for p in root.iterdir()):
        raise DataError(f"{str(root)!r} holds something else; name an empty folder")
    root.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)


def _asked_for(recipe: LimeRecipe) -> dict[str, Any]:
    """What decides about the corpus: not where its makers are to be found, nor how many at a time."""
    found = recipe.model_dump(mode="json")
    for section, names in _WHEREABOUTS.items():
        for name in names:
            del found[section][name]
    return found


def finish(
    root: Path, recipe: LimeRecipe, progress: Callable[[int, int], None] = lambda done, total: None
) -> Finished:
    """Write manifests, ``rejected.jsonl``, ``splits/`` and the card; parts stay as they are."""
    corpus = _Corpus(root, recipe)
    for split in SPLITS:
        write_manifest(root / f"{split}.jsonl", corpus.of(split))
    _write_splits(root / "splits", corpus)
    rejected, reasons = _write_rejected(root / REJECTED, corpus)
    sample = _sample(root, recipe, progress)
    enough = len({row.family for row in sample}) >= MIN_FAMILIES
    done = Finished(
        utterances=corpus.count,
        rejected=rejected,
        reasons=reasons,
        digest=corpus.digest(),
        leaks=measure(sample, seed=recipe.seed) if enough else None,
    )
    card = Card(
        name=recipe.name,
        licence="other",
        about=_ABOUT,
        parts=corpus.tally.parts(),
        acceptance=acceptance(done.utterances, done.rejected, done.reasons),
        acoustics=corpus.tally.acoustics(),
        leaks=done.leaks,
        manifests={split: f"{split}.jsonl" for split in SPLITS},
        facts={
            "digest": done.digest,
            "seed": str(recipe.seed),
            "author": recipe.author.kind,
            **_asked(recipe),
            "annotations accepted": corpus.annotations(),
            "speaker": recipe.speaker.kind,
            "incomplete families": str(corpus.check.incomplete_families),
            "label imbalance": f"{corpus.check.imbalance:.3f}",
        },
    )
    write_card(root, card, sample)
    return done


def _asked(recipe: LimeRecipe) -> dict[str, str]:
    """Which model was asked, and by which versions of the prompts."""
    if recipe.author.kind == "embedded":
        return {}
    versions = {f"prompt {n}": prompts.digest(f"lime_{n}.md") for n in _PROMPTS}
    return {"model": recipe.author.model} | versions


def _write_splits(folder: Path, corpus: _Corpus) -> None:
    folder.mkdir(exist_ok=True)
    for split in SPLITS:
        for name, values in (("texts", corpus.texts[split]), ("speakers", corpus.voices[split])):
            lines = "".join(f"{value}\n" for value in sorted(values))
            (folder / f"{split}_{name}.txt").write_text(lines, "utf-8")


def _write_rejected(path: Path, corpus: _Corpus) -> tuple[int, dict[str, int]]:
    """How many lines there are, and how often each kind of reason."""
    reasons, count = Counter[str](), 0
    with path.open("w", encoding="utf-8") as lines:
        for row in (*corpus.rejected_by_parts(), *corpus.rejected):
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
            reasons.update(reason_kind(reason) for reason in row["reasons"])
            count += 1
    return count, dict(reasons.most_common())


def _sample(root: Path, recipe: LimeRecipe, progress: Callable[[int, int], None]) -> list[Features]:
    """Whole families, drawn from all languages and splits alike, as the leak test sees them."""
    order = rng_for(recipe.seed, "leak", "sample").permutation(recipe.families)
    chosen = {int(family) for family in order[: -(-_SAMPLE // STYLES)]}
    found: list[Features] = []
    for split in SPLITS:
        for utterance in iter_manifest(root / f"{split}.jsonl"):
            if _family_of(utterance) not in chosen:
                continue
            sound, _notes = read_audio(utterance.clip.path)
            found.append(
                features(
                    sound,
                    family=utterance.text_id,
                    emotion=utterance.emotion,
                    text=utterance.transcript,
                )
            )
            progress(len(found), max(len(found), len(chosen) * STYLES))
    return found


def _family_of(utterance: Utterance) -> int:
    return int(utterance.id.split("_")[1])


def reason_kind(reason: str) -> str:
    """A reason without its figures and names, to be counted."""
    head = reason.partition(":")[0]
    return " ".join(word for word in head.split() if not any(c.isdigit() for c in word))


class _Corpus:
    """All parts in their order, one utterance at a time."""

    def __init__(self, root: Path, recipe: LimeRecipe) -> None:
        self._root, self._recipe = root, recipe
        self.count = 0
        self.rejected: list[dict[str, Any]] = []
        self.texts: dict[str, set[str]] = {split: set() for split in SPLITS}
        self.voices: dict[str, set[str]] = {split: set() for split in SPLITS}
        self.check = quality.CorpusCheck(emotions=LIME_EMOTIONS)

        self.tally = Tally()

    def of(self, split: str) -> Iterator[Utterance]:
        for number in range(self._recipe.parts):
            folder = part_folder(self._root, number)
            hashes: dict[str, str] = self._seal(number)["audio_hashes"]
            for utterance in iter_manifest(folder / MANIFEST):
                if self._split(utterance) != split:
                    continue
                if reasons := self._against(utterance, hashes[utterance.id]):
                    self.rejected.append({"what": utterance.id, "reasons": list(reasons)})
                    continue
                self.count += 1
                self.texts[split].add(utterance.text_id)
                self.voices[split].add(utterance.speaker)
                self.tally.add(utterance, split)
                yield utterance

    def rejected_by_parts(self) -> Iterator[dict[str, Any]]:
        for number in range(self._recipe.parts):
            path = part_folder(self._root, number) / REJECTED
            # A file's own lines: splitlines() would also cut at U+2028 inside a sentence.
            with path.open(encoding="utf-8") as lines:
                yield from map(json.loads, lines)

    def digest(self) -> str:
        """Of every part's contents, in order."""
        hashed = hashlib.blake2b(digest_size=16)
        for number in range(self._recipe.parts):
            hashed.update(self._seal(number)["digest"].encode())
        for split in SPLITS:
            with (self._root / f"{split}.jsonl").open("rb") as file:
                hashed.update(hashlib.file_digest(file, "blake2b").digest())
        return hashed.hexdigest()

    def annotations(self) -> str:
        """How many of those that were offered were taken; the paper says about 93 %."""
        seals = [self._seal(number)["annotations"] for number in range(self._recipe.parts)]
        taken, offered = (sum(s[key] for s in seals) for key in ("accepted", "offered"))
        return f"{taken} of {offered} ({taken / max(1, offered):.1%})"

    def _seal(self, number: int) -> dict[str, Any]:
        path = part_folder(self._root, number) / SEAL
        try:
            return json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            raise DataError(f"part {number} is not whole: {str(path)!r}; build again") from None

    def _split(self, utterance: Utterance) -> str:
        return family(self._recipe, _family_of(utterance)).split

    def _against(self, utterance: Utterance, sound: str) -> tuple[str, ...]:
        """What speaks against it beside all that came before."""
        if utterance.text_id in self.texts["train"] and self._split(utterance) == "test":
            return (f"text in train: {utterance.text_id}",)
        return self.check.add(
            text_id=utterance.text_id,
            text=utterance.transcript,
            emotion=utterance.emotion,
            intensity=utterance.intensity,
            audio_hash=sound,
        )
