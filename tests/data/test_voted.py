"""Votes, chains and folds of real corpora's layouts, on made folders up to where models are needed."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import REAL_DATA, sine
from typer.testing import CliRunner

from clusters.cli import app
from cogaudio_rl import ambiguity
from cogaudio_rl.config import load_config
from cogaudio_rl.data.load import load_splits
from cogaudio_rl.data.manifest import read_manifest, write_manifest
from cogaudio_rl.data.voted import PRESETS, VotedRecipe, prepare_voted
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import Utterance

ACTORS = range(1001, 1007)
HEADER = '"","A","D","F","H","N","S","fileName","numResponses","agreement","emoVote"'


def tone(path: Path, level: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, (level * sine(seconds=0.4)).astype(np.float32), 16_000)


def crema_d(root: Path) -> Path:
    """Six actors with two clips each, of which ten listeners heard the voice; one clip had one."""
    rows: list[str] = []
    for i, (actor, (sentence, acted)) in enumerate(
        itertools.product(ACTORS, (("DFA", "ANG"), ("IEO", "SAD")))
    ):
        name = f"{actor}_{sentence}_{acted}_XX"
        tone(root / "AudioWAV" / f"{name}.wav", 0.3 + 0.05 * i)
        heard, others = ("6,0,0,0,0,4", 10) if i else ("1,0,0,0,0,0", 1)
        rows.append(f'"{100001 + i}",{heard},"{name}",{others},0.6,"A"')
    (root / "processedResults").mkdir()
    table = "\n".join((HEADER, *rows)) + "\n"
    (root / "processedResults" / "tabulatedVotes.csv").write_text(table)
    return root


def iemocap(root: Path) -> Path:
    """Five sessions of two people; one utterance of each session is heard as frustrated by somebody."""
    for number in range(1, 6):
        session, dialogue = root / f"Session{number}", f"Ses0{number}F_impro01"
        blocks: list[str] = []
        words: list[str] = []
        for name, label, votes in (
            ("F000", "neu", ("Neutral", "Neutral", "Sadness")),
            ("M001", "exc", ("Excited", "Happiness", "Excited")),
            ("F002", "ang", ("Anger", "Anger", "Frustration")),
        ):
            utterance = f"{dialogue}_{name}"
            lines = [f"[1.0 - 2.0]\t{utterance}\t{label}\t[2.5, 2.5, 2.5]"]
            lines += [f"C-E{n}:\t{vote};\t()" for n, vote in enumerate(votes, start=1)]
            blocks.append("\n".join(lines))
            words.append(f"{utterance} [001.0000-002.0000]: Number {name} speaks.")
            tone(session / "sentences" / "wav" / dialogue / f"{utterance}.wav", 0.5)
        for folder, text in (("EmoEvaluation", blocks), ("transcriptions", words)):
            path = session / "dialog" / folder / f"{dialogue}.txt"
            path.parent.mkdir(parents=True)
            path.write_text(("\n\n" if folder == "EmoEvaluation" else "\n").join(text) + "\n")
    return root


def cli(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def refused(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.output
    return " ".join(done.output.split())


def check_folds(out: Path, names: list[str]) -> list[Utterance]:
    """Everybody is tested once and never by whom they taught; gives all that is tested."""
    assert sorted(path.parent.name for path in out.glob("*/test.jsonl")) == names
    tested: list[Utterance] = []
    for name in names:
        train, test = (read_manifest(out / name / f"{s}.jsonl") for s in ("train", "test"))
        assert {u.speaker for u in train}.isdisjoint(u.speaker for u in test)
        for utterance in (*train, *test):
            assert utterance.ambiguity is not None
            assert ambiguity.parse(ambiguity.render(utterance.ambiguity)) == utterance.ambiguity
            assert sum((utterance.votes or {}).values()) == pytest.approx(1)
        tested += test
    assert len({u.id for u in tested}) == len(tested)
    return tested


def test_crema_d_from_its_layout_to_where_the_backbone_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    crema_d(tmp_path / "root")
    cli("data", "prepare", "crema_d", "--root", "root", "--out", "corpora")
    said = cli(
        *("data", "voted", "corpora/manifest.jsonl", "--corpus", "crema_d"),
        *("-o", "data/crema_d_voted", "folds=3"),
    )
    assert "1 utterances set aside" in said
    tested = check_folds(Path("data/crema_d_voted"), ["fold1", "fold2", "fold3"])
    assert len(tested) == 11  # one was heard by one listener alone
    (lost,) = Path("data/crema_d_voted/rejected.jsonl").read_text("utf-8").splitlines()
    assert "one vote is no distribution" in json.loads(lost)["reason"]
    # The recipe as it is: its data are found and sound, and then it needs its backbone.
    config = load_config("ambiguity_crema_d")
    splits = load_splits(config, tmp_path / "run", lambda done, total: None)
    assert {u.votes["sad"] for u in splits.test if u.votes} == {0.4}
    assert splits.rl
    assert "model.path 'checkpoints/Qwen2.5-Omni-7B' holds no config.json" in refused(
        *("run", "-r", "ambiguity_crema_d", "cluster.backend=local"),
        *("--folds", "data/crema_d_voted"),
    )


def test_iemocap_leaves_each_session_out_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    iemocap(tmp_path / "root")
    cli("data", "prepare", "iemocap", "--root", "root", "--out", "corpora")
    voted = ("data", "voted", "corpora/manifest.jsonl", "--corpus", "iemocap", "-o")
    sessions = [f"Session{n}" for n in range(1, 6)]
    assert "5 utterances set aside" in cli(*voted, "data/iemocap_voted")
    tested = check_folds(Path("data/iemocap_voted"), sessions)
    assert len(tested) == 10
    shares = {"angry": 0, "happy": 1, "neutral": 0, "sad": 0}
    assert [u.votes for u in tested if u.emotion == "happy"] == [shares] * 5
    said = cli(*voted, "bent", "renormalise=true")
    assert "0 utterances set aside" in said
    assert "5 without the votes of some listeners" in said
    splits = load_splits(load_config("ambiguity_iemocap"), tmp_path / "run", lambda *_: None)
    assert {u.speaker for u in splits.test} == {"iemocap_05F", "iemocap_05M"}


def test_who_settings_are_chosen_on_is_neither_trained_on_nor_tested(tmp_path: Path) -> None:
    root = crema_d(tmp_path / "root")
    cli("data", "prepare", "crema_d", "--root", root, "--out", tmp_path / "corpora")
    recipe = VotedRecipe.model_validate({**PRESETS["crema_d"], "folds": 3, "dev": True})
    done = prepare_voted(tmp_path / "corpora" / "manifest.jsonl", tmp_path / "out", recipe)
    assert {tuple(sizes) for sizes in done.folds.values()} == {("train", "dev", "test")}
    for fold in done.folds:
        speakers = [
            {u.speaker for u in read_manifest(tmp_path / "out" / fold / f"{split}.jsonl")}
            for split in ("train", "dev", "test")
        ]
        assert all(one.isdisjoint(other) for one, other in itertools.combinations(speakers, 2))
    config = load_config("ambiguity_crema_d", [f"data.root={tmp_path / 'out' / 'fold1'}"])
    splits = load_splits(config, tmp_path, lambda *_: None)
    assert len(splits.dev) == done.folds["fold1"]["dev"]
    two = VotedRecipe.model_validate({**PRESETS["crema_d"], "folds": 2, "dev": True})
    with pytest.raises(DataError, match="nobody is left to train on; dev=true takes three folds"):
        prepare_voted(tmp_path / "corpora" / "manifest.jsonl", tmp_path / "two", two)


def test_what_is_missing_is_said_in_one_line(tmp_path: Path) -> None:
    root = crema_d(tmp_path / "root")
    cli("data", "prepare", "crema_d", "--root", root, "--out", tmp_path / "corpora")
    manifest = tmp_path / "corpora" / "manifest.jsonl"
    voted = ("data", "voted", manifest, "-o", tmp_path / "out", "--corpus")
    assert "speaker 'crema_d_1001' is in none of IEMOCAP's sessions" in refused(
        *voted, "iemocap", "labels=[angry, disgust, fear, happy, neutral, sad]"
    )
    assert "no utterance has votes in these labels" in refused(
        *voted, "crema_d", "labels=[fear, surprise]"
    )
    assert "unknown key 'fold'; did you mean 'folds'?" in refused(*voted, "crema_d", "fold=3")
    (root / "AudioWAV" / "1003_DFA_ANG_XX.wav").unlink()
    assert "1003_DFA_ANG_XX.wav" in refused(*voted, "crema_d")
    assert not list((tmp_path / "out").glob("*/train.jsonl"))
    assert "holds no <fold>/test.jsonl; see `data voted`" in refused(
        "run", "-r", "ambiguity_crema_d", "--folds", tmp_path / "out"
    )
    assert "--folds takes a recipe about votes" in refused("run", "--folds", tmp_path / "out")


@pytest.mark.skipif(not (REAL_DATA / "crema_d").is_dir(), reason="the real vote table is not here")
def test_the_real_votes_without_their_sound_are_refused_by_name(tmp_path: Path) -> None:
    said = refused("data", "prepare", "crema_d", "--root", REAL_DATA / "crema_d", "-o", tmp_path)
    assert "AudioWAV" in said


@pytest.mark.skipif(not (REAL_DATA / "crema_d").is_dir(), reason="the real vote table is not here")
def test_real_votes_of_clips_whose_sound_is_made(tmp_path: Path) -> None:
    """The published table, and tones in the place of eight actors' recordings."""
    names = [f"{actor}_{s}_SAD_XX" for actor in range(1001, 1009) for s in ("DFA", "IWW", "TIE")]
    for i, name in enumerate(names):
        tone(tmp_path / "root" / "AudioWAV" / f"{name}.wav", 0.2 + 0.02 * i)
    table = REAL_DATA / "crema_d" / "tabulatedVotes.csv"
    out = tmp_path / "corpora"
    cli("data", "prepare", "crema_d", "--root", tmp_path / "root", "--out", out, f"votes={table}")
    cli("data", "voted", out / "manifest.jsonl", "--corpus", "crema_d", "-o", tmp_path / "voted")
    tested = check_folds(tmp_path / "voted", [f"fold{n}" for n in range(1, 6)])
    assert len(tested) == len(names)
    assert all((u.listeners or 0) >= 4 for u in tested)
    assert len({tuple((u.votes or {}).values()) for u in tested}) > 10


def test_a_manifest_of_words_alone_is_refused(tmp_path: Path) -> None:
    root = crema_d(tmp_path / "root")
    cli("data", "prepare", "crema_d", "--root", root, "--out", tmp_path / "corpora")
    read = read_manifest(tmp_path / "corpora" / "manifest.jsonl")
    write_manifest(tmp_path / "words.jsonl", [replace(u, audio=None) for u in read])
    recipe = VotedRecipe.model_validate(PRESETS["crema_d"])
    with pytest.raises(DataError, match="12 utterances have no sound, such as 'crema_d_1001_"):
        prepare_voted(tmp_path / "words.jsonl", tmp_path / "out", recipe)
