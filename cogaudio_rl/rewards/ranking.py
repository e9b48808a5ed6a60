"""Whether a judge puts the right reply above the replies to the sibling emotions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cogaudio_rl import eips
from cogaudio_rl.data.lime import author
from cogaudio_rl.data.lime.author import Sentence
from cogaudio_rl.ports import Judge
from cogaudio_rl.types import (
    LIME_EMOTIONS,
    AudioRef,
    Group,
    Prompt,
    Rollout,
    Route,
    Score,
    StopReason,
    Utterance,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Of lexical families: the same words in every emotion, each with its own deep replies."""

    families: int
    accuracy: float
    """Share in which every emotion's deep replies stand above every sibling's."""
    reply_accuracy: float
    """Share of single replies of which that is true."""


async def rank_families(
    judge: Judge, sentences: Sequence[Sentence], *, annotator: str = "first"
) -> Ranking:
    """Judge each sentence in each emotion with the deep replies to all emotions.

    A reply counts as above only with a strictly higher reward, and where all have one.
    """
    families = [await _family(judge, sentence, annotator) for sentence in sentences]
    right = [all(family) for family in families]
    above = [reply for family in families for reply in family]
    return Ranking(
        families=len(families),
        accuracy=sum(right) / max(1, len(right)),
        reply_accuracy=sum(above) / max(1, len(above)),
    )


async def _family(judge: Judge, sentence: Sentence, annotator: str) -> list[bool]:
    """For each emotion's own replies, whether they stand above all that are not its own."""
    replies = [(e, r) for e in LIME_EMOTIONS for r in author.replies(sentence, e, 4, annotator)]
    rollouts = tuple(_rollout(reply) for _, reply in replies)
    scores_PG = await judge.score(
        [Group(prompt=_prompt(sentence, e), rollouts=rollouts) for e in LIME_EMOTIONS]
    )
    above: list[bool] = []
    for emotion, scores in zip(LIME_EMOTIONS, scores_PG, strict=True):
        rewards = [s.reward if isinstance(s, Score) else None for s in scores]
        others = [r for (e, _), r in zip(replies, rewards, strict=True) if e != emotion]
        own = [r for (e, _), r in zip(replies, rewards, strict=True) if e == emotion]
        highest = max((r for r in others if r is not None), default=0.0)
        above += [None not in rewards and r is not None and r > highest for r in own]
    return above


def _prompt(sentence: Sentence, emotion: str) -> Prompt:
    utterance = Utterance(
        id=f"{sentence.text_id}_{emotion}",
        text_id=sentence.text_id,
        audio=AudioRef(path="", sample_rate_hz=1, num_samples=0),
        transcript=sentence.text,
        emotion=emotion,
        intensity="mid",
        speaker="",
        language=sentence.language,
    )
    return Prompt(utterance=utterance, route=Route.DIRECT)


def _rollout(reply: str) -> Rollout:
    text = eips.render_direct(reply)
    return Rollout(token_ids=(), logprobs=(), text=text, stop=StopReason.EOS, policy_version=0)
