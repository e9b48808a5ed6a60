"""Protocols of cross-validation: who is left out of training, and nobody on two sides.

A corpus of a few people saying the same sentences is held apart by who speaks. Its sentences stand on
both sides: CREMA-D's twelve are said by everybody, and IEMOCAP's sessions play the same scripts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from cogaudio_rl.data.corpora.iemocap import folds as sessions_of
from cogaudio_rl.data.corpora.reading import UNKNOWN_SPEAKER
from cogaudio_rl.data.manifest import disjoint
from cogaudio_rl.errors import DataError
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import Utterance


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """What to train on and what to test on, both in the order they came."""

    name: str
    train: tuple[Utterance, ...]
    test: tuple[Utterance, ...]


def leave_one_session_out(utterances: Sequence[Utterance]) -> tuple[Fold, ...]:
    """IEMOCAP's usual protocol: each session once the test, the others the training.

    A session is two people in dialogue, who hear each other; leaving out one of them would not do.
    Raises DataError for a speaker of no session, and for fewer than two sessions.
    """
    sessions = sessions_of(utterances)
    home = {speaker: name for name, speakers in sessions.items() for speaker in speakers}
    for utterance in utterances:
        if utterance.speaker not in home:
            raise DataError(
                f"utterance {utterance.id!r}: speaker {utterance.speaker!r} is in none of IEMOCAP's"
                " sessions; other corpora have speaker_folds()"
            )
    if len(sessions) < 2:
        raise DataError(f"leaving one session out takes two, got {', '.join(sessions) or 'none'}")
    return _folds(utterances, home, list(sessions))


def speaker_folds(utterances: Sequence[Utterance], *, count: int, seed: int) -> tuple[Fold, ...]:
    """Speaker-independent folds: each speaker is tested once, in one of ``count`` folds.

    Speakers are dealt out one by one, the most talkative first and always to the fold with the fewest
    utterances so far; the seed decides between speakers with as many. Raises DataError for fewer
    speakers than folds, fewer than two folds, and where it is not known who speaks.
    """
    number: dict[str, int] = defaultdict(int)
    for utterance in utterances:
        if utterance.speaker == UNKNOWN_SPEAKER:
            raise DataError(f"utterance {utterance.id!r}: its speaker is not known; leave it out")
        number[utterance.speaker] += 1
    if not 2 <= count <= len(number):
        raise DataError(f"folds must be 2 to {len(number)}, the number of speakers, got {count}")
    speakers = sorted(number)
    order = rng_for(seed, "folds").permutation(len(speakers))
    dealt = sorted((speakers[int(i)] for i in order), key=lambda name: -number[name])
    sizes = {f"fold{n + 1}": 0 for n in range(count)}
    home: dict[str, str] = {}
    for speaker in dealt:
        home[speaker] = min(sizes, key=lambda name: sizes[name])
        sizes[home[speaker]] += number[speaker]
    return _folds(utterances, home, list(sizes))


def _folds(
    utterances: Sequence[Utterance], home: dict[str, str], names: Sequence[str]
) -> tuple[Fold, ...]:
    found: list[Fold] = []
    for name in names:
        train = tuple(u for u in utterances if home[u.speaker] != name)
        test = tuple(u for u in utterances if home[u.speaker] == name)
        sides = {u.speaker for u in train}, {u.speaker for u in test}
        disjoint(*sides, "speaker", (f"{name} train", f"{name} test"))
        found.append(Fold(name=name, train=train, test=test))
    return tuple(found)
