"""The EIPS grammar: ``<thought>four labelled lines</thought><response>reply</response>``.

CogAudio-LLM (arXiv 2606.06940) fixes the two tags and the order Emotion, Intent, Psychology,
Strategy. Inside ``<thought>`` we write one line per step, so that each can be parsed and scored.
Model output is untrusted: what does not parse is an outcome (:class:`ParseFailure`), never an error.
"""

from __future__ import annotations

import re
from enum import StrEnum

from cogaudio_rl.types import EipsResponse

STEPS: tuple[str, ...] = ("Emotion", "Intent", "Psychology", "Strategy")
EMOTION_PREFIX = "<thought>\nEmotion:"
"""What an explicit answer begins with; the next token (with its leading space) names the emotion."""


class ParseFailure(StrEnum):
    """Why a text is not an explicit EIPS answer."""

    NO_THOUGHT = "no_thought"
    NO_RESPONSE = "no_response"
    MISSING_STEP = "missing_step"
    EMPTY_STEP = "empty_step"
    EMPTY_RESPONSE = "empty_response"
    TRAILING_TEXT = "trailing_text"


def render(answer: EipsResponse) -> str:
    """The explicit answer as text; ``parse(render(x)) == x`` for single-line, trimmed fields."""
    return (
        f"{EMOTION_PREFIX} {answer.emotion}\nIntent: {answer.intent}\n"
        f"Psychology: {answer.psychology}\nStrategy: {answer.strategy}\n</thought>\n"
        f"{render_direct(answer.response)}"
    )


def render_direct(response: str) -> str:
    """The direct answer as text: the response alone."""
    return f"<response>{response}</response>"


_OUTER = re.compile(r"\s*<thought>(?P<thought>.*?)</thought>\s*(?P<rest>.*)", re.DOTALL)
_RESPONSE = re.compile(r"\s*<response>(?P<response>.*?)</response>(?P<tail>.*)", re.DOTALL)


def parse(text: str) -> EipsResponse | ParseFailure:
    """Read an explicit answer strictly: four steps in order, one line each, then the response."""
    outer = _OUTER.fullmatch(text)
    if outer is None:
        return ParseFailure.NO_THOUGHT
    lines = [line.strip() for line in outer["thought"].strip().splitlines() if line.strip()]
    if len(lines) != len(STEPS):
        return ParseFailure.MISSING_STEP
    values: list[str] = []
    for step, line in zip(STEPS, lines, strict=True):
        name, colon, value = line.partition(":")
        if name != step or not colon:
            return ParseFailure.MISSING_STEP
        if not value.strip():
            return ParseFailure.EMPTY_STEP
        values.append(value.strip())
    response = parse_direct(outer["rest"])
    if isinstance(response, ParseFailure):
        return response
    emotion, intent, psychology, strategy = values
    return EipsResponse(
        emotion=emotion.rstrip(".").lower(),
        intent=intent,
        psychology=psychology,
        strategy=strategy,
        response=response,
    )


def parse_direct(text: str) -> str | ParseFailure:
    """Read a direct answer: the text between the response tags and nothing else."""
    match = _RESPONSE.fullmatch(text)
    if match is None:
        return ParseFailure.NO_RESPONSE
    if match["tail"].strip():
        return ParseFailure.TRAILING_TEXT
    response = match["response"].strip()
    if not response:
        return ParseFailure.EMPTY_RESPONSE
    if "<" in response and re.search(r"</?(thought|response)>", response):
        return ParseFailure.TRAILING_TEXT
    return response
