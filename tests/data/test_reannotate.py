"""A corpus without annotations gets them from an endpoint, and is divided as was suggested."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_server import Endpoint, Reply, completion
from sounds import an_utterance
from typer.testing import CliRunner

from clusters.cli import app
from cogaudio_rl.config import parse
from cogaudio_rl.data.manifest import read_manifest, write_manifest
from cogaudio_rl.data.reannotate import AnnotateRecipe, annotate_manifest
from cogaudio_rl.errors import ConfigError, DataError, RunError

WORDS = ("The meeting was moved.", "The bus comes at nine.", "Somebody rang at the door.")


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """Answers for the emotion it is asked about, but never finds a reply to fear."""
    served = Endpoint()

    def script(number: int) -> Reply:
        asked = json.loads(served.requests[number]["messages"][1]["content"])
        steps = {
            "emotion": asked["emotion"],
            "intent": "to be heard",
            "psychology": "they feel alone with it",
            "strategy": "to stay with them",
            "response": f"That must be a lot to carry today, about: {asked['sentence'][:9]}",
        }
        if asked["emotion"] == "fear":
            steps["response"] = "I understand how you feel."
        return completion(json.dumps(steps))

    served.script = script
    yield served
    served.close()


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Three sentences, two speakers, two emotions; fear once, and one in German."""
    found = [
        an_utterance(
            f"{speaker}-{text}-{emotion}", text_id=f"t{text}", speaker=speaker, emotion=emotion,
            transcript=WORDS[text], annotated=False,
        )
        for speaker in ("s0", "s1") for text in range(3) for emotion in ("happy", "sad")
    ]  # fmt: skip
    found.append(an_utterance("afraid", text_id="t0", emotion="fear", annotated=False))
    path = tmp_path / "corpus" / "manifest.jsonl"
    write_manifest(path, found)
    splits = {
        "by_text": {"train": ["t0", "t1"], "test": ["t2"]},
        "by_speaker": {"train": ["s0"], "test": ["s1"]},
    }
    path.with_name("splits.json").write_text(json.dumps(splits), "utf-8")
    return path


def recipe(endpoint: Endpoint, **values: object) -> AnnotateRecipe:
    author = {"kind": "llm", "base_url": endpoint.url, "model": "m", "max_rejections": 2}
    return parse(AnnotateRecipe, {"author": author} | values)


def test_every_question_is_asked_once_and_never_again(
    endpoint: Endpoint, manifest: Path, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    done = annotate_manifest(
        manifest, tmp_path / "out", recipe(endpoint), lambda *at: told.append(at)
    )
    assert (done.train, done.test, done.rejected) == (8, 4, 1)
    assert told[-1] == (13, 13)
    # Three sentences in two emotions, and fear twice: its first answer was a template.
    assert len(endpoint.requests) == 3 * 2 + 2
    train, test = (read_manifest(tmp_path / "out" / f"{s}.jsonl") for s in ("train", "test"))
    assert {u.text_id for u in train} == {"t0", "t1"}
    assert {u.text_id for u in test} == {"t2"}
    for utterance in (*train, *test):
        assert utterance.annotation is not None
        assert utterance.annotation.eips.emotion == utterance.emotion
        assert utterance.transcript.split()[0] in utterance.annotation.eips.response
        assert Path(utterance.clip.path).resolve() == Path("u0.wav").resolve()
    (row,) = map(json.loads, (tmp_path / "out" / "rejected.jsonl").read_text("utf-8").splitlines())
    assert row == {"what": "afraid", "reasons": ["the response is a template"]}
    before = (tmp_path / "out" / "train.jsonl").read_bytes()
    annotate_manifest(manifest, tmp_path / "out", recipe(endpoint))
    assert len(endpoint.requests) == 3 * 2 + 2
    assert (tmp_path / "out" / "train.jsonl").read_bytes() == before


def test_held_apart_by_speaker(endpoint: Endpoint, manifest: Path, tmp_path: Path) -> None:
    done = annotate_manifest(manifest, tmp_path / "out", recipe(endpoint, split="by_speaker"))
    assert (done.train, done.test, done.rejected) == (6, 6, 1)
    assert {u.speaker for u in read_manifest(tmp_path / "out" / "test.jsonl")} == {"s1"}


def test_what_cannot_be_annotated_is_listed_and_what_is_stays(
    endpoint: Endpoint, manifest: Path, tmp_path: Path
) -> None:
    german, done_before = an_utterance("g", annotated=False), an_utterance("d", text_id="t2")
    lines = [german, done_before]
    path = tmp_path / "two" / "manifest.jsonl"
    write_manifest(path, lines)
    text = path.read_text("utf-8").replace('"language": "en"', '"language": "de"', 1)
    path.write_text(text, "utf-8")
    path.with_name("splits.json").write_bytes(manifest.with_name("splits.json").read_bytes())
    done = annotate_manifest(path, tmp_path / "out", recipe(endpoint))
    assert (done.train, done.test, done.rejected) == (0, 1, 1)
    assert not endpoint.requests
    assert "no annotator for language 'de'" in (tmp_path / "out" / "rejected.jsonl").read_text()
    (kept,) = read_manifest(tmp_path / "out" / "test.jsonl")
    assert kept.annotation == done_before.annotation


def test_an_outage_rejects_nothing(endpoint: Endpoint, manifest: Path, tmp_path: Path) -> None:
    answers, endpoint.script = endpoint.script, lambda _: (401, {}, b"{}")
    with pytest.raises(RunError, match=r"no answer: HTTP 401.*mend the endpoint"):
        annotate_manifest(manifest, tmp_path / "out", recipe(endpoint))
    assert not (tmp_path / "out" / "train.jsonl").exists()
    endpoint.script = answers
    assert annotate_manifest(manifest, tmp_path / "out", recipe(endpoint)).rejected == 1


def test_bad_input_is_one_line(endpoint: Endpoint, manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"author\.kind must be llm"):
        parse(AnnotateRecipe, {"author": {"kind": "embedded"}})
    splits = manifest.with_name("splits.json")
    splits.write_text('{"by_text": {"train": [], "test": []}}', "utf-8")
    with pytest.raises(DataError, match=r"has no split 'by_speaker'; it has: by_text"):
        annotate_manifest(manifest, tmp_path / "out", recipe(endpoint, split="by_speaker"))
    splits.write_text("{", "utf-8")
    with pytest.raises(DataError, match=r"splits\.json' is not JSON"):
        annotate_manifest(manifest, tmp_path / "out", recipe(endpoint))
    splits.unlink()
    asked = ("data", "annotate", str(manifest), "-o", str(tmp_path / "out"))
    result = CliRunner().invoke(app, [*asked, f"author.base_url={endpoint.url}", "author.model=m"])
    assert result.exit_code == 2
    assert "`data prepare` writes it" in " ".join(result.stderr.split())
