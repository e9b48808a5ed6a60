"""Voices between two emotions: what simulated listeners hear, and what can be told from it."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from typer.testing import CliRunner

from clusters.cli import app
from cogaudio_rl import ambiguity
from cogaudio_rl.data.lime import author, crowd, synthesise
from cogaudio_rl.data.lime.crowd import FEWEST, MOST, draw_crowd
from cogaudio_rl.data.lime.mixtures import (
    PAIRS,
    SIMULATED,
    WEIGHTS,
    Mixture,
    blend,
    build_mixtures,
    read_mixtures,
    read_splits,
)
from cogaudio_rl.data.lime.mixtures_card import entropy_bits
from cogaudio_rl.data.lime.synthesise import PROTOTYPES, Prosody
from cogaudio_rl.data.manifest import read_manifest
from cogaudio_rl.data.votes import vote_counts, vote_table
from cogaudio_rl.errors import DataError
from cogaudio_rl.eval.acoustics import acoustics_at
from cogaudio_rl.eval.distribution import distribution_estimates, jensen_shannon
from cogaudio_rl.eval.metrics import paired_difference
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import LIME_EMOTIONS, Utterance

Floats = npt.NDArray[np.float64]


# -- simulated listeners -------------------------------------------------------------------------


def expected(first: str, second: str, weight: float) -> dict[str, float]:
    """Shares of a whole crowd, over what jitter makes of it."""
    people, rng = draw_crowd(0), rng_for(0, "test")
    jitters = [synthesise.jitter(rng) for _ in range(50)]  # the same for every weight
    drawn = [people.expected(blend(first, second, weight) + each, rng) for each in jitters]
    return {e: float(np.mean([shares[e] for shares in drawn])) for e in LIME_EMOTIONS}


def test_the_pairs_are_a_ring_through_all_emotions() -> None:
    ends = Counter(itertools.chain.from_iterable(PAIRS))
    assert ends == dict.fromkeys(LIME_EMOTIONS, 2)
    for (_, second), (first, _) in zip(PAIRS, (*PAIRS[1:], PAIRS[0]), strict=True):
        assert second == first


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_ambiguity_peaks_in_the_middle_of_a_pair(first: str, second: str) -> None:
    shares = [expected(first, second, weight) for weight in WEIGHTS]
    entropies = [entropy_bits(each) for each in shares]
    assert entropies.index(max(entropies)) == 2
    assert entropies[0] < entropies[1]
    assert entropies[4] < entropies[3]
    assert shares[0][first] > 0.75
    assert shares[4][second] > 0.75
    assert [each[second] for each in shares] == sorted(each[second] for each in shares)
    third = max(share for e, share in shares[2].items() if e not in (first, second))
    assert third < min(shares[2][first], shares[2][second])


def test_a_blend_is_a_straight_way() -> None:
    assert blend("sad", "angry", 0) == PROTOTYPES["sad"].scaled(1) + Prosody()
    assert blend("sad", "angry", 1).pitch == PROTOTYPES["angry"].pitch
    assert blend("happy", "angry", 0.5).loudness_db == pytest.approx(4.5)


def test_votes_come_as_expected() -> None:
    people, prosody = draw_crowd(0), blend("happy", "angry", 0.5)
    rng = rng_for(0, "votes")
    counts = [people.vote(prosody, rng) for _ in range(600)]
    sizes = [sum(one.values()) for one in counts]
    assert (min(sizes), max(sizes)) == (FEWEST, MOST)
    shares = {e: sum(one[e] for one in counts) / sum(sizes) for e in LIME_EMOTIONS}
    told = people.expected(prosody, rng)
    assert sum(told.values()) == pytest.approx(1)
    for emotion in LIME_EMOTIONS:
        assert shares[emotion] == pytest.approx(told[emotion], abs=0.03)


def test_listeners_are_several_and_differ() -> None:
    people = draw_crowd(0)
    assert len(people.bias_LD) == len(people.temperature_L) == crowd.LISTENERS
    assert (people.temperature_L > 0).all()
    assert np.ptp(people.temperature_L) > 0.1
    assert not np.array_equal(people.bias_LD, draw_crowd(1).bias_LD)
    # One alone, asked again and again, hears otherwise than another.
    alone = [
        dataclasses.replace(
            people, bias_LD=people.bias_LD[[i]], temperature_L=people.temperature_L[[i]]
        ).expected(blend("happy", "angry", 0.5), rng_for(0))
        for i in range(10)
    ]
    assert np.ptp([shares["angry"] for shares in alone]) > 0.2


# -- the corpus ----------------------------------------------------------------------------------

SIZES: dict[str, Any] = {"utterances": 280, "rl_utterances": 35, "test_families": 10}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mixtures") / "corpus"


@pytest.fixture(scope="module")
def splits(folder: Path) -> dict[str, tuple[Utterance, ...]]:
    made = build_mixtures(folder, **SIZES, seed=0, workers=1)
    assert isinstance(made.train, tuple)
    return {"train": made.train, "rl": made.rl, "test": made.test}


@pytest.fixture(scope="module")
def mixtures(splits: dict[str, tuple[Utterance, ...]], folder: Path) -> dict[str, Mixture]:
    del splits
    return read_mixtures(folder)


def test_test_texts_and_voices_are_unseen(splits: dict[str, tuple[Utterance, ...]]) -> None:
    assert [len(split) for split in splits.values()] == [280, 35, 70]
    learnt = (*splits["train"], *splits["rl"])
    assert {u.speaker for u in splits["test"]} <= set(synthesise.TEST_VOICES)
    assert {u.speaker for u in learnt} <= set(synthesise.TRAIN_VOICES)
    assert {u.text_id for u in splits["test"]}.isdisjoint(u.text_id for u in learnt)
    held_out = {s.text_id for s in author.split_sentences("en")["test"]}
    assert {u.text_id for u in splits["test"]} <= held_out
    assert held_out.isdisjoint(u.text_id for u in learnt)


def test_what_settings_are_chosen_on_is_apart_from_all_others(tmp_path: Path) -> None:
    """In sentences and voices of its own, whatever the seed; the test is the same without it."""
    sizes: dict[str, Any] = {"utterances": 70, "rl_utterances": 35, "test_families": 2}
    plain = build_mixtures(tmp_path / "plain", **sizes, seed=0)
    assert plain.dev == ()
    held: set[str] = set()
    learnt: set[str] = set()
    for seed in (0, 1):
        made = build_mixtures(tmp_path / f"dev{seed}", **sizes, dev_families=6, seed=seed)
        assert isinstance(made.train, tuple)
        assert len(made.dev) == 6 * len(PAIRS)
        held |= {u.speaker for u in made.dev} | {u.text_id for u in made.dev}
        others = (*made.train, *made.rl, *made.test)
        learnt |= {u.speaker for u in others} | {u.text_id for u in others}
        assert {u.speaker for u in made.dev} <= set(synthesise.TRAIN_VOICES)
    assert not held & learnt
    again = build_mixtures(tmp_path / "dev0", **sizes, dev_families=6, seed=0)
    assert [u.transcript for u in again.test] == [u.transcript for u in plain.test]
    assert [u.votes for u in again.test] == [u.votes for u in plain.test]
    assert [u.speaker for u in again.test] == [u.speaker for u in plain.test]


def test_every_utterance_says_that_its_votes_are_simulated(
    splits: dict[str, tuple[Utterance, ...]], folder: Path
) -> None:
    for utterance in itertools.chain.from_iterable(splits.values()):
        assert utterance.scenario == SIMULATED
        assert set(utterance.votes or {}) == set(LIME_EMOTIONS)
        assert FEWEST <= (utterance.listeners or 0) <= MOST
    assert "SIMULATED" in SIMULATED
    card = json.loads((folder / "stats.json").read_text("utf-8"))
    assert card["simulated"] == SIMULATED
    assert card["listeners"]["simulated"] is True
    assert card["listeners"]["temperature"] == crowd.TEMPERATURE
    told = (folder / "README.md").read_text("utf-8")
    assert f"**{SIMULATED}.** No human spoke and no human listened" in told
    assert "| train | 280 |" in told


def test_votes_are_whole_votes_and_the_label_is_the_majority(
    splits: dict[str, tuple[Utterance, ...]],
) -> None:
    for split in splits.values():
        counts = vote_counts(split, LIME_EMOTIONS)
        assert counts.sum(axis=1).tolist() == [u.listeners for u in split]
        for utterance, row in zip(split, counts, strict=True):
            assert row[LIME_EMOTIONS.index(utterance.emotion)] == row.max()
            assert utterance.ambiguity is not None
            assert utterance.ambiguity.emotion == utterance.emotion
            assert ambiguity.parse(ambiguity.render(utterance.ambiguity)) == utterance.ambiguity


def test_a_family_is_one_sentence_in_every_pair(
    splits: dict[str, tuple[Utterance, ...]], mixtures: dict[str, Mixture]
) -> None:
    assert set(mixtures) == {u.id for split in splits.values() for u in split}
    for split in splits.values():
        for start in range(0, len(split), len(PAIRS)):
            family = split[start : start + len(PAIRS)]
            assert len({u.transcript for u in family}) == 1
            made = [mixtures[u.id] for u in family]
            assert [(m.first, m.second) for m in made] == list(PAIRS)
            assert set(WEIGHTS) == {m.weight for m in made}
    cells = Counter((m.first, m.weight) for u, m in mixtures.items() if u.startswith("train"))
    assert set(cells.values()) == {280 // len(PAIRS) // len(WEIGHTS)}


def test_ambiguity_of_votes_peaks_in_the_middle(
    splits: dict[str, tuple[Utterance, ...]], mixtures: dict[str, Mixture], folder: Path
) -> None:
    entropies: dict[float, list[float]] = defaultdict(list)
    for utterance in splits["train"]:
        entropies[mixtures[utterance.id].weight].append(entropy_bits(utterance.votes or {}))
    means = [float(np.mean(entropies[weight])) for weight in WEIGHTS]
    assert means.index(max(means)) == 2
    assert means[2] > 2 * max(means[0], means[4])
    card = json.loads((folder / "stats.json").read_text("utf-8"))
    kept = card["splits"]["train"]["vote_entropy_bits_by_weight"]
    assert list(kept.values()) == pytest.approx(means, abs=1e-4)


def test_expected_shares_are_the_best_prediction_there_is(
    splits: dict[str, tuple[Utterance, ...]], mixtures: dict[str, Mixture]
) -> None:
    test = splits["test"]
    votes = vote_table(test, LIME_EMOTIONS)
    known = np.array([[mixtures[u.id].expected[e] for e in LIME_EMOTIONS] for u in test])
    found = distribution_estimates(votes, known, samples=200, seed=0)
    prior = distribution_estimates(votes, np.tile(votes.mean(0), (70, 1)), samples=200, seed=0)
    assert found["js"].hi < 0.2 < prior["js"].lo
    assert found["r2"].lo > 0.7


def told_by(model: Any, train: Any, test: Any, votes_NK: Floats) -> Floats:
    """The distribution of votes: a clip stands once for each emotion that somebody heard."""
    rows, labels = np.nonzero(votes_NK)
    features = np.array(train)[rows]
    weights = votes_NK[rows, labels]
    model.fit(features, labels, logisticregression__sample_weight=weights)
    return model.predict_proba(np.array(test))


def test_the_voice_tells_the_votes_on_unseen_speakers_and_words_do_not(
    splits: dict[str, tuple[Utterance, ...]],
) -> None:
    train, test = splits["train"], splits["test"]
    learnt, votes = vote_table(train, LIME_EMOTIONS), vote_table(test, LIME_EMOTIONS)
    hears = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2_000))
    reads = make_pipeline(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4)), LogisticRegression(max_iter=2_000)
    )
    sounds = [[acoustics_at(u.clip.path) for u in split] for split in (train, test)]
    words = [[u.transcript for u in split] for split in (train, test)]
    prior = jensen_shannon(votes, np.tile(learnt.mean(axis=0), (len(test), 1)))
    heard = jensen_shannon(votes, told_by(hears, sounds[0], sounds[1], learnt))
    read = jensen_shannon(votes, told_by(reads, words[0], words[1], learnt))
    gain = paired_difference(prior.tolist(), heard.tolist(), samples=500, seed=0)
    assert gain.lo > 0.1
    assert heard.mean() < 0.75 * prior.mean()
    gain = paired_difference(prior.tolist(), read.tolist(), samples=500, seed=0)
    assert gain.lo <= 0.005


def fingerprint(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


TINY: dict[str, Any] = {"utterances": 7, "rl_utterances": 7, "test_families": 1}


def test_it_is_the_same_to_the_byte_for_any_number_of_workers(tmp_path: Path) -> None:
    build_mixtures(tmp_path / "one", **TINY, seed=0, workers=1)
    build_mixtures(tmp_path / "two", **TINY, seed=0, workers=2)
    assert fingerprint(tmp_path / "one") == fingerprint(tmp_path / "two")
    before = fingerprint(tmp_path / "one")
    made = build_mixtures(tmp_path / "one", **TINY, seed=0, progress=lambda *_: pytest.fail("anew"))
    assert made == read_splits(tmp_path / "one")
    assert fingerprint(tmp_path / "one") == before
    build_mixtures(tmp_path / "one", **TINY, seed=1, workers=1)
    assert fingerprint(tmp_path / "one") != before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"utterances": 8}, "utterances must be a multiple of 7, .* got 8; 14 would do"),
        ({"rl_utterances": 0}, "rl_utterances must be a multiple of 7, .* got 0; 7 would do"),
        ({"test_families": 0}, "split 'test' needs at least one family, got 0"),
    ],
)
def test_numbers_that_make_no_families_are_refused(
    change: dict[str, int], told: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=told):
        build_mixtures(tmp_path / "out", **{**TINY, **change}, seed=0, workers=1)
    assert not list(tmp_path.iterdir())


def test_what_is_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("x")
    with pytest.raises(DataError, match="holds something other than Ambiguity-mini"):
        build_mixtures(tmp_path / "out", **TINY, seed=0, workers=1)
    assert (tmp_path / "out" / "thesis.txt").read_text() == "x"
    with pytest.raises(DataError, match=r"mixtures\.jsonl' cannot be read: No such file"):
        read_mixtures(tmp_path / "out")


def test_the_command_says_that_votes_are_simulated(tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = ["--utterances", "7", "--rl-utterances", "7", "--test-families", "1"]
    result = CliRunner().invoke(app, ["data", "lime", "mixtures", "-o", str(out), *asked])
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert "7 train, 7 rl and 7 test utterances" in said
    assert "their votes are simulated" in said
    assert len(read_manifest(out / "test.jsonl")) == 7
