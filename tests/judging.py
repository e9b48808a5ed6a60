"""LLM judges on a scripted endpoint."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from chat_server import Reply, completion
from replies import direct, said

from cogaudio_rl.config import JudgeConfig, RewardConfig
from cogaudio_rl.data.lime import author
from cogaudio_rl.rewards.judge import make_judge
from cogaudio_rl.rewards.llm import LlmJudge
from cogaudio_rl.types import Score, Unscored, Utterance

SENTENCE = author.split_sentences("en")["test"][0]
SAD = said(SENTENCE, "sad")
KEY = "sk-very-secret-0123456789"


def verdict(score: int = 4, **steps: int) -> Reply:
    return completion(json.dumps({"reasoning": "because", "score": score, **steps}))


def trouble(status: int, message: str = f"no {KEY} today", **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, named, json.dumps({"error": {"message": message}}).encode()


def llm(url: str, **settings: Any) -> JudgeConfig:
    values = {"timeout_s": 5.0, "max_attempts": 3, "model": "judge", **settings}
    return JudgeConfig(kind="llm", base_url=url, **values)


@asynccontextmanager
async def judging(url: str, **settings: Any) -> AsyncIterator[LlmJudge]:
    judge = make_judge(llm(url, **settings), RewardConfig())
    assert isinstance(judge, LlmJudge)
    try:
        yield judge
    finally:
        await judge.close()


async def one(
    judge: LlmJudge, reply: str = "Cry as long as you need.", to: Utterance = SAD
) -> Score | Unscored:
    [[score]] = await judge.score([direct(to, reply)])
    return score
