"""Who scores the replies of HumDial's empathetic generation (T3), and what needs no scoring.

The challenge scores three dimensions 1–5 with an LLM and publishes neither its prompt nor what the
dimensions mean. Our choice (``prompts/humdial_judge.md``): D1 relevance to what was said and
coherence with the turns before; D2 emotional empathy, fit with how it was said and its cause; D3
naturalness and helpfulness. A reply in the wrong language scores 1, as in the challenge (arXiv
2601.05564); what language it is in is told by its script.
"""

from __future__ import annotations

import asyncio
import json
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from cogaudio_rl import prompts
from cogaudio_rl.answer_cache import AnswerCache, ask_once
from cogaudio_rl.config import JudgeConfig
from cogaudio_rl.data.corpora.humdial import Dialogue, Turn
from cogaudio_rl.endpoint import ChatEndpoint, NoAnswer
from cogaudio_rl.eval.humdial_items import plain
from cogaudio_rl.types import Unscored

JUDGE_PROMPT = "humdial_judge.md"
MAX_CHARS = 2_000
"""Of a longer reply, or turn, the judge sees this much, and is told so of the reply."""
CHINESE_FROM = 0.3
"""Share of Chinese characters among letters from which a reply is Chinese. Not a half: a character says
as much as a word of several letters, and a Chinese reply may hold a foreign name."""
LOWEST, HIGHEST = 1, 5


class ReplyVerdict(BaseModel):
    """What the judge says of one reply."""

    model_config = ConfigDict(extra="forbid", strict=True)

    reasoning: str
    relevance: int
    empathy: int
    naturalness: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The scores D1, D2, D3 of a reply, and why."""

    scores: tuple[int, int, int]
    reasoning: str
    wrong_language: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What was said to the last of the turns that were heard."""

    dialogue: Dialogue
    heard: tuple[Turn, ...]
    text: str


def is_in(language: str, reply: str) -> bool:
    """Whether a reply is in Chinese (``zh``) or else in a Latin script (``en``).

    A reply without letters is in neither. Languages of one script are not told apart.
    """
    letters = [c for c in reply if c.isalpha()]
    if not letters:
        return False
    names = [unicodedata.name(c, "") for c in letters]
    chinese = sum(name.startswith("CJK") for name in names) / len(letters)
    if language == "zh":
        return chinese >= CHINESE_FROM
    latin = sum("LATIN" in name for name in names) / len(letters)
    return chinese < CHINESE_FROM and latin > 0.5


async def judge_replies(
    replies: Sequence[Reply],
    config: JudgeConfig,
    cache: Path,
    progress: Callable[[], None],
) -> tuple[list[Judged | Unscored], dict[str, float]]:
    """A verdict for each reply, in order, and what the judge took; answers are kept in ``cache``.

    ``progress`` is called after each. What no judgment can be had for is Unscored with its reason.
    """
    endpoint, kept = ChatEndpoint(config), AnswerCache(cache)
    # A judge's revision tells deployments of one model apart.
    named = f"{config.model} {config.revision}"

    async def judge(reply: Reply) -> Judged | Unscored:
        try:
            if not is_in(reply.dialogue.language, reply.text):
                return Judged(scores=(LOWEST, LOWEST, LOWEST), reasoning="", wrong_language=True)
            asked = messages(reply)
            said = await ask_once(endpoint, kept, asked, ReplyVerdict, model=named)
        except NoAnswer as error:
            return Unscored(reason=f"judge: {error}")
        finally:
            progress()
        scores = (said.relevance, said.empathy, said.naturalness)
        d1, d2, d3 = (min(max(score, LOWEST), HIGHEST) for score in scores)
        return Judged(scores=(d1, d2, d3), reasoning=plain(said.reasoning))

    try:
        return list(await asyncio.gather(*map(judge, replies))), endpoint.metrics()
    finally:
        await endpoint.close()


def messages(reply: Reply) -> list[dict[str, str]]:
    """The chat messages that ask for a verdict. What others wrote stands in one JSON object: it
    cannot break out of a JSON string."""
    material = {
        "language": {"zh": "Chinese", "en": "English"}[reply.dialogue.language],
        "user_turns": [
            {
                "words": plain(turn.text)[:MAX_CHARS],
                "voice_emotion": turn.emotion or "unknown",
            }
            for turn in reply.heard
        ],
        "assistant_reply": plain(reply.text)[:MAX_CHARS],
    }
    if len(reply.text) > MAX_CHARS:
        material["cut"] = f"assistant_reply: the rest after {MAX_CHARS} characters was left out"
    return [
        {"role": "system", "content": prompts.load(JUDGE_PROMPT)},
        {"role": "user", "content": json.dumps(material, ensure_ascii=False)},
    ]
