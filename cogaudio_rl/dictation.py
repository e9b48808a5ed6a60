"""What a teacher replied, kept as it came: one JSON object a line, so that a stopped run goes on.

A reply that was cut off, is empty or breaks its tags is no reply. It stays in the file with its reason,
and whoever reads the file leaves it out and counts it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from cogaudio_rl import eips
from cogaudio_rl.run_folder import read_lines, write_whole
from cogaudio_rl.types import Rollout, StopReason, Utterance

_TAG = re.compile(r"</?(?:thought|response)>")


class ReplyFailure(StrEnum):
    """Why what a teacher said is no reply."""

    CUT_OFF = "cut_off"
    EMPTY = "empty"
    BROKEN_TAGS = "broken_tags"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dictated:
    """What a teacher said of one utterance, each time it was asked."""

    id: str
    replies: tuple[str | None, ...]
    """None where it was none."""
    failures: tuple[str, ...] = ()


def dictated(utterance: Utterance, rollouts: Iterable[Rollout]) -> Dictated:
    """The replies among what was said, and why others are none."""
    said = [reply_in(rollout) for rollout in rollouts]
    return Dictated(
        id=utterance.id,
        replies=tuple(None if isinstance(one, ReplyFailure) else one for one in said),
        failures=tuple(str(one) for one in said if isinstance(one, ReplyFailure)),
    )


def reply_in(rollout: Rollout) -> str | ReplyFailure:
    """What stands between the tags, or all that was said by a model that was never taught them."""
    if rollout.stop is not StopReason.EOS:
        return ReplyFailure.CUT_OFF
    text = rollout.text.strip()
    reply = eips.parse_direct(text) if _TAG.search(text) else text
    if isinstance(reply, eips.ParseFailure):
        return ReplyFailure.BROKEN_TAGS
    # One line: a reply is written into answers whose lines mean something.
    return " ".join(reply.split()) or ReplyFailure.EMPTY


def read_dictation(path: Path) -> dict[str, Dictated]:
    """By id, every whole line; nothing where there is no file."""
    lines = read_lines(path)
    return {
        line["id"]: Dictated(
            id=line["id"], replies=tuple(line["replies"]), failures=tuple(line["failures"])
        )
        for line in lines
    }


def reopen(path: Path) -> dict[str, Dictated]:
    """The same, with a last line that was cut short taken out, so that more can be added."""
    found = read_dictation(path)
    write_whole(path, "".join(map(_line, found.values())))
    return found


def add(path: Path, some: Iterable[Dictated]) -> None:
    """Behind what is there."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(map(_line, some))


def with_dictation(
    utterances: Iterable[Utterance], said: Mapping[str, Dictated]
) -> Iterator[Utterance]:
    """Those that a teacher replied to, each with the first reply."""
    for utterance in utterances:
        reply = said[utterance.id].replies[0]
        if reply is not None:
            yield replace(utterance, dictated=reply)


def failures_in(said: Iterable[Dictated]) -> Counter[str]:
    """Reason → how often."""
    return Counter(reason for one in said for reason in one.failures)


def _line(one: Dictated) -> str:
    return json.dumps(asdict(one), ensure_ascii=False) + "\n"
