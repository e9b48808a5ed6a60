"""``cogaudio-rl data``: corpora in, corpora out, and one line where that cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from chat_server import Endpoint, Reply, completion
from sounds import write_sine
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


def test_a_broken_file_is_listed_and_the_others_are_prepared(tmp_path: Path) -> None:
    root, out = tmp_path / "emodb", tmp_path / "out"
    (made,) = make_utterances(tmp_path / "made", 1)
    root.mkdir()
    sound = Path(made.clip.path).read_bytes()
    for name, content in {
        "03a01Fa.flac": sound,
        "08a01Wa.flac": sound[:90],
        "08a01Wx.flac": b"",
        "notes.flac": sound,
        "99z99Qa.flac": sound,
    }.items():
        (root / name).write_bytes(content)
    asked = ("data", "prepare", "emodb", "--root", str(root), "-o", str(out))
    result = cogaudio(*asked)
    assert result.exit_code == 0, result.output
    assert "4 rejected" in " ".join(result.output.split())
    lines = (out / "rejected.jsonl").read_text("utf-8").splitlines()
    assert {json.loads(line)["where"] for line in lines} == {
        "08a01Wa.flac", "08a01Wx.flac", "notes.flac", "99z99Qa.flac",
    }  # fmt: skip
    assert [u.id for u in read_manifest(out / "manifest.jsonl")] == ["emodb_03a01Fa"]
    assert cogaudio(*asked, "--strict").exit_code == 2


def test_a_readers_options_come_from_the_command_line(tmp_path: Path) -> None:
    root = tmp_path / "humdial"
    (root / "en").mkdir(parents=True)
    choice = {"uid": "q1", "wav": "q1.wav", "said": "The bus comes at nine.", "label": "A"}
    write_sine(root / "en" / "q1.wav")
    row = choice | {"choices": {"A": "sad", "B": "happy"}, "ask": "Which emotion?"}
    (root / "en" / "T4.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    asked = ("data", "prepare", "humdial", "--root", str(root), "-o", str(tmp_path / "out"))
    names = {"id": "uid", "audio": "wav", "text": "said", "options": "choices", "answer": "label"}
    result = cogaudio(*asked, *(f"columns.{name}={theirs}" for name, theirs in names.items()))
    assert result.exit_code == 0, result.output
    (line,) = (tmp_path / "out" / "choices.jsonl").read_text("utf-8").splitlines()
    assert json.loads(line)["options"] == ["sad", "happy"]
    result = cogaudio(*asked, "colums.id=uid")
    assert result.exit_code == 2
    assert "humdial has no option 'colums'; it takes columns" in " ".join(result.stderr.split())
    result = cogaudio(*asked, "columns=nowhere.json")
    assert "option 'columns': 'nowhere.json' is no JSON file" in " ".join(result.stderr.split())


def test_records_that_cannot_be_packed_are_listed(tmp_path: Path) -> None:
    made, out = make_utterances(tmp_path / "audio", 3), tmp_path / "shards"
    write_manifest(tmp_path / "train.jsonl", made)
    Path(made[1].clip.path).unlink()
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write('{"id": "old", "wav": "x.wav"}\n')
    asked = ("data", "shards", str(tmp_path / "train.jsonl"), "-o")
    result = cogaudio(*asked, str(out))
    assert result.exit_code == 0, result.output
    assert "2 rejected" in " ".join(result.output.split())
    assert [u.id for u, _ in iter_shards(out)] == [made[0].id, made[2].id]
    reasons = (out / "rejected.jsonl").read_text("utf-8")
    assert "does not exist" in reasons
    assert "unknown field 'wav'" in reasons
    result = cogaudio(*asked, str(tmp_path / "strict"), "--strict")
    assert result.exit_code == 2
    assert not (tmp_path / "strict").exists()


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


def test_thoughts_are_asked_for_and_counted(tmp_path: Path) -> None:
    write_manifest(tmp_path / "in" / "train.jsonl", make_utterances(tmp_path / "audio", 2))
    served = Endpoint()

    def script(number: int) -> Reply:
        asked = json.loads(served.requests[number]["messages"][1]["content"])
        made_up = asked["emotion"] == "happy"
        cause = "a pay rise" if made_up else asked["sentence"]
        return completion(json.dumps({"cause": cause, "plan": "listen"}))

    served.script = script
    asked = ("data", "attribute", str(tmp_path / "in" / "train.jsonl"))
    author = (f"author.base_url={served.url}", "author.model=m", "author.max_rejections=1")
    try:
        result = cogaudio(*asked, "-o", str(tmp_path / "out"), *author)
        assert result.exit_code == 0, result.output
        assert "1 set aside" in " ".join(result.output.split())
        (kept,) = read_manifest(tmp_path / "out" / "train.jsonl")
        assert kept.attribution is not None
        refused = cogaudio(*asked, "-o", str(tmp_path / "in"), *author)
        assert refused.exit_code == 2
        assert "is the manifest's own folder" in " ".join(refused.stderr.split())
    finally:
        served.close()


def test_the_mini_corpus_with_thoughts_is_made(tmp_path: Path) -> None:
    few = ("data.train_utterances=14", "data.rl_utterances=7", "data.test_families=1")
    result = cogaudio("data", "lime", "attributed", "-o", str(tmp_path / "made"), *few)
    assert result.exit_code == 0, result.output
    told = " ".join(result.output.split())
    assert "14 train, 7 rl and 7 test utterances" in told
    assert "0 set aside" in told
    again = cogaudio("data", "lime", "attributed", "-o", str(tmp_path / "made"), *few)
    assert again.exit_code == 2
    assert "is already there" in " ".join(again.stderr.split())
