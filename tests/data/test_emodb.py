from __future__ import annotations

import logging
import re
from collections import Counter
from pathlib import Path

import pytest
from sounds import REAL_DATA, write_sine

from cogaudio_rl.attribution import problems
from cogaudio_rl.config import DataConfig
from cogaudio_rl.data.corpora.emodb import load_emodb, read_emodb
from cogaudio_rl.data.manifest import read_manifest, write_manifest
from cogaudio_rl.errors import DataError

MIX = DataConfig().depth_mix


def a_corpus(root: Path, *names: str, suffix: str = ".wav") -> Path:
    for name in names:
        write_sine(root / f"{name}{suffix}")
    return root


def recipe(root: Path | None, **changes: object) -> DataConfig:
    return DataConfig(kind="emodb", root=root).model_copy(update=changes)


LETTERS = {
    "W": "angry",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happy",
    "T": "sad",
    "N": "neutral",
}


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
@pytest.mark.parametrize("inside", [".", "wav"])
def test_file_names_say_it_all(suffix: str, inside: str, tmp_path: Path) -> None:
    a_corpus(tmp_path / inside, *(f"03a01{letter}a" for letter in LETTERS), suffix=suffix)
    found = {u.id: u for u in read_emodb(tmp_path, MIX, 0)}
    assert {i: u.emotion for i, u in found.items()} == {
        f"emodb_03a01{letter}a": emotion for letter, emotion in LETTERS.items()
    }
    bored = found["emodb_03a01La"]
    assert bored.transcript == "Der Lappen liegt auf dem Eisschrank."
    assert (bored.text_id, bored.speaker, bored.language) == ("emodb_a01", "emodb_03", "de")
    assert bored.intensity == "mid"
    assert bored.annotation is not None
    assert re.search(r"the cloth|the fridge", bored.annotation.eips.response)


def test_replies_to_one_sentence_in_one_emotion_differ(tmp_path: Path) -> None:
    a_corpus(tmp_path, "03a01Fa", "08a01Fa", "09a01Fb")
    replies = {u.annotation.eips.response for u in read_emodb(tmp_path, MIX, 0) if u.annotation}
    assert len(replies) == 3


BAD_NAMES = {
    "03a01Xa": "unknown emotion letter 'X'; known: W angry, L boredom",
    "03a01fa": "unknown emotion letter 'f'",
    "03a99Fa": "unknown text 'a99'; known: a01, a02",
    "holiday": "is not named as EmoDB names its files, such as '03a01Fa.wav'",
}


@pytest.mark.parametrize(("name", "message"), BAD_NAMES.items())
def test_a_bad_name_is_named(name: str, message: str, tmp_path: Path) -> None:
    a_corpus(tmp_path, "03a01Fa", name)
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        read_emodb(tmp_path, MIX, 0)
    assert f"{name}.wav" in str(caught.value)


def test_a_folder_without_recordings_is_named(tmp_path: Path) -> None:
    (tmp_path / "._03a01Fa.wav").write_bytes(b"left by an archive")
    with pytest.raises(DataError, match=r"no \.wav or \.flac files in"):
        read_emodb(tmp_path, MIX, 0)
    with pytest.raises(DataError, match=r"absent' does not exist"):
        read_emodb(tmp_path / "absent", MIX, 0)
    with pytest.raises(DataError, match=r"data\.root is not set"):
        load_emodb(recipe(None), 0)


def test_one_recording_in_two_formats_is_refused(tmp_path: Path) -> None:
    a_corpus(tmp_path, "03a01Fa")
    a_corpus(tmp_path, "03a01Fa", suffix=".flac")
    with pytest.raises(DataError, match=r"03a01Fa' is there both as"):
        read_emodb(tmp_path, MIX, 0)


def test_the_last_two_speakers_are_held_out(tmp_path: Path) -> None:
    a_corpus(tmp_path, "03a01Fa", "08a01Wa", "11a02Ta", "16b01Na")
    splits = load_emodb(recipe(tmp_path), 0)
    assert [u.speaker for u in splits.rl] == ["emodb_03", "emodb_08"]
    assert [u.speaker for u in splits.test] == ["emodb_11", "emodb_16"]
    assert splits.train == splits.rl


def test_speakers_can_be_held_out_by_name(tmp_path: Path) -> None:
    a_corpus(tmp_path, "03a01Fa", "08a01Wa", "11a02Ta")
    splits = load_emodb(recipe(tmp_path, held_out_speakers=("03",)), 0)
    assert [u.speaker for u in splits.test] == ["emodb_03"]
    with pytest.raises(DataError, match=r"no speaker '99'; there are 03, 08, 11"):
        load_emodb(recipe(tmp_path, held_out_speakers=("99",)), 0)
    with pytest.raises(DataError, match="split 'train' is empty"):
        load_emodb(recipe(tmp_path, held_out_speakers=("03", "08", "11")), 0)


def test_thoughts_are_written_where_they_are_asked_for(tmp_path: Path) -> None:
    a_corpus(tmp_path, "03a01Fa", "03a02La", "08a01Wa", "09a01Wa")
    plain, thought = (load_emodb(recipe(tmp_path), 0, attributed=a) for a in (False, True))
    assert all(u.attribution is None for u in (*plain.rl, *plain.test))
    for u in (*thought.rl, *thought.test):
        assert u.attribution is not None
        assert (u.attribution.words, u.attribution.emotion) == (u.transcript, u.emotion)
        assert problems(u.attribution, u.transcript) == ()
    assert [u.id for u in thought.rl] == [u.id for u in plain.rl]


def test_a_folder_of_other_speakers_can_be_tested_on(tmp_path: Path) -> None:
    root = a_corpus(tmp_path / "root", "03a01Fa", "08a01Wa")
    other = a_corpus(tmp_path / "other", "14a01Wa")
    splits = load_emodb(recipe(root, test_root=other), 0)
    assert len(splits.rl) == 2
    assert [u.speaker for u in splits.test] == ["emodb_14"]
    a_corpus(other, "08a02Na")
    with pytest.raises(
        DataError, match="speaker 'emodb_08' is in split 'train' and in split 'test'"
    ):
        load_emodb(recipe(root, test_root=other), 0)


def test_other_formats_are_taken_as_they_are_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_sine(tmp_path / "03a01Fa.wav", rate_hz=8_000)
    write_sine(tmp_path / "03a01Wa.wav", rate_hz=96_000, channels=2)
    write_sine(tmp_path / "03a02Wa.wav", rate_hz=96_000)
    with caplog.at_level(logging.WARNING):
        found = read_emodb(tmp_path, MIX, 0)
    assert [(u.clip.sample_rate_hz, u.clip.num_samples) for u in found] == [
        (8_000, 4_000),
        (96_000, 48_000),
        (96_000, 48_000),
    ]
    assert [message.split(" (")[0] for message in caplog.messages] == [
        "1 audio files: 2 channels averaged to mono",
        "1 audio files: resampled from 8000 Hz to 16000 Hz",
        "2 audio files: resampled from 96000 Hz to 16000 Hz",
    ]


def test_a_corpus_that_may_only_be_read_is_enough(tmp_path: Path) -> None:
    root = a_corpus(tmp_path / "root", "03a01Fa", "08a01Wa", "09a01Wa")
    before = sorted(root.rglob("*"))
    root.chmod(0o555)
    load_emodb(recipe(root), 0)
    assert sorted(root.rglob("*")) == before


real = pytest.mark.skipif(
    not (REAL_DATA / "emodb").is_dir(), reason=f"EmoDB is not in {REAL_DATA}; it is not shipped"
)


@real
def test_real_recordings(tmp_path: Path) -> None:
    splits = load_emodb(recipe(REAL_DATA / "emodb"), 0)
    assert len(splits.rl) + len(splits.test) == 347
    assert len({u.speaker for u in splits.rl}) == 5
    assert len({u.speaker for u in splits.test}) == 2
    assert {u.emotion for u in splits.rl} == set(LETTERS.values())
    assert {u.clip.seconds for u in (*splits.rl, *splits.test)} == {2.0}
    depths = Counter(u.annotation.depth for u in splits.rl if u.annotation)
    assert set(depths) == {2, 3, 4}
    write_manifest(tmp_path / "m.jsonl", splits.rl)
    assert read_manifest(tmp_path / "m.jsonl") == splits.rl
