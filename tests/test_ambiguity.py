"""The ambiguity chain: round trips, and every way in which a text is not an answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from grammars import LINE
from hypothesis import given
from hypothesis import strategies as st

from cogaudio_rl import prompts
from cogaudio_rl.ambiguity import (
    ANSWER_PREFIX,
    ChainFailure,
    answer_at,
    parse,
    render,
    render_chain,
)
from cogaudio_rl.types import KNOWN_EMOTIONS, AmbiguityResponse

ANSWER = AmbiguityResponse(
    words="The words leave it open.",
    voice="Low pitch for sad, loud volume for angry.",
    synthesis="Most hear sad, some angry.",
    emotion="sad",
)
ANSWERS = st.builds(
    AmbiguityResponse,
    words=LINE,
    voice=LINE,
    synthesis=LINE,
    emotion=st.sampled_from(sorted(KNOWN_EMOTIONS)),
)


def test_an_answer_looks_like_this() -> None:
    assert render(ANSWER) == (
        "<thought>\nWords: The words leave it open.\nVoice: Low pitch for sad, loud volume for angry.\n"
        "Synthesis: Most hear sad, some angry.\n</thought>\n<emotion> sad</emotion>"
    )


@given(ANSWERS)
def test_what_is_rendered_parses_back(answer: AmbiguityResponse) -> None:
    assert parse(render(answer)) == answer
    assert parse(f"\n {render(answer)}\n") == answer


@given(ANSWERS)
def test_the_name_stands_right_behind_the_prefix(answer: AmbiguityResponse) -> None:
    text, chain = render(answer), render_chain(answer)
    assert chain.endswith(ANSWER_PREFIX)
    assert text == f"{chain} {answer.emotion}</emotion>"
    assert answer_at(text) == answer_at(chain) == len(chain)


@given(st.text())
def test_any_text_at_all_parses_or_says_why_not(text: str) -> None:
    assert isinstance(parse(text), AmbiguityResponse | ChainFailure)
    answer_at(text)


@given(ANSWERS, st.integers(0, 200))
def test_what_was_cut_off_is_no_answer(answer: AmbiguityResponse, length: int) -> None:
    text = render(answer)
    assert isinstance(parse(text[: min(length, len(text) - 1)]), ChainFailure)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", ChainFailure.NO_THOUGHT),
        ("<emotion> sad</emotion>", ChainFailure.NO_THOUGHT),
        ("Well. " + render(ANSWER), ChainFailure.NO_THOUGHT),
        (
            render(ANSWER).replace("Words: The words leave it open.\n", ""),
            ChainFailure.MISSING_PART,
        ),
        (render(ANSWER).replace("Voice", "Sound"), ChainFailure.MISSING_PART),
        (render(ANSWER).replace("Voice:", "Voice"), ChainFailure.MISSING_PART),
        (render(ANSWER).replace("\nVoice", "\nMore: x\nVoice"), ChainFailure.MISSING_PART),
        (render(ANSWER).replace("Most hear sad, some angry.", " "), ChainFailure.EMPTY_PART),
        (render(ANSWER).split("<emotion>")[0], ChainFailure.NO_EMOTION),
        (render(ANSWER).replace("</emotion>", ""), ChainFailure.NO_EMOTION),
        (render(ANSWER).replace("</thought>\n", "</thought>\nso: "), ChainFailure.NO_EMOTION),
        (render(ANSWER).replace(" sad</", " </"), ChainFailure.EMPTY_EMOTION),
        (render(ANSWER).replace(" sad</", " .</"), ChainFailure.EMPTY_EMOTION),
        (render(ANSWER) + " and more", ChainFailure.TRAILING_TEXT),
        (render(ANSWER) + "<emotion> angry</emotion>", ChainFailure.TRAILING_TEXT),
        (render(ANSWER).replace(" sad</", " <emotion> sad</"), ChainFailure.NO_EMOTION),
    ],
)
def test_each_failure_has_its_name(text: str, why: ChainFailure) -> None:
    assert parse(text) is why


@pytest.mark.parametrize("name", ["sad", "  sad ", "Sad", "sad.", "\nsad\n"])
def test_how_the_name_is_written_does_not_matter(name: str) -> None:
    assert parse(render(ANSWER).replace(" sad</", f"{name}</")) == ANSWER


def test_the_answer_is_looked_for_behind_the_thought() -> None:
    assert answer_at("<thought>\n<emotion> sad") is None
    assert answer_at("<emotion> sad</emotion>") is None
    twice = "<thought>x</thought> <emotion> sad</emotion></thought><emotion> angry"
    assert answer_at(twice) == len("<thought>x</thought> <emotion>")


def test_the_shipped_model_names_every_emotion_in_one_token() -> None:
    """Its name, and the text before it, are cut apart there whatever comes behind."""
    tokenizers = pytest.importorskip("tokenizers")
    file = Path(__file__).parents[1] / "cogaudio_rl" / "assets" / "tiny_omni" / "tokenizer.json"
    tokenizer = tokenizers.Tokenizer.from_file(str(file))
    before = tokenizer.encode(render_chain(ANSWER)).ids
    for emotion in KNOWN_EMOTIONS:
        (name,) = tokenizer.encode(f" {emotion}").ids
        ids = tokenizer.encode(f"{render_chain(ANSWER)} {emotion}</emotion>").ids
        assert ids[: len(before) + 1] == [*before, name]


def test_the_prompt_names_the_cues() -> None:
    text = prompts.load("prompt_ambiguity.md")
    assert all(cue in text for cue in ("volume", "speed", "pitch", "tone", "listeners"))
