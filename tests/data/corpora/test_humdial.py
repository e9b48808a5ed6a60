from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sounds import write_sine

from cogaudio_rl.data.corpora.humdial import read
from cogaudio_rl.data.corpora.humdial_files import task_of
from cogaudio_rl.errors import DataError

COLUMNS = {"id": "uid", "audio": "wav", "text": "words", "options": "choices", "answer": "gold"}


def a_dialogue(name: str = "zh_0001_0001", **changes: Any) -> dict[str, Any]:
    turns = [
        {"turn_id": 1, "text": "今天开会。", "emotion": "Neutral", "split_audio_file": ""},
        {"turn_id": 2, "text": "又改期了！", "emotion": "angry", "response_text": "真烦人。"},
        {"turn_id": 3, "text": "算了。", "emotion": "悲伤", "split_audio_file": "c.wav"},
    ]
    return {"dialogue_id": name, "turns": turns, **changes}


def write_lines(path: Path, *items: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [item if isinstance(item, str) else json.dumps(item) for item in items]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def a_challenge(root: Path, *items: object) -> Path:
    folder = root / "HD-Track1-Test" / "zh"
    write_lines(folder / "HD-Track1-T1.jsonl", *(items or (a_dialogue(),)))
    for name in ("zh_0001_0001_1.wav", "c.wav"):
        write_sine(folder / name)
    write_sine(folder / "HD-Track1-T1" / "zh_0001_0001_2.wav")
    return root


def test_a_dialogue_and_its_turns(root: Path) -> None:
    reading = read(a_challenge(root))
    assert not reading.rejected
    assert [(u.id[-14:], u.emotion) for u in reading.utterances] == [
        ("zh_0001_0001_1", "neutral"),
        ("zh_0001_0001_2", "angry"),
        ("zh_0001_0001_3", "sad"),
    ]
    one = reading.utterances[0]
    assert one.id == "humdial_HD-Track1-Test_zh_HD-Track1-T1_zh_0001_0001_1"
    assert (one.language, one.transcript, one.speaker) == ("zh", "今天开会。", "unknown")
    (dialogue,) = reading.dialogues
    assert dialogue.name == "zh_0001_0001"
    assert (dialogue.task, dialogue.language, len(dialogue.turns)) == ("T1", "zh", 3)
    assert dialogue.turns[1].response_text == "真烦人。"
    assert dialogue.target == dialogue.turns[2]
    assert reading.counts["challenge T1"] == {"found": 1, "known": None}


def test_eibench_writes_other_names(root: Path) -> None:
    turns = [{"input_text": f"Well {e}.", "input_emotion": e} for e in ("happy", "sad", "fearful")]
    write_lines(root / "en" / "T3.jsonl", {"dialogue_id": "d1", "turns": turns})
    for number in (1, 2, 3):
        write_sine(root / "en" / f"d1_{number}.wav")
    reading = read(root)
    assert {u.emotion for u in reading.utterances} == {"happy", "sad", "fear"}
    assert reading.dialogues[0].target == reading.dialogues[0].turns[1]
    assert reading.counts["EIBench T3"] == {"found": 1, "known": 294}


def test_hidden_emotions_are_expected(root: Path) -> None:
    dialogue = a_dialogue()
    del dialogue["turns"][1]["emotion"]
    reading = read(a_challenge(root, dialogue))
    assert len(reading.utterances) == 2
    (rejected,) = reading.rejected
    assert rejected.expected
    assert rejected.reason == "not an utterance: its emotion is not given"
    assert rejected.where == "HD-Track1-Test/zh/HD-Track1-T1.jsonl line 1 turn 2"
    assert reading.dialogues[0].turns[1].emotion is None


def test_one_json_object_or_list_will_do(root: Path) -> None:
    path = root / "train" / "zh" / "task2_3.json"
    write_lines(path, [a_dialogue("zh_1"), a_dialogue("zh_2")])
    for dialogue in ("zh_1", "zh_2"):
        for turn in (1, 2):
            write_sine(path.parent / f"{dialogue}_{turn}.wav")
    write_sine(path.parent / "c.wav")
    reading = read(root)
    assert {d.task for d in reading.dialogues} == {"T2"}
    assert len(reading.utterances) == 6


def turn_with(**changes: object) -> dict[str, Any]:
    dialogue = a_dialogue()
    dialogue["turns"][1].update(changes)
    return dialogue


BAD: dict[str, tuple[object, str, int]] = {
    "no JSON": ("{", "line 2: not JSON", 0),
    "list": ("[7]", "line 2 1: not a JSON object", 0),
    "number": ("7", "line 2: not a JSON object", 0),
    "deep": ("[" * 50_000, "line 2: not JSON", 0),
    "no id": (a_dialogue("", turns=[{}]), "field 'dialogue_id' is missing", 0),
    "no turns": (a_dialogue(turns=[]), "must be a list of at least one turn", 0),
    "turns": (a_dialogue(turns={"a": 1}), "must be a list of at least one turn", 0),
    "turn": (a_dialogue(turns=[5]), "turn 1 is not an object", 0),
    "text": (turn_with(text=["a"]), "field 'turn 2 text' must be text, got list", 0),
    "emotion": (turn_with(emotion="joyous"), "unknown label 'joyous'; known: neutral", 2),
    "no words": (turn_with(text="…"), "not an utterance: it has no words", 2),
    "id": (turn_with(turn_id="a/b", split_audio_file="c.wav"), "cannot be a file name", 2),
    "half": (turn_with(text="a\ud800"), "half a character", 2),
    "question": ({"uid": "zh_1"}, "a multiple-choice item; give columns= with its fields for", 0),
}


@pytest.mark.parametrize(("item", "reason", "kept"), BAD.values(), ids=BAD)
def test_a_bad_line_is_rejected(item: object, reason: str, kept: int, root: Path) -> None:
    good = {"dialogue_id": "zh_2", "turns": [{"text": "好。", "emotion": "happy"}]}
    a_challenge(root, good, item)
    write_sine(root / "HD-Track1-Test" / "zh" / "zh_2_1.wav")
    reading = read(root)
    assert len(reading.utterances) == 1 + kept
    assert any(reason in r.reason for r in reading.rejected), reading.rejected
    assert len(reading.rejected) == 1
    reading.rejected[0].where.encode()


NOT_WHOLE: dict[str, tuple[dict[str, Any], str]] = {
    "no sound": (turn_with(split_audio_file="gone.wav"), "no sound of its turn 2"),
    "way out": (turn_with(split_audio_file="../../../../x.wav"), "no sound of its turn 2"),
    "no name": (turn_with(split_audio_file="\0.wav"), "no sound of its turn 2"),
    "gap": (turn_with(turn_id=4), "its turns are 1, 4, 3, and not 1 to 3 in this order"),
    "twice": (turn_with(turn_id=1), "its turns are 1, 1, 3, and not 1 to 3 in this order"),
    "late": (
        a_dialogue(turns=a_dialogue()["turns"][1:]),
        "its turns are 2, 3, and not 1 to 2 in this order",
    ),
    "names": (
        a_dialogue(turns=[{"turn_id": "a", "text": "a", "split_audio_file": "c.wav"}] * 2),
        "two of its turns a, a have one number",
    ),
}


@pytest.mark.parametrize(("item", "reason"), NOT_WHOLE.values(), ids=NOT_WHOLE)
def test_a_dialogue_that_is_not_whole_is_quarantined(
    item: dict[str, Any], reason: str, root: Path
) -> None:
    whole = a_dialogue("zh_9", turns=[a_dialogue()["turns"][2]])
    whole["turns"][0]["turn_id"] = 0
    reading = read(
        a_challenge(root, {**item, "choices": ["a", "b"], "gold": "a"}, whole), columns=COLUMNS
    )
    assert [dialogue.name for dialogue in reading.dialogues] == ["zh_9"]
    assert not reading.choices, "nor is anything asked about it"
    lines = [
        r for r in reading.rejected if r.where == "HD-Track1-Test/zh/HD-Track1-T1.jsonl line 1"
    ]
    assert [r.reason for r in lines] == [f"dialogue not used: {reason}"]
    assert not lines[0].expected
    # Turns that can be heard are utterances all the same.
    assert len(reading.utterances) >= 1


def test_a_hidden_emotion_leaves_open_which_turn_is_the_target(root: Path) -> None:
    dialogue = a_dialogue()
    dialogue["turns"][0]["emotion"] = "happy"
    (known,) = read(a_challenge(root, dialogue)).dialogues
    assert known.target == known.turns[1]
    assert known.is_told
    del dialogue["turns"][0]["emotion"]
    (hidden,) = read(a_challenge(root, dialogue)).dialogues
    assert hidden.target is None
    assert not hidden.is_told


def test_the_language_must_be_told(root: Path) -> None:
    write_lines(root / "T1.jsonl", a_dialogue("d1"))
    (rejected,) = read(root).rejected
    assert "neither id 'd1' nor path says zh or en" in rejected.reason


def test_a_dialogue_that_comes_twice_is_kept_once(root: Path) -> None:
    reading = read(a_challenge(root, a_dialogue(), a_dialogue()))
    assert len(reading.dialogues) == 1
    assert len(reading.utterances) == 3
    assert all("comes twice" in r.reason for r in reading.rejected)


def a_question(**changes: object) -> dict[str, Any]:
    options = {"A": "happy", "B": "sad", "C": "angry"}
    item = {"uid": "zh_7", "wav": "7.wav", "words": "真好。", "choices": options, "gold": "B"}
    return {**item, **changes}


def test_multiple_choice_under_the_users_names(root: Path) -> None:
    item = a_question(kind="conflict")
    listed = a_question(uid="zh_8", choices=["happy", "sad"], gold="happy", kind="consistent")
    write_lines(root / "zh" / "T4.jsonl", item, listed)
    write_sine(root / "zh" / "7.wav")
    reading = read(root, columns={**COLUMNS, "kind": "kind"})
    assert not reading.rejected
    assert [(u.transcript, u.emotion) for u in reading.utterances] == [
        ("真好。", "sad"),
        ("真好。", "happy"),
    ]
    first, second = reading.choices
    assert (first.options, first.answer, first.kind) == (("happy", "sad", "angry"), 1, "conflict")
    assert (second.answer, second.kind, second.task) == (0, "consistent", "T4")
    assert first.id == reading.utterances[0].id
    assert reading.counts["EIBench T4"] == {"found": 2, "known": 200}


def test_a_question_about_a_dialogue(root: Path) -> None:
    item = a_dialogue(uid="q", choices=["up", "down"], gold="A", ask="Where did it go?")
    reading = read(a_challenge(root, item), columns={**COLUMNS, "question": "ask"})
    assert not reading.rejected
    (choice,) = reading.choices
    assert (choice.id, choice.question, choice.answer) == (
        reading.dialogues[0].id,
        "Where did it go?",
        0,
    )
    assert any("give columns=" in note for note in read(root).notes)
    assert not read(root).repairs


def test_a_dialogue_s_question_needs_options_and_answer_alone(root: Path) -> None:
    item = a_dialogue(choices=["up", "down"], gold="down", relation="conflict")
    columns = {**COLUMNS, "question": "ask", "kind": "relation"}
    reading = read(a_challenge(root, item, a_dialogue("zh_9")), columns=columns)
    (choice,) = reading.choices
    assert (choice.question, choice.answer, choice.kind) == ("", 1, "conflict")
    assert reading.fields == {"T1": ("choices", "gold", "relation")}


def test_a_single_question_may_go_without_its_text_but_not_without_its_kind(root: Path) -> None:
    write_lines(root / "zh" / "T4.jsonl", a_question())
    write_sine(root / "zh" / "7.wav")
    (choice,) = read(root, columns={**COLUMNS, "question": "ask"}).choices
    assert choice.question == ""
    (rejected,) = read(root, columns={**COLUMNS, "kind": "relation"}).rejected
    assert "field 'relation' is missing; the line has choices, gold" in rejected.reason


BAD_QUESTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({"uid": "zh_7"}, "field 'wav' is missing; the line has uid"),
    "answer": (a_question(gold="Z"), "answer 'Z' is none of the options"),
    "number": (a_question(gold=1.5), "field 'gold' must be text, got float"),
    "options": (a_question(choices="A"), "options must be a list or an object of at least two"),
    "same": (a_question(choices=["sad", "sad"]), "options must differ"),
    "label": (a_question(choices=["up", "down"], gold="up"), "unknown label 'up'"),
    "sound": (a_question(wav="gone.wav"), "does not exist"),
}


@pytest.mark.parametrize(("item", "reason"), BAD_QUESTIONS.values(), ids=BAD_QUESTIONS)
def test_a_bad_question_is_rejected(item: dict[str, Any], reason: str, root: Path) -> None:
    write_lines(root / "zh" / "T4.jsonl", item)
    write_sine(root / "zh" / "7.wav")
    reading = read(root, columns=COLUMNS)
    (rejected,) = reading.rejected
    assert reason in rejected.reason
    assert not reading.utterances
    assert not reading.choices


def test_missing_columns_are_named(root: Path) -> None:
    a_challenge(root)
    with pytest.raises(DataError, match="columns: audio, answer missing"):
        read(root, columns={"id": "i", "text": "t", "options": "o"})
    with pytest.raises(DataError, match="columns: unknown 'speaker'"):
        read(root, columns={**COLUMNS, "speaker": "s"})


def test_what_is_not_humdial_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match="does not exist; expected"):
        read(root)
    root.mkdir()
    with pytest.raises(DataError, match="does not hold this corpus; expected"):
        read(root)
    write_lines(root / "T4.jsonl", a_question())
    with pytest.raises(DataError, match=r"give columns= with .*\(found: choices, gold, uid"):
        read(root)


def test_a_bad_sound_is_rejected(root: Path, bad_sound) -> None:
    path = a_challenge(root) / "HD-Track1-Test" / "zh" / "zh_0001_0001_1.wav"
    path.unlink()
    bad_sound.make(path)
    reading = read(root)
    rejected, dialogue = reading.rejected
    assert bad_sound.reason in rejected.reason
    assert dialogue.reason == "dialogue not used: no sound of its turn 1"
    assert len(reading.utterances) == 2
    assert reading.dialogues == ()


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("HD-Track1-T3.jsonl", "T3"),
        ("task2_3.jsonl", "T2"),
        ("T4.jsonl", "T4"),
        ("eibench_t1_zh.jsonl", "T1"),
        ("start1.jsonl", "dialogue"),
        ("T12.jsonl", "dialogue"),
    ],
)
def test_the_file_names_the_task(name: str, task: str) -> None:
    assert task_of(Path(name)) == task
