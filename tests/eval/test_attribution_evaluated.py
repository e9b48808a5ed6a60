"""IEAT's measures: what each of them counts, and that they can fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeSampler
from tiny_world import make_utterances

from cogaudio_rl import attribution, spoken
from cogaudio_rl.config import EvalConfig
from cogaudio_rl.data.lime.attributions import with_attributions
from cogaudio_rl.dictation import Dictated
from cogaudio_rl.errors import DataError
from cogaudio_rl.eval.attribution import (
    Teaching,
    attribution_estimates,
    empathy_gain,
    evaluate_attribution,
    load_rows,
    save_rows,
    with_gains,
)
from cogaudio_rl.eval.metrics import mean_estimate
from cogaudio_rl.eval.reply_voices import Listener, train_listener
from cogaudio_rl.eval.result import ModelResult
from cogaudio_rl.eval.suite import SuiteResult
from cogaudio_rl.eval.suite_report import write_suite_report
from cogaudio_rl.eval.summary import RunFacts
from cogaudio_rl.types import AttributionResponse, Prompt, Route, SpokenReply, Utterance
from cogaudio_rl.voices import VOICES, levels_of, suiting, voice_for


@pytest.fixture(scope="module")
def utterances(tmp_path_factory: pytest.TempPathFactory) -> tuple[Utterance, ...]:
    clips = make_utterances(tmp_path_factory.mktemp("clips"), 14)
    return with_attributions(clips).utterances


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Listener:
    return train_listener(tmp_path_factory.mktemp("listener"), samples=50, seed=0)


class KnowingScorer:
    """4 for a reply that names the utterance's emotion, else 1."""

    unscored: Mapping[str, int] = {}

    async def score(self, asked: Sequence[tuple[Utterance, str]]) -> list[float | None]:
        return [4.0 if u.emotion in reply else 1.0 for u, reply in asked]

    def emotion_of(self, utterance: Utterance, reply: str) -> str | None:
        return next((word for word in reply.rstrip(".").split() if word in EMOTIONS), None)


EMOTIONS = ("neutral", "happy", "sad", "angry", "fear", "disgust", "surprise")


def reply_for(emotion: str) -> str:
    return f"I hear that this is {emotion}."


def teacher(utterances: Sequence[Utterance]) -> dict[str, Dictated]:
    return {
        u.id: Dictated(id=u.id, replies=(reply_for(u.emotion), reply_for(u.emotion), "Go on."))
        for u in utterances
    }


def knowing(prompt: Prompt, temperature: float, i: int) -> str:
    """Hears everything right."""
    u = prompt.utterance
    if prompt.route is Route.DIRECT:
        return f"<response>{reply_for(u.emotion)}</response>"
    if prompt.route is Route.SPOKEN:
        reply = SpokenReply(response=reply_for(u.emotion), voice=voice_for(u.emotion))
        return spoken.render(reply)
    assert u.attribution is not None
    return attribution.render(
        AttributionResponse(thought=u.attribution, response=reply_for(u.emotion))
    )


def deaf(prompt: Prompt, temperature: float, i: int) -> str:
    """Says one thing in one voice, thinks aloud without being asked, and makes causes up."""
    u = prompt.utterance
    if prompt.route is Route.DIRECT:
        return "<thought>hm</thought><response>Noted.</response>"
    if prompt.route is Route.SPOKEN:
        plain = levels_of(VOICES["plain"].numbers())
        return spoken.render(SpokenReply(response=reply_for(u.emotion), voice=plain))
    assert u.attribution is not None
    wrong = replace(u.attribution, emotion="smug", cause="she lost her job", pitch="lowest")
    return attribution.render(AttributionResponse(thought=wrong, response="Noted."))


def silent(prompt: Prompt, temperature: float, i: int) -> str:
    return "Noted."


def measure(
    say: Any, utterances: Sequence[Utterance], listener: Listener, folder: Path, **replies: Any
) -> tuple[dict[str, float], Any]:
    result, rows = asyncio.run(
        evaluate_attribution(
            FakeSampler(say),
            utterances,
            Teaching(replies.get("taught", teacher(utterances)), listener, folder),
            KnowingScorer(),
            EvalConfig(bootstrap_samples=50),
            seed=0,
            progress=lambda *_: None,
        )
    )
    return {name: e.value for name, e in result.estimates.items()}, rows


def test_who_hears_everything_is_as_near_as_can_be(
    utterances: tuple[Utterance, ...], listener: Listener, tmp_path: Path
) -> None:
    told, rows = measure(knowing, utterances, listener, tmp_path)
    assert told["empathy_direct"] == told["empathy_direct_t1"] == 4
    assert told["teacher_distance"] == pytest.approx(0, abs=1e-9)
    assert told["teacher_resampling"] == pytest.approx(1)
    assert told["teacher_excess"] == pytest.approx(-1)
    assert told["unasked_thoughts"] == 0
    for part in ("emotion", "intensity", "pitch", "pace", "grounded"):
        assert told[f"thought_{part}"] == 1
    assert told["format_spoken"] == told["format_thought"] == 1
    assert told["voice_suits_reply"] >= 0.8
    assert told["voice_suits_reply"] == told["voice_suits_user"]
    assert sorted(path.stem for path in tmp_path.glob("*.flac")) == sorted(u.id for u in utterances)
    save_rows(rows, tmp_path / "rows.jsonl")
    assert load_rows(tmp_path / "rows.jsonl") == rows


def test_replies_are_heard_in_their_own_language_and_not_in_the_speakers(
    utterances: tuple[Utterance, ...], listener: Listener, tmp_path: Path
) -> None:
    """German is answered in English, which the listener knows; Chinese in Chinese."""
    german = [replace(u, language="de") for u in utterances[:7]]
    told, rows = measure(knowing, german, listener, tmp_path / "de")
    assert told["voice_suits_reply"] >= 0.8
    assert all(row.heard for row in rows)
    mixed = [*german, *(replace(u, language="zh") for u in utterances[7:])]
    again, rows = measure(knowing, mixed, listener, tmp_path / "mixed")
    assert again["voice_suits_user"] == told["voice_suits_user"]
    assert [row.audible for row in rows].count(False) == len(utterances) - 7


def test_one_voice_for_all_is_no_better_than_chance(
    utterances: tuple[Utterance, ...], listener: Listener, tmp_path: Path
) -> None:
    told, rows = measure(deaf, utterances, listener, tmp_path)
    assert told["empathy_direct"] == 1
    assert told["teacher_distance"] > 0.9
    assert told["unasked_thoughts"] == 1
    assert told["thought_emotion"] == told["thought_grounded"] == 0
    assert told["thought_intensity"] == 1
    # Two of fourteen are neutral; whoever says all in one voice suits those and nobody else.
    assert told["voice_suits_reply"] <= 2 / 7
    assert told["voice_suits_reply"] == pytest.approx(told["voice_suits_reply_shuffled"], abs=0.15)
    _, better = measure(knowing, utterances, listener, tmp_path)
    gain = empathy_gain(better, rows, samples=50, seed=0)
    assert (gain.value, gain.n) == (3.0, 14)


def test_shuffled_voices_fall_to_chance(
    utterances: tuple[Utterance, ...], listener: Listener, tmp_path: Path
) -> None:
    _, rows = measure(knowing, utterances, listener, tmp_path)
    moved = [replace(r, heard=rows[(i + 3) % 14].heard) for i, r in enumerate(rows)]
    told = attribution_estimates(moved, samples=50, seed=0)
    whole = attribution_estimates(rows, samples=50, seed=0)
    chance = whole["voice_suits_reply_shuffled"].value
    # 1 plain, 2 bright, 2 soothing and 2 steady of each seven.
    assert chance == pytest.approx((1 + 4 + 4 + 4) / 49, abs=0.05)
    assert told["voice_suits_reply"].value < 0.5
    assert whole["voice_suits_reply"].value > chance + 0.4


def test_what_does_not_parse_is_wrong(
    utterances: tuple[Utterance, ...], listener: Listener, tmp_path: Path
) -> None:
    told, _ = measure(silent, utterances, listener, tmp_path)
    for name in ("format_thought", "thought_emotion", "format_spoken", "voice_suits_user"):
        assert told[name] == 0
    assert told["empathy_direct"] == 1


def test_utterances_without_three_replies_of_the_teacher_are_left_out(
    utterances: tuple[Utterance, ...], listener: Listener, tmp_path: Path
) -> None:
    taught = teacher(utterances[:9])
    taught["u3"] = replace(taught["u3"], replies=("Go on.", None, "Go on."))
    _, rows = measure(knowing, utterances, listener, tmp_path, taught=taught)
    assert {row.utterance_id for row in rows} == {u.id for u in utterances[:9]} - {"u3"}
    with pytest.raises(DataError, match="0 utterances"):
        measure(knowing, utterances, listener, tmp_path, taught={})


def test_the_listener_knows_voices_it_never_heard(listener: Listener) -> None:
    assert listener.accuracy.n == 80
    assert listener.accuracy.value > 0.8
    assert {suiting(e) for e in EMOTIONS} == set(VOICES)


def test_the_report_has_them(
    utterances: tuple[Utterance, ...], listener: Listener, tmp_path: Path
) -> None:
    result, _ = asyncio.run(
        evaluate_attribution(
            FakeSampler(knowing),
            utterances,
            Teaching(teacher(utterances), listener, tmp_path),
            KnowingScorer(),
            EvalConfig(bootstrap_samples=50),
            seed=0,
            progress=lambda *_: None,
        )
    )
    suites = {"attribution": SuiteResult(name="attribution", about="", models={"I2": result})}
    facts = RunFacts(name="ieat", seed=0, wall_s=1.0, peak_rss_gib=1.0, versions={})
    write_suite_report(tmp_path / "out", suites, facts)
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    figures = report["suites"]["attribution"]["models"]["I2"]
    assert figures["voice_suits_reply"]["n"] == 14
    assert len(figures["teacher_excess"]["ci95"]) == 2
    assert report["headline"].startswith("I2 replies to the voice nearer than its teacher replies")
    assert "suits reply" in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_a_student_is_held_against_the_rival_of_its_own_run_and_seed(tmp_path: Path) -> None:
    def row(empathy: float) -> dict[str, Any]:
        blank = dict.fromkeys(("direct", "drawn", "thought", "spoken"), "")
        return {
            "utterance_id": "u",
            "emotion": "sad",
            "empathy": empathy,
            "empathy_drawn": None,
        } | {
            **blank,
            "distance": 0.0,
            "resampling": 0.0,
            "told": {},
            "reply_emotion": None,
            "heard": None,
        }

    empathy = {"ieat/A#0": 1.0, "ieat/I1#0": 3.0, "ieat/A#1": 2.0, "ieat/I1#1": 3.0, "base": 1.0}
    paths = {name: tmp_path / f"{i}.jsonl" for i, name in enumerate(empathy)}
    for name, value in empathy.items():
        paths[name].write_text(json.dumps(row(value)) + "\n", "utf-8")
    measured = {"empathy_direct": mean_estimate([1.0], samples=9, seed=0)}
    plain = ModelResult(labels=(), rows=(), estimates=measured, bootstrap_samples=9)
    found = with_gains(dict.fromkeys(empathy, plain), paths.__getitem__, samples=9, seed=0)
    gains = {n: r.estimates["empathy_gain"].value for n, r in found.items() if len(r.estimates) > 1}
    assert gains == {"ieat/I1#0": 2.0, "ieat/I1#1": 1.0}
