"""Judges as the loops meet them: the port, over the embedded grader, an LLM, or several of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence

from cogaudio_rl.config import JudgeConfig, RewardConfig
from cogaudio_rl.endpoint import ChatEndpoint
from cogaudio_rl.errors import ConfigError
from cogaudio_rl.rewards import rubric
from cogaudio_rl.rewards.embedded import ContrastGrader
from cogaudio_rl.rewards.ensemble import EnsembleJudge, OwnJudge
from cogaudio_rl.rewards.judge_checkpoint import check_judge_checkpoint
from cogaudio_rl.rewards.llm import Asker, LlmJudge
from cogaudio_rl.rewards.route import score_group
from cogaudio_rl.types import Group, Score, Unscored

OpenEngine = Callable[[JudgeConfig], Asker]
"""Opens a judge's checkpoint in this process; what lives in actors can, the core cannot."""


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


def make_judge(
    config: JudgeConfig, weights: RewardConfig, open_engine: OpenEngine | None = None
) -> OwnJudge:
    """The judge that a recipe asks for; members of an ensemble share its folder of verdicts.

    Raises ConfigError for one that needs an engine where there is no ``open_engine``.
    """
    if config.kind == "embedded":
        return EmbeddedJudge(weights)
    if config.kind == "llm":
        return LlmJudge(config, weights, ChatEndpoint(config))
    if config.kind == "votes":
        raise ConfigError("kind=votes is no judge of its own: it lives beside the policy's sampler")
    if config.kind == "vllm":
        if open_engine is None:
            raise ConfigError(
                f"kind=vllm (model {config.model!r}) needs a process of its own on Ray; "
                "here, serve the model and take kind=llm"
            )
        return LlmJudge(config, weights, open_engine(config))
    members = [m if config.cache is None else m.kept_in(config.cache) for m in config.members]
    return EnsembleJudge(
        [make_judge(member, weights, open_engine) for member in members],
        weights,
        combine=config.combine,
        quorum=config.quorum,
    )


async def probe_judge(config: JudgeConfig) -> None:
    """Made before a run starts: raise JudgeUnreachable unless the recipe's judge can answer, and
    CheckpointError unless what an engine of ours would open is there."""
    for member in config.members:
        await probe_judge(member)
    if config.kind == "vllm":
        check_judge_checkpoint(config)
    if config.kind == "llm":
        # Once: whoever started the run is waiting.
        endpoint = ChatEndpoint(config.model_copy(update={"max_attempts": 1}))
        judge = LlmJudge(config, RewardConfig(), endpoint)
        try:
            await judge.probe()
        finally:
            await judge.close()


def judge_digest(config: JudgeConfig) -> str:
    """Twelve hex digits that change with whatever changes a judge's verdicts, as far as we know it."""
    said = {"kind", "model", "revision", "hears", "max_tokens", "max_reply_chars", "dtype"}
    combined = {"combine", "quorum"} if config.members else set[str]()
    whole = [
        [one.model_dump(mode="json", include=said) for one in config.voices],
        config.model_dump(mode="json", include=combined),
        rubric.rubric_digest(),
    ]
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:12]
