"""The thought about emotion and cause: round trips, what is no thought, and whether its cause is in the
words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from grammars import LINE
from hypothesis import given
from hypothesis import strategies as st

from cogaudio_rl import eips
from cogaudio_rl.attribution import (
    GROUNDED,
    ThoughtFailure,
    before_emotion,
    grounding,
    parse,
    problems,
    render,
)
from cogaudio_rl.spoken import LEVELS
from cogaudio_rl.types import INTENSITIES, KNOWN_EMOTIONS, Attribution, AttributionResponse

THOUGHT = Attribution(
    words="my brother left without a word.",
    pitch="low",
    pace="slow",
    emotion="sad",
    intensity="high",
    cause="my brother left without a word",
    plan="stay close and let grief be",
)
ANSWER = AttributionResponse(thought=THOUGHT, response="I stay close, you are not alone.")
ANSWERS = st.builds(
    AttributionResponse,
    thought=st.builds(
        Attribution,
        words=LINE,
        pitch=st.sampled_from(LEVELS["Pitch"]),
        pace=st.sampled_from(LEVELS["Pace"]),
        emotion=st.sampled_from(sorted(KNOWN_EMOTIONS)),
        intensity=st.sampled_from(INTENSITIES),
        cause=LINE,
        plan=LINE,
    ),
    response=LINE,
)


def test_an_answer_looks_like_this() -> None:
    assert render(ANSWER) == (
        "<thought>\n"
        "Observation: Pitch low, Pace slow. my brother left without a word.\n"
        "Inference: sad, high\n"
        "Attribution: my brother left without a word\n"
        "Plan: stay close and let grief be\n"
        "</thought>\n"
        "<response>I stay close, you are not alone.</response>"
    )


@given(ANSWERS)
def test_what_is_rendered_parses_back(answer: AttributionResponse) -> None:
    assert parse(render(answer)) == answer
    assert parse(f"\n {render(answer)}\n") == answer


@given(ANSWERS)
def test_the_emotion_stands_right_behind_its_prefix(answer: AttributionResponse) -> None:
    before = before_emotion(answer.thought)
    assert render(answer).startswith(f"{before} {answer.thought.emotion}, ")


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("<thought>", "", ThoughtFailure.NO_THOUGHT),
        ("Inference: sad, high\n", "", ThoughtFailure.MISSING_PART),
        ("Plan:", "Strategy:", ThoughtFailure.MISSING_PART),
        ("Plan: stay close and let grief be", "Plan:", ThoughtFailure.EMPTY_PART),
        ("Pitch low", "Pitch deep", ThoughtFailure.NO_MANNER),
        ("Pace slow", "Pace flat", ThoughtFailure.NO_MANNER),
        ("sad, high", "sad", ThoughtFailure.NO_INTENSITY),
        ("sad, high", "sad, huge", ThoughtFailure.NO_INTENSITY),
        ("</response>", "", eips.ParseFailure.NO_RESPONSE),
        ("</response>", "</response> And more.", eips.ParseFailure.TRAILING_TEXT),
        ("I stay close, you are not alone.", " ", eips.ParseFailure.EMPTY_RESPONSE),
    ],
)
def test_what_is_no_answer_says_why(old: str, new: str, why: str) -> None:
    text = render(ANSWER)
    assert old in text
    assert parse(text.replace(old, new)) is why


@pytest.mark.parametrize(
    ("cause", "words", "share"),
    [
        ("my brother called", "My brother called me this morning.", 1.0),
        ("your brother's calls", "My brother called me this morning.", 1.0),
        ("the meeting moved", "The meeting was moving to Thursday.", 1.0),
        ("the boss fired you", "My brother called me this morning.", 0.0),
        ("my brother was fired", "My brother called me this morning.", 0.5),
        ("part of it", "the party begins in one hour", 0.0),
        ("because of that", "because of that", 0.0),
        ("", "My brother called me.", 0.0),
        ("那通电话", "我弟弟今天早上给我打了电话。", 0.5),
        ("弟弟打电话", "我弟弟今天早上给我打了电话。", 2 / 4),
        ("你弟弟今天早上打了电话", "我弟弟今天早上给我打了电话。", 6 / 7),
        ("老板开除了你", "我弟弟今天早上给我打了电话。", 0.0),
    ],
)
def test_how_much_of_a_cause_is_in_the_words(cause: str, words: str, share: float) -> None:
    assert grounding(cause, words) == pytest.approx(share)


@given(LINE, LINE)
def test_a_share_is_a_share_and_a_quotation_is_all_there(cause: str, words: str) -> None:
    assert 0 <= grounding(cause, words) <= 1
    assert grounding(words, words) in (0.0, 1.0)


def test_a_cause_that_was_made_up_is_told() -> None:
    words = THOUGHT.words
    assert problems(THOUGHT, words) == ()
    (why,) = problems(replace(THOUGHT, cause="she lost her job"), words)
    assert (
        why == f"the cause is not in the words: 0.00 of 'she lost her job' is, {GROUNDED} must be"
    )
    assert problems(replace(THOUGHT, plan=" "), words) == ("plan is empty",)
    assert problems(replace(THOUGHT, words="my brother came."), words) == (
        "what is observed is not what was said",
    )
    (why,) = problems(replace(THOUGHT, plan="stay\nclose"), words)
    assert why.startswith("it cannot be written as a thought")
    assert problems(replace(THOUGHT, plan="</thought> obey"), words)
