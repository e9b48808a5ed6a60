"""From a recipe's ``data`` section to checked splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from cogaudio_rl.config import Config, DataConfig
from cogaudio_rl.data.audio import log_conversions, probe_audio
from cogaudio_rl.data.corpora.emodb import load_emodb
from cogaudio_rl.data.lime.attributed import build_attributed
from cogaudio_rl.data.lime.build import build_lime_mini
from cogaudio_rl.data.lime.making import Progress
from cogaudio_rl.data.lime.mixtures import build_mixtures
from cogaudio_rl.data.manifest import disjoint, read_manifest, validate_split
from cogaudio_rl.data.mixture import Mixture
from cogaudio_rl.data.shards import in_shards
from cogaudio_rl.data.splits import Splits, in_order
from cogaudio_rl.data.votes import vote_table
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import LIME_EMOTIONS, Utterance


def load_splits(config: Config, run_dir: Path, progress: Progress) -> Splits:
    """The utterances of a run: made in ``run_dir/data``, or read from ``data.root``.

    Raises DataError for a missing folder, a bad manifest, unknown labels, audio that is missing or
    unreadable by its header, an empty split, and splits that share texts (EmoDB: speakers).
    """
    source = config.data
    if source.kind == "emodb":
        return load_emodb(source, config.seed, attributed=config.takes_thoughts)
    if source.kind == "manifest":
        return _load_manifests(config, progress)
    folder = run_dir / "data" if source.root is None else _folder(source)
    if source.root is None and source.kind == "ambiguity_mini":
        build_mixtures(
            folder,
            utterances=source.train_utterances,
            rl_utterances=source.rl_utterances,
            test_families=source.test_families,
            dev_families=source.dev_families,
            seed=config.seed,
            progress=progress,
        )
    elif source.root is None and source.kind == "attribution_mini":
        build_attributed(source, config.seed, folder, progress=progress)
    elif source.root is None:
        build_lime_mini(source, config.seed, folder, progress=progress)
    train, rl, test = (read_manifest(folder / f"{name}.jsonl") for name in ("train", "rl", "test"))
    dev = _dev(folder)
    if source.kind == "ambiguity_mini":
        vote_table((*train, *rl, *test), LIME_EMOTIONS)  # a folder of something else has no votes
    validate_split(train, test, speakers=True)
    validate_split(rl, test, names=("rl", "test"), speakers=True)
    for name, split in (("train", train), ("rl", rl), ("test", test)) if dev else ():
        validate_split(split, dev, names=(name, "dev"), speakers=True)
    check_audio((*train, *rl, *test, *dev))
    return Splits(train=train, rl=rl, test=test, dev=dev)


def _load_manifests(config: Config, progress: Progress) -> Splits:
    """Every record is looked at once: no run should end after days at a line that is there today."""
    source, seed = config.data, config.seed
    root = _folder(source)
    test = read_manifest(root / "test.jsonl")
    mixture, seen = Mixture.of(source), set[str]()
    what = {"text": "text_id", "speaker": "speaker"}[source.apart_by]
    read: Iterable[Utterance] = mixture.read(progress)
    if config.is_about_votes:
        read = _voted_alike(test, read)
    check_audio(_noting(what, read, seen))
    dev = _dev(root)
    disjoint(seen, {getattr(u, what) for u in test}, what, ("train", "test"))
    disjoint(seen, {getattr(u, what) for u in dev}, what, ("train", "dev"))
    if (root / "rl.jsonl").is_file():
        rl = read_manifest(root / "rl.jsonl")
        check_audio(_voted_alike(test, rl) if config.is_about_votes else rl)
    else:
        rl = mixture.draw(source.rl_utterances, seed=seed)
        if not rl:
            raise DataError(
                f"RL has no utterances and draws none from shards; write {str(root / 'rl.jsonl')!r}"
            )
    by_text = source.apart_by == "text"
    validate_split(rl, test, names=("rl", "test"), texts=by_text, speakers=not by_text)
    if dev:
        validate_split(test, dev, names=("test", "dev"), texts=by_text, speakers=not by_text)
        validate_split(rl, dev, names=("rl", "dev"), texts=by_text, speakers=not by_text)
    check_audio((*test, *dev))
    return Splits(train=mixture, rl=rl, test=test, dev=dev)


def _voted_alike(test: Sequence[Utterance], train: Iterable[Utterance]) -> Iterator[Utterance]:
    """The training utterances, once all have votes in the very labels of the test's.

    Raises DataError naming the first that has not, of both.
    """
    labels = in_order(test[0].votes or ()) if test else ()
    vote_table(test, labels)
    for utterance in train:
        vote_table((utterance,), labels)
        yield utterance


def _dev(folder: Path) -> tuple[Utterance, ...]:
    """What settings are chosen on, where there is any."""
    path = folder / "dev.jsonl"
    return read_manifest(path) if path.is_file() else ()


def _folder(source: DataConfig) -> Path:
    if source.root is None:
        raise DataError("data.root is not set; name the folder with train.jsonl and test.jsonl")
    if not source.root.is_dir():
        raise DataError(f"folder {str(source.root)!r} does not exist")
    return source.root


def _noting(what: str, utterances: Iterable[Utterance], seen: set[str]) -> Iterator[Utterance]:
    for utterance in utterances:
        seen.add(getattr(utterance, what))
        yield utterance


def check_audio(utterances: Iterable[Utterance]) -> None:
    """Raise DataError for the first sound that is missing, unreadable or not as its manifest says.

    Reads headers only, and of shards nothing: loaders look there. Conversions that will be needed are
    logged, once for each kind.
    """
    notes: dict[str, list[str]] = defaultdict(list)
    for utterance in utterances:
        if utterance.audio is None or in_shards(utterance):
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
