"""The test sets that models can be held against, by the names that ``eval --suite`` knows.

    test      the recipe's own test split
    lime      the same words in seven tones of voice (LIME-440K, or LIME-mini made here)
    conflict  words that name one feeling, said in another (made here)
    esd, emodb, crema_d   human voices; speakers held out
    humdial   EIBench and the challenge: multiple choice, dialogues, conflict of words and voice

A corpus that is not on disk is :class:`SuiteAbsent`, with what to give.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cogaudio_rl.config import Config, CorpusConfig, DataConfig
from cogaudio_rl.data.corpora import humdial
from cogaudio_rl.data.corpora.prepare import CORPORA, reader_options, splits_of, with_words
from cogaudio_rl.data.corpora.reading import Progress
from cogaudio_rl.data.lime.build import build_lime_mini
from cogaudio_rl.data.lime.conflict import build_conflict, lexical_emotion
from cogaudio_rl.data.load import load_splits
from cogaudio_rl.data.manifest import read_manifest
from cogaudio_rl.data.mixture import Mixture
from cogaudio_rl.data.splits import Splits, in_order
from cogaudio_rl.errors import DataError
from cogaudio_rl.eval.suite import Suite
from cogaudio_rl.types import LIME_EMOTIONS, Utterance


class SuiteAbsent(DataError):
    """The suite's corpus is not there; the message says what to give."""


@dataclass(frozen=True)
class Shelf:
    """Where test sets come from: a recipe, and a folder for what is made here."""

    config: Config
    folder: Path
    progress: Progress
    recipes: tuple[Config, ...] = ()
    """Others that taught the models which are tested."""

    @cached_property
    def splits(self) -> Splits:
        """The recipe's own."""
        return load_splits(self.config, self.folder, self.progress)

    def suite(self, name: str) -> Suite:
        """Raises SuiteAbsent for a corpus that is not there, DataError for one that is damaged, or that
        the recipe trains on."""
        found = SUITES[name](self)
        if name != "test":
            self._refuse_what_was_trained_on(found)
        return found

    def corpus(self, name: str) -> tuple[Path, CorpusConfig]:
        """Raises SuiteAbsent."""
        given: CorpusConfig = getattr(self.config.eval.suites, name)
        if given.root is None:
            raise SuiteAbsent(f"{name}: give its folder, eval.suites.{name}.root=PATH")
        if not given.root.is_dir():
            raise SuiteAbsent(f"{name}: eval.suites.{name}.root {str(given.root)!r} does not exist")
        return given.root, given

    def _refuse_what_was_trained_on(self, suite: Suite) -> None:
        """Other voices, or other words: one of the two has to be new."""
        tested = suite.utterances if suite.dialogues is None else suite.dialogues.utterances
        for config in (self.config, *self.recipes):
            if config.data.kind == "lime_mini":
                continue  # its voices and sentences are nobody else's; tests keep to voices of theirs
            splits = self.splits if config is self.config else self._of(config)
            texts, speakers = set[str](), set[str]()
            for u in itertools.chain(_each(splits.train, self.progress), splits.rl):
                texts.add(u.text_id)
                speakers.add(u.speaker)
            both = sorted(u.id for u in tested if u.text_id in texts and u.speaker in speakers)
            if both:
                raise DataError(
                    f"suite {suite.name}: {len(both)} of its utterances are sentences and speakers "
                    f"that {config.name} trains on, such as {both[0]!r}; hold other speakers out with "
                    f"eval.suites.{suite.name}.held_out_speakers=[...]"
                )

    def _of(self, config: Config) -> Splits:
        return load_splits(config, self.folder, self.progress)


def _each(train: Sequence[Utterance] | Mixture, progress: Progress) -> Iterable[Utterance]:
    return train.read(progress) if isinstance(train, Mixture) else train


def _test(shelf: Shelf) -> Suite:
    splits = shelf.splits
    return _suite("test", "the recipe's own test split", splits.test, train=splits.train)


def _lime(shelf: Shelf) -> Suite:
    given = shelf.config.eval.suites.lime
    if given.root is None:
        about = "LIME-mini: the same words in seven tones of voice; texts and voices unseen"
        train, test = _lime_mini(shelf)
        return _suite("lime", about, test, train=train)
    root, given = shelf.corpus("lime")
    about = "LIME: the same words in seven tones of voice; texts unseen"
    if (root / "test.jsonl").is_file():
        train = (root / "train.jsonl").absolute()
        seen = Mixture({train: 1.0}) if train.is_file() else ()
        return _suite("lime", about, read_manifest(root / "test.jsonl"), train=seen)
    utterances = _read(shelf, "lime440k", root, given)
    test_texts = set(splits_of("lime440k", utterances).get("by_text", {}).get("test", ()))
    test = [u for u in utterances if u.text_id in test_texts]
    return _suite("lime", about, test, train=[u for u in utterances if u.text_id not in test_texts])


def _lime_mini(shelf: Shelf) -> tuple[Sequence[Utterance] | Mixture, Sequence[Utterance]]:
    data = shelf.config.data
    if data.kind == "lime_mini":
        return shelf.splits.train, shelf.splits.test
    small = DataConfig(train_utterances=1_400, rl_utterances=7, chinese_utterances=0)
    made = build_lime_mini(small, shelf.config.seed, shelf.folder / "lime", progress=shelf.progress)
    return made.train, made.test


def _conflict(shelf: Shelf) -> Suite:
    folder = shelf.folder / "conflict"
    made = build_conflict(folder, language="en", seed=shelf.config.seed, progress=shelf.progress)
    train, _test = _lime_mini(shelf)
    return _suite(
        "conflict",
        "made set: sentences that name a feeling, said in each of seven; voices unseen",
        made,
        train=train,
        lexical={u.id: emotion for u in made if (emotion := lexical_emotion(u)) is not None},
    )


def _human(name: str, what: str, fewest: int) -> Callable[[Shelf], Suite]:
    """A corpus of human voices with ``fewest`` speakers held out where nobody names any."""

    def load(shelf: Shelf) -> Suite:
        root, given = shelf.corpus(name)
        utterances = _read(shelf, name, root, given)
        held_out = _held_out(name, utterances, given.held_out_speakers, fewest)
        test = [u for u in utterances if u.speaker in held_out]
        train = [u for u in utterances if u.speaker not in held_out]
        who = ", ".join(sorted(held_out))
        return _suite(name, f"{what}; speakers held out: {who}", test, train=train)

    return load


def _held_out(
    name: str, utterances: Sequence[Utterance], wanted: Sequence[str], fewest: int
) -> frozenset[str]:
    speakers = sorted({u.speaker for u in utterances})
    if len(speakers) <= fewest:
        raise DataError(f"suite {name}: {len(speakers)} speakers; it needs more than {fewest}")
    if not wanted:
        suggested = splits_of(name, utterances)["by_speaker"]["test"]
        return frozenset(suggested if len(suggested) >= fewest else speakers[-fewest:])
    unknown = sorted(set(wanted) - set(speakers))
    if unknown:
        raise DataError(
            f"eval.suites.{name}.held_out_speakers: no speaker {unknown[0]!r}; there are "
            f"{', '.join(speakers)}"
        )
    return frozenset(wanted)


def _humdial(shelf: Shelf) -> Suite:
    root, given = shelf.corpus("humdial")
    reading = humdial.read(
        root, progress=shelf.progress, **reader_options("humdial", given.options)
    )
    kinds = {c.id: c.kind.strip().lower() for c in reading.choices if c.task == "T4"}
    single = [u for u in reading.utterances if u.id in kinds]
    told = {"conflict": lambda u: "", "consistent": lambda u: u.emotion}
    return _suite(
        "humdial",
        "HumDial: EIBench and the challenge, Mandarin and English",
        single,
        lexical={u.id: told[kinds[u.id]](u) for u in single if kinds[u.id] in told},
        dialogues=reading,
    )


def _read(shelf: Shelf, corpus: str, root: Path, given: CorpusConfig) -> tuple[Utterance, ...]:
    options = reader_options(corpus, given.options)
    reading = with_words(CORPORA[corpus](root, progress=shelf.progress, **options))
    if not reading.utterances:
        raise DataError(f"{str(root)!r} holds nothing usable; see `cogaudio-rl data prepare`")
    return tuple(u for u in reading.utterances if u.audio is not None)


def _suite(
    name: str,
    about: str,
    utterances: Sequence[Utterance],
    *,
    train: Sequence[Utterance] | Mixture = (),
    lexical: Mapping[str, str] = {},
    dialogues: humdial.HumDialReading | None = None,
) -> Suite:
    return Suite(
        name=name,
        about=about,
        utterances=tuple(utterances),
        labels=_labels(utterances) if name != "humdial" else LIME_EMOTIONS,
        lexical=lexical,
        train=train,
        dialogues=dialogues,
    )


def _labels(utterances: Iterable[Utterance]) -> tuple[str, ...]:
    return in_order({u.emotion for u in utterances})


SUITES: Mapping[str, Callable[[Shelf], Suite]] = {
    "test": _test,
    "lime": _lime,
    "conflict": _conflict,
    "esd": _human("esd", "ESD: acted, Mandarin and English", 2),
    "emodb": _human("emodb", "EmoDB: acted German sentences", 2),
    "crema_d": _human("crema_d", "CREMA-D: acted English sentences", 1),
    "humdial": _humdial,
}
