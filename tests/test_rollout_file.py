"""Rollouts on disk come back as they were, whatever was said in them."""

from __future__ import annotations

from pathlib import Path

from sounds import an_utterance

from cogaudio_rl.rollout_file import read_rollouts, write_rollouts
from cogaudio_rl.types import Group, Prompt, Rollout, Route, Score, StopReason, Unscored


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
