"""The embedded author of ambiguity chains: from votes and how a clip sounds to three sentences.

It stands in for the LLM of arXiv 2603.08230, for sentences that fit every emotion (LIME's, CREMA-D's,
EmoDB's): what words that do name a feeling would add, it cannot read. A cue speaks for the emotion
whose own level of it, by :data:`.synthesise.PROTOTYPES`, is nearer.

A chain is the evidence for what most listeners hear and for the other emotion, and names both. The
other is what the largest minority hears, or, where all hear the same, what the cues are next nearest
to. So a chain tells no share, neither as a number nor in words such as "most" and "some", nor that all
agree. The paper's chain has no numbers either, as far as is known, and how votes are shared is what the
divergence is to teach: a chain that told it would let cross-entropy learn it from its own text, and a
model that has once written "nobody hears anything else" can only be sure of itself. What is left: an
other that the cues are not next nearest to is one that somebody heard.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import yaml

from cogaudio_rl.data.audio import read_audio
from cogaudio_rl.data.corpora.reading import Progress, silent
from cogaudio_rl.data.lime.cues import LEVELS, Cues, Measured, cues_among, cues_of, measure
from cogaudio_rl.data.lime.synthesise import PROTOTYPES
from cogaudio_rl.errors import DataError
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import AmbiguityResponse, Utterance

_SAME = 1e-9


def write_chain(votes: Mapping[str, float], cues: Cues, *, seed: int) -> AmbiguityResponse:
    """The chain of a clip that listeners heard so and that sounds so; the seed picks the wording.

    Of several emotions with the most votes it ends with the one whose prosody the cues are nearest to.
    Raises DataError as :func:`ranked` does.
    """
    most, other = ranked(votes, cues)[:2]
    say = _Wording(seed)
    return AmbiguityResponse(
        words=say.one("words"),
        voice=_voice(most, other, cues, say),
        synthesis=_capital(say.one("synthesis", most=most, other=other)),
        emotion=most,
    )


def with_chains(
    utterances: Sequence[Utterance], *, seed: int, progress: Progress = silent
) -> tuple[Utterance, ...]:
    """The same with a chain each, from what is measured in their sound and from their votes.

    Cues are relative to the speaker's other clips among these: give all there are. Raises DataError for
    one without votes or sound, for a sound that cannot be read, and as :func:`write_chain` does.
    """
    measured: dict[str, list[tuple[int, Measured]]] = defaultdict(list)
    for place, utterance in enumerate(utterances):
        if utterance.votes is None or utterance.audio is None:
            lacks = "votes" if utterance.votes is None else "sound"
            raise DataError(f"utterance {utterance.id!r} has no {lacks} to write a chain from")
        sound, _notes = read_audio(utterance.audio.path)
        measured[utterance.speaker].append(
            (place, measure(sound, utterance.transcript, utterance.language))
        )
        progress(place + 1, len(utterances))
    found: dict[int, Utterance] = {}
    for clips in measured.values():
        levels = cues_among([one for _, one in clips])
        for (place, _), cues in zip(clips, levels, strict=True):
            utterance = utterances[place]
            chain_seed = int(rng_for(seed, "chain", utterance.id).integers(2**31))
            chain = write_chain(utterance.votes or {}, cues, seed=chain_seed)
            found[place] = dataclasses.replace(utterance, ambiguity=chain)
    return tuple(found[place] for place in range(len(utterances)))


def ranked(votes: Mapping[str, float], cues: Cues) -> list[str]:
    """The emotions to choose from, most votes first; of equal ones, the nearest to the cues.

    Raises DataError where nobody voted, where votes went to an emotion that has no prototype, and where
    fewer than two have one.
    """
    heard = [emotion for emotion, share in votes.items() if share > 0]
    if not heard:
        raise DataError("nobody voted; a chain takes votes")
    known = ", ".join(PROTOTYPES)
    if strange := [emotion for emotion in heard if emotion not in PROTOTYPES]:
        raise DataError(f"how {strange[0]!r} sounds is not known; known: {known}")
    choices = [emotion for emotion in votes if emotion in PROTOTYPES]
    if len(choices) < 2:
        raise DataError(
            f"a chain weighs {heard[0]!r} against another emotion, and listeners had no other choice "
            f"whose sound is known; known: {known}"
        )
    return sorted(choices, key=lambda e: (-round(votes[e] / _SAME), _distance(cues, e), e))


def _voice(most: str, other: str, cues: Cues, say: _Wording) -> str:
    """Every cue with its level, and which speak for the one emotion and for the other."""
    everything = ", ".join(f"{name} {level}" for name, level in cues.named().items())
    lead = {name: _gap(cues, other, name) - _gap(cues, most, name) for name in LEVELS}
    near = [name for name, by in lead.items() if by > 0]
    far = [name for name, by in lead.items() if by < 0]
    kind = "no_majority" if not near else "majority_one" if len(near) == 1 else "majority"
    speaks = say.one(kind, cues=_listed(near), most=most)
    against = say.one("minority" if far else "no_minority", cues=_listed(far), other=other)
    return f"{_capital(say.one('voice', all=everything))} {_capital(speaks)}, {against}."


def _gap(cues: Cues, emotion: str, name: str) -> int:
    """How many levels a cue is from where it would be in this emotion."""
    return abs(getattr(cues, name) - getattr(_expected(emotion), name))


def _distance(cues: Cues, emotion: str) -> int:
    return sum(_gap(cues, emotion, name) for name in LEVELS)


@cache
def _expected(emotion: str) -> Cues:
    return cues_of(PROTOTYPES[emotion])


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


class _Wording:
    """Picks among phrases that say the same."""

    def __init__(self, seed: int) -> None:
        self._rng: np.random.Generator = rng_for(seed, "wording")

    def one(self, kind: str, **parts: str | None) -> str:
        phrases: list[str] = _bank()[kind]
        return phrases[int(self._rng.integers(len(phrases)))].format(**parts)


@cache
def _bank() -> dict[str, Any]:
    file = resources.files("cogaudio_rl.data.lime").joinpath("bank_ambiguity.yaml")
    return yaml.safe_load(file.read_text("utf-8"))
