"""What an LLM judge is asked, and how its answer is read.

The request holds the user's words, the true emotion and what is to be judged, as one JSON object:
untrusted text cannot break out of a JSON string. Nothing in it names the route. The answer is JSON
with the justification before the score, read strictly.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from cogaudio_rl import prompts
from cogaudio_rl.endpoint import MalformedAnswerError
from cogaudio_rl.rewards.route import Answer, Verdict
from cogaudio_rl.rewards.terms import empathy01
from cogaudio_rl.types import EipsResponse, Utterance

Level = Literal[1, 2, 3, 4]


class EmpathyAnswer(BaseModel):
    """What the judge says of a reply alone."""

    model_config = ConfigDict(extra="forbid", strict=True)

    reasoning: str
    score: Level


class ChainAnswer(EmpathyAnswer):
    """What the judge says of a reply and the chain before it."""

    intent: Level
    psychology: Level
    strategy: Level


def messages(utterance: Utterance, answer: Answer) -> list[dict[str, str]]:
    """The chat messages that ask for a verdict on one answer."""
    chain = isinstance(answer, EipsResponse)
    material: dict[str, Any] = {
        "user_words": utterance.transcript,
        "user_voice_emotion": utterance.emotion,
        "assistant_reply": answer.response if chain else answer,
    }
    if chain:
        material["assistant_reasoning"] = {
            "intent": answer.intent,
            "psychology": answer.psychology,
            "strategy": answer.strategy,
        }
    return [
        {"role": "system", "content": _rubric(chain=chain)},
        {"role": "user", "content": json.dumps(material, ensure_ascii=False)},
    ]


def response_format(answer: Answer) -> dict[str, Any]:
    """The JSON schema that the endpoint holds the judge to."""
    model = ChainAnswer if isinstance(answer, EipsResponse) else EmpathyAnswer
    return {
        "type": "json_schema",
        "json_schema": {"name": "verdict", "strict": True, "schema": model.model_json_schema()},
    }


def read_verdict(content: str, answer: Answer) -> Verdict:
    """The verdict in a judge's answer. Raises MalformedAnswerError naming the first thing wrong."""
    try:
        if not isinstance(answer, EipsResponse):
            return Verdict(empathy=EmpathyAnswer.model_validate_json(content).score)
        said = ChainAnswer.model_validate_json(content)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "answer"
        raise MalformedAnswerError(f"{where}: {problem['msg']}") from None
    return Verdict(
        empathy=said.score,
        intent=empathy01(said.intent),
        psychology=empathy01(said.psychology),
        strategy=empathy01(said.strategy),
    )


@cache
def rubric_digest() -> str:
    """Twelve hex digits that change with the rubric; a cached verdict belongs to one rubric."""
    return hashlib.sha256(_rubric(chain=True).encode()).hexdigest()[:12]


def _rubric(*, chain: bool) -> str:
    parts = ["judge_empathy.md", "judge_chain.md"] if chain else ["judge_empathy.md"]
    return "\n\n".join(prompts.load(part) for part in parts)
