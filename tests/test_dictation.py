"""What a teacher said: what is a reply, what is none, and that a stopped run goes on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import cast

import pytest
from rl_world import utterance

from cogaudio_rl.config import load_config
from cogaudio_rl.console import Console
from cogaudio_rl.dictation import (
    Dictated,
    ReplyFailure,
    add,
    dictated,
    failures_in,
    read_dictation,
    reopen,
    reply_in,
    with_dictation,
)
from cogaudio_rl.errors import DataError
from cogaudio_rl.run_folder import RunFolder
from cogaudio_rl.stages.backend import Backend
from cogaudio_rl.stages.dictation import Dictation
from cogaudio_rl.types import Rollout, StopReason


def said(text: str, stop: StopReason = StopReason.EOS) -> Rollout:
    return Rollout(token_ids=(1,), logprobs=(0.0,), text=text, stop=stop, policy_version=0)


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("<response>I stay.</response>", "I stay."),
        ("  I stay.\nWith you. ", "I stay. With you."),
        ("<response>I stay.", ReplyFailure.BROKEN_TAGS),
        ("<thought>She is sad.</thought><response>I stay.</response>", ReplyFailure.BROKEN_TAGS),
        ("<response> </response>", ReplyFailure.BROKEN_TAGS),
        ("", ReplyFailure.EMPTY),
    ],
)
def test_what_is_a_reply(text: str, reply: str) -> None:
    assert reply_in(said(text)) == reply
    assert reply_in(said(text, StopReason.LENGTH)) is ReplyFailure.CUT_OFF


def test_nothing_is_mended_and_all_is_counted() -> None:
    whole = dictated(utterance(0), [said("I stay."), said("And I.")])
    broken = dictated(utterance(1), [said("<response>"), said("Fine.")])
    assert whole == Dictated(id="u0", replies=("I stay.", "And I."))
    assert broken == Dictated(id="u1", replies=(None, "Fine."), failures=("broken_tags",))
    both = {one.id: one for one in (whole, broken)}
    kept = list(with_dictation([utterance(0), utterance(1)], both))
    assert [(u.id, u.dictated) for u in kept] == [("u0", "I stay.")]
    assert failures_in(both.values()) == Counter(broken_tags=1)


def test_a_file_that_was_cut_short_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "train-0.jsonl"
    assert reopen(path) == {}
    first, second = (Dictated(id=f"u{i}", replies=(f"reply\u2028 {i}",)) for i in range(2))
    add(path, [first, second])
    path.write_bytes(path.read_bytes()[:-7])
    assert reopen(path) == {"u0": first}
    add(path, [second])
    assert read_dictation(path) == {"u0": first, "u1": second}


def test_a_teacher_that_is_none_is_refused_each_time(tmp_path: Path) -> None:
    """Also where the same command is given again, and there is nobody left to ask."""
    asked = [utterance(i) for i in range(4)]
    path = tmp_path / "dictation" / "train-0.jsonl"
    path.parent.mkdir()
    add(path, [Dictated(id=u.id, replies=(None,), failures=("empty",)) for u in asked])
    config = load_config("ieat", [f"out_dir={tmp_path}"])
    nobody = cast(Backend, None)
    for _ in range(2):
        with pytest.raises(DataError, match="the teacher replied to 0 of 4 utterances"):
            Dictation(config, RunFolder(tmp_path), nobody, Console()).train(asked)
