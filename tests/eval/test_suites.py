"""Test sets by name: what each holds, who is held out, and what is said of one that is not there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sounds import an_utterance, write_sine

from cogaudio_rl.config import Config, load_config
from cogaudio_rl.data.manifest import write_manifest
from cogaudio_rl.dictation import Dictated, add
from cogaudio_rl.errors import DataError
from cogaudio_rl.eval.suites import DICTATED, SUITES, Shelf, SuiteAbsent, _held_out
from cogaudio_rl.types import Utterance

LINES = ("DFA", "IEO", "ITH")


def a_config(folder: Path, **given: Any) -> Config:
    """A recipe that trains on one speaker's sentence, and the suites' folders."""
    utterances = [spoken(folder, "train", "t0", "s0"), spoken(folder, "test", "t1", "s1")]
    for name, one in zip(("train", "test"), utterances, strict=True):
        write_manifest(folder / f"{name}.jsonl", [one])
    overrides = [f"{key.replace('__', '.')}={value}" for key, value in given.items()]
    return load_config("quickstart", ["data.kind=manifest", f"data.root={folder}", *overrides])


def spoken(folder: Path, name: str, text_id: str, speaker: str) -> Utterance:
    path = write_sine(folder / f"{name}.wav")
    return an_utterance(name, text_id=text_id, path=str(path), speaker=speaker)


def crema_d(root: Path, actors: tuple[int, ...] = (1001, 1002, 1003)) -> Path:
    for actor in actors:
        for line in LINES:
            for emotion in ("ANG", "SAD"):
                write_sine(root / "AudioWAV" / f"{actor}_{line}_{emotion}_XX.wav")
    return root


def shelf(tmp_path: Path, **given: Any) -> Shelf:
    config = a_config(tmp_path / "recipe", **given)
    return Shelf(config, tmp_path / "made", lambda done, total: None)


def test_a_corpus_that_is_not_there_is_named_with_what_to_give(tmp_path: Path):
    for name in ("esd", "emodb", "crema_d", "humdial"):
        with pytest.raises(SuiteAbsent, match=rf"give its folder, eval\.suites\.{name}\.root=PATH"):
            shelf(tmp_path).suite(name)
    with pytest.raises(SuiteAbsent, match="'nowhere' does not exist"):
        shelf(tmp_path, eval__suites__esd__root="nowhere").suite("esd")


def test_the_recipes_own_test_split_and_what_it_trains_on(tmp_path: Path):
    suite = shelf(tmp_path).suite("test")
    assert [u.id for u in suite.utterances] == ["test"]
    assert suite.labels == ("happy",)
    assert suite.train


def test_speakers_are_held_out_and_the_others_are_there_to_learn_from(tmp_path: Path):
    root = crema_d(tmp_path / "corpus")
    suite = shelf(tmp_path, eval__suites__crema_d__root=root).suite("crema_d")
    train = list(suite.train)  # pyright: ignore[reportArgumentType]
    assert {u.speaker for u in suite.utterances} == {"crema_d_1003"}
    assert {u.speaker for u in train} == {"crema_d_1001", "crema_d_1002"}
    assert suite.labels == ("sad", "angry")
    assert "crema_d_1003" in suite.about


def test_speakers_held_out_by_name_and_one_that_nobody_knows(tmp_path: Path):
    root = crema_d(tmp_path / "corpus")
    named = {"eval__suites__crema_d__root": root}
    held = {"eval__suites__crema_d__held_out_speakers": "[crema_d_1001]"}
    assert {u.speaker for u in shelf(tmp_path, **named, **held).suite("crema_d").utterances} == {
        "crema_d_1001"
    }
    held = {"eval__suites__crema_d__held_out_speakers": "[somebody]"}
    with pytest.raises(DataError, match="no speaker 'somebody'; there are crema_d_1001, "):
        shelf(tmp_path, **named, **held).suite("crema_d")


def test_sentences_and_speakers_that_were_trained_on_are_no_test(tmp_path: Path):
    root = crema_d(tmp_path / "corpus")
    there = shelf(tmp_path, eval__suites__crema_d__root=root)
    seen = there.suite("crema_d").utterances[0]
    write_manifest(tmp_path / "recipe" / "train.jsonl", [seen])
    again = Shelf(there.config, there.folder, there.progress)
    with pytest.raises(DataError, match=r"trains on.*eval\.suites\.crema_d\.held_out_speakers"):
        again.suite("crema_d")


def test_conflict_items_know_what_their_words_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from cogaudio_rl.data.lime import conflict

    few = conflict.sentences("en")[::8]
    monkeypatch.setattr(conflict, "sentences", lambda language: few if language == "en" else ())
    monkeypatch.setattr("cogaudio_rl.eval.suites._lime_mini", lambda shelf: ((), ()))
    suite = shelf(tmp_path).suite("conflict")
    assert len(suite.utterances) == 7 * len(few)
    assert set(suite.lexical) == {u.id for u in suite.utterances}
    agree = [u for u in suite.utterances if suite.lexical[u.id] == u.emotion]
    assert len(agree) == sum(t.emotion in suite.labels for t in few)


def test_of_humdials_conflict_items_only_their_kind_is_known(tmp_path: Path):
    root = tmp_path / "eibench" / "en"
    items = [
        {"uid": f"i{i}", "wav": f"{i}.wav", "words": "Great.", "gold": "A", "kind": kind}
        | {"choices": {"A": "sad", "B": "happy"}}
        for i, kind in enumerate(("conflict", "consistent"))
    ]
    for i in range(2):
        write_sine(root / f"{i}.wav")
    (root / "task4.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    columns = "{id: uid, audio: wav, text: words, options: choices, answer: gold, kind: kind}"
    suite = shelf(
        tmp_path,
        eval__suites__humdial__root=tmp_path / "eibench",
        eval__suites__humdial__options__columns=columns,
    ).suite("humdial")
    assert sorted(suite.lexical.values()) == ["", "sad"]
    assert suite.dialogues is not None


def test_replies_are_held_against_those_of_a_run_that_has_a_teacher(tmp_path: Path):
    there = shelf(tmp_path, out_dir=tmp_path / "run")
    with pytest.raises(SuiteAbsent, match=r"dictation/test\.jsonl' holds no teacher's replies"):
        there.suite("attribution")
    said = Dictated(id="u0", replies=("Go on.", "Go on.", "I see."))
    (tmp_path / "run" / "dictation").mkdir(parents=True)
    add(tmp_path / "run" / DICTATED, [said])
    suite = there.suite("attribution")
    assert suite.dictation == {"u0": said}
    assert [u.id for u in suite.utterances] == [u.id for u in there.splits.test]


def test_every_suite_has_a_loader_and_a_folder_of_its_own_where_it_needs_one():
    own = {"test", "conflict", "ambiguity", "ambiguity_dev", "attribution"}
    assert set(SUITES) - own == set(Config().eval.suites.model_dump())


def test_of_each_language_one_speaker_is_held_out_and_no_more(tmp_path: Path):
    names = {f"esd_00{n:02d}": "zh" if n <= 10 else "en" for n in range(1, 21)}
    heard = [
        replace(an_utterance(f"u{i}", speaker=name, annotated=False), language=language)
        for i, (name, language) in enumerate(names.items())
    ]
    assert _held_out("esd", heard, (), 2) == {"esd_0010", "esd_0020"}


def test_what_taught_a_model_elsewhere_is_no_test_of_it(tmp_path: Path):
    root = crema_d(tmp_path / "corpus")
    here = shelf(tmp_path, eval__suites__crema_d__root=root)
    seen = here.suite("crema_d").utterances[0]
    other = a_config(tmp_path / "other", name="elsewhere")
    write_manifest(tmp_path / "other" / "rl.jsonl", [seen])
    both = Shelf(here.config, here.folder, here.progress, (other,))
    with pytest.raises(DataError, match="speakers that elsewhere trains on"):
        both.suite("crema_d")


def test_settings_are_chosen_on_a_split_that_is_no_test(tmp_path: Path):
    sizes = {"train_utterances": 7, "rl_utterances": 7, "test_families": 1}
    config = load_config("ambiguity_mini", [f"data.{k}={v}" for k, v in sizes.items()])
    found = Shelf(config, tmp_path / "with", lambda done, total: None)
    dev, test = found.suite("ambiguity_dev"), found.suite("ambiguity")
    assert dev.voted
    assert "for choosing settings, not for claims" in dev.about
    assert "SIMULATED" in dev.about
    assert len(dev.utterances) == 7 * config.data.dev_families
    assert {u.speaker for u in dev.utterances}.isdisjoint(u.speaker for u in test.utterances)
    none = config.model_copy(update={"data": config.data.model_copy(update={"dev_families": 0})})
    with pytest.raises(SuiteAbsent, match=r"no voted split for choosing .* data\.dev_families=20"):
        Shelf(none, tmp_path / "without", lambda done, total: None).suite("ambiguity_dev")
