"""One model's evaluation, end to end on fakes: what is asked, what is kept, what is counted."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeSampler, FakeScorer

from cogaudio_rl import attribution, eips
from cogaudio_rl.config import EvalConfig
from cogaudio_rl.errors import DataError
from cogaudio_rl.eval.result import ModelResult, load_result, save_result
from cogaudio_rl.eval.run import (
    PROMPTS_AT_ONCE,
    evaluate,
    reply_of,
    select_utterances,
)
from cogaudio_rl.types import (
    Attribution,
    AttributionResponse,
    AudioRef,
    EipsResponse,
    Prompt,
    Route,
    Utterance,
)

LABELS = ("neutral", "sad", "happy")
SILENCE = AudioRef(path="silence.flac", sample_rate_hz=16_000, num_samples=32_000)


def utterance(text_id: str, emotion: str) -> Utterance:
    return Utterance(
        id=f"{text_id}_{emotion}",
        text_id=text_id,
        audio=AudioRef(path=f"{text_id}_{emotion}.flac", sample_rate_hz=16_000, num_samples=9),
        transcript="The train was late.",
        emotion=emotion,
        intensity="mid",
        speaker="f1",
        language="en",
    )


UTTERANCES = tuple(utterance(t, e) for t in ("t1", "t2") for e in LABELS)


def run(sampler: FakeSampler, **changes: Any) -> ModelResult:
    given: dict[str, Any] = {"labels": LABELS, "silence": SILENCE, "seed": 0}
    given |= {"progress": lambda done, total: None} | changes
    utterances = given.pop("utterances", UTTERANCES)
    config = EvalConfig(bootstrap_samples=50, timed_utterances=given.pop("timed", 6))
    return asyncio.run(evaluate(sampler, utterances, FakeScorer(), config, **given))


def answer(prompt: Prompt, emotion: str, reply: str) -> str:
    if prompt.route is Route.DIRECT:
        return eips.render_direct(reply)
    return eips.render(
        EipsResponse(emotion=emotion, intent="i", psychology="p", strategy="s", response=reply)
    )


def attentive(prompt: Prompt, temperature: float, i: int) -> str:
    """Right and deep when greedy; sampled, right but superficial."""
    emotion = prompt.utterance.emotion
    return answer(prompt, emotion, f"{emotion} {3 if temperature else 4}: words of {emotion}")


def thoughtful(prompt: Prompt, temperature: float, i: int) -> str:
    """As IEAT taught it: who asks by prompt A gets nothing that parses."""
    u = prompt.utterance
    reply = f"{u.emotion} 4: words of {u.emotion}"
    if prompt.route is Route.DIRECT:
        return eips.render_direct(reply)
    if prompt.route is Route.EXPLICIT:
        return "What?"
    thought = Attribution(
        words=u.emotion,
        pitch="low",
        pace="slow",
        emotion=u.emotion,
        intensity="mid",
        cause="the train",
        plan="wait",
    )
    return attribution.render(AttributionResponse(thought=thought, response=reply))


def test_a_model_is_asked_in_the_form_that_it_was_taught() -> None:
    sampler = FakeSampler(thoughtful)
    found = values(run(sampler, thinks=Route.ATTRIBUTION))
    assert found["emotion_accuracy"] == found["emotion_accuracy_as_written"] == 1
    assert found["empathy_explicit"] == 4
    assert found["format_validity"] == 1
    assert found["seconds_explicit"] > 0
    assert {p.route for p in sampler.seen} == {Route.ATTRIBUTION, Route.DIRECT}
    strange = values(run(FakeSampler(thoughtful)))
    assert (strange["emotion_accuracy_as_written"], strange["format_validity"]) == (0, 0)


STATED = {
    "emotion_accuracy",
    "emotion_accuracy_as_written",
    "emotion_accuracy_as_written_t1",
    "emotion_accuracy_silenced",
    "emotion_accuracy_text_only",
    "format_validity",
    "format_validity_t1",
    "empathy_direct",
    "empathy_explicit",
    "empathy_direct_t1",
    "empathy_explicit_t1",
    "thought_reply_agreement",
    "emotion_uar",
    "emotion_macro_f1",
    "lexical_cue_gap",
    "donor_follow",
    "divergence_resampling",
    "response_swap_accuracy",
    "response_swap_chance",
}


def deaf_to_silence(prompt: Prompt) -> str:
    return "neutral" if prompt.utterance.audio == SILENCE else prompt.utterance.emotion


def values(result: ModelResult) -> dict[str, float]:
    return {name: e.value for name, e in result.estimates.items()}


def test_a_model_that_hears_and_answers_well():
    found = values(run(FakeSampler(attentive, deaf_to_silence)))
    for name in ("response_divergence", "divergence_across", "divergence_excess"):
        assert found[name] > 0.5
    for name in ("response_divergence_explicit", "seconds_direct", "seconds_explicit"):
        assert found[name] > 0
    told = {name: value for name, value in found.items() if name in STATED}
    assert told == {
        "emotion_accuracy": 1.0,
        "emotion_accuracy_as_written": 1.0,
        "emotion_accuracy_as_written_t1": 1.0,
        "emotion_accuracy_silenced": pytest.approx(1 / 3),
        "format_validity": 1.0,
        "format_validity_t1": 1.0,
        "empathy_direct": 4.0,
        "empathy_explicit": 4.0,
        "empathy_direct_t1": 3.0,
        "empathy_explicit_t1": 3.0,
        "thought_reply_agreement": 1.0,
        "emotion_uar": 1.0,
        "emotion_macro_f1": 1.0,
        # It hears the words' own feeling in them: FakeSampler names what is true.
        "emotion_accuracy_text_only": 1.0,
        "lexical_cue_gap": 0.0,
        "donor_follow": 1.0,
        "divergence_resampling": 0.0,
        "response_swap_accuracy": 1.0,
        "response_swap_chance": pytest.approx(1 / 3),
    }


def test_a_bland_base_without_format_is_read_by_choice_and_scored_on_its_words():
    result = run(FakeSampler(lambda prompt, temperature, i: "neutral 1: I see."))
    found = values(result)
    assert found["emotion_accuracy"] == 1.0
    assert found["emotion_accuracy_as_written"] == found["format_validity"] == 0.0
    assert found["response_divergence"] == 0.0
    assert result.estimates["thought_reply_agreement"].n == 0
    kept = result.rows[0].answers["direct"]
    assert (kept.reply, kept.failure, kept.emotion) == ("neutral 1: I see.", "no_response", None)


def test_agreement_compares_the_reply_with_the_chain_not_with_the_truth():
    sampler = FakeSampler(lambda prompt, temperature, i: answer(prompt, "sad", "sad 3: oh"))
    assert values(run(sampler))["thought_reply_agreement"] == 1.0
    sampler = FakeSampler(lambda prompt, temperature, i: answer(prompt, "sad", "happy 3: oh"))
    assert values(run(sampler))["thought_reply_agreement"] == 0.0


def test_silenced_prompts_share_one_clip_and_no_id_with_the_heard_ones():
    sampler = FakeSampler(attentive)
    run(sampler)
    silenced = [p for p in sampler.seen if p.utterance.audio == SILENCE]
    assert len(silenced) == len(UTTERANCES)
    assert not {p.id for p in silenced} & {p.id for p in sampler.seen if p not in silenced}


def test_progress_counts_every_question_once_and_ends_at_the_total():
    told: list[tuple[int, int]] = []
    many = tuple(utterance(f"t{i:03d}", e) for i in range(60) for e in LABELS)
    assert len(many) > PROMPTS_AT_ONCE
    run(
        FakeSampler(attentive),
        utterances=many,
        progress=lambda done, total: told.append((done, total)),
    )
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert told[-1] == (8 * len(many), 8 * len(many))


def test_a_limit_keeps_families_whole_and_does_not_depend_on_the_order_given():
    many = [utterance(f"t{i:03d}", e) for i in range(20) for e in LABELS]
    kept = select_utterances(many, 12, seed=0)
    assert kept == select_utterances(many[::-1], 12, seed=0)
    assert kept != select_utterances(many, 12, seed=1)
    assert sorted(u.emotion for u in kept) == sorted(LABELS * 4)


def test_an_empty_split_and_an_unknown_emotion_are_named():
    with pytest.raises(DataError, match="0 utterances"):
        run(FakeSampler(attentive), utterances=())
    with pytest.raises(DataError, match="'t1_fear' has emotion 'fear'; labels are neutral, sad"):
        run(FakeSampler(attentive), utterances=(utterance("t1", "fear"),))


def test_a_result_survives_its_file(tmp_path: Path):
    result = run(FakeSampler(attentive, deaf_to_silence))
    save_result(result, tmp_path / "eval" / "D.json")
    assert load_result(tmp_path / "eval" / "D.json") == result


def test_an_estimate_that_rests_on_nothing_is_null_in_the_file(tmp_path: Path):
    path = tmp_path / "base.json"
    save_result(run(FakeSampler(lambda prompt, temperature, i: "I see.")), path)
    json.loads(path.read_text("utf-8"), parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))
    kept = load_result(path).estimates
    assert math.isnan(kept["thought_reply_agreement"].value)
    assert kept["format_validity"].value == 0.0


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("<response>Hello.</response>", "Hello."),
        ("<thought>Emotion: sad</thought><response>Oh no.</response> and more", "Oh no."),
        ("<thought>x</thought><response>cut of", "cut of"),
        ("Just words.", "Just words."),
        ("<thought>\nEmotion: sad", "Emotion: sad"),
        ("Words</response>", "Words"),
        ("", ""),
    ],
)
def test_what_the_user_would_hear(text: str, reply: str):
    assert reply_of(text) == reply


def test_the_same_questions_give_the_same_result():
    build: Callable[[], FakeSampler] = lambda: FakeSampler(attentive, deaf_to_silence)  # noqa: E731
    assert run(build(), timed=0) == run(build(), timed=0)


def test_who_only_reads_gains_nothing_from_the_sound():
    """Sentences of one emotion each, so that words and truth go together."""
    words = {"happy": "What luck!", "sad": "It is over."}
    mixed = tuple(
        replace(utterance(f"t{i}", voice), transcript=words[said])
        for i, (said, voice) in enumerate(
            [("happy", "sad"), ("sad", "sad"), ("happy", "happy")] * 9
        )
    )
    names = {text: emotion for emotion, text in words.items()}
    reader = FakeSampler(attentive, lambda prompt: names[prompt.utterance.transcript])
    found = run(reader, utterances=mixed).estimates
    assert (found["s_audio"].value, found["s_audio"].lo, found["s_audio"].hi) == (0.0, 0.0, 0.0)
    assert found["lexical_cue_gap"].value == 0.0
