"""Words that name a feeling, said in every emotion."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from sounds import an_utterance
from typer.testing import CliRunner

from clusters.cli import app
from cogaudio_rl.data.audio import read_audio
from cogaudio_rl.data.lime import author, conflict, synthesise
from cogaudio_rl.data.lime.conflict import build_conflict, lexical_emotion, sentences
from cogaudio_rl.data.manifest import read_manifest
from cogaudio_rl.types import LIME_EMOTIONS


@pytest.mark.parametrize(("language", "each"), [("en", 8), ("zh", 4)])
def test_the_bank_names_every_feeling_equally_often(language: str, each: int) -> None:
    found = Counter(s.emotion for s in sentences(language))
    assert found == dict.fromkeys(set(LIME_EMOTIONS) - {"neutral"}, each)
    texts = {s.text for s in sentences(language)}
    assert len(texts) == 6 * each
    # No model may have met them in training.
    assert not texts & {s.text for s in author.sentences(language)}


def test_every_sentence_is_said_in_every_emotion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = sentences("en")[::24]
    monkeypatch.setattr(conflict, "sentences", lambda _language: two)
    told: list[tuple[int, int]] = []
    made = build_conflict(tmp_path, language="en", seed=0, progress=lambda *at: told.append(at))
    assert told[-1] == (14, 14)
    assert Counter(u.emotion for u in made) == dict.fromkeys(LIME_EMOTIONS, 2)
    assert sum(lexical_emotion(u) == u.emotion for u in made) == 2
    assert {u.speaker for u in made} <= set(synthesise.TEST_VOICES)
    assert all(u.transcript == t.text for t in two for u in made if u.text_id == t.text_id)
    before = [read_audio(u.clip.path)[0].tobytes() for u in made]
    assert build_conflict(tmp_path, language="en", seed=0) == made
    again = build_conflict(tmp_path / "again", language="en", seed=0)
    assert [read_audio(u.clip.path)[0].tobytes() for u in again] == before


def test_other_sentences_name_nothing() -> None:
    assert lexical_emotion(an_utterance()) is None


def test_the_command_says_what_it_made(tmp_path: Path) -> None:
    asked = ["data", "lime", "conflict", "-o", str(tmp_path / "out"), "--language", "zh"]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    assert "24 consistent, 144 in conflict" in " ".join(result.output.split())
    assert len(read_manifest(tmp_path / "out" / "conflict.jsonl")) == 168
