from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError
from sounds import an_utterance, write_sine

from cogaudio_rl.config import Config, DataConfig, load_config
from cogaudio_rl.data.audio import probe_audio
from cogaudio_rl.data.lime.mixtures import build_mixtures
from cogaudio_rl.data.load import load_splits
from cogaudio_rl.data.manifest import write_manifest
from cogaudio_rl.data.mixture import Mixture
from cogaudio_rl.data.shards import write_shards
from cogaudio_rl.data.splits import Splits, labels
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import LIME_EMOTIONS, Utterance

TINY = {"train_utterances": 7, "rl_utterances": 7, "test_families": 1, "chinese_utterances": 0}


def quiet(done: int, total: int) -> None:
    del done, total


def a_run(**source: object) -> Config:
    return Config(data=DataConfig.model_validate(source))


def spoken(root: Path, name: str, text_id: str, **audio: int) -> Utterance:
    ref, _ = probe_audio(write_sine(root / "audio" / f"{name}.wav", **audio))
    return dataclasses.replace(an_utterance(name, text_id=text_id), audio=ref)


def a_corpus(root: Path) -> dict[str, list[Utterance]]:
    return {
        "train": [spoken(root, "u0", "t0")],
        "rl": [spoken(root, "u1", "t0")],
        "test": [spoken(root, "u2", "t1")],
    }


def write(root: Path, corpus: dict[str, Sequence[Utterance]] | dict[str, list[Utterance]]) -> Path:
    for split, utterances in corpus.items():
        write_manifest(root / f"{split}.jsonl", utterances)
    return root


def test_lime_mini_is_made_in_the_run_folder_once(tmp_path: Path) -> None:
    config, told = a_run(**TINY), []
    made = load_splits(config, tmp_path, lambda done, total: told.append((done, total)))
    assert (tmp_path / "data" / "stats.json").is_file()
    assert told[-1] == (21, 21)
    assert labels(made) == LIME_EMOTIONS
    assert load_splits(config, tmp_path, lambda *_: pytest.fail("made again")) == made
    elsewhere = a_run(**TINY, root=tmp_path / "data")
    assert load_splits(elsewhere, tmp_path / "other", quiet) == made


def test_ambiguity_mini_is_made_in_the_run_folder_once(tmp_path: Path) -> None:
    config, told = a_run(kind="ambiguity_mini", **TINY), []
    made = load_splits(config, tmp_path, lambda done, total: told.append((done, total)))
    assert (tmp_path / "data" / "README.md").is_file()
    assert told[-1] == (21, 21)
    assert all(u.votes and u.listeners and u.ambiguity for u in (*made.rl, *made.test))
    assert load_splits(config, tmp_path, lambda *_: pytest.fail("made again")) == made
    elsewhere = a_run(kind="ambiguity_mini", **TINY, root=tmp_path / "data")
    assert load_splits(elsewhere, tmp_path / "other", quiet) == made


def test_a_corpus_without_votes_is_no_ambiguity_mini(tmp_path: Path) -> None:
    write(tmp_path, a_corpus(tmp_path))
    config = a_run(kind="ambiguity_mini", root=tmp_path)
    with pytest.raises(DataError, match=r"'u0': it has no votes \(3 such in all\)"):
        load_splits(config, tmp_path, quiet)
    with pytest.raises(DataError, match="holds something other than Ambiguity-mini"):
        build_mixtures(tmp_path, utterances=7, rl_utterances=7, test_families=1, seed=0)


def test_manifests_are_read(tmp_path: Path) -> None:
    corpus = a_corpus(tmp_path)
    splits = load_splits(a_run(kind="manifest", root=write(tmp_path, corpus)), tmp_path, quiet)
    assert splits.train == Mixture({tmp_path / "train.jsonl": 1.0})
    assert isinstance(splits.train, Mixture)
    assert list(splits.train.read()) == corpus["train"]
    assert splits.rl == tuple(corpus["rl"])
    assert splits.test == tuple(corpus["test"])


def test_rl_draws_from_train_where_it_has_no_manifest(tmp_path: Path) -> None:
    corpus = a_corpus(tmp_path)
    corpus["train"] = [spoken(tmp_path, f"n{i}", "t0") for i in range(9)]
    del corpus["rl"]
    root = write(tmp_path, corpus)
    drawn = load_splits(a_run(kind="manifest", root=root, rl_utterances=4), tmp_path, quiet).rl
    assert len({u.id for u in drawn}) == 4
    assert {u.id for u in drawn} <= {f"n{i}" for i in range(9)}
    again = load_splits(a_run(kind="manifest", root=root, rl_utterances=4), tmp_path, quiet).rl
    assert again == drawn
    every = load_splits(a_run(kind="manifest", root=root, rl_utterances=40), tmp_path, quiet).rl
    assert len(every) == 9


def test_a_mixture_takes_the_place_of_train(tmp_path: Path) -> None:
    corpus = a_corpus(tmp_path / "root")
    more = write(tmp_path / "more", {"train": [spoken(tmp_path / "more", "m", "t5")]})
    shards = tmp_path / "shards"
    write_shards([spoken(tmp_path / "x", "s", "t6")], shards, rows_per_shard=2)
    parts = [{"path": more / "train.jsonl"}, {"path": shards, "weight": 0.5}]
    root = write(tmp_path / "root", corpus)
    source = {"kind": "manifest", "root": root, "mixture": parts}
    splits = load_splits(a_run(**source), tmp_path, quiet)
    assert splits.train == Mixture({more / "train.jsonl": 1.0, shards: 0.5})
    assert isinstance(splits.train, Mixture)
    assert [u.id for u in splits.train.read()] == ["m", "s"]
    (root / "rl.jsonl").unlink()
    only_shards = {**source, "mixture": [{"path": shards}]}
    with pytest.raises(DataError, match=r"RL has no utterances .* write '.*rl\.jsonl'"):
        load_splits(a_run(**only_shards), tmp_path, quiet)
    with pytest.raises(ValidationError, match="mixture needs kind=manifest, got kind=lime_mini"):
        a_run(kind="lime_mini", root=root, mixture=parts)


def test_actors_of_a_few_sentences_are_held_apart_by_speaker(tmp_path: Path) -> None:
    corpus = a_corpus(tmp_path)
    corpus["test"] = [dataclasses.replace(corpus["test"][0], text_id="t0")]
    root = write(tmp_path, corpus)
    with pytest.raises(DataError, match="text_id 't0' is in split 'train' and in split 'test'"):
        load_splits(a_run(kind="manifest", root=root), tmp_path, quiet)
    with pytest.raises(DataError, match="speaker 's0' is in split 'train' and in split 'test'"):
        load_splits(a_run(kind="manifest", root=root, apart_by="speaker"), tmp_path, quiet)
    write_manifest(root / "test.jsonl", [dataclasses.replace(corpus["test"][0], speaker="s9")])
    assert load_splits(a_run(kind="manifest", root=root, apart_by="speaker"), tmp_path, quiet).test


def test_an_id_in_two_sources_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "root", a_corpus(tmp_path / "root"))
    other = write(tmp_path / "other", {"train": [spoken(tmp_path / "other", "u0", "t7")]})
    parts = [{"path": folder / "train.jsonl"} for folder in (root, other)]
    with pytest.raises(DataError, match="id 'u0' comes twice"):
        load_splits(a_run(kind="manifest", root=root, mixture=parts), tmp_path, quiet)


def test_emodb_is_read(tmp_path: Path) -> None:
    for name in ("03a01Fa", "08a01Wa", "09a01Na"):
        write_sine(tmp_path / f"{name}.wav")
    splits = load_splits(a_run(kind="emodb", root=tmp_path), tmp_path, quiet)
    assert labels(splits) == ("neutral", "happy", "angry")
    assert splits.rl[0].attribution is None
    for models in (["base", "T"], ["base", "A", "I1"]):
        config = load_config(
            "ieat_emodb", [f"data.root={tmp_path}", f"models={json.dumps(models)}"]
        )
        thoughtful = load_splits(config, tmp_path, quiet)
        assert all(u.attribution for u in (*thoughtful.rl, *thoughtful.test))


def test_labels_come_in_the_papers_order_and_boredom_last() -> None:
    def only(emotion: str) -> tuple[Utterance, ...]:
        return (an_utterance(emotion=emotion),)

    found = labels(Splits(train=only("boredom"), rl=only("sad"), test=only("happy")))
    assert found == ("happy", "sad", "boredom")


@pytest.mark.parametrize("split", ["train", "rl", "test"])
def test_an_empty_split_is_named(split: str, tmp_path: Path) -> None:
    root = write(tmp_path, {**a_corpus(tmp_path), split: []})
    with pytest.raises(
        DataError, match=rf"split '{split}' is empty|{split}\.jsonl' holds no utter"
    ):
        load_splits(a_run(kind="manifest", root=root), tmp_path, quiet)


@pytest.mark.parametrize("split", ["train", "rl"])
def test_texts_in_two_splits_are_refused(split: str, tmp_path: Path) -> None:
    corpus = a_corpus(tmp_path)
    corpus[split].append(dataclasses.replace(corpus["test"][0], id="again"))
    with pytest.raises(DataError, match=f"text_id 't1' is in split '{split}' and in split 'test'"):
        load_splits(a_run(kind="manifest", root=write(tmp_path, corpus)), tmp_path, quiet)


def test_voices_in_two_splits_are_refused_for_lime(tmp_path: Path) -> None:
    root = write(tmp_path, a_corpus(tmp_path))
    with pytest.raises(DataError, match="speaker 's0' is in split 'train' and in split 'test'"):
        load_splits(a_run(kind="lime_mini", root=root), tmp_path, quiet)


def test_missing_audio_is_named_before_anything_runs(tmp_path: Path) -> None:
    corpus = a_corpus(tmp_path)
    Path(corpus["test"][0].clip.path).unlink()
    with pytest.raises(DataError, match=r"u2\.wav' does not exist"):
        load_splits(a_run(kind="manifest", root=write(tmp_path, corpus)), tmp_path, quiet)


def test_unreadable_audio_is_named_before_anything_runs(tmp_path: Path) -> None:
    corpus = a_corpus(tmp_path)
    Path(corpus["rl"][0].clip.path).write_bytes(b"RIFF, and then nothing")
    with pytest.raises(DataError, match=r"u1\.wav' cannot be read"):
        load_splits(a_run(kind="manifest", root=write(tmp_path, corpus)), tmp_path, quiet)


def test_audio_that_is_not_what_its_manifest_says_is_named(tmp_path: Path) -> None:
    corpus = a_corpus(tmp_path)
    write_sine(Path(corpus["train"][0].clip.path), seconds=1.0)
    expected = r"16000 samples at 16000 Hz, but its manifest says 8000 samples"
    with pytest.raises(DataError, match=expected):
        load_splits(a_run(kind="manifest", root=write(tmp_path, corpus)), tmp_path, quiet)


def test_conversions_are_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    corpus = a_corpus(tmp_path)
    corpus["train"] = [spoken(tmp_path, f"low{i}", "t0", rate_hz=8_000) for i in range(3)]
    with caplog.at_level(logging.WARNING):
        load_splits(a_run(kind="manifest", root=write(tmp_path, corpus)), tmp_path, quiet)
    (message,) = caplog.messages
    assert message.startswith("3 audio files: resampled from 8000 Hz to 16000 Hz (first: ")


@pytest.mark.parametrize("kind", ["manifest", "lime_mini"])
def test_a_folder_without_manifests_is_named(kind: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(train|test)\.jsonl' does not exist"):
        load_splits(a_run(kind=kind, root=tmp_path), tmp_path, quiet)
    with pytest.raises(DataError, match=r"absent' does not exist"):
        load_splits(a_run(kind=kind, root=tmp_path / "absent"), tmp_path, quiet)


def test_manifests_need_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.root is not set"):
        load_splits(a_run(kind="manifest"), tmp_path, quiet)


@pytest.mark.parametrize("split", ["train", "rl", "test"])
def test_votes_are_looked_at_before_anything_trains(split: str, tmp_path: Path) -> None:
    shares = dict.fromkeys(LIME_EMOTIONS, 0.0)
    corpus = {
        name: [dataclasses.replace(u, votes=shares | {"sad": 1.0}, listeners=10) for u in part]
        for name, part in a_corpus(tmp_path).items()
    }
    made = DataConfig.model_validate({"kind": "manifest", "root": write(tmp_path, corpus)})
    config = load_config("ambiguity_mini", ()).model_copy(update={"data": made})
    assert load_splits(config, tmp_path, quiet).test == tuple(corpus["test"])
    corpus[split] = [dataclasses.replace(corpus[split][0], listeners=1)]
    write(tmp_path, corpus)
    with pytest.raises(DataError, match="one vote is no distribution"):
        load_splits(config, tmp_path, quiet)
