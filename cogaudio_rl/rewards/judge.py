"""Judges as the loops meet them: the port, over the embedded grader, an LLM, or several of them."""

from __future__ import annotations

from collections.abc import Sequence

from cogaudio_rl.config import JudgeConfig, RewardConfig
from cogaudio_rl.rewards.embedded import ContrastGrader
from cogaudio_rl.rewards.ensemble import EnsembleJudge, OwnJudge
from cogaudio_rl.rewards.llm import LlmJudge
from cogaudio_rl.rewards.route import score_group
from cogaudio_rl.types import Group, Score, Unscored


class EmbeddedJudge:
    """Implements the Judge port without any endpoint."""

    def __init__(self, weights: RewardConfig) -> None:
        self._grader, self._weights = ContrastGrader(), weights

    async def score(self, groups_P: Sequence[Group]) -> list[list[Score | Unscored]]:
        """One verdict for each rollout of each group, in order; see ports.Judge."""
        return [score_group(group, self._grader, self._weights) for group in groups_P]

    async def spent(self) -> dict[str, float]:
        """Nothing."""
        return {}

    async def close(self) -> None:
        """There is nothing to close."""


def make_judge(config: JudgeConfig, weights: RewardConfig) -> OwnJudge:
    """The judge that a recipe asks for; members of an ensemble share its folder of verdicts."""
    if config.kind == "embedded":
        return EmbeddedJudge(weights)
    if config.kind == "llm":
        return LlmJudge(config, weights)
    members = [m if config.cache is None else m.kept_in(config.cache) for m in config.members]
    return EnsembleJudge(
        [make_judge(member, weights) for member in members],
        weights,
        combine=config.combine,
        quorum=config.quorum,
    )


async def probe_judge(config: JudgeConfig) -> None:
    """Raise JudgeUnreachable unless the recipe's judge can answer; made before a run starts."""
    for member in config.members:
        await probe_judge(member)
    if config.kind == "llm":
        judge = LlmJudge(config, RewardConfig())
        try:
            await judge.probe()
        finally:
            await judge.close()
