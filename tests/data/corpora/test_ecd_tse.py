from __future__ import annotations

from pathlib import Path

import pytest
from sounds import write_sine

from cogaudio_rl.data.corpora.ecd_tse import parse_text, read
from cogaudio_rl.errors import DataError

TEXTS = {"0001": "I never said that.", "0002": "Who is there?"}


def a_corpus(root: Path) -> Path:
    for speaker in ("001", "012"):
        for emotion in ("angry", "fear", "sadness", "happy", "neutral"):
            for item, text in TEXTS.items():
                write_sine(root / speaker / emotion / "raw" / f"{item}.wav")
                path = root / speaker / emotion / "text" / f"{item}.txt"
                path.parent.mkdir(exist_ok=True)
                path.write_text(text + "\n", encoding="utf-8")
    return root


def test_the_layout_says_it_all(root: Path) -> None:
    reading = read(a_corpus(root))
    assert not reading.rejected
    assert not reading.notes
    assert len(reading.utterances) == 20
    found = {u.id: u for u in reading.utterances}
    one = found["ecd_tse_001_sadness_0001"]
    assert (one.emotion, one.speaker, one.language) == ("sad", "ecd_tse_001", "en")
    assert one.transcript == "I never said that."
    assert one.text_id == found["ecd_tse_012_happy_0001"].text_id
    assert one.text_id != found["ecd_tse_012_happy_0002"].text_id
    assert reading.counts["utterances"] == {"found": 20, "known": 84_000}
    assert reading.counts["speakers"] == {"found": 2, "known": 12}
    assert reading.counts["fear"] == {"found": 4, "known": None}


def test_texts_in_other_encodings_are_noted(root: Path) -> None:
    path = a_corpus(root) / "001" / "angry" / "text" / "0001.txt"
    path.write_bytes("It’s café.".encode("cp1252"))
    reading = read(root)
    assert reading.notes == {"encoding cp1252": ("001/angry/text/0001.txt",)}
    assert "It’s café." in {u.transcript for u in reading.utterances}


def test_halves_and_strays_are_told(root: Path) -> None:
    a_corpus(root)
    cell = root / "001" / "angry"
    (cell / "text" / "0001.txt").unlink()
    (cell / "raw" / "0002.wav").unlink()
    (root / "012" / "happy" / "text" / "0001.txt").write_text("...")
    (root / "012" / "happy" / "text" / "0002.txt").write_bytes(b"\xff\xfea")
    (root / "012" / "bored").mkdir()
    (root / "012" / "fear" / "edited").mkdir()
    (root / "notes").mkdir()
    (root / "013" / "sadness").mkdir(parents=True)
    reading = read(root)
    reasons = {r.where: r.reason for r in reading.rejected}
    assert reasons["001/angry/raw/0001.wav"] == "it has a sound and no text"
    assert reasons["001/angry/text/0002.txt"] == "it has a text and no sound"
    assert reasons["012/happy/raw/0001.wav"] == "its text has no words"
    assert reasons["012/happy/raw/0002.wav"] == "its text cannot be read"
    assert "cannot be decoded" in reasons["012/happy/text/0002.txt"]
    assert reasons["012/bored"].startswith("unknown label 'bored'; known: neutral")
    assert reasons["notes"] == "not a speaker's folder, such as '001'"
    assert reasons["013/sadness"] == "has no folders 'text' and 'raw'"
    assert len(reading.utterances) == 16


def test_a_bad_sound_is_rejected(root: Path, bad_sound) -> None:
    path = a_corpus(root) / "001" / "angry" / "raw" / "0001.wav"
    path.unlink()
    bad_sound.make(path)
    reading = read(root)
    (rejected,) = reading.rejected
    assert bad_sound.reason in rejected.reason
    assert len(reading.utterances) == 19


def test_one_recording_in_two_formats_is_kept_once(root: Path) -> None:
    write_sine(a_corpus(root) / "001" / "angry" / "raw" / "0001.flac")
    (rejected,) = read(root).rejected
    assert "comes twice" in rejected.reason


def test_what_is_not_ecd_tse_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match="does not exist; expected '<NNN>"):
        read(root)
    (root / "wav").mkdir(parents=True)
    with pytest.raises(DataError, match="does not hold this corpus; expected '<NNN>"):
        read(root)


def test_lines_are_joined() -> None:
    assert parse_text(" I never\n said\tthat. \n") == "I never said that."
