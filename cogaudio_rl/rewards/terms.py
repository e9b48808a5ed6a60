"""R_F1 and R_F2 of DR-SAPO (CogAudio-LLM, arXiv 2606.06940) as pure functions of their terms."""

from __future__ import annotations

from collections.abc import Mapping

from cogaudio_rl.config import RewardConfig

EXPLICIT_TERMS: tuple[str, ...] = (
    "format",
    "emotion",
    "intent",
    "psychology",
    "strategy",
    "empathy",
)
"""The terms of R_F1, each in [0, 1]. R_F2 knows ``empathy`` alone."""

RUBRIC: tuple[int, ...] = (1, 2, 3, 4)


def empathy01(rubric: int) -> float:
    """The rubric's 1–4 on [0, 1]. Raises ValueError outside the rubric."""
    if rubric not in RUBRIC:
        raise ValueError(f"empathy must be one of {RUBRIC}, got {rubric!r}")
    return (rubric - 1) / 3


def explicit_reward(terms: Mapping[str, float], weights: RewardConfig) -> float:
    """R_F1 = Σ λ·term over format, emotion, intent, psychology, strategy and empathy."""
    return (
        weights.format * terms["format"]
        + weights.emotion * terms["emotion"]
        + weights.intent * terms["intent"]
        + weights.psychology * terms["psychology"]
        + weights.strategy * terms["strategy"]
        + weights.response * terms["empathy"]
    )


def direct_reward(terms: Mapping[str, float], weights: RewardConfig) -> float:
    """R_F2 = λ_res · empathy."""
    return weights.response * terms["empathy"]
