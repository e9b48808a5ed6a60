from __future__ import annotations

from pathlib import Path

import pytest
from sounds import write_sine

from cogaudio_rl.data.corpora.esd import family, parse_line, parse_transcripts, read
from cogaudio_rl.data.manifest import validate_split
from cogaudio_rl.errors import DataError

EMOTIONS = {"Neutral": "neutral", "Angry": "angry", "Happy": "happy", "Sad": "sad"}
EMOTIONS["Surprise"] = "surprise"
CHINESE = dict(zip(EMOTIONS, ("中立", "生气", "快乐", "伤心", "惊喜"), strict=True))
ZH = {1: "打远一看，它们的确很是美丽，", 2: "今天天气很好。"}
EN = {1: "The nine the eggs, I keep.", 2: "I did go, and made many prisoners."}


def number(sentence: int, emotion: str) -> int:
    return list(EMOTIONS).index(emotion) * 350 + sentence


def a_speaker(
    root: Path, speaker: int, encoding: str, *, lines: dict[str, str] | None = None
) -> Path:
    """Two sentences in five emotions; ``lines`` replaces transcript lines by id, '' drops one."""
    folder = root / "Emotion Speech Dataset" / f"{speaker:04d}"
    written: list[str] = []
    for emotion in EMOTIONS:
        for sentence, text in (ZH if speaker <= 10 else EN).items():
            name = f"{speaker:04d}_{number(sentence, emotion):06d}"
            label = CHINESE[emotion] if speaker <= 10 else emotion
            line = (lines or {}).get(name, f"{name}\t{text}\t{label}")
            written += [line] if line else []
            write_sine(folder / emotion / ("", "train", "test")[sentence] / f"{name}.wav")
    (folder / f"{speaker:04d}.txt").write_bytes(("\r\n".join(written) + "\n").encode(encoding))
    return folder


def test_every_speaker_in_his_encoding(root: Path) -> None:
    a_speaker(root, 1, "gb2312")
    a_speaker(root, 3, "utf-16")
    a_speaker(root, 11, "utf-8")
    a_speaker(root, 17, "latin-1")
    reading = read(root)
    assert len(reading.utterances) == 40
    assert not reading.rejected
    assert not reading.repairs
    assert set(reading.notes) == {"encoding gb2312", "encoding utf-16"}
    found = {u.id: u for u in reading.utterances}
    one = found["esd_0001_000351"]
    assert (one.text_id, one.transcript, one.emotion) == ("esd_zh_001", ZH[1], "angry")
    assert (one.speaker, one.language, one.intensity) == ("esd_0001", "zh", "mid")
    assert reading.counts["utterances"] == {"found": 40, "known": 35_000}
    assert reading.counts["surprise"] == {"found": 8, "known": 7_000}
    assert reading.counts["speakers"] == {"found": 4, "known": 20}


def test_a_sentence_is_one_family_for_all_emotions_and_speakers(root: Path) -> None:
    a_speaker(root, 11, "utf-8")
    a_speaker(root, 12, "utf-16")
    families: dict[str, set[str]] = {}
    for utterance in read(root).utterances:
        families.setdefault(utterance.text_id, set()).add(utterance.transcript)
    assert families == {"esd_en_001": {EN[1]}, "esd_en_002": {EN[2]}}
    utterances = read(root).utterances
    train = [u for u in utterances if u.text_id == "esd_en_001"]
    validate_split(train, [u for u in utterances if u.text_id == "esd_en_002"])


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        ("0001_000001", ("zh_001", "neutral")),
        ("0010_000350", ("zh_350", "neutral")),
        ("0011_000351", ("en_001", "angry")),
        ("0020_000701", ("en_001", "happy")),
        ("0011_001400", ("en_350", "sad")),
        ("0011_001750", ("en_350", "surprise")),
    ],
)
def test_numbers_tell_sentence_and_emotion(identity: str, expected: tuple[str, str]) -> None:
    assert family(identity) == expected


@pytest.mark.parametrize("bad", ["0001_000000", "0001_001751", "0021_000001", "0001-000001", "x"])
def test_numbers_out_of_range_are_refused(bad: str) -> None:
    with pytest.raises(DataError, match=r"not in|not one such as"):
        family(bad)


MENDED = {
    "no tab before the label": "0011_000352\tI did go, and made many prisoners. Angry",
    "no tab at all": "0011_000352 I did go, and made many prisoners. Angry",
    "too many tabs": "0011_000352\tI did go,\tand made many prisoners.\tAngry",
    "no label": "0011_000352\tI did go, and made many prisoners.",
    "no text": "0011_000352\tAngry",
    "id alone": "0011_000352",
    "no line": "",
    "other punctuation": "0011_000352\tI did go and made many prisoners!\tAngry",
    "misspelt": "0011_000352\tI did go, and made many prisonners.\tAngry",
}


@pytest.mark.parametrize("line", MENDED.values(), ids=MENDED)
def test_malformed_lines_are_mended_from_their_sentence(line: str, root: Path) -> None:
    a_speaker(root, 11, "utf-8", lines={"0011_000352": line})
    reading = read(root)
    assert not reading.rejected
    assert len(reading.utterances) == 10
    mended = next(u for u in reading.utterances if u.id == "esd_0011_000352")
    assert (mended.transcript, mended.emotion) == (EN[2], "angry")
    assert reading.repairs


REJECTED = {
    "another sentence": ("0011_000352\tWhat a lovely day this is\tAngry", "is not its sentence"),
    "label and folder": (f"0011_000352\t{EN[2]}\tSad", "the folder says angry"),
    "unknown label": (f"0011_000352\t{EN[2]}\tFear", "unknown label 'Fear'"),
}


@pytest.mark.parametrize(("line", "reason"), REJECTED.values(), ids=REJECTED)
def test_what_contradicts_itself_is_rejected(line: str, reason: str, root: Path) -> None:
    a_speaker(root, 11, "utf-8", lines={"0011_000352": line})
    reading = read(root)
    (rejected,) = reading.rejected
    assert reason in rejected.reason
    assert rejected.where == "Emotion Speech Dataset/0011/Angry/test/0011_000352.wav"
    assert len(reading.utterances) == 9


BAD_LINES = {
    "junk": ("what is this", "line 4: no id such as '0011_000001'"),
    "other speaker": (f"0012_000352\t{EN[2]}\tAngry", "line 4: id '0012_000352' is another"),
    "number": (f"0011_009999\t{EN[2]}\tAngry", "number 9999 is not in 1 to 1750"),
    "twice": (f"0011_000001\t{EN[2]}\tAngry", "id '0011_000001' comes twice"),
    "language": ("0011_000352\t今天天气很好。\tAngry", "is not in the speaker's language"),
    "no words": ("0011_000352\t...\tAngry", "has no words"),
}


@pytest.mark.parametrize(("line", "reason"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_is_rejected_and_its_sound_kept(line: str, reason: str, root: Path) -> None:
    a_speaker(root, 11, "utf-8", lines={"0011_000352": line})
    reading = read(root)
    (rejected,) = reading.rejected
    assert reason in rejected.reason
    assert len(reading.utterances) == 10
    assert "text from other lines of its sentence" in reading.repairs


def test_a_transcript_that_cannot_be_decoded_is_rejected(root: Path) -> None:
    folder = a_speaker(root, 1, "gb2312")
    (folder / "0001.txt").write_bytes(b"\xff\x81\x30\xff\n")
    reading = read(root)
    assert "cannot be decoded as utf-8 or gb2312 or gb18030" in reading.rejected[0].reason
    assert [r.reason for r in reading.rejected[1:]] == ["no transcript holds its sentence"] * 10
    a_speaker(root, 2, "gb2312")
    reading = read(root)
    assert len(reading.rejected) == 1
    assert len(reading.utterances) == 20


def test_a_missing_transcript_and_missing_sounds_are_told(root: Path) -> None:
    folder = a_speaker(root, 11, "utf-8")
    (folder / "Sad" / "train" / "0011_001051.wav").unlink()
    (reading,) = read(root).rejected
    assert (reading.where, reading.reason) == ("0011_001051", "it has a text and no sound")
    (folder / "0011.txt").unlink()
    assert "cannot be read" in read(root).rejected[0].reason


def test_strays_are_told(root: Path) -> None:
    folder = a_speaker(root, 11, "utf-8")
    write_sine(folder / "Angry" / "0012_000351.wav")
    write_sine(folder / "Angry" / "deep" / "0011_000351.wav")
    write_sine(folder / "Fear" / "0011_000351.wav")
    write_sine(folder / "Angry" / "0011_000351.wav")
    write_sine(folder / "Angry" / "0011_000003.wav")
    (folder / "Angry" / "Thumbs.db").write_text("x")
    (folder / "Angry" / "._0011_000351.wav").write_text("x")
    write_sine(folder.parent / "0021" / "Angry" / "a.wav")
    (folder.parent / "ReadMe.txt").write_text("ESD")
    reading = read(root)
    assert len(reading.utterances) == 10
    assert sorted(r.reason for r in reading.rejected) == [
        "a folder that is not a speaker's, 0001 to 0020",
        "a folder where files were expected",
        "id 'esd_0011_000351' comes twice; the first is kept",
        "not named as speaker 0011's recordings are",
        "not one of .wav, .flac",
        "not one of the emotions' folders of 0011",
        "the folder says angry; the number says neutral",
    ]


def test_a_bad_sound_is_rejected(root: Path, bad_sound) -> None:
    folder = a_speaker(root, 11, "utf-8")
    path = folder / "Sad" / "train" / "0011_001051.wav"
    path.unlink()
    bad_sound.make(path)
    reading = read(root)
    (rejected,) = reading.rejected
    assert bad_sound.reason in rejected.reason
    assert len(reading.utterances) == 9


def test_resampling_is_a_repair_here(root: Path) -> None:
    folder = a_speaker(root, 11, "utf-8")
    write_sine(folder / "Sad" / "train" / "0011_001051.wav", rate_hz=44_100)
    assert "resampled from 44100 Hz to 16000 Hz" in read(root).repairs


def test_what_is_not_esd_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match="does not exist; expected 'Emotion Speech Dataset"):
        read(root)
    (root / "wav").mkdir(parents=True)
    with pytest.raises(DataError, match="does not hold this corpus; expected 'Emotion Speech"):
        read(root)


def test_a_line_keeps_what_can_be_made_out() -> None:
    line = parse_line("0001_000001 打远一看 生气", 1)
    assert (line.text, line.label, line.malformed) == ("打远一看", "生气", True)
    lines, bad, notes = parse_transcripts("0001_000001\t好\t中立".encode("utf-16"), 1)
    assert lines["0001_000001"].text == "好"
    assert not bad
    assert notes == ["encoding utf-16 in the place of gb2312"]
