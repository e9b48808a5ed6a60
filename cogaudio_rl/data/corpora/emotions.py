"""Every label of every corpus, and the project's name for it. What is not here is not known.

Nothing maps silently: :func:`to_emotion` raises DataError for a label that its corpus' table lacks,
and readers turn that into a rejection.
"""

from __future__ import annotations

from cogaudio_rl.errors import DataError

VOTES_ONLY: tuple[str, ...] = ("frustrated", "excited", "other", "undecided")
"""IEMOCAP's names beyond the project's vocabulary: they occur in votes, never as an emotion."""

FOUR_CLASSES: tuple[str, ...] = ("angry", "happy", "neutral", "sad")
"""The usual IEMOCAP task; ``exc`` counts as happy."""

ESD: dict[str, str] = {
    "Neutral": "neutral",
    "Angry": "angry",
    "Happy": "happy",
    "Sad": "sad",
    "Surprise": "surprise",
    "中立": "neutral",
    "生气": "angry",
    "快乐": "happy",
    "伤心": "sad",
    "惊喜": "surprise",
}

ECD_TSE: dict[str, str] = {
    "neutral": "neutral",
    "angry": "angry",
    "happy": "happy",
    "sadness": "sad",
    "fear": "fear",
}

LIME_440K: dict[str, str] = {
    "NEUTRAL": "neutral",
    "HAPPY": "happy",
    "HAPPINESS": "happy",
    "SAD": "sad",
    "SADNESS": "sad",
    "ANGRY": "angry",
    "ANGER": "angry",
    "FEAR": "fear",
    "DISGUST": "disgust",
    "SURPRISE": "surprise",
}
"""JSON fields and file names do not always use the same form (``ANGRY``, ``2_22_anger.wav``)."""

LIME_440K_INTENSITIES: dict[str, str] = {
    "low": "low",
    "weak": "low",
    "light": "low",
    "mild": "low",
    "slight": "low",
    "medium": "mid",
    "strong": "high",
    "high": "high",
}
"""Folders of the release. ``medium`` and ``strong`` are documented, the third one's name is not."""

CREMA_D: dict[str, str] = {
    "A": "angry",
    "D": "disgust",
    "F": "fear",
    "H": "happy",
    "N": "neutral",
    "S": "sad",
}
"""Columns of the vote table."""

CREMA_D_ACTED: dict[str, str] = {
    "ANG": "angry",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
"""What the actor was asked for, from the file name."""

IEMOCAP: dict[str, str] = {
    "ang": "angry",
    "hap": "happy",
    "exc": "happy",
    "neu": "neutral",
    "sad": "sad",
    "fea": "fear",
    "sur": "surprise",
    "dis": "disgust",
    "fru": "frustrated",
    "oth": "other",
    "xxx": "undecided",
}
"""Consensus labels."""

IEMOCAP_VOTES: dict[str, str] = {
    "Anger": "angry",
    "Happiness": "happy",
    "Excited": "excited",
    "Neutral": "neutral",
    "Neutral state": "neutral",
    "Sadness": "sad",
    "Fear": "fear",
    "Surprise": "surprise",
    "Disgust": "disgust",
    "Frustration": "frustrated",
    "Other": "other",
}
"""What single annotators wrote. ``Excited`` stays itself here: merging is the consumer's choice."""

HUMDIAL: dict[str, str] = {
    "neutral": "neutral",
    "happy": "happy",
    "happiness": "happy",
    "sad": "sad",
    "sadness": "sad",
    "angry": "angry",
    "anger": "angry",
    "fear": "fear",
    "fearful": "fear",
    "disgust": "disgust",
    "disgusted": "disgust",
    "surprise": "surprise",
    "surprised": "surprise",
    "中性": "neutral",
    "中立": "neutral",
    "开心": "happy",
    "高兴": "happy",
    "快乐": "happy",
    "悲伤": "sad",
    "伤心": "sad",
    "难过": "sad",
    "愤怒": "angry",
    "生气": "angry",
    "恐惧": "fear",
    "害怕": "fear",
    "厌恶": "disgust",
    "惊讶": "surprise",
    "惊喜": "surprise",
}
"""In lower case. The labels are not documented: these are the usual names of the seven classes."""


def to_emotion(table: dict[str, str], label: str) -> str:
    """The project's name of ``label``; raises DataError with the labels that are known."""
    try:
        return table[label]
    except KeyError:
        raise DataError(f"unknown label {label!r}; known: {', '.join(table)}") from None
