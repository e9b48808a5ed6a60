"""Judges as the loops meet them: the port, over the embedded grader or an LLM."""

from __future__ import annotations

from collections.abc import Sequence

from cogaudio_rl.config import JudgeConfig, RewardConfig
from cogaudio_rl.rewards.embedded import ContrastGrader
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


def make_judge(config: JudgeConfig, weights: RewardConfig) -> EmbeddedJudge | LlmJudge:
    """The judge that a recipe asks for."""
    return EmbeddedJudge(weights) if config.kind == "embedded" else LlmJudge(config, weights)


async def probe_judge(config: JudgeConfig) -> None:
    """Raise JudgeUnreachable unless the recipe's judge can answer; made before a run starts."""
    if config.kind == "llm":
        judge = LlmJudge(config, RewardConfig())
        try:
            await judge.probe()
        finally:
            await judge.close()
