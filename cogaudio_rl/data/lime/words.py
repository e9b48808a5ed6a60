"""Words that would tell a feeling, and which language a text is in."""

from __future__ import annotations

import re
from collections.abc import Mapping

FEELINGS: Mapping[str, tuple[str, ...]] = {
    "en": (
        "happy", "happily", "glad", "joy", "joyful", "delighted", "sad", "sadly", "unhappy", "upset",
        "angry", "angrily", "anger", "furious", "mad", "annoyed", "afraid", "fear", "scared",
        "frightened", "worried", "anxious", "terrified", "disgust", "disgusted", "disgusting",
        "gross", "surprised", "surprise", "surprisingly", "amazed", "shocked", "neutral",
        "unfortunately", "finally", "sorry", "hate", "love", "terrible", "wonderful", "awful",
    ),
    "zh": (
        "高兴", "开心", "快乐", "幸福", "难过", "伤心", "悲伤", "生气", "愤怒", "恼火", "害怕",
        "恐惧", "担心", "焦虑", "厌恶", "恶心", "讨厌", "惊讶", "吃惊", "惊喜", "中性", "遗憾",
        "可惜", "终于", "居然", "竟然", "糟糕", "太好了",
    ),
}  # fmt: skip
"""They give an emotion away where they stand in a sentence that every emotion should fit."""

_HAN = re.compile(r"[\u4e00-\u9fff]")
_LATIN = re.compile(r"[A-Za-z]")
_HAN_SHARE = {"zh": (0.6, 1.0), "en": (0.0, 0.05)}

LANGUAGES: tuple[str, ...] = tuple(_HAN_SHARE)
"""Those a corpus can be written and annotated in."""


def feeling_in(text: str, language: str) -> str | None:
    """The first word of feeling in a text."""
    if language == "zh":
        return next((word for word in FEELINGS["zh"] if word in text), None)
    known = frozenset(FEELINGS["en"])
    return next((w for w in re.findall(r"[a-z]+", text.lower()) if w in known), None)


def is_written_in(text: str, language: str) -> bool:
    """By script: the share of Chinese characters among letters."""
    han, latin = len(_HAN.findall(text)), len(_LATIN.findall(text))
    if han + latin == 0:
        return False
    least, most = _HAN_SHARE[language]
    return least <= han / (han + latin) <= most
