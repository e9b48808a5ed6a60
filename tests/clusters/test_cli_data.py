"""``cogaudio-rl data``: corpora in, corpora out, and one line where that cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_world import make_utterances
from typer.testing import CliRunner, Result

from clusters.cli import app
from cogaudio_rl.data.manifest import read_manifest, write_manifest
from cogaudio_rl.data.shards import iter_shards


def cogaudio(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


@pytest.mark.parametrize(
    ("words", "teaches"),
    [
        (["data", "prepare"], "rejected.jsonl"),
        (["data", "shards"], "load_dataset"),
        (["data", "lime", "build"], "author.kind=llm"),
    ],
)
def test_help_teaches(words: list[str], teaches: str) -> None:
    result = cogaudio(*words, "--help")
    assert result.exit_code == 0
    assert teaches in result.stdout


def test_a_corpus_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = cogaudio("data", "prepare", "esd", "--root", str(tmp_path / "esd"), "-o", str(out))
    assert result.exit_code == 2
    (line,) = (said for said in result.stderr.splitlines() if said.startswith("error: "))
    assert str(tmp_path / "esd") in line
    assert "Traceback" not in result.stderr
    assert not out.exists()


def test_emodb_is_prepared_and_what_cannot_be_used_is_listed(tmp_path: Path) -> None:
    root, out = tmp_path / "emodb", tmp_path / "out"
    made = make_utterances(tmp_path / "made", 2)
    (root / "wav").mkdir(parents=True)
    for name, utterance in zip(("03a01Fa", "08b03Wa"), made, strict=True):
        (root / "wav" / f"{name}.flac").write_bytes(Path(utterance.clip.path).read_bytes())
    result = cogaudio("data", "prepare", "emodb", "--root", str(root), "-o", str(out))
    assert result.exit_code == 0, result.output
    found = read_manifest(out / "manifest.jsonl")
    assert [(u.speaker, u.emotion) for u in found] == [
        ("emodb_03", "happy"),
        ("emodb_08", "angry"),
    ]
    card = json.loads((out / "card.json").read_text("utf-8"))
    assert card["counts"]["utterances"] == {"found": 2, "known": 535}
    assert "535" in result.stdout


def test_a_manifest_is_packed_into_shards(tmp_path: Path) -> None:
    made = make_utterances(tmp_path / "clips", 5)
    write_manifest(tmp_path / "train.jsonl", made)
    given = (str(tmp_path / "train.jsonl"), "-o", str(tmp_path / "shards"), "--rows", "2")
    result = cogaudio("data", "shards", *given)
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "shards").glob("*.parquet"))) == 3
    for packed, utterance in zip(iter_shards(tmp_path / "shards"), made, strict=True):
        assert packed[0].transcript == utterance.transcript
        assert packed[1] == Path(utterance.clip.path).read_bytes()
    again = cogaudio("data", "shards", *given)
    assert again.exit_code == 2
    assert "not empty" in again.stderr
