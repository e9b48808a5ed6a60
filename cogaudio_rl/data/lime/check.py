"""What a lexically identical corpus must hold, each as a plain function that raises DataError."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from cogaudio_rl.data.audio import read_audio
from cogaudio_rl.data.lime.synthesise import MAX_SECONDS
from cogaudio_rl.data.manifest import validate_split
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import INTENSITIES, LIME_EMOTIONS, Utterance

MIN_SECONDS = 0.4
"""Shorter than any sentence of the banks can be said."""

MAX_CLIPPED_SHARE = 0.03
"""Of one utterance's samples. The loudest touch full scale, as shouts into a microphone do."""


def check_corpus(
    train: Sequence[Utterance], rl: Sequence[Utterance], test: Sequence[Utterance]
) -> None:
    """Every check that needs no audio, within each split and between them."""
    for name, split in (("train", train), ("rl", rl), ("test", test)):
        check_split(name, split)
    check_disjoint(train, rl, test)


def check_split(name: str, split: Sequence[Utterance]) -> None:
    """Every check on one split that needs no audio."""
    check_lexical_identity(split)
    check_label_balance(name, split)
    check_text_leak(name, split)
    check_durations(split)


def check_lexical_identity(utterances: Sequence[Utterance]) -> None:
    """A family has one transcript, character by character: nothing is normalised away first."""
    first: dict[str, Utterance] = {}
    for utterance in utterances:
        other = first.setdefault(utterance.text_id, utterance)
        if other.transcript != utterance.transcript:
            raise DataError(
                f"family {utterance.text_id!r} is not lexically identical:"
                f" {other.transcript!r} in {other.id!r},"
                f" {utterance.transcript!r} in {utterance.id!r}"
            )


def check_label_balance(name: str, utterances: Sequence[Utterance]) -> None:
    """Every emotion equally often, and within each every intensity to within one utterance."""
    counts = Counter((u.emotion, u.intensity) for u in utterances)
    by_emotion = Counter(u.emotion for u in utterances)
    if {by_emotion[emotion] for emotion in LIME_EMOTIONS} != {len(utterances) / len(LIME_EMOTIONS)}:
        raise DataError(f"split {name!r} is unbalanced over emotions: {dict(by_emotion)}")
    for emotion in LIME_EMOTIONS:
        found = [counts[emotion, intensity] for intensity in INTENSITIES]
        if max(found) - min(found) > 1:
            raise DataError(f"split {name!r} is unbalanced over intensities of {emotion}: {found}")


def text_only_accuracy(utterances: Sequence[Utterance]) -> float:
    """Accuracy of the best possible classifier that sees the transcripts, and these very labels."""
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    for utterance in utterances:
        labels[utterance.transcript][utterance.emotion] += 1
    return sum(max(found.values()) for found in labels.values()) / len(utterances)


def check_text_leak(name: str, utterances: Sequence[Utterance]) -> None:
    """Not even a classifier that learnt every transcript by heart is above chance."""
    accuracy, chance = text_only_accuracy(utterances), 1 / len(LIME_EMOTIONS)
    if accuracy > chance + 1e-9:
        raise DataError(
            f"split {name!r} leaks its emotions through the text: accuracy from the words alone"
            f" is {accuracy:.3f}, chance is {chance:.3f}; give every family every emotion"
        )


def check_durations(utterances: Sequence[Utterance]) -> None:
    """No utterance is too short to be a sentence, and none was cut off at the longest length."""
    for utterance in utterances:
        if not MIN_SECONDS <= utterance.clip.seconds < MAX_SECONDS:
            raise DataError(
                f"utterance {utterance.id!r} lasts {utterance.clip.seconds:.2f} s;"
                f" expected {MIN_SECONDS} to {MAX_SECONDS} s"
            )


def check_clipping(utterances: Sequence[Utterance]) -> None:
    """No utterance is clipped out of shape; reads all audio."""
    for utterance in utterances:
        sound, _ = read_audio(utterance.clip.path)
        share = float(np.mean(np.abs(sound) >= 0.999))
        if share > MAX_CLIPPED_SHARE:
            raise DataError(
                f"utterance {utterance.id!r} is clipped in {share:.1%} of its samples;"
                f" at most {MAX_CLIPPED_SHARE:.0%} may be"
            )


def check_disjoint(
    train: Sequence[Utterance], rl: Sequence[Utterance], test: Sequence[Utterance]
) -> None:
    """The test split shares no text and no voice with what is learnt from; no id comes twice."""
    validate_split(train, test, names=("train", "test"), speakers=True)
    validate_split(rl, test, names=("rl", "test"), speakers=True)
    ids = Counter(u.id for u in (*train, *rl, *test))
    name, times = ids.most_common(1)[0]
    if times > 1:
        raise DataError(f"id {name!r} is in more than one split; ids must be unique")
