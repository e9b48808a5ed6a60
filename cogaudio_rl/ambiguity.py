"""The ambiguity chain: ``<thought>three labelled lines</thought>``, then the emotion's name.

    <thought>
    Words: how far the words alone tell an emotion
    Voice: which of volume, speed, pitch and tone speaks for the majority's emotion, which for others
    Synthesis: both together
    </thought>
    <emotion> sad</emotion>

The three parts are those of arXiv 2603.08230; tags and labels are ours, as in :mod:`cogaudio_rl.eips`.
The probability of each emotion's name right behind ``ANSWER_PREFIX`` is the model's prediction of how
listeners' votes are shared. Model output is untrusted: what does not parse is an outcome
(:class:`ChainFailure`), never an error.
"""

from __future__ import annotations

import re
from enum import StrEnum

from cogaudio_rl.types import AmbiguityResponse

PARTS: tuple[str, ...] = ("Words", "Voice", "Synthesis")
ANSWER_PREFIX = "</thought>\n<emotion>"
"""What stands right before the emotion's name, which begins with its space.

``>sad`` may be one piece to a tokenizer, and ``sad`` several; `` sad`` is one token almost always.
"""


class ChainFailure(StrEnum):
    """Why a text is not a chain and an emotion."""

    NO_THOUGHT = "no_thought"
    MISSING_PART = "missing_part"
    EMPTY_PART = "empty_part"
    NO_EMOTION = "no_emotion"
    EMPTY_EMOTION = "empty_emotion"
    TRAILING_TEXT = "trailing_text"


def render(answer: AmbiguityResponse) -> str:
    """The answer as text; ``parse(render(x)) == x`` for single-line, trimmed fields without tags."""
    return f"{render_chain(answer)} {answer.emotion}</emotion>"


def render_chain(answer: AmbiguityResponse) -> str:
    """All that stands before the emotion's name; it ends with ``ANSWER_PREFIX``."""
    return (
        f"<thought>\nWords: {answer.words}\nVoice: {answer.voice}\n"
        f"Synthesis: {answer.synthesis}\n{ANSWER_PREFIX}"
    )


_THOUGHT = re.compile(r"\s*<thought>(?P<thought>.*?)</thought>\s*(?P<rest>.*)", re.DOTALL)
_EMOTION = re.compile(r"<emotion>(?P<emotion>[^<>]*)</emotion>(?P<tail>.*)", re.DOTALL)
_ANSWER = re.compile(r".*?</thought>\s*<emotion>", re.DOTALL)


def parse(text: str) -> AmbiguityResponse | ChainFailure:
    """Read an answer strictly: three parts in order, one line each, then the emotion and no more.

    Whether the emotion is one of a corpus' labels is the caller's to ask.
    """
    outer = _THOUGHT.fullmatch(text)
    if outer is None:
        return ChainFailure.NO_THOUGHT
    lines = [line.strip() for line in outer["thought"].strip().splitlines() if line.strip()]
    if len(lines) != len(PARTS):
        return ChainFailure.MISSING_PART
    values: list[str] = []
    for part, line in zip(PARTS, lines, strict=True):
        name, colon, value = line.partition(":")
        if name != part or not colon:
            return ChainFailure.MISSING_PART
        if not value.strip():
            return ChainFailure.EMPTY_PART
        values.append(value.strip())
    answer = _EMOTION.fullmatch(outer["rest"])
    if answer is None:
        return ChainFailure.NO_EMOTION
    if answer["tail"].strip():
        return ChainFailure.TRAILING_TEXT
    emotion = answer["emotion"].strip().rstrip(".").lower()
    if not emotion:
        return ChainFailure.EMPTY_EMOTION
    words, voice, synthesis = values
    return AmbiguityResponse(words=words, voice=voice, synthesis=synthesis, emotion=emotion)


def answer_at(text: str) -> int | None:
    """Where in a text the emotion's name begins, its space included; None where it is not asked for.

    Also of an answer that was cut off or goes on: what comes behind that place does not count, nor does
    whether the chain is well formed.
    """
    match = _ANSWER.match(text)
    return None if match is None else match.end()
