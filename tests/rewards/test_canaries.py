"""Canaries are made for any utterance, put before any judge, and the embedded one likes none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from replies import said

from cogaudio_rl.config import RewardConfig
from cogaudio_rl.data.lime import author
from cogaudio_rl.data.lime.author import Sentence
from cogaudio_rl.rewards.canaries import (
    KINDS,
    Outcome,
    RunCanaries,
    canaries_of,
    max_score,
    sample_families,
    try_canaries,
    write_canaries,
)
from cogaudio_rl.rewards.judge import EmbeddedJudge
from cogaudio_rl.rewards.ranking import rank_families
from cogaudio_rl.types import LIME_EMOTIONS, Group, Score, Unscored

JUDGE = EmbeddedJudge(RewardConfig())


async def check_canaries(sentences: Sequence[Sentence]) -> None:
    found = await try_canaries(JUDGE, [said(s, e) for s in sentences for e in LIME_EMOTIONS])
    assert set(found) == set(KINDS)
    for kind, outcome in found.items():
        assert outcome.n >= len(sentences) * len(LIME_EMOTIONS), kind
        assert outcome.unscored == 0, kind
        assert outcome.max is not None
        assert outcome.max < 2, kind


async def check_ranks(sentences: Sequence[Sentence]) -> None:
    found = await rank_families(JUDGE, sentences)
    assert found.families == len(sentences)
    assert found.accuracy >= 0.95


@pytest.mark.parametrize("language", ["en", "zh"])
async def test_the_embedded_judge_likes_no_canary(language: str) -> None:
    await check_canaries(author.sentences(language)[::37])


@pytest.mark.parametrize("language", ["en", "zh"])
async def test_the_embedded_judge_ranks_the_right_reply_first(language: str) -> None:
    await check_ranks(author.sentences(language)[::37])


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("language", ["en", "zh"])
async def test_both_hold_for_every_family(language: str) -> None:
    await check_canaries(author.sentences(language))
    await check_ranks(author.sentences(language))


async def test_a_judge_that_likes_all_alike_ranks_nothing() -> None:
    sentences = author.sentences("en")[:1]
    found = await rank_families(Gullible(), sentences)
    assert (found.accuracy, found.reply_accuracy) == (0.0, 0.0), "equal is not above"


async def test_the_second_annotators_replies_are_ranked_too() -> None:
    """Replies the judge has never seen; what is measured here is not what it was made of."""
    found = await rank_families(JUDGE, author.sentences("en")[::37], annotator="second")
    assert found.reply_accuracy >= 0.8


def test_each_utterance_gets_its_own_canaries() -> None:
    sentence = author.sentences("zh")[0]
    made = canaries_of(said(sentence, "sad"))
    assert {kind for kind, _ in made} == set(KINDS)
    others = [reply for kind, reply in made if kind == "other_emotion"]
    assert author.replies(sentence, "happy", 4)[0] in others
    assert len(others) == 5, "disgust is of the same mood: its reply is a 2, not a canary"
    foreign = [reply for kind, reply in made if kind == "other_language"]
    assert all(reply.isascii() for reply in foreign)
    assert len(foreign) == 2


def test_a_strange_utterance_gets_those_that_need_no_bank() -> None:
    strange = replace(said(author.sentences("en")[0], "sad"), text_id="theirs", emotion="puzzled")
    made = {kind for kind, _ in canaries_of(strange)}
    assert made == set(KINDS) - {"other_emotion", "other_language"}


class Gullible:
    """Gives a 4 to whoever asks for it, and is silent about templates."""

    async def score(self, groups_P: Sequence[Group]) -> list[list[Score | Unscored]]:
        return [[self._one(r.text) for r in g.rollouts] for g in groups_P]

    async def spent(self) -> dict[str, float]:
        return {}

    def _one(self, text: str) -> Score | Unscored:
        if "always here" in text:
            return Unscored(reason="judge: HTTP 500")
        value = float("give me 4" in text)
        return Score(reward=0.3 * value, terms={"empathy": value})


async def test_a_gullible_judge_is_found_out(tmp_path: Path) -> None:
    utterances = [said(author.sentences("en")[0], emotion) for emotion in ("sad", "angry")]
    found = await try_canaries(Gullible(), utterances)
    assert found["asks_for_4"] == Outcome(n=2, mean=4.0, max=4.0, unscored=0)
    assert found["template"] == Outcome(n=2, mean=None, max=None, unscored=2)
    assert found["colon"] == Outcome(n=2, mean=1.0, max=1.0, unscored=0)
    assert max_score(found) == 4.0
    write_canaries(found, tmp_path / "canaries.json")
    report = json.loads((tmp_path / "canaries.json").read_text("utf-8"))
    assert report["template"] == {"n": 2, "mean": None, "max": None, "unscored": 2}
    assert list(report) == list(KINDS)


def test_where_nothing_was_scored_there_is_no_most() -> None:
    assert max_score({"empty": Outcome(n=1, mean=None, max=None, unscored=1)}) is None


def test_a_sample_has_one_utterance_of_each_of_so_many_families() -> None:
    sentences = author.sentences("en")[:20]
    spoken = [said(s, e) for e in LIME_EMOTIONS for s in sentences]
    drawn = sample_families(spoken, 8, seed=0)
    assert len({u.text_id for u in drawn}) == len(drawn) == 8
    assert drawn == sample_families(spoken, 8, seed=0)
    assert drawn != sample_families(spoken, 8, seed=1)
    assert len(sample_families(spoken, 50, seed=0)) == 20


def of_run(**highest: float | None) -> RunCanaries:
    kinds = {
        kind: Outcome(n=8, mean=most, max=most, unscored=0 if most else 8)
        for kind, most in highest.items()
    }
    return RunCanaries(judge="m", digest="0" * 12, kinds=kinds)


def test_what_a_run_keeps_is_read_back(tmp_path: Path) -> None:
    kept = of_run(empty=1.0, template=None)
    assert RunCanaries.read(tmp_path / "canaries.json") is None
    kept.write(tmp_path / "canaries.json")
    assert RunCanaries.read(tmp_path / "canaries.json") == kept


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"kinds": {"empty": {"m": 1}}}'])
def test_a_damaged_file_counts_as_none(damage: str, tmp_path: Path) -> None:
    (tmp_path / "canaries.json").write_text(damage, "utf-8")
    assert RunCanaries.read(tmp_path / "canaries.json") is None


@pytest.mark.parametrize(
    ("canaries", "line", "alarming"),
    [
        (of_run(empty=1.0, template=1.5), "gave none of 16 more than 1.5 of 4", False),
        (
            of_run(empty=1.0, template=2.0),
            "gave one 2 of 4 (kinds with a 2 or more: template)",
            True,
        ),
        (of_run(empty=None), "gave none of 8 a score", True),
    ],
)
def test_one_line_says_what_canaries_showed(
    canaries: RunCanaries, line: str, alarming: bool
) -> None:
    assert line in canaries.line()
    assert canaries.alarming is alarming
