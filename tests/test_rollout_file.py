"""Rollouts on disk come back as they were, whatever was said in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sounds import an_utterance

from cogaudio_rl.errors import DataError
from cogaudio_rl.rollout_file import read_rollouts, write_rollouts
from cogaudio_rl.types import Group, Prompt, Rollout, Route, Score, StopReason, Turn, Unscored


def test_what_unicode_takes_for_the_end_of_a_line_ends_none(tmp_path: Path) -> None:
    utterance = an_utterance()
    texts = ("one\u2028two", "three\x85four", "five\x1c\x0b\rsix\n", "seven")
    rollouts = tuple(
        Rollout(token_ids=(1,), logprobs=(-0.5,), text=text, stop=StopReason.EOS, policy_version=2)
        for text in texts
    )
    groups = [Group(prompt=Prompt(utterance=utterance, route=Route.DIRECT), rollouts=rollouts)]
    scores: list[list[Score | Unscored]] = [[Score(reward=0.5), Unscored(reason="busy")] * 2]
    write_rollouts(tmp_path / "step.jsonl", groups, scores)
    assert read_rollouts(tmp_path / "step.jsonl", [utterance]) == (groups, scores)


@pytest.mark.parametrize(
    "change",
    [{"question": "Which?"}, {"history": (Turn(utterance=an_utterance("before"), reply="Oh."),)}],
    ids=["question", "history"],
)
def test_a_prompt_that_is_more_than_its_utterance_is_not_trained_on(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    utterance = an_utterance()
    rollout = Rollout(
        token_ids=(1,), logprobs=(-0.5,), text="a", stop=StopReason.EOS, policy_version=0
    )
    prompt = Prompt(utterance=utterance, route=Route.DIRECT, **change)
    write_rollouts(
        tmp_path / "step.jsonl",
        [Group(prompt=prompt, rollouts=(rollout,))],
        [[Score(reward=0.5)]],
    )
    with pytest.raises(
        DataError, match=r"line 1: .* after earlier turns, which this file does not"
    ):
        read_rollouts(tmp_path / "step.jsonl", [utterance])
