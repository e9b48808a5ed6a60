"""Made dialogues: what the words do not tell, what the files say, and that they are called made."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

import pytest

from cogaudio_rl.data.corpora.humdial import HumDialReading, read
from cogaudio_rl.data.lime import author
from cogaudio_rl.data.lime.dialogues import CHALLENGE, COLUMNS, EIBENCH, build_dialogues
from cogaudio_rl.data.lime.making import CARD
from cogaudio_rl.errors import DataError

EACH = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "dialogues"
    assert build_dialogues(path, dialogues=EACH, seed=0) == 2 * 3 * EACH
    return path


@pytest.fixture(scope="module")
def reading(folder: Path) -> HumDialReading:
    return read(folder / EIBENCH, columns=COLUMNS)


@pytest.fixture(scope="module")
def challenge(folder: Path) -> HumDialReading:
    return read(folder / CHALLENGE)


def test_humdial_s_own_reader_takes_all_of_it(
    reading: HumDialReading, challenge: HumDialReading
) -> None:
    for one, tasks in ((reading, ("T1", "T2")), (challenge, ("T1", "T2", "T3"))):
        assert not one.rejected
        found = Counter((d.language, d.task) for d in one.dialogues)
        assert found == {(language, task): EACH for language in ("en", "zh") for task in tasks}
        assert all(d.is_told and d.name.startswith("made_") for d in one.dialogues)
    assert len(reading.choices) == 2 * 2 * EACH
    assert {len(d.turns) for d in challenge.dialogues} == {2, 3, 4}


def test_t1_asks_for_the_path_that_was_spoken(reading: HumDialReading) -> None:
    dialogues = {d.id: d for d in reading.dialogues}
    for choice in (c for c in reading.choices if c.task == "T1"):
        dialogue = dialogues[choice.id]
        felt = [turn.emotion for turn in dialogue.turns[:-1]]
        assert all(a != b for a, b in itertools.pairwise(felt))
        if dialogue.language == "en":
            assert choice.options[choice.answer] == " → ".join(map(str, felt))
        assert len(set(choice.options)) == 4
        assert {len(option.split(" → ")) for option in choice.options} == {len(felt)}


def test_t2_asks_for_the_turn_with_which_the_feeling_began(reading: HumDialReading) -> None:
    dialogues = {d.id: d for d in reading.dialogues}
    places: Counter[int] = Counter()
    for choice in (c for c in reading.choices if c.task == "T2"):
        told = dialogues[choice.id].turns[:-1]
        began = next(i for i, turn in enumerate(told) if turn.emotion != "neutral")
        assert choice.options[choice.answer] == told[began].text
        assert {turn.text for turn in told} < set(choice.options)
        assert len({turn.emotion for turn in told[began:]}) == 1
        places[began] += 1
    assert len(places) > 1, "its place must not tell"


def test_every_word_is_the_test_split_s_or_the_question(challenge: HumDialReading) -> None:
    for dialogue in challenge.dialogues:
        known = {s.text for s in author.split_sentences(dialogue.language)["test"]}
        told = dialogue.turns if dialogue.task == "T3" else dialogue.turns[:-1]
        assert {turn.text for turn in told} <= known
        assert len({turn.text for turn in told}) == len(told)


def test_t3_has_its_target(challenge: HumDialReading) -> None:
    for dialogue in (d for d in challenge.dialogues if d.task == "T3"):
        assert sum(turn.emotion != "neutral" for turn in dialogue.turns) == 2
        assert dialogue.target is not None


def test_it_is_made_once_and_says_what_it_is(folder: Path, tmp_path: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}
    build_dialogues(folder, dialogues=EACH, seed=0)
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()} == before
    card = json.loads((folder / CARD).read_text("utf-8"))
    assert card["made"].startswith("MADE dialogues, SYNTHETIC voices")
    assert "its figures say nothing\nabout HumDial" in (folder / "README.md").read_text("utf-8")
    assert (folder / CHALLENGE / "zh" / "HD-Track1-T3" / "made_zh_T3_0000_1.wav").is_file()
    with pytest.raises(DataError, match="dialogues must be at least 1, got 0"):
        build_dialogues(tmp_path / "none", dialogues=0, seed=0)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("a")
    with pytest.raises(DataError, match="holds something other than Dialogues-mini"):
        build_dialogues(tmp_path / "full", dialogues=1, seed=0)


def test_another_seed_makes_other_dialogues_and_the_same_seed_the_same(
    folder: Path, tmp_path: Path
) -> None:
    def turns(of: Path) -> bytes:
        return (of / CHALLENGE / "en" / "HD-Track1-T1.jsonl").read_bytes()

    build_dialogues(tmp_path / "same", dialogues=EACH, seed=0)
    build_dialogues(tmp_path / "other", dialogues=EACH, seed=1)
    assert turns(tmp_path / "same") == turns(folder) != turns(tmp_path / "other")
