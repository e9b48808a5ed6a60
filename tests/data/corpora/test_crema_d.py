from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
from sounds import REAL_DATA, write_sine

from cogaudio_rl.data.corpora.crema_d import parse_votes, read, read_votes
from cogaudio_rl.data.votes import shares_of
from cogaudio_rl.errors import DataError

HEADER = '"","A","D","F","H","N","S","fileName","numResponses","agreement","emoVote"'
ROWS = (
    '"100001",0,0,0,1,10,0,"1001_IEO_NEU_XX",11,0.9,"N"',
    '"100002",4,4,0,0,0,2,"1001_DFA_ANG_HI",10,0.4,"A:D"',
    '"200002",10,0,0,0,0,0,"1001_DFA_ANG_HI",10,1,"A"',
    '"300002",10,0,0,0,0,0,"1001_DFA_ANG_HI",10,1,"A"',
    '"106174",0,1,0,0,5,3,"1076_MTI_SAD_XX",9,0.5,"N"',
)


def a_table(*rows: str) -> str:
    return "\n".join((HEADER, *rows)) + "\n"


def a_corpus(root: Path, *rows: str) -> Path:
    for name in ("1001_IEO_NEU_XX", "1001_DFA_ANG_HI", "1002_WSI_FEA_LO", "1076_MTI_SAD_XX"):
        write_sine(root / "AudioWAV" / f"{name}.wav")
    (root / "processedResults").mkdir()
    table = a_table(*ROWS, '"100003",0,0,3,0,1,0,"1002_WSI_FEA_LO",4,0.7,"F"', *rows)
    (root / "processedResults" / "tabulatedVotes.csv").write_text(table)
    return root


def test_votes_are_those_of_the_voice(root: Path) -> None:
    reading = read(a_corpus(root))
    found = {u.id: u for u in reading.utterances}
    assert len(found) == 3
    angry = found["crema_d_1001_DFA_ANG_HI"]
    assert (angry.emotion, angry.intensity, angry.speaker) == ("angry", "high", "crema_d_1001")
    assert (angry.text_id, angry.transcript) == ("crema_d_DFA", "Don't forget a jacket.")
    shares = {"angry": 0.4, "disgust": 0.4, "fear": 0, "happy": 0, "neutral": 0, "sad": 0.2}
    assert (angry.votes, angry.listeners) == (shares, 10)
    assert found["crema_d_1001_IEO_NEU_XX"].intensity == "mid"
    assert found["crema_d_1002_WSI_FEA_LO"].intensity == "low"
    assert reading.counts["utterances"] == {"found": 3, "known": 7_442}
    assert reading.counts["voice votes"] == {"found": 4, "known": 7_442}
    assert reading.counts["neutral"] == {"found": 1, "known": 1_087}
    assert not reading.damage
    assert not reading.repairs


@pytest.mark.parametrize("present", [True, False])
def test_the_clip_without_sound_is_rejected_as_expected(present: bool, root: Path) -> None:
    a_corpus(root)
    if not present:
        (root / "AudioWAV" / "1076_MTI_SAD_XX.wav").unlink()
    (rejected,) = read(root).rejected
    assert "1076_MTI_SAD_XX" in rejected.where
    assert rejected.expected


BAD_ROWS = {
    "sum": ('"107000",1,0,0,0,0,0,"1003_IEO_NEU_XX",2,1,"A"', "votes sum to 1, numResponses is 2"),
    "nobody": ('"107000",0,0,0,0,0,0,"1003_IEO_NEU_XX",0,1,"A"', "votes sum to 0"),
    "negative": ('"107000",-1,3,0,0,0,0,"1003_IEO_NEU_XX",2,1,"A"', "A is not a count: '-1'"),
    "fraction": ('"107000",0.5,0,0,0,0,0,"1003_IEO_NEU_XX",2,1,"A"', "A is not a count"),
    "NA": ('"107000",NA,0,0,0,0,0,"1003_IEO_NEU_XX",2,1,"A"', "A is not a count: 'NA'"),
    "short": ('"107000",1,0', "has 3 columns"),
    "query": ('"407000",2,0,0,0,0,0,"1003_IEO_NEU_XX",2,1,"A"', "is no query 1, 2 or 3"),
    "name": ('"107000",2,0,0,0,0,0,"holiday",2,1,"A"', "name 'holiday' is not one such as"),
    "actor": ('"107000",2,0,0,0,0,0,"1092_IEO_NEU_XX",2,1,"A"', "name '1092_IEO_NEU_XX'"),
    "sentence": ('"107000",2,0,0,0,0,0,"1003_XXX_NEU_XX",2,1,"A"', "unknown sentence 'XXX'"),
    "acted": ('"107000",2,0,0,0,0,0,"1003_IEO_JOY_XX",2,1,"A"', "unknown label 'JOY'"),
    "level": ('"107000",2,0,0,0,0,0,"1003_IEO_NEU_ZZ",2,1,"A"', "unknown level 'ZZ'"),
    "twice": ('"107000",2,0,0,0,0,0,"1001_IEO_NEU_XX",2,1,"A"', "1001_IEO_NEU_XX comes twice"),
}


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_bad_row_is_rejected(row: str, reason: str, root: Path) -> None:
    votes, bad = parse_votes(a_table(*ROWS, row))
    assert len(votes) == 3
    assert len(bad) == 1
    assert bad[0].startswith("line 7: ")
    assert reason in bad[0]
    reading = read(a_corpus(root, row))
    assert len(reading.utterances) == 3
    (damage,) = reading.damage
    assert damage.where == "processedResults/tabulatedVotes.csv"
    with pytest.raises(DataError, match="1 bad rows in all"):
        read_votes(root / "processedResults" / "tabulatedVotes.csv")


def test_the_table_need_not_be_there(root: Path) -> None:
    a_corpus(root)
    table = (root / "processedResults" / "tabulatedVotes.csv").rename(root.parent / "votes.csv")
    assert "no vote table" in read(root).repairs
    assert all(u.votes is None for u in read(root).utterances)
    assert all(u.votes for u in read(root, votes=table).utterances)


def test_a_broken_table_is_rejected_and_the_clips_kept(root: Path) -> None:
    table = a_corpus(root) / "processedResults" / "tabulatedVotes.csv"
    for content in (b"hello", b"", b"\xff\xfea", (HEADER[:20] + "\n").encode()):
        table.write_bytes(content)
        reading = read(root)
        assert len(reading.utterances) == 3
        assert len(reading.damage) == 1
        with pytest.raises(DataError, match=r"vote table '.*tabulatedVotes.csv'"):
            read_votes(table)
    with pytest.raises(DataError, match="No such file"):
        read_votes(root / "absent.csv")


def test_strays_and_halves_are_told(root: Path) -> None:
    a_corpus(root, '"107000",2,0,0,0,0,0,"1003_IEO_NEU_XX",2,1,"A"')
    write_sine(root / "AudioWAV" / "1004_IEO_NEU_XX.wav")
    write_sine(root / "AudioWAV" / "holiday.wav")
    (root / "AudioWAV" / "notes.txt").write_text("x")
    reading = read(root)
    assert {r.where: r.reason.split(";")[0][:26] for r in reading.damage} == {
        "AudioWAV/holiday.wav": "name 'holiday' is not one ",
        "AudioWAV/notes.txt": "not one of .wav, .flac",
        "1003_IEO_NEU_XX": "it has votes and no sound",
    }
    assert reading.repairs == {"no voice votes": ("AudioWAV/1004_IEO_NEU_XX.wav",)}


def test_a_bad_sound_is_rejected(root: Path, bad_sound) -> None:
    path = a_corpus(root) / "AudioWAV" / "1001_DFA_ANG_HI.wav"
    path.unlink()
    bad_sound.make(path)
    reading = read(root)
    (rejected,) = reading.damage
    assert bad_sound.reason in rejected.reason
    assert len(reading.utterances) == 2


def test_what_is_not_crema_d_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match="does not exist; expected 'AudioWAV"):
        read(root)
    root.mkdir()
    with pytest.raises(DataError, match=r"expected 'AudioWAV.*for the votes alone .* read_votes"):
        read(root)


TABLE = REAL_DATA / "crema_d" / "tabulatedVotes.csv"
real = pytest.mark.skipif(
    not TABLE.is_file(), reason=f"CREMA-D's votes are not in {REAL_DATA}; they are not shipped"
)


@real
def test_every_real_vote_is_right() -> None:
    """Against the corpus' own derived columns, which the reader does not look at."""
    votes = read_votes(TABLE)
    assert len(votes) == 7_442
    letters = {"A": "angry", "D": "disgust", "F": "fear", "H": "happy", "N": "neutral", "S": "sad"}
    checked = 0
    with TABLE.open(newline="", encoding="utf-8") as rows:
        for row in csv.DictReader(rows):
            if row[""][0] != "1":
                continue
            counts = votes[row["fileName"]]
            assert counts == {emotion: int(row[letter]) for letter, emotion in letters.items()}
            assert sum(counts.values()) == int(row["numResponses"])
            shares = shares_of(counts)
            winners = {emotion for emotion, s in shares.items() if s == max(shares.values())}
            assert winners == {letters[letter] for letter in row["emoVote"].split(":")}
            assert math.isclose(max(shares.values()), float(row["agreement"]), abs_tol=1e-9)
            assert math.isclose(sum(shares.values()), 1)
            checked += 1
    assert checked == 7_442
    with TABLE.with_name("summaryTable.csv").open(newline="", encoding="utf-8") as rows:
        for row in csv.DictReader(rows):
            counts = votes[row["FileName"]]
            winners = {emotion for emotion, n in counts.items() if n == max(counts.values())}
            assert winners == {letters[letter] for letter in row["VoiceVote"].split(":")}


@real
def test_as_many_listened_as_the_paper_says() -> None:
    """Voice alone: 4 to 12 listeners a clip, about ten (Cao et al., 2014, section 4)."""
    numbers = [sum(counts.values()) for counts in read_votes(TABLE).values()]
    assert (min(numbers), max(numbers)) == (4, 12)
    assert 9 < sum(numbers) / len(numbers) < 11


@real
def test_a_tie_and_the_silent_clip_have_their_votes() -> None:
    votes = read_votes(TABLE)
    none = dict.fromkeys(("angry", "disgust", "fear", "happy", "neutral", "sad"), 0)
    assert votes["1001_IEO_NEU_XX"] == none | {"happy": 1, "neutral": 10}
    assert votes["1076_MTI_SAD_XX"]["neutral"] == 5
