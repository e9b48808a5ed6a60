"""What an LLM judge is asked, and how its answer is read.

The request holds the user's words, the true emotion and what is to be judged, as one JSON object:
untrusted text cannot break out of a JSON string. Nothing in it names the route. The answer is JSON
with the justification before the score, read strictly. What is very long is cut, and the object says
so outside of what was cut: a reply must not wear a judge out, nor push the rubric out of its sight.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from cogaudio_rl import prompts
from cogaudio_rl.answer_cache import schema_of
from cogaudio_rl.endpoint import MalformedAnswerError
from cogaudio_rl.rewards.hearing import Clip
from cogaudio_rl.rewards.route import Answer, Verdict
from cogaudio_rl.rewards.terms import empathy01
from cogaudio_rl.types import EipsResponse, Utterance

Level = Literal[1, 2, 3, 4]

_STEPS = ("intent", "psychology", "strategy")
_VOICE = "judge_voice.md"


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


def messages(utterance: Utterance, answer: Answer, *, max_chars: int) -> list[dict[str, Any]]:
    """The chat messages that ask for a verdict on one answer.

    Of the reply, and of each step of a chain, the first ``max_chars`` characters are judged.
    """
    chain = isinstance(answer, EipsResponse)
    reply = {"assistant_reply": answer.response if chain else answer}
    steps = {name: getattr(answer, name) for name in _STEPS} if chain else {}
    material: dict[str, Any] = {
        "user_words": utterance.transcript,
        "user_voice_emotion": utterance.emotion,
        **_cut(reply, max_chars),
    }
    if chain:
        material["assistant_reasoning"] = _cut(steps, max_chars)
    if long := [name for name, text in (reply | steps).items() if len(text) > max_chars]:
        material["cut"] = f"{', '.join(long)}: the rest after {max_chars} characters was left out"
    return [
        {"role": "system", "content": _rubric(chain=chain)},
        {"role": "user", "content": json.dumps(material, ensure_ascii=False)},
    ]


def with_clip(asked: Sequence[Mapping[str, Any]], clip: Clip) -> list[dict[str, Any]]:
    """The same messages for a judge that hears the user too."""
    system, user = asked
    return [
        {**system, "content": f"{system['content']}\n\n{prompts.load(_VOICE)}"},
        {**user, "content": [{"type": "text", "text": user["content"]}, clip.part]},
    ]


def _cut(texts: Mapping[str, str], max_chars: int) -> dict[str, str]:
    return {name: text[:max_chars] for name, text in texts.items()}


def response_format(answer: Answer) -> dict[str, Any]:
    """The JSON schema that the endpoint holds the judge to."""
    form = ChainAnswer if isinstance(answer, EipsResponse) else EmpathyAnswer
    return {
        "type": "json_schema",
        "json_schema": {"name": "verdict", "strict": True, "schema": schema_of(form)},
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
    whole = f"{_rubric(chain=True)}\n\n{prompts.load(_VOICE)}"
    return hashlib.sha256(whole.encode()).hexdigest()[:12]


def _rubric(*, chain: bool) -> str:
    parts = ["judge_empathy.md", "judge_chain.md"] if chain else ["judge_empathy.md"]
    return "\n\n".join(prompts.load(part) for part in parts)
