"""``cogaudio-rl humdial`` from the dialogues to the Final: a real model in one process, a real voice,
a judge over HTTP."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import Endpoint, completion
from typer.testing import CliRunner, Result

from clusters.cli import app

LOCAL = ("cluster.backend=local", "model.max_new_tokens_direct=16", "eval.bootstrap_samples=50")


def cogaudio(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def said(result: Result) -> str:
    return " ".join((result.output + result.stderr).split())


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    served = Endpoint()
    yield served
    served.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "dialogues"
    result = cogaudio("data", "lime", "dialogues", "-o", str(folder), "--dialogues", "1")
    assert result.exit_code == 0, said(result)
    return folder / "HD-Track1-Test"


@pytest.fixture(scope="module")
def handed_in(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("submission")
    result = cogaudio(
        *("humdial", "submit", "--root", str(made), "-c", "base", "-o", str(out), *LOCAL)
    )
    assert result.exit_code == 0, said(result)
    assert "replies spoken by espeakng-loader" in said(result)
    return out


def test_a_submission_is_whole(made: Path, handed_in: Path) -> None:
    about = json.loads((handed_in / "submission.json").read_text("utf-8"))
    assert (about["model"], about["dialogues"], about["quarantined"]) == ("base", 6, [])
    for language in ("zh", "en"):
        for task in ("T1", "T2", "T3"):
            ours, theirs = (
                [json.loads(line) for line in path.read_text("utf-8").splitlines()]
                for path in (
                    handed_in / "HD-Track1" / language / f"HD-Track1-{task}.jsonl",
                    made / language / f"HD-Track1-{task}.jsonl",
                )
            )
            assert [d["dialogue_id"] for d in ours] == [d["dialogue_id"] for d in theirs]
            assert [len(d["turns"]) for d in ours] == [len(d["turns"]) for d in theirs]
            replies = [turn["response_text"] for d in ours for turn in d["turns"]]
            assert any(replies), "it said nothing at all"


def test_it_is_scored_to_the_final(
    made: Path, handed_in: Path, tmp_path: Path, endpoint: Endpoint
) -> None:
    def script(number: int) -> Any:
        request = endpoint.requests[number]
        if "response_format" not in request:
            return completion("yes")
        schema = request["response_format"]["json_schema"]["schema"]
        named = {k: "r" if k == "reasoning" else 3 for k in schema["properties"]}
        return completion(json.dumps(named))

    endpoint.script = script
    judge = f"eval.judge={{kind: llm, base_url: '{endpoint.url}', model: m, hears: true}}"
    asked = ("humdial", "score", str(handed_in), "--root", str(made), "-o", str(tmp_path))
    result = cogaudio(*asked, judge, *LOCAL)
    assert result.exit_code == 0, said(result)
    scores = json.loads((tmp_path / "scores.json").read_text("utf-8"))
    final = scores["estimates"]["challenge_final"]["value"]
    # What is said in the wrong language is a 1 and all else a 3.
    wrong = {(r["language"], r["task"]) for r in scores["replies"] if r["wrong_language"]}
    weights = {"T1": 0.2, "T2": 0.2, "T3": 0.6}
    expected = sum(
        weights[task] * (1 if (language, task) in wrong else 3) / 2
        for language in ("zh", "en")
        for task in weights
    )
    assert final == pytest.approx(expected)
    assert f"{final:.2f}" in said(result)


def test_without_a_judge_it_says_what_it_needs(made: Path, handed_in: Path, tmp_path: Path) -> None:
    result = cogaudio(
        *("humdial", "score", str(handed_in), "--root", str(made), "-o", str(tmp_path), *LOCAL)
    )
    assert result.exit_code == 2
    assert "6 dialogues, read back without fault" in said(result)
    assert "scoring needs a judge: 'eval.judge={kind: llm" in said(result)


def test_a_damaged_corpus_is_told_and_the_rest_answered(made: Path, tmp_path: Path) -> None:
    root = tmp_path / "test"
    shutil.copytree(made / "en", root / "en")
    (root / "en" / "HD-Track1-T1" / "made_en_T1_0000_2.wav").unlink()
    (root / "en" / "HD-Track1-T2.jsonl").unlink()
    asked = ("humdial", "submit", "--root", str(root), "-c", "base", "-o", str(tmp_path / "out"))
    result = cogaudio(*asked, *LOCAL)
    assert result.exit_code == 0, said(result)
    assert (
        "quarantined: en/HD-Track1-T1.jsonl line 1: dialogue not used: no sound of its turn 2"
        in (said(result))
    )
    about = json.loads((tmp_path / "out" / "submission.json").read_text("utf-8"))
    assert about["dialogues"] == 1
    assert len(about["quarantined"]) == 1
    again = cogaudio(*asked, *LOCAL)
    assert again.exit_code == 2
    assert "already there; name another --out" in said(again)


def test_what_is_not_there_is_said_before_anything_starts(made: Path, tmp_path: Path) -> None:
    asked = ("humdial", "submit", "--root", str(made), "-c", "base", "-o", str(tmp_path), *LOCAL)
    result = cogaudio(*asked, "--voice", "indextts2", "--voices", str(tmp_path))
    assert result.exit_code == 2
    assert "needs the package indextts" in said(result)
    gone = cogaudio(
        "humdial", "submit", "--root", "gone", "-c", "base", "-o", str(tmp_path), *LOCAL
    )
    assert gone.exit_code == 2
    assert "does not exist" in said(gone)
