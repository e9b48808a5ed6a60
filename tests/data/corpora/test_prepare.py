from __future__ import annotations

import json
from pathlib import Path

import pytest
from sounds import REAL_DATA, write_sine

from cogaudio_rl.data.corpora.prepare import CORPORA, prepare
from cogaudio_rl.data.manifest import read_manifest
from cogaudio_rl.errors import DataError

LETTERS = {"I": "It is open.", "W": "We are late.", "T": "They have left."}


def an_ecd_tse(root: Path) -> Path:
    for speaker in ("001", "002"):
        for emotion in ("angry", "happy"):
            for item, text in LETTERS.items():
                write_sine(root / speaker / emotion / "raw" / f"{item}.wav")
                path = root / speaker / emotion / "text" / f"{item}.txt"
                path.parent.mkdir(exist_ok=True)
                path.write_text(text)
    return root


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_corpus_is_there() -> None:
    assert set(CORPORA) == {
        "crema_d",
        "ecd_tse",
        "emodb",
        "esd",
        "humdial",
        "iemocap",
        "lime440k",
    }


def test_a_corpus_becomes_a_manifest(root: Path, tmp_path: Path) -> None:
    (an_ecd_tse(root) / "001" / "happy" / "raw" / "W.wav").write_bytes(b"hello")
    told: list[tuple[int, int]] = []
    out = tmp_path / "out"
    done = prepare("ecd_tse", root, out, progress=lambda *at: told.append(at))
    assert (done.utterances, done.rejected, done.manifest) == (11, 1, out / "manifest.jsonl")
    assert told[-1] == (12, 12)
    utterances = read_manifest(done.manifest)
    assert len(utterances) == 11
    assert utterances[0].clip.path == str(root / "001" / "angry" / "raw" / "I.wav")
    (rejected,) = lines(out / "rejected.jsonl")
    assert rejected["where"] == "001/happy/raw/W.wav"
    card = json.loads((out / "card.json").read_text())
    assert card == done.card
    assert card["counts"]["utterances"] == {"found": 11, "known": 84_000}
    assert card["emotions"] == {"angry": 6, "happy": 5}
    assert card["speakers"] == {"ecd_tse_001": 5, "ecd_tse_002": 6}
    assert card["hours"] == round(11 * 0.5 / 3600, 4)
    assert sum(card["rejected_for"].values()) == 1
    assert not list(out.glob("*.partial"))


def test_splits_share_neither_texts_nor_speakers(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare("ecd_tse", an_ecd_tse(root), out)
    splits = json.loads((out / "splits.json").read_text())
    assert splits["by_speaker"] == {"train": ["ecd_tse_001"], "test": ["ecd_tse_002"]}
    train, test = splits["by_text"]["train"], splits["by_text"]["test"]
    assert (len(train), len(test)) == (2, 1)
    assert not set(train) & set(test)


def test_strict_refuses_rejections_and_repairs(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare("ecd_tse", an_ecd_tse(root), out, strict=True)
    write_sine(root / "001" / "angry" / "raw" / "I.wav", rate_hz=8_000)
    with pytest.raises(DataError, match=r"strict: 1 kinds of repairs; .*I\.wav: resampled"):
        prepare("ecd_tse", root, tmp_path / "no", strict=True)
    (root / "001" / "angry" / "raw" / "I.wav").write_bytes(b"")
    with pytest.raises(DataError, match="strict: 1 items rejected; the first: 001/angry/raw/I"):
        prepare("ecd_tse", root, tmp_path / "no", strict=True)
    assert not (tmp_path / "no").exists()


def test_what_the_published_corpus_lacks_is_no_damage(root: Path, tmp_path: Path) -> None:
    for name in ("1001_IEO_NEU_XX", "1076_MTI_SAD_XX"):
        write_sine(root / "AudioWAV" / f"{name}.wav")
    table = root / "processedResults" / "tabulatedVotes.csv"
    table.parent.mkdir()
    table.write_text(
        ",A,D,F,H,N,S,fileName,numResponses\n100001,0,0,0,1,3,0,1001_IEO_NEU_XX,4\n"
        "106174,0,1,0,0,5,3,1076_MTI_SAD_XX,9\n"
    )
    done = prepare("crema_d", root, tmp_path / "out", strict=True)
    assert (done.card["rejected"], done.card["rejected_expected"]) == (1, 1)
    (utterance,) = read_manifest(done.manifest)
    assert utterance.votes is not None
    assert utterance.votes["neutral"] == 0.75
    assert done.card["with_votes"] == 1


def test_utterances_without_words_are_rejected(root: Path, tmp_path: Path) -> None:
    item = {"text": None, "emotion": "SAD", "group": "3_g_0", "wav_path": "/3/strong/3_1_sad.wav"}
    (root / "PartB_json_EN").mkdir(parents=True)
    (root / "PartB_json_EN" / "3.json").write_text(json.dumps({"3_1_sad": item}))
    write_sine(root / "PartB_wav_en" / "3" / "strong" / "3_1_sad.wav", rate_hz=22_050)
    with pytest.raises(DataError, match="nothing usable, 1 rejected; the first: lime_b_high_3_1"):
        prepare("lime440k", root, tmp_path / "out")
    texts = {"lime_b_3_g_0": "Go on."}
    done = prepare("lime440k", root, tmp_path / "out", strict=True, options={"texts": texts})
    (utterance,) = read_manifest(done.manifest)
    assert (utterance.transcript, utterance.speaker) == ("Go on", "unknown")
    assert "by_speaker" not in json.loads((tmp_path / "out" / "splits.json").read_text())


def test_dialogues_are_written_beside(root: Path, tmp_path: Path) -> None:
    turns = [{"text": "又改期了！", "emotion": "angry"}, {"text": "a\ud800", "emotion": "sad"}]
    root.mkdir()
    (root / "T1.jsonl").write_text(json.dumps({"dialogue_id": "zh_1", "turns": turns}))
    write_sine(root / "zh_1_1.wav")
    write_sine(root / "zh_1_2.wav")
    done = prepare("humdial", root, tmp_path / "out")
    assert done.utterances == 1
    (dialogue,) = lines(tmp_path / "out" / "dialogues.jsonl")
    assert isinstance(dialogue["turns"], list)
    assert dialogue["turns"][0]["audio"]["path"] == "../root/zh_1_1.wav"
    assert lines(tmp_path / "out" / "choices.jsonl") == []


def test_what_cannot_be_done_is_said(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown corpus 'ravdess'; known: crema_d, ecd_tse"):
        prepare("ravdess", root, tmp_path / "out")
    with pytest.raises(DataError, match="does not exist; expected"):
        prepare("esd", root, tmp_path / "out")
    (tmp_path / "out").write_text("a file")
    with pytest.raises(DataError, match="cannot write to"):
        prepare("ecd_tse", an_ecd_tse(root), tmp_path / "out")


real = pytest.mark.skipif(
    not (REAL_DATA / "emodb").is_dir(), reason=f"EmoDB is not in {REAL_DATA}; it is not shipped"
)


@real
def test_the_real_emodb(tmp_path: Path) -> None:
    done = prepare("emodb", REAL_DATA / "emodb", tmp_path / "out", strict=True)
    assert done.utterances == len(read_manifest(done.manifest))
    counts = done.card["counts"]
    assert counts["utterances"] == {"found": done.utterances, "known": 535}
    assert counts["speakers"] == {"found": 7, "known": 10}
    assert done.card["hours"] == round(done.utterances * 2 / 3600, 4)
    splits = json.loads((tmp_path / "out" / "splits.json").read_text())
    assert len(splits["by_speaker"]["test"]) == 1
