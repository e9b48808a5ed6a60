"""Where each kind of model names the emotion."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from fakes import FakeSampler
from sounds import an_utterance

from cogaudio_rl import ambiguity, attribution
from cogaudio_rl.eval.naming import name_emotions, place_in
from cogaudio_rl.types import (
    AmbiguityResponse,
    Attribution,
    AttributionResponse,
    Prompt,
    Rollout,
    Route,
    StopReason,
)

LABELS = ("neutral", "happy", "sad")
CHAIN = AmbiguityResponse(words="Open.", voice="Soft for {}.", synthesis="Together.", emotion="sad")
THOUGHT = Attribution(
    words="I lost it.",
    pitch="low",
    pace="slow",
    emotion="sad",
    intensity="mid",
    cause="I lost it",
    plan="stay",
)


def said(text: str) -> Rollout:
    ids = tuple(range(len(text)))
    return Rollout(
        token_ids=ids, logprobs=(-1.0,) * len(ids), text=text, policy_version=0, stop=StopReason.EOS
    )


def test_the_place_is_right_before_the_name() -> None:
    chain = said(ambiguity.render(CHAIN))
    found = place_in(chain, Route.AMBIGUITY)
    assert found.text + " sad</emotion>" == chain.text
    assert found.token_ids == chain.token_ids
    thought = said(attribution.render(AttributionResponse(thought=THOUGHT, response="I am here.")))
    found = place_in(thought, Route.ATTRIBUTION)
    assert thought.text[len(found.text) :].startswith(" sad, mid\nAttribution:")
    assert found.text == attribution.before_emotion(THOUGHT)


@pytest.mark.parametrize("text", ["", "I am sad.", "<thought>\nInference: sad"])
def test_who_leaves_no_place_is_asked_behind_what_was_said(text: str) -> None:
    """A thought without its observation has no place either."""
    for route, place in (
        (Route.AMBIGUITY, ambiguity.ANSWER_PREFIX),
        (Route.ATTRIBUTION, attribution.EMOTION_PREFIX),
    ):
        found = place_in(said(text), route)
        assert (found.text, found.token_ids) == (f"{text}\n{place}", ())
    with pytest.raises(ValueError, match="direct name no emotion behind a chain"):
        place_in(said(text), Route.DIRECT)


@pytest.mark.parametrize("thinks", [Route.AMBIGUITY, Route.ATTRIBUTION])
def test_what_stands_before_the_name_decides(thinks: Route) -> None:
    """The fake finds likelier what the text before the place names: here the right emotion."""
    utterances = [an_utterance(f"u{i}", emotion=emotion) for i, emotion in enumerate(LABELS)]

    def say(prompt: Prompt, temperature: float, i: int) -> str:
        assert (prompt.route, temperature) == (thinks, 0.0)
        emotion = prompt.utterance.emotion
        if thinks is Route.AMBIGUITY:
            return ambiguity.render(replace(CHAIN, voice=f"Soft for {emotion}.", emotion="happy"))
        told = replace(THOUGHT, words=f"I was {emotion}.", emotion="happy")
        return attribution.render(AttributionResponse(thought=told, response="Oh."))

    sampler = FakeSampler(say)
    named = asyncio.run(name_emotions(sampler, utterances, LABELS, thinks=thinks, seed=0))
    assert named == list(LABELS)
