"""The thought of IEAT: what was observed, what is inferred from it, what that is due to, what to do.

    <thought>
    Observation: Pitch low, Pace slow. my brother left without a word.
    Inference: sad, high
    Attribution: my brother left without a word
    Plan: stay close and let grief be
    </thought>
    <response>I stay close, you are not alone.</response>

The order utterance, inference, attribution, plan is that of arXiv 2601.04960; lines and labels are
ours, as in :mod:`cogaudio_rl.eips`. Emotion, intensity, pitch and pace are words of the thought and no
heads of their own, so that checkpoints and engines stay what they are. Model output is untrusted: what
does not parse is an outcome (:class:`ThoughtFailure` or :class:`cogaudio_rl.eips.ParseFailure`).
"""

from __future__ import annotations

import re
from enum import StrEnum

from cogaudio_rl import eips
from cogaudio_rl.spoken import LEVELS
from cogaudio_rl.types import INTENSITIES, Attribution, AttributionResponse

PARTS: tuple[str, ...] = ("Observation", "Inference", "Attribution", "Plan")
EMOTION_PREFIX = "Inference:"
"""What stands right before the emotion's name, on a line of its own."""
GROUNDED = 0.6
"""The smallest share of a cause's content words that have to be the speaker's."""


class ThoughtFailure(StrEnum):
    """Why a text is not a thought about emotion and cause, and a reply."""

    NO_THOUGHT = "no_thought"
    MISSING_PART = "missing_part"
    EMPTY_PART = "empty_part"
    NO_MANNER = "no_manner"
    NO_INTENSITY = "no_intensity"


def render(answer: AttributionResponse) -> str:
    """The answer as text; ``parse(render(x)) == x`` for single-line, trimmed fields without tags."""
    inside = "\n".join(f"{name}: {text}" for name, text in parts(answer.thought).items())
    return f"<thought>\n{inside}\n</thought>\n{eips.render_direct(answer.response)}"


def parts(thought: Attribution) -> dict[str, str]:
    """Label → line."""
    return {
        "Observation": f"Pitch {thought.pitch}, Pace {thought.pace}. {thought.words}",
        "Inference": f"{thought.emotion}, {thought.intensity}",
        "Attribution": thought.cause,
        "Plan": thought.plan,
    }


def before_emotion(thought: Attribution) -> str:
    """All that stands before the emotion's name, which begins with its space."""
    return f"<thought>\nObservation: {parts(thought)['Observation']}\n{EMOTION_PREFIX}"


def emotion_at(text: str) -> int | None:
    """Where in a text the emotion's name begins, its space included; None where it is not asked for.

    What comes behind that place does not count.
    """
    match = _EMOTION_PLACE.match(text)
    return None if match is None else match.end()


_OUTER = re.compile(r"\s*<thought>(?P<thought>.*?)</thought>\s*(?P<rest>.*)", re.DOTALL)
_EMOTION_PLACE = re.compile(r"\s*<thought>\s*Observation:[^\n]*\nInference:")
_MANNER = re.compile(r"Pitch (?P<pitch>\w+), Pace (?P<pace>\w+)\. (?P<words>.+)")
_INFERENCE = re.compile(r"(?P<emotion>[\w ]+), (?P<intensity>\w+)")


def parse(text: str) -> AttributionResponse | ThoughtFailure | eips.ParseFailure:
    """Read an answer strictly: four parts in order, one line each, then the reply.

    Whether the emotion is a known one, and whether the cause is grounded, is the caller's to ask.
    """
    outer = _OUTER.fullmatch(text)
    if outer is None:
        return ThoughtFailure.NO_THOUGHT
    lines = [line.strip() for line in outer["thought"].strip().splitlines() if line.strip()]
    if len(lines) != len(PARTS):
        return ThoughtFailure.MISSING_PART
    found: dict[str, str] = {}
    for part, line in zip(PARTS, lines, strict=True):
        name, colon, value = line.partition(":")
        if name != part or not colon:
            return ThoughtFailure.MISSING_PART
        if not value.strip():
            return ThoughtFailure.EMPTY_PART
        found[part] = value.strip()
    manner = _MANNER.fullmatch(found["Observation"])
    if (
        manner is None
        or manner["pitch"] not in LEVELS["Pitch"]
        or manner["pace"] not in LEVELS["Pace"]
    ):
        return ThoughtFailure.NO_MANNER
    inference = _INFERENCE.fullmatch(found["Inference"])
    if inference is None or inference["intensity"] not in INTENSITIES:
        return ThoughtFailure.NO_INTENSITY
    response = eips.parse_direct(outer["rest"])
    if isinstance(response, eips.ParseFailure):
        return response
    thought = Attribution(
        **manner.groupdict(),
        **inference.groupdict(),
        cause=found["Attribution"],
        plan=found["Plan"],
    )
    return AttributionResponse(thought=thought, response=response)


# -- is the cause in the words? -----------------------------------------------------------------

_EMPTY_WORDS = frozenset(
    re.findall(
        r"\S+",
        """
        a an the this that these those it its he she they him her them his hers their theirs i me my
        mine you your yours we us our ours is are was were be been being am has have had do does did
        will would can could to of in on at by for from with about into over after before and or but so
        as than then because since that's it's who whom which what when where why how there here not no
        now again just very user speaker feels feel feeling person someone
        """,
    )
)
_EMPTY_CHARACTERS = frozenset("的了在是我你他她它们这那就也和与因为所以被把对于有没不很都")
_LATIN_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?|\d+")
_SHORTEST_STEM = 4


def grounding(cause: str, words: str) -> float:
    """What share of a cause's content is in the words it was drawn from, 0 to 1; 0 where it has none.

    Words but not those that mean little by themselves, in any of their regular forms; in Chinese, pairs
    of neighbouring characters, or single ones where there is no pair.
    """
    content = _content(cause)
    if not content:
        return 0.0
    said = _content(words)
    return len(content & said) / len(content)


def problems(thought: Attribution, transcript: str) -> tuple[str, ...]:
    """What speaks against a thought about an utterance of these words; empty where nothing does."""
    found = [f"{name} is empty" for name in ("cause", "plan") if not getattr(thought, name).strip()]
    share = grounding(thought.cause, transcript)
    if thought.cause.strip() and share < GROUNDED:
        found.append(
            f"the cause is not in the words: {share:.2f} of {thought.cause!r} is, {GROUNDED:g} must be"
        )
    if thought.words != transcript:
        found.append("what is observed is not what was said")
    probe = AttributionResponse(thought=thought, response="-")
    if not found and parse(render(probe)) != probe:
        found.append("it cannot be written as a thought: each part is one line without tags")
    return tuple(found)


def _content(text: str) -> set[str]:
    runs = [run for run in re.split(r"[^\u4e00-\u9fff]+", text) if run]
    if not runs:
        told = {word.lower() for word in _LATIN_WORD.findall(text)} - _EMPTY_WORDS
        return {_stem(word) for word in told}
    pairs = {run[i : i + 2] for run in runs for i in range(len(run) - 1)}
    pairs = {pair for pair in pairs if not set(pair) & _EMPTY_CHARACTERS}
    return pairs or {character for run in runs for character in run} - _EMPTY_CHARACTERS


def _stem(word: str) -> str:
    """What the regular forms of an English word have in common: call, calls, called, calling."""
    for ending in ("ing", "ed", "es", "'s", "’s", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST_STEM - 1:
            word = word.removesuffix(ending)
            break
    word = word.removesuffix("e")
    return word[:-1] if word[-1:] == word[-2:-1] else word
