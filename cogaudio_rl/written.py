"""What was written for an utterance, as the answer that a prompt asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from cogaudio_rl import ambiguity, attribution, eips, prompts, spoken
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import AttributionResponse, Prompt, Route, SpokenReply, Utterance
from cogaudio_rl.voices import voice_for


def answer_to(prompt: Prompt) -> str:
    """By its route: chain and reply, the reply alone, the chain about how votes are shared, thought and
    reply, or the reply and how it should sound.

    Raises DataError where nobody wrote that.
    """
    utterance = prompt.utterance
    _refuse_bare(utterance, prompt.route)
    return _ANSWERS[prompt.route](utterance)


def reply_to(utterance: Utterance) -> str:
    """What a teacher dictated, or else what an annotator wrote. Raises DataError where nobody did."""
    if utterance.dictated is not None:
        return utterance.dictated
    if utterance.annotation is None:
        raise DataError(f"utterance {utterance.id!r} has no annotation to learn from")
    return utterance.annotation.eips.response


def stated(utterance: Utterance, plan: str) -> Prompt:
    """The words alone; what is inferred from the voice, its cause and a plan stand in the question.

    Raises DataError where nobody wrote a thought.
    """
    if utterance.attribution is None:
        raise DataError(f"utterance {utterance.id!r} has no attribution to state")
    thought = attribution.parts(utterance.attribution) | {"Plan": plan}
    told = ". ".join(f"{name}: {thought[name]}" for name in ("Inference", "Attribution", "Plan"))
    question = prompts.load("stated.md").format(thought=f"{told}.")
    # Another id, for engines that keep what they have read or heard under it.
    read = replace(utterance, id=f"{utterance.id}#stated", audio=None)
    return Prompt(utterance=read, route=Route.DIRECT, question=question)


def check_written(utterances: Iterable[Utterance], routes: Iterable[Route]) -> None:
    """Raise DataError for the first that somebody would learn from in vain, before it has begun."""
    asked = tuple(routes)
    for utterance in utterances:
        for route in asked:
            _refuse_bare(utterance, route)


def _refuse_bare(utterance: Utterance, route: Route) -> None:
    if route is Route.AMBIGUITY:
        if not utterance.votes:
            raise DataError(
                f"utterance {utterance.id!r} has no votes; the ambiguity route needs them"
            )
        if utterance.ambiguity is None:
            raise DataError(
                f"utterance {utterance.id!r} has votes and no chain about them to learn from"
            )
        return
    if route is Route.EXPLICIT:
        if utterance.annotation is None:
            raise DataError(f"utterance {utterance.id!r} has no annotation to learn from")
        return
    reply_to(utterance)
    if route is Route.ATTRIBUTION and utterance.attribution is None:
        raise DataError(f"utterance {utterance.id!r} has no attribution to learn from")


def _explicit(utterance: Utterance) -> str:
    assert utterance.annotation is not None
    return eips.render(utterance.annotation.eips)


def _direct(utterance: Utterance) -> str:
    return eips.render_direct(reply_to(utterance))


def _ambiguity(utterance: Utterance) -> str:
    assert utterance.ambiguity is not None
    return ambiguity.render(utterance.ambiguity)


def _attribution(utterance: Utterance) -> str:
    assert utterance.attribution is not None
    answer = AttributionResponse(thought=utterance.attribution, response=reply_to(utterance))
    return attribution.render(answer)


def _spoken(utterance: Utterance) -> str:
    voice = voice_for(utterance.emotion)
    return spoken.render(SpokenReply(response=reply_to(utterance), voice=voice))


_ANSWERS: Mapping[Route, Callable[[Utterance], str]] = {
    Route.EXPLICIT: _explicit,
    Route.DIRECT: _direct,
    Route.AMBIGUITY: _ambiguity,
    Route.ATTRIBUTION: _attribution,
    Route.SPOKEN: _spoken,
}
