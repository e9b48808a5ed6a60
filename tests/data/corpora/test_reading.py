from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sounds import an_utterance, write_sine

from cogaudio_rl.data.corpora import emotions
from cogaudio_rl.data.corpora.emotions import VOTES_ONLY, to_emotion
from cogaudio_rl.data.corpora.reading import Collector, folder_of, inside
from cogaudio_rl.data.corpora.text import decode, family_of, lexical, parse_json
from cogaudio_rl.data.corpora.text import without_punctuation as plain
from cogaudio_rl.data.votes import check_votes
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import KNOWN_EMOTIONS, LIME_EMOTIONS


def test_every_label_has_one_name_of_the_vocabulary() -> None:
    tables = {
        "ESD": emotions.ESD,
        "ECD_TSE": emotions.ECD_TSE,
        "LIME_440K": emotions.LIME_440K,
        "CREMA_D": emotions.CREMA_D,
        "CREMA_D_ACTED": emotions.CREMA_D_ACTED,
        "HUMDIAL": emotions.HUMDIAL,
    }
    for name, table in tables.items():
        assert set(table.values()) <= KNOWN_EMOTIONS, name
    assert set(emotions.LIME_440K.values()) == set(LIME_EMOTIONS)
    beyond = {*emotions.IEMOCAP.values(), *emotions.IEMOCAP_VOTES.values()} - KNOWN_EMOTIONS
    assert beyond == set(VOTES_ONLY)
    assert not KNOWN_EMOTIONS & set(VOTES_ONLY)


def test_an_unknown_label_is_named_with_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"unknown label 'X'; known: A, D, F, H, N, S"):
        to_emotion(emotions.CREMA_D, "X")
    with pytest.raises(DataError, match="unknown label 'happy'"):
        to_emotion(emotions.LIME_440K, "happy")


def test_punctuation_tells_nothing() -> None:
    assert plain("走吧，走？！") == plain("走吧……走") == plain(" 走 吧。走～") == "走吧走"
    assert plain("It’s 5% of 3.5, isn't it?!") == "It's 5% of 3.5 isn't it"
    assert lexical("Oh -- WELL…") == lexical("oh, well") == "oh well"
    assert plain("我用GPT-4，真的") == "我用GPT 4真的"
    assert plain("涨了 3.5%") == plain("涨了3.5%！") == "涨了3.5%"
    assert plain("……") == ""


def test_families_are_of_words() -> None:
    assert family_of("Go on!") == family_of("go on …") != family_of("Go off!")
    assert family_of("…!") == ""


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16"),
        ("utf-16-be", "utf-16"),
        ("gb2312", "gb2312"),
    ],
)
def test_encodings_are_told_apart(written: str, expected: str) -> None:
    text = "0001_000001\t打远一看，它们的确很是美丽，\t中立\n"
    assert decode(text.encode(written), ("gb2312", "gb18030")) == (text, expected)


def test_bytes_of_no_encoding_are_refused() -> None:
    with pytest.raises(DataError, match="cannot be decoded as utf-8 or gb2312"):
        decode(b"\xff\x81\x30\xff", ("gb2312",))
    with pytest.raises(DataError, match="cannot be decoded as utf-16"):
        decode(b"\xff\xfea", ("latin-1",))


@given(text=st.text())
def test_what_utf8_can_say_is_read_back(text: str) -> None:
    if "\0" not in text and not text.startswith("\ufeff"):
        assert decode(text.encode(), ("latin-1",)) == (text, "utf-8")


def test_json_of_any_kind_is_read_or_refused() -> None:
    assert parse_json('{"a": [1]}') == {"a": [1]}
    assert parse_json('{"a": 1, "a": 2}', pairs=True) == [("a", 1), ("a", 2)]
    for bad in ("{", "[" * 100_000, "9" * 5_000, ""):
        with pytest.raises(DataError, match="not JSON"):
            parse_json(bad)


@pytest.mark.parametrize("name", ["../a.wav", "b/../../a.wav", "/etc/hosts", "a\0.wav", "\ud800"])
def test_paths_that_lead_out_are_refused(name: str, root: Path) -> None:
    root.mkdir()
    with pytest.raises(DataError, match=r"leads out|cannot be followed"):
        inside(root, root / name)
    found = Collector(root)
    assert found.audio(root / f"{name}.wav") is None
    assert len(found.rejected) == 1


def test_links_may_lead_anywhere_inside(root: Path) -> None:
    write_sine(root / "a" / "a.wav")
    (root / "b.wav").symlink_to(root / "a" / "a.wav")
    (root.parent / "alias").symlink_to(root)
    for base in (root, root.parent / "alias"):
        assert Collector(base).audio(base / "b.wav") is not None
    (root / "out").symlink_to("/usr")
    found = Collector(root)
    assert found.entries(root / "out") == []
    assert "leads out of the corpus" in found.rejected[0].reason


def test_a_name_longer_than_files_have_is_rejected(root: Path) -> None:
    root.mkdir()
    found = Collector(root)
    assert found.audio(root / ("a" * 5_000 + ".wav")) is None
    assert len(found.rejected) == 1


def test_raw_sound_is_not_opened(root: Path) -> None:
    root.mkdir()
    (root / "a.raw").write_bytes(b"\0" * 100)
    found = Collector(root)
    assert found.audio(root / "a.raw") is None
    assert found.rejected[0].reason == "not one of .wav, .flac"


BAD_UTTERANCES = {
    "id": ({"id": "../u"}, "id '../u' cannot be a file name"),
    "dots": ({"id": "a..b"}, "id 'a..b' cannot be a file name"),
    "long id": ({"id": "a" * 201}, "cannot be a file name"),
    "emotion": ({"emotion": "excited"}, "'excited' is not in the project's vocabulary"),
    "speaker": ({"speaker": " "}, "field 'speaker' is empty"),
    "transcript": ({"transcript": " "}, "the transcript is empty"),
    "half": ({"transcript": "a\ud800"}, "field 'transcript' holds half a character"),
    "votes": ({"votes": {"happy": 0.5}}, "vote shares must sum to 1, got 0.5"),
    "negative": ({"votes": {"happy": 1.5, "sad": -0.5}}, "must lie between 0 and 1"),
    "listeners": ({"votes": {"happy": 1.0}, "listeners": 0}, "listeners must be >= 1"),
    "twice": ({"id": "first"}, "id 'first' comes twice; the first is kept"),
}


@pytest.mark.parametrize(("change", "reason"), BAD_UTTERANCES.values(), ids=BAD_UTTERANCES)
def test_what_no_manifest_may_hold_is_rejected(
    change: dict[str, object], reason: str, root: Path
) -> None:
    found = Collector(root)
    assert found.add(an_utterance("first"), "here")
    assert not found.add(dataclasses.replace(an_utterance("u"), **change), "there")
    assert [u.id for u in found.utterances] == ["first"]
    (rejected,) = found.rejected
    assert rejected.where == "there"
    assert reason in rejected.reason
    rejected.reason.encode()


def test_votes_may_hold_what_emotions_may_not() -> None:
    check_votes({"happy": 0.5, "excited": 0.5})
    check_votes(dict.fromkeys(map(str, range(7)), 1 / 7), 7)


def test_a_missing_root_names_the_layout(root: Path) -> None:
    with pytest.raises(DataError, match=re.escape("root' does not exist; expected 'a/b.wav'")):
        folder_of(root, "'a/b.wav'", "a")
    root.mkdir()
    with pytest.raises(DataError, match=re.escape("does not hold this corpus; expected 'a/b.wav'")):
        folder_of(root, "'a/b.wav'", "a")


def test_progress_is_told(root: Path) -> None:
    told: list[tuple[int, int]] = []
    assert list(Collector(root, progress=lambda *at: told.append(at)).each("ab")) == ["a", "b"]
    assert told == [(1, 2), (2, 2)]
