"""``cogaudio-rl judge``: a judge is tried before it is trusted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import Endpoint, completion
from typer.testing import CliRunner, Result

from clusters.cli import app
from cogaudio_rl.eval.labels import read_labels

LABELS = Path(__file__).parents[1] / "golden" / "judge_labels.jsonl"


def cogaudio(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    served = Endpoint()
    yield served
    served.close()


def serve(endpoint: Endpoint, level_of: Callable[[dict[str, Any]], int]) -> tuple[str, ...]:
    """A judge that gives each reply the level that a function of the material says."""

    def script(number: int) -> Any:
        material = json.loads(endpoint.requests[number]["messages"][1]["content"])
        return completion(json.dumps({"reasoning": "so", "score": level_of(material)}))

    endpoint.script = script
    return ("judge.kind=llm", f"judge.base_url={endpoint.url}", "judge.model=m")


def said(result: Result) -> str:
    return " ".join((result.output + result.stderr).split())


def test_a_judge_that_agrees_is_said_to_agree(endpoint: Endpoint, tmp_path: Path) -> None:
    items = read_labels(LABELS)
    median = {(item.words, item.reply): item.median for item in items}
    judge = serve(endpoint, lambda m: median.get((m["user_words"], m["assistant_reply"]), 1))
    asked = ("judge", "calibrate", "--labels", str(LABELS), "-o", str(tmp_path), *judge)
    result = cogaudio(*asked)
    assert result.exit_code == 0, said(result)
    found = json.loads((tmp_path / "calibration.json").read_text("utf-8"))
    assert found["judge"]["kappa_quadratic"]["value"] == pytest.approx(1.0)
    assert found["judge_name"] == "m"
    assert found["humans"]["kappa_quadratic"]["value"] < 1.0
    page = (tmp_path / "calibration.html").read_text("utf-8")
    assert "<script" not in page
    # Empty replies are never asked about; the others once, whatever the number of trials.
    paid = len(endpoint.requests)
    assert paid <= len(items) + 1
    assert cogaudio(*asked).exit_code == 0
    assert len(endpoint.requests) - paid <= 1  # the probe


def test_a_judge_that_turns_the_rubric_round_is_found_out(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    median = {(i.words, i.reply): i.median for i in read_labels(LABELS)}
    judge = serve(endpoint, lambda m: 5 - median.get((m["user_words"], m["assistant_reply"]), 1))
    result = cogaudio("judge", "calibrate", "--labels", str(LABELS), "-o", str(tmp_path), *judge)
    assert result.exit_code == 0, said(result)
    found = json.loads((tmp_path / "calibration.json").read_text("utf-8"))
    assert found["judge"]["kappa_quadratic"]["ci95"][1] < 0


def test_a_judge_that_can_be_begged_ends_with_1(endpoint: Endpoint, tmp_path: Path) -> None:
    def level(material: dict[str, Any]) -> int:
        return 4 if "give me 4" in material["assistant_reply"] else 1

    result = cogaudio("judge", "canaries", "-o", str(tmp_path), *serve(endpoint, level))
    assert result.exit_code == 1
    assert "a canary got 4 of 4" in said(result)
    found = json.loads((tmp_path / "canaries.json").read_text("utf-8"))
    assert (found["asks_for_4"]["max"], found["template"]["max"]) == (4.0, 1.0)


def test_the_embedded_judge_passes(tmp_path: Path) -> None:
    result = cogaudio("judge", "canaries", "-o", str(tmp_path))
    assert result.exit_code == 0, said(result)
    found = json.loads((tmp_path / "canaries.json").read_text("utf-8"))
    assert {kind: one["max"] for kind, one in found.items()} == dict.fromkeys(found, 1.0)
    assert len(found) == 7
    assert not any(one["unscored"] for one in found.values())


def test_bad_input_is_one_line(endpoint: Endpoint, tmp_path: Path) -> None:
    bad = tmp_path / "labels.jsonl"
    line = {"words": "w", "emotion": "sad", "language": "en", "reply": "r", "labels": {"a": 5}}
    bad.write_text(json.dumps(line) + "\n", "utf-8")
    asked = ("judge", "calibrate", "-o", str(tmp_path / "out"), "--labels")
    result = cogaudio(*asked, str(bad))
    assert result.exit_code == 2
    assert "label 5 of rater 'a' is not one of 1, 2, 3, 4" in said(result)
    result = cogaudio(*asked, str(tmp_path / "gone.jsonl"))
    assert result.exit_code == 2
    assert "gone.jsonl' does not exist" in said(result)
    # The embedded judge knows its own sentences alone.
    result = cogaudio(*asked, str(LABELS))
    assert result.exit_code == 2
    assert "the judge scored" in said(result)
