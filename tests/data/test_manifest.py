from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sounds import an_utterance

from cogaudio_rl.data.manifest import iter_manifest, read_manifest, validate_split, write_manifest
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import (
    INTENSITIES,
    KNOWN_EMOTIONS,
    AmbiguityResponse,
    Annotation,
    AudioRef,
    EipsResponse,
    Utterance,
)

words = st.text(min_size=1).filter(lambda s: s.strip() != "")


@st.composite
def utterances(draw: st.DrawFn) -> Utterance:
    emotion = draw(st.sampled_from(sorted(KNOWN_EMOTIONS)))
    eips = EipsResponse(
        emotion=emotion,
        intent=draw(st.text()),
        psychology=draw(st.text()),
        strategy=draw(st.text()),
        response=draw(st.text()),
    )
    annotation = Annotation(eips=eips, depth=draw(st.sampled_from((2, 3, 4))))
    heard = draw(st.sampled_from((None, 1, 7)))
    part = st.sampled_from(("words", "一 voice"))
    chain = AmbiguityResponse(
        words=draw(part), voice=draw(part), synthesis=draw(part), emotion=emotion
    )
    count = draw(st.integers(1, 10**9))
    return Utterance(
        id=draw(words),
        text_id=draw(words),
        audio=AudioRef(path="sound.wav", sample_rate_hz=16_000, num_samples=count),
        transcript=draw(words),
        emotion=emotion,
        intensity=draw(st.sampled_from(INTENSITIES)),
        speaker=draw(words),
        language=draw(st.sampled_from(("en", "zh", "de"))),
        scenario=draw(st.text()),
        annotation=draw(st.sampled_from((None, annotation))),
        votes=heard and {emotion: 0.75, "excited": 0.25},
        listeners=heard,
        ambiguity=heard and draw(st.sampled_from((None, chain))),
    )


@given(corpus=st.lists(utterances(), max_size=5, unique_by=lambda u: u.id))
def test_what_is_written_is_read_back(
    corpus: list[Utterance], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("round-trip")
    placed = [
        dataclasses.replace(
            u, audio=dataclasses.replace(u.clip, path=str(folder / "audio" / "a.wav"))
        )
        for u in corpus
    ]
    assert write_manifest(folder / "m.jsonl", placed) == len(placed)
    assert read_manifest(folder / "m.jsonl") == tuple(placed)


def test_audio_paths_are_relative_so_that_a_corpus_can_move(tmp_path: Path) -> None:
    here = tmp_path / "here"
    write_manifest(here / "m.jsonl", [an_utterance(path=str(here / "audio" / "a.wav"))])
    assert json.loads((here / "m.jsonl").read_text())["audio"]["path"] == "audio/a.wav"
    there = here.rename(tmp_path / "there")
    (read,) = read_manifest(there / "m.jsonl")
    assert read.clip.path == str(there / "audio" / "a.wav")


def test_writing_streams_and_reading_streams(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    assert write_manifest(path, (an_utterance(f"u{i}") for i in range(3))) == 3
    assert next(iter_manifest(path)).id == "u0"


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    write_manifest(path, [an_utterance("old")])
    with pytest.raises(DataError, match=r"'u0' comes twice"):
        write_manifest(path, [an_utterance("u0"), an_utterance("u0")])
    assert [u.id for u in read_manifest(path)] == ["old"]
    assert list(tmp_path.iterdir()) == [path]


def a_record(**changes: Any) -> dict[str, Any]:
    return {**dataclasses.asdict(an_utterance()), **changes}


def without(key: str) -> dict[str, Any]:
    record = a_record()
    del record[key]
    return record


PARTS = {"words": "w", "voice": "v", "synthesis": "s", "emotion": "sad"}
CHAIN = dataclasses.asdict(an_utterance())["annotation"]

BAD_LINES = {
    "label": (a_record(emotion="joyful"), "unknown emotion 'joyful'; known: angry, boredom, dis"),
    "intensity": (a_record(intensity="loud"), "unknown intensity 'loud'; known: low, mid, high"),
    "missing": (without("transcript"), "field 'transcript' is missing"),
    "missing inside": (
        a_record(audio={"path": "a.wav"}),
        "field 'audio.sample_rate_hz' is missing",
    ),
    "unknown": (a_record(anotation=None), "unknown field 'anotation'; known: id, text_id"),
    "type": (a_record(speaker=3), "field 'speaker': Input should be a valid string (got 3)"),
    "no samples": (
        a_record(audio={"path": "a.wav", "sample_rate_hz": 16_000, "num_samples": 0}),
        "audio.num_samples must be >= 1, got 0",
    ),
    "no rate": (
        a_record(audio={"path": "a.wav", "sample_rate_hz": 0, "num_samples": 1}),
        "audio.sample_rate_hz must be >= 1, got 0",
    ),
    "blank": (a_record(transcript=" "), "field 'transcript' is empty"),
    "depth": (a_record(annotation={**CHAIN, "depth": 1}), "annotation.depth must be one of"),
    "other emotion": (a_record(emotion="sad"), "the annotation says 'happy' but the utterance is"),
    "votes": (a_record(votes={"sad": 0.5}), "vote shares must sum to 1, got 0.5"),
    "votes for what": (
        a_record(votes={"joy": 1.0}),
        "votes for unknown emotion 'joy'; known: angry",
    ),
    "no listener": (a_record(votes={"sad": 1.0}, listeners=0), "listeners must be >= 1"),
    "listeners alone": (a_record(listeners=3), "3 listeners and no votes"),
    "chain alone": (a_record(ambiguity=PARTS), "an ambiguity chain and no votes"),
    "chain of lines": (
        a_record(votes={"sad": 1.0}, ambiguity={**PARTS, "voice": "a\nb"}),
        "the ambiguity chain cannot be read back",
    ),
    "chain of the few": (
        a_record(votes={"sad": 0.4, "angry": 0.6}, ambiguity=PARTS),
        "the ambiguity chain says 'sad', which has 0.40 of the votes; others have more",
    ),
    "twice": (a_record(id="first"), "id 'first' comes twice"),
    "list": ([1], "not a JSON object but list"),
}


@pytest.mark.parametrize(("record", "message"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_is_named(record: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps(a_record(id="first")) + "\n" + json.dumps(record) + "\n")
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        read_manifest(path)
    assert "train.jsonl line 2" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("line", [b"{not json}\n", b'{"id": "\xff\xfe"}\n'])
def test_a_line_that_is_no_json_is_named(line: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_bytes(line)
    with pytest.raises(DataError, match=r"m\.jsonl line 1: not a JSON object"):
        read_manifest(tmp_path / "m.jsonl")


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.jsonl' does not exist"):
        read_manifest(tmp_path / "absent.jsonl")


def test_writing_refuses_what_reading_would_refuse(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="utterance 'u0': unknown emotion 'joyful'"):
        write_manifest(tmp_path / "m.jsonl", [an_utterance(emotion="joyful")])
    assert list(tmp_path.iterdir()) == []


def test_splits_must_share_no_text_nor_speaker_where_asked() -> None:
    one, other = an_utterance(text_id="t1"), an_utterance(text_id="t2")
    validate_split([one], [other])
    with pytest.raises(DataError, match=r"text_id 't1' is in split 'train' and in split 'test'"):
        validate_split([one, other], [one])
    validate_split([one], [one], texts=False)
    with pytest.raises(DataError, match=r"speaker 's0' is in split 'rl' and in split 'test'"):
        validate_split([one], [other], names=("rl", "test"), speakers=True)


@pytest.mark.parametrize("empty", ["train", "test"])
def test_an_empty_split_is_named(empty: str) -> None:
    train = [] if empty == "train" else [an_utterance()]
    test = [] if empty == "test" else [an_utterance()]
    with pytest.raises(DataError, match=f"split '{empty}' is empty"):
        validate_split(train, test)
