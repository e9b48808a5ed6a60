from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from sounds import an_utterance, sine

from cogaudio_rl.data.audio import write_audio
from cogaudio_rl.data.lime import check
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import INTENSITIES, LIME_EMOTIONS, Utterance

Split = list[Utterance]


def a_split(prefix: str, families: int = 3) -> Split:
    """Whole families, balanced, of its own texts and speakers."""
    return [
        an_utterance(
            f"{prefix}_{family}_{emotion}",
            text_id=f"{prefix}_{family}",
            transcript=f"Sentence {prefix} {family}.",
            speaker=f"{prefix}_voice",
            emotion=emotion,
            intensity=INTENSITIES[(family + i) % 3],
            num_samples=16_000,
        )
        for family in range(families)
        for i, emotion in enumerate(LIME_EMOTIONS)
    ]


def change(split: Split, index: int, **changes: object) -> Split:
    return [dataclasses.replace(u, **changes) if i == index else u for i, u in enumerate(split)]


def lasting(num_samples: int) -> Callable[[Split], Split]:
    def make(split: Split) -> Split:
        audio = dataclasses.replace(split[0].clip, num_samples=num_samples)
        return change(split, 0, audio=audio)

    return make


BROKEN: dict[str, tuple[Callable[[Split], Split], str]] = {
    "punctuation": (
        lambda s: change(s, 3, transcript="Sentence train 0!"),
        "family 'train_0' is not lexically identical: 'Sentence train 0.'",
    ),
    "emotions": (lambda s: s[:-1], "split 'train' is unbalanced over emotions"),
    "intensities": (
        lambda s: change(s, 0, intensity="high"),
        "split 'train' is unbalanced over intensities of neutral",
    ),
    "too short": (lasting(1_600), "'train_0_neutral' lasts 0.10 s"),
    "cut off": (lasting(76_800), "'train_0_neutral' lasts 4.80 s"),
}


@pytest.mark.parametrize(("breaking", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_split_is_caught(breaking: Callable[[Split], Split], message: str) -> None:
    check.check_split("train", a_split("train"))
    with pytest.raises(DataError) as caught:
        check.check_split("train", breaking(a_split("train")))
    assert message in str(caught.value)


def test_a_text_that_tells_its_emotion_is_a_leak() -> None:
    # Balanced over emotions, yet each family keeps to one of them: text alone tells all.
    leaking = [
        dataclasses.replace(u, text_id=u.emotion, transcript=f"A {u.emotion} sentence.")
        for u in a_split("train")
    ]
    check.check_label_balance("train", leaking)
    check.check_lexical_identity(leaking)
    assert check.text_only_accuracy(leaking) == 1.0
    with pytest.raises(DataError, match=r"from the words alone is 1\.000, chance is 0\.143"):
        check.check_text_leak("train", leaking)


def test_whole_families_leave_text_at_chance() -> None:
    assert check.text_only_accuracy(a_split("train")) == pytest.approx(1 / 7)


def test_splits_that_share_a_text_a_voice_or_an_id_are_caught() -> None:
    train, rl, test = a_split("train"), a_split("rl"), a_split("test")
    check.check_corpus(train, rl, test)
    with pytest.raises(DataError, match="text_id 'train_0'"):
        check.check_disjoint(train, rl, change(test, 0, text_id="train_0"))
    with pytest.raises(DataError, match="speaker 'rl_voice'"):
        check.check_disjoint(train, rl, change(test, 0, speaker="rl_voice"))
    with pytest.raises(DataError, match="id 'train_0_neutral' is in more than one split"):
        check.check_disjoint(train, change(rl, 0, id="train_0_neutral"), test)


def test_clipping_is_caught(tmp_path: Path) -> None:
    clean, loud = tmp_path / "clean.flac", tmp_path / "loud.flac"
    write_audio(clean, sine())
    write_audio(loud, (5 * sine()).clip(-1, 1))
    check.check_clipping([an_utterance(path=str(clean))])
    with pytest.raises(DataError, match="is clipped in"):
        check.check_clipping([an_utterance(path=str(loud))])
