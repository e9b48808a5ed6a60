"""``cogaudio-rl eval`` as its user meets it: what is there, what is missing, what is asked twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import Endpoint, Reply, completion
from tiny_world import make_utterances
from typer.testing import CliRunner

from clusters.cli import app
from cogaudio_rl.data.manifest import write_manifest

SMALL = (
    *("cluster.backend=local", "data.kind=manifest", "out_dir=run"),
    *("model.max_new_tokens_explicit=12", "model.max_new_tokens_direct=8"),
    *("eval.max_utterances=7", "eval.bootstrap_samples=50", "eval.timed_utterances=1"),
)


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    heard = make_utterances(tmp_path / "corpus" / "audio", 28)
    for name, part in (("train", heard[:21]), ("test", heard[21:])):
        write_manifest(tmp_path / "corpus" / f"{name}.jsonl", part)
    return f"data.root={tmp_path / 'corpus'}"


@pytest.fixture
def server() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    yield endpoint
    endpoint.close()


def evaluate(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["eval", *SMALL, *arguments])
    return done.exit_code, done.output


def report() -> dict[str, Any]:
    return json.loads(Path("run/suites/report.json").read_text("utf-8"))["suites"]


def test_a_suite_that_is_not_there_ends_it_or_is_listed(corpus: str, server: Endpoint):
    baseline = f"eval.baselines=[{{name: other, base_url: '{server.url}', model: m}}]"
    server.script = says(["neutral", "happy"])
    code, said = evaluate(corpus, baseline, "-s", "test", "-s", "esd")
    assert code == 2
    assert "esd: give its folder, eval.suites.esd.root=PATH (or leave them out" in flat(said)
    assert not server.requests
    code, said = evaluate(corpus, baseline, "-s", "test", "-s", "esd", "--allow-missing")
    assert code == 0, said
    assert list(report()["test"]["models"]) == ["other"]
    assert report()["esd"]["status"] == "not run"
    # Everything was answered: the same again asks nothing.
    asked = len(server.requests)
    assert asked == (3 + 5) * 7 + 3
    before = report()
    assert evaluate(corpus, baseline, "-s", "test", "-s", "esd", "--allow-missing")[0] == 0
    assert len(server.requests) == asked
    assert report() == before


def test_an_endpoint_that_fails_goes_on_where_it_stopped(corpus: str, server: Endpoint):
    baseline = (
        f"eval.baselines=[{{name: other, base_url: '{server.url}', model: m, max_attempts: 1}}]"
    )
    good = says(["neutral"])
    server.script = lambda i: good(i) if i < 10 else (500, {}, b"it fell over")
    code, said = evaluate(corpus, baseline)
    assert code == 1
    assert "goes on where it stopped" in flat(said)
    server.requests.clear()
    server.script = good
    code, said = evaluate(corpus, baseline)
    assert code == 0, said
    # Three of the ten were timed, and are timed again.
    assert len(server.requests) == (3 + 5) * 7 + 3 - 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to evaluate; give --run FOLDER or --checkpoint [NAME=]FOLDER"),
        (("-c", "base", "-s", "esdd"), "--suite 'esdd' is not one of: test, lime, conflict, esd"),
        (("-c", "nowhere"), "checkpoint 'nowhere' holds no adapter_model.safetensors"),
        (("--run", "nowhere"), "--run 'nowhere' is not a run folder: it holds no config.yaml"),
        (("-c", "base", "-c", "base"), "two models are called 'base'"),
        (
            ("-c", "base", "eval.judge={kind: vllm, model: x}"),
            "kind=vllm scores rewards only; serve the model and take kind=llm",
        ),
    ],
)
def test_what_cannot_be_evaluated_is_said_in_one_line(
    arguments: tuple[str, ...], message: str, corpus: str
):
    code, said = evaluate(corpus, *arguments)
    assert code == 2
    assert message in flat(said)
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_bare_backbone_where_words_and_voice_disagree(corpus: str):
    code, said = evaluate(corpus, "-c", "base", "-s", "conflict", "eval.max_utterances=14")
    assert code == 0, said
    found = report()["conflict"]
    assert found["models"]["base"]["lexical_label_rate"]["n"] > 0
    assert found["classical"]["metrics"]["conflict_accuracy"]["n"] > 0
    assert len(found["models"]["base"]["s_audio"]["ci95"]) == 2
    page = Path("run/suites/report.html").read_text("utf-8")
    assert "Does it listen?" in page


def says(labels: list[str]) -> Callable[[int], Reply]:
    """Chooses the labels in turn where a choice is asked for; else says a sentence. Both fit."""
    return lambda i: completion(json.dumps({"emotion": labels[i % len(labels)]}))


def flat(text: str) -> str:
    return " ".join(text.split())
