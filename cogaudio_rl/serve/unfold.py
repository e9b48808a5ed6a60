"""Reads an EIPS answer while it is written.

    piece ─► Unfolder.feed ─► Part(REASONING | CONTENT, text) …

The tags go, what they hold is told apart. Model output is untrusted: from the first character that
is out of place on, everything is content, tags and all, so that nothing is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto, unique

from cogaudio_rl.eips import STEPS


@unique
class Kind(Enum):
    """What a part of an answer is."""

    REASONING = auto()
    CONTENT = auto()


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of the reasoning or of the reply; it may begin or end with white space."""

    kind: Kind
    text: str


@unique
class _Place(Enum):
    """Where in the grammar the reader stands."""

    START = auto()
    THOUGHT = auto()
    BETWEEN = auto()
    RESPONSE = auto()
    AFTER = auto()
    PLAIN = auto()


_OPENS: Mapping[_Place, Mapping[str, _Place]] = {
    _Place.START: {"<thought>": _Place.THOUGHT, "<response>": _Place.RESPONSE},
    _Place.BETWEEN: {"<response>": _Place.RESPONSE},
    _Place.AFTER: {},
}
"""Between parts: which tags may come, and where they lead."""
_CLOSES: Mapping[_Place, tuple[str, _Place]] = {
    _Place.THOUGHT: ("</thought>", _Place.BETWEEN),
    _Place.RESPONSE: ("</response>", _Place.AFTER),
}
"""Inside parts: the tag that ends them."""


class Unfolder:
    """One answer, fed piece by piece; how it is cut into pieces makes no difference.

    A part comes without the white space around it. After :meth:`finish` the parts of a well-formed
    answer are those of :func:`cogaudio_rl.eips.parse`.
    """

    def __init__(self) -> None:
        self._place = _Place.START
        self._held = ""
        """What cannot be told yet: the beginning of a tag, white space that may be at an end."""
        self._begun = False
        """Whether the part it stands in has said anything."""
        self._parts: list[Part] = []

    def feed(self, piece: str) -> list[Part]:
        """What is certain now."""
        self._held += piece
        while self._advance():
            pass
        return self._taken()

    def finish(self) -> list[Part]:
        """What was held back: nothing more will come."""
        self._say(self._held.rstrip())
        self._held = ""
        return self._taken()

    def _advance(self) -> bool:
        """Read on; False when it has to wait for more."""
        if self._place in _CLOSES:
            return self._inside(*_CLOSES[self._place])
        if self._place is _Place.PLAIN:
            self._release(len(self._held.rstrip()))
            return False
        return self._between(_OPENS[self._place])

    def _inside(self, tag: str, after: _Place) -> bool:
        text, found, rest = self._held.partition(tag)
        if found:
            self._say(text.rstrip())
            self._held, self._place, self._begun = rest, after, False
            return True
        self._release(len(self._held[: len(self._held) - _tag_begun(self._held, tag)].rstrip()))
        return False

    def _between(self, tags: Mapping[str, _Place]) -> bool:
        ahead = self._held.lstrip()
        for tag, place in tags.items():
            if ahead.startswith(tag):
                self._held, self._place = ahead[len(tag) :], place
                return True
        if not ahead or any(tag.startswith(ahead) for tag in tags):
            return False
        # Behind a reply, white space is part of what should not be there.
        self._begun = self._place is _Place.AFTER
        self._place = _Place.PLAIN
        return True

    def _release(self, length: int) -> None:
        self._say(self._held[:length])
        self._held = self._held[length:]

    def _say(self, text: str) -> None:
        if not self._begun:
            text = text.lstrip()
        if text:
            self._begun = True
            kind = Kind.REASONING if self._place is _Place.THOUGHT else Kind.CONTENT
            self._parts.append(Part(kind, text))

    def _taken(self) -> list[Part]:
        parts, self._parts = self._parts, []
        return parts


def _tag_begun(text: str, tag: str) -> int:
    """How many characters at the end of ``text`` may be the beginning of ``tag``."""
    for length in range(min(len(tag) - 1, len(text)), 0, -1):
        if tag.startswith(text[-length:]):
            return length
    return 0


def steps_of(reasoning: str) -> dict[str, str] | None:
    """The steps that a reasoning names, by lower-case name; None where it names none.

    More forgiving than :func:`cogaudio_rl.eips.parse`, and equal to it where that succeeds: the first
    line of a step counts, steps may be missing.
    """
    found: dict[str, str] = {}
    for line in reasoning.splitlines():
        name, colon, value = line.strip().partition(":")
        if colon and name in STEPS and value.strip():
            found.setdefault(name.lower(), value.strip())
    if "emotion" in found:
        found["emotion"] = found["emotion"].rstrip(".").lower()
    return found or None
