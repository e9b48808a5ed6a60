"""From rows to numbers: who follows the voice, who follows the words, and what is left out."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_results import make_results

from cogaudio_rl.eval.estimates import (
    estimate_rows,
    estimate_swap,
    estimate_timings,
    whole_families,
)
from cogaudio_rl.eval.result import Row, Timing
from cogaudio_rl.types import LIME_EMOTIONS

SAMPLES = 200


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> tuple[Row, ...]:
    folder: Path = tmp_path_factory.mktemp("clips")
    return make_results(folder, models=("D",), families=6)["D"].rows


def listener(rows: tuple[Row, ...]) -> list[Row]:
    """It names what it hears; an exchanged sound is neutral here."""
    return [replace(r, chosen=r.emotion, chosen_silenced="neutral", lexical="happy") for r in rows]


def reader(rows: tuple[Row, ...]) -> list[Row]:
    """It says what the words say, whatever it is given to hear."""
    return [
        replace(
            r,
            chosen="happy",
            chosen_silenced="happy",
            chosen_read="happy",
            chosen_mismatched="happy",
            lexical="happy",
        )
        for r in rows
    ]


def values(rows: list[Row]) -> dict[str, float]:
    found = estimate_rows(rows, LIME_EMOTIONS, samples=SAMPLES, seed=0)
    return {name: e.value for name, e in found.items()}


def test_who_listens_follows_the_voice_where_words_and_voice_disagree(rows: tuple[Row, ...]):
    found = values(listener(rows))
    assert found["conflict_accuracy"] == found["consistent_accuracy"] == 1.0
    assert found["lexical_label_rate"] == found["conflict_gap"] == 0.0
    assert found["donor_follow"] == 1.0
    assert found["donor_above_chance"] > 0.7
    assert found["s_audio"] > 0.7


def test_who_reads_gives_the_words_label_and_gains_nothing_from_the_sound(rows: tuple[Row, ...]):
    found = values(reader(rows))
    assert found["conflict_accuracy"] == 0.0
    assert found["consistent_accuracy"] == found["lexical_label_rate"] == 1.0
    assert found["s_audio"] == pytest.approx(0.0, abs=1e-9)
    assert found["lexical_cue_gap"] == 0.0
    assert found["donor_above_chance"] == pytest.approx(0.0, abs=1e-9)


def test_sets_whose_words_tell_nothing_have_no_conflict_figures(rows: tuple[Row, ...]):
    assert not [
        name for name in values(list(rows)) if "conflict" in name or "lexical_label" in name
    ]


def test_what_was_not_scored_is_left_out_and_not_a_low_score(rows: tuple[Row, ...]):
    deep = {k: replace(a, empathy=4.0) for k, a in rows[0].answers.items()}
    none = {k: replace(a, empathy=None) for k, a in rows[0].answers.items()}
    some = [replace(rows[0], answers=deep), *(replace(r, answers=none) for r in rows[1:])]
    found = estimate_rows(some, LIME_EMOTIONS, samples=SAMPLES, seed=0)["empathy_direct"]
    assert (found.value, found.n) == (4.0, 1)


def test_families_that_lack_an_emotion_are_not_swapped(rows: tuple[Row, ...]):
    families = whole_families(rows)
    assert len(families) == 6
    assert [r.emotion for r in families[0]] == sorted(LIME_EMOTIONS)
    assert len(whole_families(rows[1:])) == 5
    assert whole_families(rows[:1]) == []


def test_a_family_with_an_unscored_reply_drops_out_of_the_swap():
    told = ((4.0, 1.0), (1.0, 3.0))
    found = estimate_swap((told, ((4.0, None), (1.0, 2.0))), samples=SAMPLES, seed=0)
    assert found["response_swap_accuracy"].value == 1.0
    assert found["response_swap_accuracy"].n == 1
    assert found["response_swap_chance"].value == 0.5
    assert estimate_swap((), samples=SAMPLES, seed=0) == {}


def test_waiting_is_told_apart_by_route():
    timings = [Timing(route="direct", tokens=5, seconds=1.0)] * 2
    found = estimate_timings(timings, samples=SAMPLES, seed=0)
    assert (found["seconds_direct"].value, found["seconds_direct"].n) == (1.0, 2)
    assert math.isnan(found["seconds_explicit"].value)


def test_without_a_sound_there_is_nothing_to_exchange(rows: tuple[Row, ...]):
    mute = [replace(r, audio_path="", chosen_mismatched=None) for r in rows]
    found = estimate_rows(mute, LIME_EMOTIONS, samples=SAMPLES, seed=0)
    assert not {"s_audio", "lexical_cue_gap"} & set(found)
