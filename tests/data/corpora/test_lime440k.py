from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sounds import write_sine

from cogaudio_rl.data.corpora.lime440k import NO_SOUND, parse_items, read
from cogaudio_rl.errors import DataError

ENDINGS = {"surprise": "？！", "sad": "……", "anger": "！"}
LABELS = {"surprise": "SURPRISE", "sad": "SAD", "anger": "ANGRY"}


def an_item(name: str, text: str | None, folder: str = "medium") -> dict[str, Any]:
    number, _, emotion = name.split("_")
    return {
        "text": text,
        "emotion": LABELS[emotion],
        "scenario": "Workplace",
        "group": f"{number}_g_0",
        "wav_path": f"/{number}/{folder}/{name}.wav",
    }


def a_part(
    root: Path, part: str, items: dict[str, Any], wavs: str | None = None, name: str = "10"
) -> None:
    path = root / part / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(items, ensure_ascii=False), encoding="utf-8")
    for item in items.values() if wavs else ():
        write_sine(root / str(wavs) / item["wav_path"][1:], rate_hz=22_050)


def a_corpus(root: Path) -> Path:
    chinese = {f"10_1_{e}": an_item(f"10_1_{e}", f"走吧，现在{end}") for e, end in ENDINGS.items()}
    a_part(root, "PartA_json_CN", chinese)
    english = {f"10_1_{e}": an_item(f"10_1_{e}", None, "strong") for e in ENDINGS}
    a_part(root, "PartB_json_EN", english, "PartB_wav_en")
    return root


def test_both_parts_as_released(root: Path) -> None:
    reading = read(a_corpus(root))
    assert not reading.rejected
    assert not reading.repairs
    found = {u.id: u for u in reading.utterances}
    assert len(found) == 6
    chinese = found["lime_a_mid_10_1_anger"]
    assert (chinese.emotion, chinese.intensity, chinese.language) == ("angry", "mid", "zh")
    assert (chinese.text_id, chinese.scenario) == ("lime_a_10_g_0", "Workplace")
    assert chinese.audio is None
    english = found["lime_b_high_10_1_anger"]
    assert (english.transcript, english.intensity) == ("", "high")
    assert english.text_id == "lime_b_10_g_0"
    assert english.clip.path.endswith("PartB_wav_en/10/strong/10_1_anger.wav")
    assert reading.counts["zh"] == {"found": 3, "known": 223_884}
    assert reading.counts["en"] == {"found": 3, "known": 96_000}
    assert reading.counts["speakers"]["found"] == 0
    assert len(reading.notes[NO_SOUND]) == 3


def test_punctuation_cannot_betray_the_emotion(root: Path) -> None:
    texts = {u.transcript for u in read(a_corpus(root)).utterances if u.language == "zh"}
    assert texts == {"走吧现在"}


def test_one_part_is_never_heard_with_the_others_words(root: Path) -> None:
    """Both parts have a 10/…/10_1_anger.wav."""
    a_corpus(root)
    (root / "PartB_wav_en").rename(root / "sound")
    reading = read(root)
    assert len(reading.utterances) == 3
    assert {r.reason for r in reading.rejected} == {
        "it has neither text nor sound; unpack its part's sounds"
    }
    reading = read(root, audio={"PartB_json_EN": root / "sound"})
    assert len(reading.utterances) == 6


@pytest.mark.parametrize("wavs", ["PartA_wav_cn", "sounds", ".", "deep/wav_cn"])
def test_sounds_are_found_where_only_one_part_is(wavs: str, root: Path) -> None:
    a_part(root, "PartA_json_CN", {"3_1_sad": an_item("3_1_sad", "走吧")}, wavs, "3")
    (utterance,) = read(root).utterances
    assert utterance.clip.sample_rate_hz == 22_050
    assert utterance.transcript == "走吧"


def test_words_can_be_given_by_group(root: Path) -> None:
    reading = read(a_corpus(root), texts={"lime_b_10_g_0": "Let's go, now!"})
    english = [u.transcript for u in reading.utterances if u.language == "en"]
    assert english == ["Let's go now"] * 3


def test_a_missing_text_is_taken_from_its_group(root: Path) -> None:
    items = {"3_1_sad": an_item("3_1_sad", "走吧！"), "3_1_anger": an_item("3_1_anger", None)}
    a_part(root, "PartA_json_CN", items)
    reading = read(root)
    assert {u.transcript for u in reading.utterances} == {"走吧"}
    assert reading.repairs == {"text from its group": ("a/3_1_anger",)}


def test_other_words_in_a_group_are_rejected(root: Path) -> None:
    items = {f"3_{i}_sad": an_item(f"3_{i}_sad", "走吧" if i < 3 else "留下") for i in range(4)}
    a_part(root, "PartA_json_CN", items)
    reading = read(root)
    (rejected,) = reading.rejected
    assert rejected.where == "a/3_3_sad"
    assert "text '留下' is not its group's, '走吧'" in rejected.reason


ANGER = json.dumps(an_item("3_1_anger", "走吧"), ensure_ascii=False)


def changed(**fields: object) -> str:
    return json.dumps({**json.loads(ANGER), **fields})


BAD_ITEMS: dict[str, tuple[str, str]] = {
    "no object": ("7", "not an item with text"),
    "emotion": (changed(emotion="JOY"), "unknown label 'JOY'; known: NEUTRAL"),
    "conflict": (changed(emotion="SAD"), "its id says ANGER, its emotion sad"),
    "intensity": (
        changed(wav_path="/3/loud/3_1_anger.wav"),
        "its folder is no intensity; known: low",
    ),
    "no folder": (changed(wav_path="3_1_anger.wav"), "its folder is no intensity"),
    "no path": (changed(wav_path=None), "field 'wav_path' must be text, got 'None'"),
    "no group": (changed(group=""), "field 'group' must be text"),
    "text": (changed(text=5), "field 'text' must be text, got '5'"),
    "twice": (ANGER[:-1] + ', "group": "b"}', "a field comes twice"),
    "half a character": (changed(scenario="\ud800"), "holds half a character"),
}


@pytest.mark.parametrize(("item", "reason"), BAD_ITEMS.values(), ids=BAD_ITEMS)
def test_a_bad_item_is_rejected(item: str, reason: str, root: Path) -> None:
    a_part(root, "PartA_json_CN", {"4_1_sad": an_item("4_1_sad", "走吧")}, name="4")
    (root / "PartA_json_CN" / "3.json").write_text(f'{{"3_1_anger": {item}}}', encoding="utf-8")
    reading = read(root)
    assert len(reading.utterances) == 1
    (rejected,) = reading.rejected
    assert "3" in rejected.where
    assert reason in rejected.reason


def test_ids_that_come_twice_are_told(root: Path) -> None:
    item = json.dumps(an_item("3_1_anger", "走吧"))
    (root / "PartA_json_CN").mkdir(parents=True)
    text = f'{{"3_1_anger": {item}, "3_1_anger": {item}}}'
    (root / "PartA_json_CN" / "3.json").write_text(text, encoding="utf-8")
    reading = read(root)
    assert len(reading.utterances) == 1
    assert "comes twice" in reading.rejected[0].reason


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\x81\x30\xff", b"[" * 100_000])
def test_a_broken_file_is_rejected(content: bytes, root: Path) -> None:
    a_corpus(root)
    (root / "PartA_json_CN" / "9.json").write_bytes(content)
    reading = read(root)
    assert len(reading.utterances) == 6
    (rejected,) = reading.rejected
    assert rejected.where == "PartA_json_CN/9.json"


@pytest.mark.parametrize(
    "path", ["/../outside/medium/3_1_sad.wav", "//etc/medium/3_1_sad.wav", "/3/medium/a\0.wav"]
)
def test_paths_that_lead_out_are_rejected(path: str, root: Path) -> None:
    good = {"4_1_sad": an_item("4_1_sad", "走吧")}
    a_part(root, "PartA_json_CN", good, "PartA_wav", "4")
    item = {**an_item("3_1_sad", "走吧"), "wav_path": path}
    a_part(root, "PartA_json_CN", {"3_1_sad": item}, name="3")
    reading = read(root)
    assert [u.id for u in reading.utterances] == ["lime_a_mid_4_1_sad"]
    assert len(reading.rejected) == 1


def test_a_bad_sound_is_rejected(root: Path, bad_sound) -> None:
    path = a_corpus(root) / "PartB_wav_en" / "10" / "strong" / "10_1_sad.wav"
    path.unlink()
    bad_sound.make(path)
    reading = read(root)
    (rejected,) = reading.rejected
    assert bad_sound.reason in rejected.reason
    assert len(reading.utterances) == 5


def test_what_is_not_lime_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match="does not exist; expected 'PartA_json_CN"):
        read(root)
    (root / "wav").mkdir(parents=True)
    with pytest.raises(DataError, match="does not hold this corpus; expected 'PartA_json_CN"):
        read(root)
    with pytest.raises(DataError, match="not a JSON object of items by id"):
        parse_items("[]", "a")
