"""Spoken replies: their grammar, and which voices suit."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from cogaudio_rl import eips
from cogaudio_rl.errors import DataError
from cogaudio_rl.spoken import LEVELS, VoiceFailure, before_level, named, parse, render
from cogaudio_rl.types import KNOWN_EMOTIONS, SpokenReply, VoiceStyle
from cogaudio_rl.voices import (
    EDGES,
    SPREAD,
    SUITS,
    VOICES,
    ReplyVoice,
    level_shares,
    levels_of,
    numbers_of,
    suiting,
    voice_for,
)

SOFT = VoiceStyle(pitch="low", pace="slow", loudness="soft", movement="even")
REPLY = SpokenReply(response="I stay close.", voice=SOFT)
STYLES = st.builds(
    VoiceStyle, **{name.lower(): st.sampled_from(levels) for name, levels in LEVELS.items()}
)
REPLIES = st.builds(
    SpokenReply,
    response=st.from_regex(r"[A-Za-z一-龥][\w ,.!?]{0,30}[\w.]", fullmatch=True),
    voice=STYLES,
)


def test_an_answer_looks_like_this() -> None:
    assert render(REPLY) == (
        "<response>I stay close.</response>\nPitch low, Pace slow, Loudness soft, Movement even"
    )


@given(REPLIES)
def test_what_is_rendered_parses_back(reply: SpokenReply) -> None:
    assert parse(render(reply)) == reply
    for nth, (name, level) in enumerate(named(reply.voice).items()):
        before = before_level(reply, nth)
        assert before.endswith(name)
        assert render(reply).startswith(f"{before} {level}")


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("Pitch low, Pace slow, Loudness soft, Movement even", " ", VoiceFailure.NO_VOICE),
        ("even", "even now", VoiceFailure.NO_LEVEL),
        ("Pitch", "<voice>Pitch", eips.ParseFailure.NO_RESPONSE),
        (", Movement even", "", VoiceFailure.NO_LEVEL),
        ("Pace slow", "Pace", VoiceFailure.NO_LEVEL),
        ("Pitch low, Pace slow", "Pace slow, Pitch low", VoiceFailure.NO_LEVEL),
        ("Loudness soft", "Loudness low", VoiceFailure.UNKNOWN_LEVEL),
        ("<response>", "", eips.ParseFailure.NO_RESPONSE),
        ("I stay close.", "", eips.ParseFailure.EMPTY_RESPONSE),
    ],
)
def test_what_is_no_answer_says_why(old: str, new: str, why: str) -> None:
    text = render(REPLY)
    assert old in text
    assert parse(text.replace(old, new)) is why


def test_every_emotion_has_a_voice_and_every_voice_an_emotion() -> None:
    assert set(SUITS) == KNOWN_EMOTIONS
    assert set(SUITS.values()) == set(VOICES)
    assert len({levels_of(v.numbers()) for v in VOICES.values()}) == len(VOICES)
    assert suiting("sad") == "soothing"
    assert voice_for("sad").pace == "slowest"
    with pytest.raises(DataError, match="no reply's voice suits 'smug'"):
        suiting("smug")


def test_shares_are_those_of_a_normal_distribution() -> None:
    voice = ReplyVoice(pitch=9, pace=0.1, loudness=-5, movement=0)
    shares = level_shares(voice)
    for name, number in voice.numbers().items():
        outer = [-float("inf"), *EDGES[name], float("inf")]
        below = norm.cdf(outer, loc=number, scale=SPREAD[name])
        expected = [float(b - a) for a, b in itertools.pairwise(below)]
        assert shares[name] == pytest.approx(expected, abs=1e-12)
        assert sum(shares[name]) == pytest.approx(1)
    # On an edge both levels are right.
    assert shares["Pitch"][2] == pytest.approx(0.5, abs=1e-4)
    assert shares["Pitch"][3] == pytest.approx(0.5, abs=1e-4)


@given(STYLES)
def test_a_level_s_number_is_of_that_level(style: VoiceStyle) -> None:
    assert levels_of(numbers_of(style)) == style


def test_the_likeliest_levels_are_the_voice_s_own() -> None:
    for voice in VOICES.values():
        likeliest = {
            name.lower(): LEVELS[name][max(range(len(s)), key=s.__getitem__)]
            for name, s in level_shares(voice).items()
        }
        assert VoiceStyle(**likeliest) == levels_of(voice.numbers())
