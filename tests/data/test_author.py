"""What both languages' banks must hold for replies to be worth learning from."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from cogaudio_rl.data.lime import author
from cogaudio_rl.eips import parse, parse_direct, render, render_direct
from cogaudio_rl.types import LIME_EMOTIONS

FEELINGS_EN = (
    r"\b(happy|sad|angry|afraid|fear|disgust\w*|surpris\w*|glad|upset|joy\w*|awful|great)\b"
)
FEELINGS_ZH = (
    "[喜悦怒哀惧惊恨爱愁]|高兴|开心|难过|伤心|生气|害怕|恶心|讨厌"
    "|意外|可惜|[啊呢吗吧呀啦哦]|[！？…]"
)

languages = pytest.mark.parametrize("language", ["en", "zh"])


@languages
def test_there_are_twenty_scenarios_and_enough_sentences(language: str) -> None:
    pool = author.sentences(language)
    assert len({s.scenario for s in pool}) >= 20
    assert len({s.topic for s in pool}) >= 20
    assert len(pool) == len({s.text for s in pool}) == len({s.text_id for s in pool})
    assert len(pool) >= 100


def test_both_languages_have_the_same_scenarios() -> None:
    english, chinese = ({s.scenario for s in author.sentences(k)} for k in ("en", "zh"))
    assert english == chinese


@pytest.mark.parametrize(("language", "feelings"), [("en", FEELINGS_EN), ("zh", FEELINGS_ZH)])
def test_no_sentence_tells_a_feeling(language: str, feelings: str) -> None:
    found = [s.text for s in author.sentences(language) if re.search(feelings, s.text, re.I)]
    assert found == []


def test_chinese_is_chinese() -> None:
    for sentence in author.sentences("zh"):
        assert re.fullmatch(r"[\u4e00-\u9fff]+。", sentence.text)


@languages
def test_every_annotation_parses_back(language: str) -> None:
    for sentence in author.sentences(language)[::7]:
        for emotion in LIME_EMOTIONS:
            for depth in author.DEPTHS:
                for variant in range(2):
                    made = author.annotate(sentence, emotion, depth=depth, variant=variant)
                    assert made.depth == depth
                    assert parse(render(made.eips)) == made.eips
                    assert parse_direct(render_direct(made.eips.response)) == made.eips.response


@languages
def test_replies_name_what_was_said_so_that_none_fits_another_sentence(language: str) -> None:
    for emotion in LIME_EMOTIONS:
        for depth in author.DEPTHS:
            for template in author.load_bank(language).replies[emotion][depth]:
                assert "{t}" in template
                assert depth < 4 or "{g}" in template


@languages
def test_deeper_replies_are_of_one_emotion_alone(language: str) -> None:
    sentence = author.sentences(language)[0]
    for depth in (3, 4):
        said = Counter(r for e in LIME_EMOTIONS for r in author.replies(sentence, e, depth))
        assert set(said.values()) == {1}
        assert len(said) >= 2 * len(LIME_EMOTIONS)


@languages
def test_coarse_replies_are_shared_by_emotions_of_one_mood(language: str) -> None:
    sentence = author.sentences(language)[0]
    for one in LIME_EMOTIONS:
        for other in LIME_EMOTIONS:
            shared = author.replies(sentence, one, 2) == author.replies(sentence, other, 2)
            assert shared == (author.mood(one, language) == author.mood(other, language))


@languages
def test_texts_are_split_once_and_for_all(language: str) -> None:
    sides = author.split_sentences(language)
    train, test = ({s.text_id for s in sides[side]} for side in ("train", "test"))
    assert train.isdisjoint(test)
    assert len(test) == len(author.sentences(language)) // 7


def test_sentences_are_found_by_id() -> None:
    for sentence in (*author.sentences("zh"), *author.emodb_sentences()):
        assert author.sentence_by_id(sentence.text_id) == sentence
    assert author.sentence_by_id("elsewhere") is None
