"""Thoughts about emotion and cause (IEAT, arXiv 2601.04960), each checked before it is taken.

    utterance ─► pitch and pace, measured ─┐
    words and emotion ─► cause and plan ───┴─► checks ─► thought
                                                  └────► quarantined, with its reasons

Pitch and pace are levels among the same speaker's other clips. A cause that is not in the words is
never mended: the utterance is set aside. The embedded author knows the bank's sentences, each of which
tells one thing that happened; about others an LLM is asked (:mod:`cogaudio_rl.data.attribute`).
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from cogaudio_rl import attribution
from cogaudio_rl.data.audio import read_audio
from cogaudio_rl.data.corpora.reading import Progress, silent
from cogaudio_rl.data.lime import author, cues
from cogaudio_rl.data.lime.cues import Measured
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import Attribution, Utterance

_DEEPEST = author.DEPTHS.index(max(author.DEPTHS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How something was said, as levels of :data:`cogaudio_rl.spoken.LEVELS`."""

    pitch: str
    pace: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributed:
    """Utterances with a thought, and why others have none."""

    utterances: tuple[Utterance, ...]
    quarantined: Mapping[str, tuple[str, ...]]
    """Id → reasons."""


def manners(
    utterances: Sequence[Utterance], *, within_words: bool = False, progress: Progress = silent
) -> dict[str, Manner]:
    """By id, of each that has a sound; each against its speaker's others among these.

    ``within_words``: speed is first held against the mean of all who say the same words. Raises
    DataError for a sound that cannot be read.
    """
    measured: dict[str, list[tuple[str, Measured]]] = defaultdict(list)
    for done, u in enumerate(utterances, start=1):
        if u.audio is not None:
            sound, _notes = read_audio(u.audio.path)
            measured[u.speaker].append((u.id, cues.measure(sound, u.transcript, u.language)))
        progress(done, len(utterances))
    usual = _usual_speeds(utterances, measured) if within_words else {}
    found: dict[str, Manner] = {}
    for clips in measured.values():
        told_of = [
            dataclasses.replace(m, speed=m.speed / usual.get(name, 1.0)) for name, m in clips
        ]
        for (name, _), levels in zip(clips, cues.cues_among(told_of), strict=True):
            told = levels.named()
            found[name] = Manner(pitch=told["pitch"], pace=told["speed"])
    return found


def _usual_speeds(
    utterances: Sequence[Utterance], measured: Mapping[str, Sequence[tuple[str, Measured]]]
) -> dict[str, float]:
    """By id, the mean speed over all that say the same words."""
    words = {u.id: u.text_id for u in utterances}
    speeds: dict[str, list[float]] = defaultdict(list)
    for clips in measured.values():
        for name, one in clips:
            speeds[words[name]].append(one.speed)
    means = {text: fmean(of) or 1.0 for text, of in speeds.items()}
    return {name: means[words[name]] for clips in measured.values() for name, _ in clips}


def thought_of(utterance: Utterance, manner: Manner, *, cause: str, plan: str) -> Attribution:
    """What is known of the utterance, beside what somebody says it is due to and what to do."""
    return Attribution(
        words=utterance.transcript,
        pitch=manner.pitch,
        pace=manner.pace,
        emotion=utterance.emotion,
        intensity=utterance.intensity,
        cause=cause,
        plan=plan,
    )


def cause_and_plan(utterance: Utterance) -> tuple[str, str]:
    """The embedded author's: what happened, as it was said, and the deepest of its strategies.

    Raises DataError for a sentence or an emotion that it does not know.
    """
    sentence = author.sentence_by_id(utterance.text_id)
    if sentence is None or sentence.text != utterance.transcript:
        raise DataError(
            f"the embedded author does not know the sentence {utterance.text_id!r}; "
            "`data attribute` asks an LLM"
        )
    known = author.load_bank("zh" if sentence.language == "zh" else "en").chain
    if utterance.emotion not in known:
        raise DataError(f"the embedded author has no plan for {utterance.emotion!r}")
    return sentence.text.rstrip(".。"), known[utterance.emotion]["strategy"][_DEEPEST]


def with_attributions(
    utterances: Sequence[Utterance], *, within_words: bool = False, progress: Progress = silent
) -> Attributed:
    """Each with the embedded author's thought; what has none, or one that fails a check, is set aside.

    Give all clips of a speaker at once: pitch and pace are told among them, see :func:`manners`. Raises
    DataError for a sound that cannot be read.
    """
    heard = manners(utterances, within_words=within_words, progress=progress)
    kept: list[Utterance] = []
    quarantined: dict[str, tuple[str, ...]] = {}
    for u in utterances:
        try:
            cause, plan = cause_and_plan(u)
        except DataError as error:
            quarantined[u.id] = (str(error),)
            continue
        one = checked(u, heard.get(u.id), cause=cause, plan=plan)
        if isinstance(one, Attribution):
            kept.append(dataclasses.replace(u, attribution=one))
        else:
            quarantined[u.id] = one
    return Attributed(utterances=tuple(kept), quarantined=quarantined)


def checked(
    utterance: Utterance, manner: Manner | None, *, cause: str, plan: str
) -> Attribution | tuple[str, ...]:
    """The thought, or what speaks against it."""
    if manner is None:
        return ("it has no sound to measure pitch and pace in",)
    thought = thought_of(utterance, manner, cause=cause, plan=plan)
    return attribution.problems(thought, utterance.transcript) or thought
