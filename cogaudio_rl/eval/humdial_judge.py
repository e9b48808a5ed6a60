"""Who scores what was answered in HumDial's dialogues, and what needs no scoring.

Tasks, dimensions and scales are those of the challenge's published rubrics (arXiv 2601.05564 and its
repository ASLP-lab/Hum-Dial), in our own words (``prompts/humdial_judge*.md``):

    T1 trajectory   accuracy and completeness, depth and granularity, added value           1, 3 or 5
    T2 cause        integration of several turns, insight into the root cause, clarity      1, 3 or 5
    T3 empathy      D1 the words; D2 the voice's empathy and D3 its quality                 1 to 5

In the challenge people scored D2 and D3. Here they take a judge that hears (``hears=true``) and a reply
that was spoken; without either there is D1 alone. A reply in the wrong language scores 1, as in the
challenge; what language it is in is told by its script.
"""

from __future__ import annotations

import asyncio
import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from cogaudio_rl import prompts
from cogaudio_rl.answer_cache import AnswerCache, ask_once
from cogaudio_rl.config import JudgeConfig
from cogaudio_rl.endpoint import ChatEndpoint, NoAnswer
from cogaudio_rl.eval.humdial_dialogues import Answered, plain
from cogaudio_rl.eval.humdial_voice import says_something
from cogaudio_rl.rewards.hearing import clip_at
from cogaudio_rl.types import Unscored

JUDGE_PROMPTS: tuple[str, ...] = (
    "humdial_judge.md",
    *(f"humdial_judge_{task}.md" for task in ("t1", "t2", "t3")),
    "humdial_judge_voice.md",
)
MAX_CHARS = 2_000
"""Of a longer reply, or turn, the judge sees this much, and is told so of the reply."""
CHINESE_FROM = 0.3
"""Share of Chinese characters among letters from which a reply is Chinese. Not a half: a character says
as much as a word of several letters, and a Chinese reply may hold a foreign name."""
LOWEST, HIGHEST = 1, 5
HIDDEN = "the corpus hides what was said or felt; score against a folder that tells it"
NO_TARGET = "no second turn that is known not to be neutral"


class _Verdict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    reasoning: str


class TrajectoryVerdict(_Verdict):
    """What the judge says of an answer of T1."""

    accuracy_completeness: int
    depth_granularity: int
    added_value: int


class CauseVerdict(_Verdict):
    """What the judge says of an answer of T2."""

    information_integration: int
    insight_root_cause: int
    clarity_logic: int


class WordsVerdict(_Verdict):
    """What a judge that hears nothing says of a reply of T3."""

    textual_empathy_insight: int


class VoiceVerdict(_Verdict):
    """What a judge that hears says of a reply of T3."""

    textual_empathy_insight: int
    vocal_empathy_congruence: int
    audio_quality_naturalness: int


_FORMS: Mapping[str, type[_Verdict]] = {"T1": TrajectoryVerdict, "T2": CauseVerdict}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The scores of a reply by its task's dimensions, and why."""

    scores: tuple[int, ...]
    reasoning: str
    wrong_language: bool = False


def judged_place(answered: Answered) -> int | None:
    """Which turn's reply is judged: the last of T1 and T2, the target of T3; None without a target."""
    dialogue = answered.dialogue
    if dialogue.task != "T3":
        return len(dialogue.turns) - 1
    # By identity: somebody may say the same twice.
    target = dialogue.target
    return next((i for i, turn in enumerate(dialogue.turns) if turn is target), None)


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


async def judge_dialogues(
    dialogues: Sequence[Answered],
    config: JudgeConfig,
    cache: Path,
    progress: Callable[[], None],
) -> tuple[list[Judged | Unscored], dict[str, float]]:
    """A verdict for each dialogue, in order, and what the judge took; answers are kept in ``cache``.

    ``progress`` is called after each. What no judgment can be had for is Unscored with its reason.
    """
    endpoint, kept = ChatEndpoint(config), AnswerCache(cache)
    # A judge's revision tells deployments of one model apart.
    named = f"{config.model} {config.revision}"

    async def judge(answered: Answered) -> Judged | Unscored:
        place = judged_place(answered)
        if place is None:
            return Unscored(reason=NO_TARGET)
        turns, reply = answered.dialogue.turns[: place + 1], answered.replies[place]
        if not all(turn.text and turn.emotion for turn in turns):
            return Unscored(reason=HIDDEN)
        form = _form(answered, place, hears=config.hears)
        if not is_in(answered.dialogue.language, reply):
            lowest = (LOWEST,) * (len(form.model_fields) - 1)
            return Judged(scores=lowest, reasoning="", wrong_language=True)
        asked = await asyncio.to_thread(messages, answered, place, form)
        said = await ask_once(
            endpoint, kept, asked, form, model=named, max_tokens=config.max_tokens
        )
        scores = said.model_dump(exclude={"reasoning"}).values()
        scale = _three if answered.dialogue.task in _FORMS else _clamped
        return Judged(scores=tuple(map(scale, scores)), reasoning=plain(said.reasoning))

    async def counted(answered: Answered) -> Judged | Unscored:
        try:
            return await judge(answered)
        except NoAnswer as error:
            return Unscored(reason=f"judge: {error}")
        finally:
            progress()

    try:
        return list(await asyncio.gather(*map(counted, dialogues))), endpoint.metrics()
    finally:
        await endpoint.close()


def messages(answered: Answered, place: int, form: type[BaseModel]) -> list[dict[str, Any]]:
    """The chat messages that ask for a verdict. What others wrote stands in one JSON object: it
    cannot break out of a JSON string."""
    dialogue, reply = answered.dialogue, answered.replies[place]
    turns = [
        {"user_words": plain(turn.text)[:MAX_CHARS], "user_emotion": turn.emotion or "unknown"}
        for turn in dialogue.turns[: place + 1]
    ]
    before = [
        {**turn, "assistant_reply": plain(said)[:MAX_CHARS]}
        for turn, said in zip(turns[:-1], answered.replies, strict=False)
    ]
    material: dict[str, Any] = {
        "language": {"zh": "Chinese", "en": "English"}[dialogue.language],
        "turns_before": before,
        "last_turn": turns[-1],
        "assistant_reply": plain(reply)[:MAX_CHARS],
    }
    if len(reply) > MAX_CHARS:
        material["cut"] = f"assistant_reply: the rest after {MAX_CHARS} characters was left out"
    rubric = ["humdial_judge.md", f"humdial_judge_{dialogue.task.lower()}.md"]
    asked: Any = json.dumps(material, ensure_ascii=False)
    sound = answered.sounds[place]
    if form is VoiceVerdict and sound is not None:
        rubric.append("humdial_judge_voice.md")
        asked = [clip_at(sound.path).part, {"type": "text", "text": asked}]
    return [
        {"role": "system", "content": "\n\n".join(map(prompts.load, rubric))},
        {"role": "user", "content": asked},
    ]


def _form(answered: Answered, place: int, *, hears: bool) -> type[_Verdict]:
    """What the judge is asked for. Where nothing is said there is nothing to hear: it scores 1."""
    if answered.dialogue.task in _FORMS:
        return _FORMS[answered.dialogue.task]
    spoken = answered.sounds[place] is not None or not says_something(answered.replies[place])
    return VoiceVerdict if hears and spoken else WordsVerdict


def _clamped(score: int) -> int:
    return min(max(score, LOWEST), HIGHEST)


def _three(score: int) -> int:
    """1, 3 or 5, as the challenge's own script reads other numbers."""
    if score <= 2:
        return 1
    return 3 if score <= 4 else 5
