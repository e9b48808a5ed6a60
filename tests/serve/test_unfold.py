"""The incremental EIPS reader: blind to how the text is cut, and equal to the strict parser."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cogaudio_rl import eips
from cogaudio_rl.serve.unfold import Kind, Unfolder, steps_of
from cogaudio_rl.types import EipsResponse

WORDS = st.text(st.sampled_from("ab <>/é好.\t"), min_size=1, max_size=20).map(str.strip)
LINE = WORDS.filter(lambda text: bool(text) and "<" not in text)
ANSWERS = st.builds(
    EipsResponse,
    emotion=st.sampled_from(["sad", "happy"]),
    intent=LINE,
    psychology=LINE,
    strategy=LINE,
    response=LINE,
)
TAGS = st.sampled_from(["<thought>", "</thought>", "<response>", "</response>", "<", "</", "\n"])
ANY_TEXT = st.lists(st.one_of(TAGS, WORDS), max_size=12).map("".join)


def read(*pieces: str) -> tuple[str, str]:
    """(reasoning, content) of a text that comes in these pieces."""
    unfolder = Unfolder()
    parts = [part for piece in pieces for part in unfolder.feed(piece)] + unfolder.finish()
    said = {kind: "".join(p.text for p in parts if p.kind is kind) for kind in Kind}
    return said[Kind.REASONING], said[Kind.CONTENT]


def cut(text: str, places: list[int]) -> list[str]:
    edges = [0, *sorted(p % (len(text) + 1) for p in places), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(edges)]


@given(ANY_TEXT, st.lists(st.integers(min_value=0, max_value=400), max_size=8))
@example("<thought>a</thought> <response>b </response> c", [3, 12, 20, 30])
def test_cutting_makes_no_difference(text: str, places: list[int]) -> None:
    assert read(*cut(text, places)) == read(text)
    assert read(*text) == read(text)


@given(ANSWERS)
def test_what_the_parser_takes_is_read_as_the_parser_reads_it(answer: EipsResponse) -> None:
    text = eips.render(answer)
    parsed = eips.parse(text)
    assert isinstance(parsed, EipsResponse)
    reasoning, content = read(text)
    assert content == parsed.response
    assert steps_of(reasoning) == {
        "emotion": parsed.emotion,
        "intent": parsed.intent,
        "psychology": parsed.psychology,
        "strategy": parsed.strategy,
    }
    assert read(eips.render_direct(answer.response)) == ("", parsed.response)


def packed(text: str) -> str:
    """Without white space."""
    return "".join(text.split())


OPENING = (0, len("<thought>"))
MISSING = {
    a + b + c + d
    for a in OPENING
    for b in (0, len("</thought>"))
    for c in (0, len("<response>"))
    for d in (0, len("</response>"))
}


@given(ANY_TEXT)
def test_nothing_is_lost_but_one_of_each_tag(text: str) -> None:
    shown, source = packed("".join(read(text))), iter(packed(text))
    assert all(character in source for character in shown), "made up, or out of order"
    assert len(packed(text)) - len(shown) in MISSING


@pytest.mark.parametrize(
    ("text", "reasoning", "content"),
    [
        ("<response>Hi.</response>", "", "Hi."),
        ("Okay. I have read it.", "", "Okay. I have read it."),
        ("<thought>Emotion: sad\nInt", "Emotion: sad\nInt", ""),
        ("<thought>x</thought> usual place.</response>", "x", "usual place.</response>"),
        ("<thought>x</thought>\n<response>a < b", "x", "a < b"),
        ("<response>a</response> and <response>b</response>", "", "a and <response>b</response>"),
        ("<thoughtful>", "", "<thoughtful>"),
        ("<response>a</respon", "", "a</respon"),
        ("<thought>a<thought>b</thought><response>c</response>", "a<thought>b", "c"),
        ("<thought></thought><response></response>", "", ""),
        ("  \n", "", ""),
    ],
)
def test_what_is_out_of_place_is_shown(text: str, reasoning: str, content: str) -> None:
    assert read(text) == (reasoning, content)


def test_a_reply_is_shown_as_soon_as_it_is_certain() -> None:
    unfolder = Unfolder()
    assert unfolder.feed("<resp") == []
    assert [p.text for p in unfolder.feed("onse>I am")] == ["I am"]
    assert [p.text for p in unfolder.feed(" so ")] == [" so"]
    assert [p.text for p in unfolder.feed("glad</")] == [" glad"]


def test_steps_of_an_unfinished_chain() -> None:
    assert steps_of("Emotion: Sad.\nIntent:\nStrategy: be near") == {
        "emotion": "sad",
        "strategy": "be near",
    }
    assert steps_of("no chain at all") is None
