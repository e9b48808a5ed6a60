"""The EIPS grammar: round trips, and every way in which a text is not an answer."""

from __future__ import annotations

import pytest
from grammars import LINE
from hypothesis import given
from hypothesis import strategies as st

from cogaudio_rl.eips import ParseFailure, parse, parse_direct, render, render_direct
from cogaudio_rl.types import EipsResponse

ANSWER = EipsResponse(
    emotion="sad",
    intent="seek comfort",
    psychology="feels a loss",
    strategy="stay close",
    response="I stay with you.",
)


@given(
    emotion=st.sampled_from(["sad", "fear"]),
    intent=LINE,
    psychology=LINE,
    strategy=LINE,
    response=LINE,
)
def test_what_is_rendered_parses_back(
    emotion: str, intent: str, psychology: str, strategy: str, response: str
) -> None:
    answer = EipsResponse(
        emotion=emotion, intent=intent, psychology=psychology, strategy=strategy, response=response
    )
    assert parse(render(answer)) == answer
    assert parse_direct(render_direct(response)) == response


@given(st.text())
def test_any_text_at_all_parses_or_says_why_not(text: str) -> None:
    assert isinstance(parse(text), EipsResponse | ParseFailure)
    assert isinstance(parse_direct(text), str | ParseFailure)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", ParseFailure.NO_THOUGHT),
        ("<response>hi</response>", ParseFailure.NO_THOUGHT),
        (render(ANSWER).replace("Intent: seek comfort\n", ""), ParseFailure.MISSING_STEP),
        (render(ANSWER).replace("Intent", "Intend"), ParseFailure.MISSING_STEP),
        (render(ANSWER).replace("seek comfort", " "), ParseFailure.EMPTY_STEP),
        (render(ANSWER).split("<response>")[0], ParseFailure.NO_RESPONSE),
        (render(ANSWER).replace("</response>", ""), ParseFailure.NO_RESPONSE),
        (render(ANSWER).replace("I stay with you.", " "), ParseFailure.EMPTY_RESPONSE),
        (render(ANSWER) + " and more", ParseFailure.TRAILING_TEXT),
        (render(ANSWER) + "<response>two</response>", ParseFailure.TRAILING_TEXT),
    ],
)
def test_each_failure_has_its_name(text: str, why: ParseFailure) -> None:
    assert parse(text) is why
