"""The test sets that models can be held against, by the names that ``eval --suite`` knows.

    test      the recipe's own test split
    lime      the same words in seven tones of voice (LIME-440K, or LIME-mini made here)
    conflict  words that name one feeling, said in another (made here)
    esd, emodb, crema_d   human voices; speakers held out
    humdial   EIBench and the challenge: multiple choice, dialogues, conflict of words and voice
    ambiguity how listeners' votes are shared, in the recipe's own test split
    ambiguity_dev  the same in its own split for choosing settings, which leaves the test for the end
    attribution   replies beside those of a run's teacher, and how they sound, in the same

A corpus that is not on disk is :class:`SuiteAbsent`, with what to give.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from cogaudio_rl.dictation import read_dictation
from cogaudio_rl.errors import DataError
from cogaudio_rl.eval.ambiguity import labels_of
from cogaudio_rl.eval.suite import Suite
from cogaudio_rl.types import LIME_EMOTIONS, Utterance

DICTATED = "dictation/test.jsonl"
"""In a run folder: what its teacher replied to the test split."""


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
        # Held apart when its splits were loaded.
        own = name in ("test", "ambiguity", "ambiguity_dev", "attribution")
        self._refuse_what_was_trained_on(found, self.recipes if own else self._all)
        return found

    @property
    def _all(self) -> tuple[Config, ...]:
        return (self.config, *self.recipes)

    def corpus(self, name: str) -> tuple[Path, CorpusConfig]:
        """Raises SuiteAbsent."""
        given: CorpusConfig = getattr(self.config.eval.suites, name)
        if given.root is None:
            raise SuiteAbsent(f"{name}: give its folder, eval.suites.{name}.root=PATH")
        if not given.root.is_dir():
            raise SuiteAbsent(f"{name}: eval.suites.{name}.root {str(given.root)!r} does not exist")
        return given.root, given

    def _refuse_what_was_trained_on(self, suite: Suite, recipes: Sequence[Config]) -> None:
        """Other voices, or other words: one of the two has to be new."""
        tested = suite.utterances if suite.dialogues is None else suite.dialogues.utterances
        for config in recipes:
            if config.data.is_spoken_here:
                # Its voices and sentences are nobody else's; tests keep to voices of theirs. What
                # settings are chosen on is of what others train on.
                if suite.name == "ambiguity_dev" and _made(config) != _made(self.config):
                    raise DataError(
                        f"suite {suite.name}: {config.name} may have been trained on it; it is there "
                        f"to choose settings of {self.config.name}"
                    )
                continue
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


def _made(config: Config) -> DataConfig:
    """What data were made from, wherever they lie."""
    return config.data.model_copy(update={"root": None})


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


def _ambiguity(shelf: Shelf) -> Suite:
    voted = [u for u in shelf.splits.test if u.votes]
    if not voted:
        raise SuiteAbsent(
            "ambiguity: nobody voted on the recipe's test split; take a recipe whose corpus has "
            "listeners' votes, such as ambiguity_mini"
        )
    return _of_votes("ambiguity", "how listeners' votes are shared; voices unseen", voted, shelf)


def _ambiguity_dev(shelf: Shelf) -> Suite:
    voted = [u for u in shelf.splits.dev if u.votes]
    if not voted:
        raise SuiteAbsent(
            "ambiguity_dev: the recipe has no voted split for choosing settings; make one with "
            "data.dev_families=20, or write a dev.jsonl into data.root"
        )
    about = "for choosing settings, not for claims: how listeners' votes are shared; voices unseen"
    return _of_votes("ambiguity_dev", about, voted, shelf)


def _of_votes(name: str, about: str, voted: Sequence[Utterance], shelf: Shelf) -> Suite:
    if shelf.config.data.kind == "ambiguity_mini":
        about += "; SIMULATED voices and listeners"
    return replace(_suite(name, about, voted), labels=labels_of(voted), voted=True)


def _attribution(shelf: Shelf) -> Suite:
    path = shelf.config.out_dir / DICTATED
    said = read_dictation(path)
    if not said:
        raise SuiteAbsent(
            f"attribution: {str(path)!r} holds no teacher's replies; finish a run of the recipe ieat"
        )
    found = _suite("attribution", "replies beside a teacher's, and heard", shelf.splits.test)
    return replace(found, dictation=said)


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
    "ambiguity": _ambiguity,
    "ambiguity_dev": _ambiguity_dev,
    "attribution": _attribution,
}
