"""The grammar of a spoken reply: the reply, then how it should sound.

    <response>I stay close, you are not alone.</response>
    Pitch middle, Pace slow, Loudness soft, Movement even

The voice comes last, so that it can be chosen for the words it has to carry. It needs no tag of its
own: a small model that has to learn to spell one stumbles over it. Its levels are ordinary words. Model
output is untrusted: what does not parse is an outcome (:class:`VoiceFailure` or
:class:`cogaudio_rl.eips.ParseFailure`), never an error.
"""

from __future__ import annotations

import re
from enum import StrEnum

from cogaudio_rl import eips
from cogaudio_rl.types import SpokenReply, VoiceStyle

LEVELS: dict[str, tuple[str, ...]] = {
    "Pitch": ("lowest", "low", "middle", "high", "highest"),
    "Pace": ("slowest", "slow", "medium", "fast", "fastest"),
    "Loudness": ("faintest", "soft", "normal", "loud", "loudest"),
    "Movement": ("flat", "even", "lively", "wide"),
}
"""From little to much; movement is how far the pitch moves."""


class VoiceFailure(StrEnum):
    """Why a reply does not say how it should sound."""

    NO_VOICE = "no_voice"
    NO_LEVEL = "no_level"
    UNKNOWN_LEVEL = "unknown_level"


def render(answer: SpokenReply) -> str:
    """The answer as text; ``parse(render(x)) == x`` for a single-line, trimmed response."""
    return before_level(answer, len(LEVELS))


def before_level(answer: SpokenReply, nth: int) -> str:
    """All that stands before the ``nth`` level's name, which begins with its space."""
    told = [f"{name} {level}" for name, level in named(answer.voice).items()][:nth]
    names = list(LEVELS)
    begun = ", ".join([*told, *names[nth : nth + 1]])
    return f"{eips.render_direct(answer.response)}\n{begun}"


def after_level(nth: int) -> str:
    """What stands right behind the ``nth`` level's name."""
    return "," if nth + 1 < len(LEVELS) else ""


def named(voice: VoiceStyle) -> dict[str, str]:
    """Attribute → level, in the order of ``LEVELS``."""
    return {name: getattr(voice, name.lower()) for name in LEVELS}


_ANSWER = re.compile(r"(?P<reply>.*</response>)\s*(?P<voice>[^<>]*)", re.DOTALL)


def parse(text: str) -> SpokenReply | VoiceFailure | eips.ParseFailure:
    """Read an answer strictly: a reply, then every attribute once, in order, at a known level."""
    outer = _ANSWER.fullmatch(text)
    if outer is None:
        return eips.ParseFailure.NO_RESPONSE
    response = eips.parse_direct(outer["reply"])
    if isinstance(response, eips.ParseFailure):
        return response
    if not outer["voice"].strip():
        return VoiceFailure.NO_VOICE
    told = [part.split() for part in outer["voice"].split(",")]
    if [words[:1] for words in told] != [[name] for name in LEVELS]:
        return VoiceFailure.NO_LEVEL
    levels: dict[str, str] = {}
    for name, words in zip(LEVELS, told, strict=True):
        if len(words) != 2:
            return VoiceFailure.NO_LEVEL
        if words[1] not in LEVELS[name]:
            return VoiceFailure.UNKNOWN_LEVEL
        levels[name.lower()] = words[1]
    return SpokenReply(response=response, voice=VoiceStyle(**levels))
