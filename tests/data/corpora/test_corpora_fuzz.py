"""Whatever the text: a clear DataError, a rejection, or a right answer. Never anything else."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cogaudio_rl.data.corpora import (
    crema_d,
    ecd_tse,
    esd,
    humdial_lines,
    iemocap,
    lime440k,
    text,
)
from cogaudio_rl.data.corpora.emotions import CREMA_D, IEMOCAP_VOTES
from cogaudio_rl.data.votes import check_votes, shares_of
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import KNOWN_EMOTIONS

QUICK, SLOW = 200, 10_000
SLOW_TO_DRAW = [HealthCheck.too_slow, HealthCheck.data_too_large]

# Pieces of real files, so that drawn text gets past the first check and into the corners.
PIECES = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        (
            *("\t", "\n", "\r\n", " ", "\0", "\ufeff", "\x85", "\u2028", ";", ":", "()", ","),
            *('"', "{", "}", "[", "]", "null", "1e999", "-1", "9" * 20, "...", "？！", "\ud800"),
            *(
                "0001_000001",
                "0011_000351",
                "0001_999999",
                "打远一看",
                "I did go.",
                "中立",
                "Angry",
            ),
            *("Ses01F_impro01_F000", "[6.2 - 8.2]", "[1, 2, 3]", "C-E1:", "C-F1:", "A-E1:", "neu"),
            *("Anger;", "Neutral state;", "M: hm", "100001", "1001_IEO_NEU_XX", "numResponses"),
        )
    ),
)
TEXT = st.lists(PIECES, max_size=25).map("".join)
BYTES = st.one_of(
    st.binary(max_size=200),
    st.tuples(TEXT, st.sampled_from(("utf-8", "utf-16", "gb18030", "latin-1"))).map(
        lambda drawn: drawn[0].encode(drawn[1], "replace")
    ),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | PIECES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                (
                    *("text", "emotion", "scenario", "group", "wav_path", "turns", "turn_id"),
                    *("dialogue_id", "input_text", "options", "answer", "id", "audio", "A", "B"),
                )
            ),
            inner,
            max_size=8,
        )
    ),
    max_leaves=25,
)


def told(bad: list[str]) -> None:
    """Every complaint says something, in one line."""
    assert all(problem.strip() for problem in bad)


def check_esd(drawn: tuple[bytes, int]) -> None:
    raw, speaker = drawn
    try:
        lines, bad, notes = esd.parse_transcripts(raw, speaker)
    except DataError:
        return
    told(bad + notes)
    for name, line in lines.items():
        assert name == line.id
        assert int(name[:4]) == speaker
        family, emotion = esd.family(name)
        assert family[:2] == ("zh" if speaker <= 10 else "en")
        assert emotion in KNOWN_EMOTIONS
        assert line.malformed or (line.text and line.label)


def check_esd_line(drawn: tuple[str, str, str]) -> None:
    """What is well formed comes back as it was, whatever stands around it."""
    before, sentence, after = drawn
    good = f"0011_000352\tI {sentence} go\tAngry"
    lines, _, _ = esd.parse_transcripts(f"{before}\n{good}\n{after}".encode(), 11)
    assert lines["0011_000352"].text == f"I {sentence} go"
    assert not lines["0011_000352"].malformed


def check_ecd_tse(drawn: str) -> None:
    try:
        words = ecd_tse.parse_text(drawn)
    except DataError:
        assert not text.lexical(drawn)
        return
    assert words.split() == drawn.split()


def check_votes_table(drawn: str) -> None:
    header = '"",A,D,F,H,N,S,fileName,numResponses\n'
    for content in (drawn, header + drawn):
        try:
            votes, bad = crema_d.parse_votes(content)
        except DataError:
            continue
        told(bad)
        for counts in votes.values():
            check_votes(shares_of(counts), sum(counts.values()))
            assert set(counts) == set(CREMA_D.values())


def check_votes_row(drawn: tuple[str, list[int], int]) -> None:
    """A row is taken as it is, or refused because its sum is not its total."""
    junk, counts, total = drawn
    row = f"100001,{','.join(map(str, counts))},1001_IEO_NEU_XX,{total}"
    header = '"",A,D,F,H,N,S,fileName,numResponses\n'
    # A quote opens a field that may swallow what follows, in any CSV reader.
    safe = "".join(c for c in junk if c not in '"\r\n')
    votes, bad = crema_d.parse_votes(f"{header}{safe}\n{row}\n")
    told(bad)
    if min(counts) >= 0 and sum(counts) == total > 0:
        expected = dict(zip(CREMA_D.values(), counts, strict=True))
        assert votes == {"1001_IEO_NEU_XX": expected}
    else:
        assert not votes


def check_iemocap(drawn: str) -> None:
    blocks, bad = iemocap.parse_evaluation(drawn)
    told(bad)
    for block in blocks:
        assert block.id.startswith("Ses0")
        if block.votes:
            check_votes(block.votes, block.listeners)
            assert set(block.votes) == set(IEMOCAP_VOTES.values())
    lines, asides, bad = iemocap.parse_transcripts(drawn)
    told(bad)
    assert len(lines) + asides + len(bad) == sum(bool(s.strip()) for s in drawn.splitlines())


def check_iemocap_votes(heard: list[list[str]]) -> None:
    header = "[6.2 - 8.2]\tSes01F_impro01_F000\tneu\t[2.5, 2.5, 2.5]\n"
    lines = "".join(f"C-E{i}:\t{'; '.join(names)};\t()\n" for i, names in enumerate(heard))
    ((block,), bad) = iemocap.parse_evaluation(f"{header}{lines}C-F1:\tFear;\t()\n")
    assert not bad
    expected = {
        name: sum((name in named) / len(named) for named in heard) / len(heard)
        for name in {name for named in heard for name in named}
    }
    names = {"Anger": "angry", "Sadness": "sad", "Excited": "excited", "Other": "other"}
    found = {name: share for name, share in block.votes.items() if share}
    assert found == pytest.approx({names[name]: s for name, s in expected.items()})
    assert block.listeners == len(heard)


def check_lime(drawn: tuple[str, Any]) -> None:
    raw, value = drawn
    items = json.dumps({"10_1_sad": value, raw: value})
    for content in (raw, items):
        try:
            entries, bad = lime440k.parse_items(content, "a")
        except DataError:
            continue
        told(bad)
        for entry in entries:
            assert entry.emotion in KNOWN_EMOTIONS
            assert entry.intensity in ("low", "mid", "high")
            assert entry.group


def check_humdial(drawn: tuple[str, Any]) -> None:
    raw, value = drawn
    for content in (raw, json.dumps(value), json.dumps([value])):
        for lines in (True, False):
            items, bad = humdial_lines.parse_records(content, lines=lines)
            told(bad)
            for _, fields in items:
                check_fields(fields)


def check_fields(fields: dict[str, Any]) -> None:
    try:
        for turn in humdial_lines.parse_turns(fields):
            assert all(isinstance(part, str) for part in turn.values())
    except DataError:
        pass
    columns = {name: name for name in humdial_lines.REQUIRED_COLUMNS}
    try:
        _, options, answer = humdial_lines.parse_choice(fields, columns)
    except DataError:
        return
    assert 0 <= answer < len(options) >= 2


def check_text(drawn: bytes) -> None:
    try:
        content, encoding = text.decode(drawn, ("gb2312", "latin-1"))
    except DataError:
        return
    assert encoding
    plain = text.without_punctuation(content)
    assert text.without_punctuation(plain) == plain
    assert math.isclose(len(text.family_of(content)), 16) or not plain


NUMBERS = st.integers(-1, 12)
NAMES = st.sampled_from(("Anger", "Sadness", "Excited", "Other"))
WORDS = st.text(st.characters(categories=("Ll",), max_codepoint=0x17F), min_size=1, max_size=9)
# No id of the line that is looked for, and no zero: that would be UTF-16.
AROUND = TEXT.map(lambda s: "".join(c for c in s if c not in "\0\ufeff\ud800"))

CHECKS: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], None]]] = {
    "esd": (st.tuples(BYTES, st.integers(1, 20)), check_esd),
    "esd line": (st.tuples(AROUND, WORDS, AROUND), check_esd_line),
    "ecd_tse": (TEXT, check_ecd_tse),
    "crema_d": (TEXT, check_votes_table),
    "crema_d row": (
        st.tuples(TEXT, st.lists(NUMBERS, min_size=6, max_size=6), st.integers(-1, 40)).flatmap(
            lambda d: st.tuples(st.just(d[0]), st.just(d[1]), st.sampled_from((d[2], sum(d[1]))))
        ),
        check_votes_row,
    ),
    "iemocap": (TEXT, check_iemocap),
    "iemocap votes": (
        st.lists(st.lists(NAMES, min_size=1, max_size=3, unique=True), min_size=1, max_size=5),
        check_iemocap_votes,
    ),
    "lime440k": (st.tuples(TEXT, JSON), check_lime),
    "humdial": (st.tuples(TEXT, JSON), check_humdial),
    "text": (BYTES, check_text),
}


def examples_of(count: int, name: str) -> None:
    strategy, check = CHECKS[name]
    limits = settings(max_examples=count, suppress_health_check=SLOW_TO_DRAW, database=None)
    limits(given(strategy)(check))()


@pytest.mark.parametrize("name", CHECKS)
def test_any_text_is_read_or_refused(name: str) -> None:
    examples_of(QUICK, name)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", CHECKS)
def test_any_of_ten_thousand_texts_is_read_or_refused(name: str) -> None:
    examples_of(SLOW, name)
