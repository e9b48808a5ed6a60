"""Utterances, rollouts and chains for tests of judges."""

from __future__ import annotations

from cogaudio_rl import eips
from cogaudio_rl.data.lime import author
from cogaudio_rl.data.lime.author import Sentence
from cogaudio_rl.types import (
    Annotation,
    AudioRef,
    EipsResponse,
    Group,
    Prompt,
    Rollout,
    Route,
    StopReason,
    Utterance,
)


def said(sentence: Sentence, emotion: str, annotation: Annotation | None = None) -> Utterance:
    """The sentence as if said in this emotion; judges hear nothing."""
    return Utterance(
        id=f"{sentence.text_id}_{emotion}",
        text_id=sentence.text_id,
        audio=AudioRef(path="none.wav", sample_rate_hz=16_000, num_samples=1),
        transcript=sentence.text,
        emotion=emotion,
        intensity="mid",
        speaker="nobody",
        language=sentence.language,
        annotation=annotation,
    )


def chain(sentence: Sentence, emotion: str, depth: int = 4) -> EipsResponse:
    """What the first annotator wrote for this sentence and emotion."""
    return author.annotate(sentence, emotion, depth=depth, variant=0).eips


def rollout(text: str, stop: StopReason = StopReason.EOS) -> Rollout:
    """A rollout with this text; its tokens do not matter to a judge."""
    return Rollout(token_ids=(0,), logprobs=(0.0,), text=text, stop=stop, policy_version=0)


def group_of(utterance: Utterance, route: Route, *texts: str) -> Group:
    """One prompt and a rollout for each text."""
    return Group(
        prompt=Prompt(utterance=utterance, route=route), rollouts=tuple(map(rollout, texts))
    )


def direct(utterance: Utterance, *replies: str) -> Group:
    """Well-formed direct answers."""
    return group_of(utterance, Route.DIRECT, *map(eips.render_direct, replies))
