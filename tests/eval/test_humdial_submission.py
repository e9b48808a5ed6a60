"""The folder the challenge takes: its layout to the letter, read back, and refused where it lacks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
from humdial_folder import Beeper, a_challenge, a_dialogue, write_lines
from sounds import write_sine

from cogaudio_rl.data.corpora.humdial import HumDialReading, read
from cogaudio_rl.data.lime.speakers import Espeak
from cogaudio_rl.errors import DataError
from cogaudio_rl.eval.humdial_dialogues import Answered
from cogaudio_rl.eval.humdial_submission import FOLDER, read_submission, write_submission
from cogaudio_rl.eval.humdial_voice import speak_replies
from cogaudio_rl.voices import voice_for

SAID = {"zh": "我在听。", "en": "I am listening."}


@pytest.fixture
def reading(tmp_path: Path) -> HumDialReading:
    return read(a_challenge(tmp_path / "test"))


def answered(reading: HumDialReading, folder: Path) -> list[Answered]:
    """Every turn with a reply of its own, those of T3 spoken."""
    said = [
        Answered(
            dialogue=dialogue,
            replies=tuple(f"{SAID[dialogue.language]} {turn.number}" for turn in dialogue.turns),
            sounds=(None,) * len(dialogue.turns),
        )
        for dialogue in reading.dialogues
    ]
    return speak_replies(said, Beeper(), folder / "spoken", seed=0)


def test_the_layout_is_the_challenge_s(reading: HumDialReading, tmp_path: Path) -> None:
    folder = write_submission(tmp_path / "out", answered(reading, tmp_path))
    files = sorted(p.relative_to(tmp_path / "out").as_posix() for p in folder.rglob("*.jsonl"))
    assert files == [
        f"HD-Track1/{language}/HD-Track1-{task}.jsonl"
        for language in ("en", "zh")
        for task in ("T1", "T2", "T3")
    ]
    sounds = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.wav"))
    assert sounds == [
        f"{language}/HD-Track1-T3/{language}_T3_{i}_{turn}_response.wav"
        for language in ("en", "zh")
        for i in (1, 2)
        for turn in (1, 2, 3)
    ]
    assert {soundfile.info(str(folder / s)).samplerate for s in sounds} == {16_000}
    first, _second = map(
        json.loads, (folder / "zh" / "HD-Track1-T3.jsonl").read_text("utf-8").splitlines()
    )
    assert first["dialogue_id"] == "zh_T3_1"
    assert first["turns"][1] == {
        "turn_id": 2,
        "text": "又改期了！",
        "emotion": "angry",
        "response_text": "我在听。 2",
        "response_audio": "HD-Track1-T3/zh_T3_1_2_response.wav",
    }
    words = json.loads((folder / "en" / "HD-Track1-T1.jsonl").read_text("utf-8").splitlines()[0])
    assert all("response_audio" not in turn for turn in words["turns"])


def test_what_is_written_is_read_back(reading: HumDialReading, tmp_path: Path) -> None:
    said = answered(reading, tmp_path)
    folder = write_submission(tmp_path / "out", said)
    for given in (folder, folder.parent):
        back = {a.dialogue.id: a for a in read_submission(given, reading)}
        assert [back[a.dialogue.id].replies for a in said] == [a.replies for a in said]
        for one in said:
            seconds = [s.seconds if s else None for s in one.sounds]
            assert [s.seconds if s else None for s in back[one.dialogue.id].sounds] == seconds


def test_an_empty_reply_has_no_sound_and_is_no_fault(
    reading: HumDialReading, tmp_path: Path
) -> None:
    mute = [replace(a, replies=("", "…", "a")) for a in answered(reading, tmp_path)]
    mute = speak_replies(
        [replace(a, sounds=(None,) * 3) for a in mute], Beeper(), tmp_path / "spoken", seed=0
    )
    folder = write_submission(tmp_path / "out", mute)
    spoken = [a.sounds for a in read_submission(folder, reading) if a.dialogue.task == "T3"]
    assert [[s is not None for s in sounds] for sounds in spoken] == [[False, False, True]] * 4


def test_a_reply_is_spoken_in_the_manner_it_asks_for(
    reading: HumDialReading, tmp_path: Path
) -> None:
    voices = (voice_for("sad"), voice_for("happy"), None)
    asked = [replace(a, voices=voices) for a in answered(reading, tmp_path)]
    beeper = Beeper()
    speak_replies(asked, beeper, tmp_path / "asked", seed=0)
    assert [(line.emotion, line.intensity) for line in beeper.said[:3]] == [
        ("sad", "low"),
        ("happy", "mid"),
        ("neutral", "mid"),
    ]


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def without_a_dialogue(folder: Path) -> None:
    path = folder / "zh" / "HD-Track1-T2.jsonl"
    write_lines(path, lines_of(path)[0])


def without_a_turn(folder: Path) -> None:
    path = folder / "zh" / "HD-Track1-T2.jsonl"
    first, second = lines_of(path)
    del first["turns"][1]  # pyright: ignore[reportIndexIssue]
    write_lines(path, first, second)


def without_a_reply(folder: Path) -> None:
    path = folder / "en" / "HD-Track1-T1.jsonl"
    first, second = lines_of(path)
    del first["turns"][2]["response_text"]  # pyright: ignore[reportIndexIssue]
    write_lines(path, first, second)


def with_another_s_sound(folder: Path) -> None:
    path = folder / "en" / "HD-Track1-T3.jsonl"
    first, second = lines_of(path)
    second["turns"][0]["response_audio"] = "../../x.wav"  # pyright: ignore[reportIndexIssue]
    write_lines(path, first, second)


def with_a_stranger(folder: Path) -> None:
    path = folder / "en" / "HD-Track1-T1.jsonl"
    write_lines(path, *lines_of(path), {"dialogue_id": "en_9", "turns": []})


SOUND = Path("en", "HD-Track1-T3", "en_T3_1_2_response.wav")
FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "file": (
        lambda f: (f / "en" / "HD-Track1-T2.jsonl").unlink(),
        "3 faults, such as en/HD-Track1-T2.jsonl: cannot be read",
    ),
    "dialogue": (
        without_a_dialogue,
        "1 faults, such as zh/HD-Track1-T2.jsonl: dialogue 'zh_T2_2': missing",
    ),
    "turn": (without_a_turn, "'zh_T2_1': its turns are 1, 3, the corpus has 1, 2, 3"),
    "reply": (without_a_reply, "'en_T1_1': turn 3 has no response_text"),
    "sound": (lambda f: (f / SOUND).unlink(), "'en_T3_1': audio file .* does not exist"),
    "broken": (lambda f: (f / SOUND).write_bytes(b"RIFF"), "'en_T3_1': audio file .* cannot be"),
    "silent": (lambda f: write_sine(f / SOUND, seconds=0.0), "'en_T3_1': audio file .* 0 samples"),
    "other": (with_another_s_sound, "turn 1: response_audio '../../x.wav' does not name 'en_T3_2"),
    "stranger": (with_a_stranger, "HD-Track1-T1.jsonl: dialogue 'en_9' is not in the corpus"),
    "no JSON": (
        lambda f: (f / "en" / "HD-Track1-T1.jsonl").write_text("{"),
        "3 faults, such as en/HD-Track1-T1.jsonl line 1: not JSON",
    ),
}


@pytest.mark.parametrize(("spoil", "said"), FAULTS.values(), ids=FAULTS)
def test_a_submission_that_lacks_something_is_refused(
    reading: HumDialReading, tmp_path: Path, spoil: Callable[[Path], object], said: str
) -> None:
    folder = write_submission(tmp_path / "out", answered(reading, tmp_path))
    spoil(folder)
    with pytest.raises(DataError, match=said) as error:
        read_submission(folder, reading)
    assert "\n" not in str(error.value)


def test_nothing_is_written_over_or_left_half(reading: HumDialReading, tmp_path: Path) -> None:
    said = answered(reading, tmp_path)
    unspoken = [replace(a, sounds=(None,) * 3) for a in said]
    with pytest.raises(DataError, match="dialogue 'en_T3_1' turn 1: not spoken"):
        write_submission(tmp_path / "out", unspoken)
    assert not (tmp_path / "out" / FOLDER).exists()
    write_submission(tmp_path / "out", said)
    with pytest.raises(DataError, match="HD-Track1' is already there; name another folder"):
        write_submission(tmp_path / "out", said)
    with pytest.raises(DataError, match="two dialogues of en T1 are called 'en_T1_1'"):
        write_submission(tmp_path / "other", [*said, *said])


def test_an_id_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "test" / "en" / "HD-Track1-T3.jsonl"
    item = a_dialogue(path, "en_1")
    for turn in item["turns"]:
        turn["split_audio_file"] = f"en_1_{turn['turn_id']}.wav"
    write_lines(path, {**item, "dialogue_id": "../../en_1"})
    said = answered(read(tmp_path / "test"), tmp_path)
    with pytest.raises(DataError, match=r"'../../en_1': its id cannot be a file's name"):
        write_submission(tmp_path / "out", said)


def test_a_real_voice_speaks_both_languages(reading: HumDialReading, tmp_path: Path) -> None:
    said = [
        Answered(dialogue=d, replies=(SAID[d.language],) * 3, sounds=(None,) * 3)
        for d in reading.dialogues
        if d.task == "T3"
    ]
    spoken = speak_replies(said, Espeak(), tmp_path / "spoken", seed=0)
    files = {sound.path for a in spoken for sound in a.sounds if sound}
    assert len(files) == 2, "what is said twice is spoken once"
    for sound in (sound for a in spoken for sound in a.sounds if sound):
        assert 0.3 < sound.seconds < 4
        heard, _rate = soundfile.read(sound.path)
        assert (heard**2).mean() ** 0.5 > 0.01
