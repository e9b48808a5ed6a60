from __future__ import annotations

import dataclasses
import json
from functools import cache
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard
from sounds import an_utterance

from cogaudio_rl.data.lime import card as cards
from cogaudio_rl.data.lime.acoustics import AcousticSettings, draw
from cogaudio_rl.data.lime.card import Card, Tally, acceptance, read_card, write_card
from cogaudio_rl.data.lime.leak import Features, Leaks, measure
from cogaudio_rl.data.lime.voice import VOICE
from cogaudio_rl.errors import DataError
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import INTENSITIES, LIME_EMOTIONS, Acoustics

PLOTS = ("balance.png", "durations.png", "f0.png", "loudness.png")


def a_sample(families: int = 30) -> list[Features]:
    rng = rng_for(0, "sample")
    return [
        Features(
            family=f"t{family}",
            emotion=emotion,
            text=f"Sentence {family}.",
            duration_s=float(rng.gamma(20, 0.15)),
            level_db=float(rng.normal(-28, 3)),
            speaking_db=float(rng.normal(-26, 3)),
            voice=(float(rng.normal(150 + 15 * i, 20)), *rng.normal(size=len(VOICE) - 1).tolist()),
        )
        for family in range(families)
        for i, emotion in enumerate(LIME_EMOTIONS)
    ]


@cache
def leaks() -> Leaks:
    return measure(a_sample())


def a_tally() -> Tally:
    """Ten families in English, of which two are tests, and one in Chinese."""
    tally = Tally()
    for family in range(11):
        for i, emotion in enumerate(LIME_EMOTIONS):
            utterance = an_utterance(
                f"u{family}_{emotion}",
                text_id=f"t{family}",
                emotion=emotion,
                intensity=INTENSITIES[(family + i) % 3],
                speaker=f"s{i}",
                num_samples=32_000,
            )
            utterance = dataclasses.replace(
                utterance,
                language="zh" if family == 10 else "en",
                acoustics=draw(rng_for(family, emotion), AcousticSettings()),
            )
            tally.add(utterance, "test" if family in (8, 9) else "train")
    return tally


def a_card(**changes: object) -> Card:
    tally = a_tally()
    made = Card(
        name="LIME-made",
        licence="apache-2.0",
        about="Made in memory.",
        parts=tally.parts(),
        acceptance=acceptance(77, 23, {"too slow": 5, "noisy": 20}),
        acoustics=tally.acoustics(),
        leaks=leaks(),
        manifests={"train": "train.jsonl", "test": "test.jsonl"},
        facts={"seed": "0", "synthesiser": "espeak-ng"},
    )
    return dataclasses.replace(made, **changes)


def test_utterances_are_tallied_by_language_and_part() -> None:
    parts = {(p.language, p.part): p for p in a_tally().parts()}
    assert list(parts) == [("en", "train"), ("en", "test"), ("zh", "train")]
    train = parts["en", "train"]
    assert (train.utterances, train.families, train.speakers) == (56, 8, 7)
    assert train.hours == pytest.approx(56 * 2 / 3600, abs=1e-4)
    assert train.mean_seconds == 2.0
    assert sum(train.by_emotion_and_intensity["sad"].values()) == 8
    assert parts["zh", "train"].utterances == 7


def test_acoustics_are_tallied() -> None:
    tally = Tally()
    for i in range(100):
        drawn = Acoustics(speed=1 + i / 100, rt60_s=0.5 if i < 25 else None, band="telephone")
        tally.add(dataclasses.replace(an_utterance(f"u{i}"), acoustics=drawn), "train")
    found = tally.acoustics()
    assert found["speed"].p50 == pytest.approx(1.495, abs=1e-3)
    assert found["speed"].p95 == pytest.approx(1.9405, abs=1e-3)
    assert (found["rt60_s"].share, found["rt60_s"].p5) == (0.25, 0.5)
    assert (found["noise_snr_db"].share, found["telephone"].share) == (0.0, 1.0)
    nothing = Tally()
    nothing.add(an_utterance(), "train")
    assert nothing.acoustics() == {}


def test_acceptance_counts_what_was_offered() -> None:
    found = acceptance(90, 10, {"too slow": 4, "noisy": 8})
    assert (found.offered, found.rate) == (100, 0.9)
    assert dict(found.reasons) == {"noisy": 0.08, "too slow": 0.04}
    assert acceptance(0, 0, {}).rate == 0.0


def test_a_card_comes_back_as_it_was_written(tmp_path: Path) -> None:
    for made in (a_card(), a_card(leaks=None, acoustics={}, facts={}, manifests={})):
        write_card(tmp_path, made, a_sample())
        assert read_card(tmp_path) == made


def test_the_leaks_lie_where_programs_look(tmp_path: Path) -> None:
    made = a_card()
    write_card(tmp_path, made, a_sample())
    record = json.loads((tmp_path / cards.CARD).read_text("utf-8"))
    assert made.leaks is not None
    for clue in ("text", "duration", "loudness"):
        assert record["leak"][f"{clue}_accuracy"] == getattr(made.leaks, f"{clue}_accuracy")
    assert record["acoustic_accuracy"] == made.leaks.acoustic_accuracy
    assert record["chance"] == pytest.approx(1 / 7)


def test_hugging_face_reads_the_front_matter(tmp_path: Path) -> None:
    write_card(tmp_path, a_card(), a_sample())
    matter = DatasetCard.load(tmp_path / "README.md").data.to_dict()
    assert matter["language"] == ["en", "zh"]
    assert matter["license"] == "apache-2.0"
    assert matter["size_categories"] == ["n<1K"]
    assert matter["configs"][0]["data_files"][1] == {"split": "test", "path": "test.jsonl"}


def test_people_read_the_figures_and_see_every_plot(tmp_path: Path) -> None:
    made = a_card()
    write_card(tmp_path, made, a_sample())
    text = (tmp_path / "README.md").read_text("utf-8")
    assert "| en | train | 0.03 | 56 | 7 | 8 | 2.00 |" in text
    assert "| words (character n-grams) | 0.143 | 0.143–0.143 |" in text
    assert "77 of 100 went in (77.0%)" in text
    assert "| noisy | 20.00% |" in text
    for name in PLOTS:
        assert f"(plots/{name})" in text
        assert (tmp_path / "plots" / name).read_bytes().startswith(b"\x89PNG")


def test_without_a_sample_there_is_a_card_still(tmp_path: Path) -> None:
    write_card(tmp_path, a_card(leaks=None))
    assert [path.name for path in (tmp_path / "plots").iterdir()] == ["balance.png"]
    assert "What tells the emotion" not in (tmp_path / "README.md").read_text("utf-8")


def test_the_same_card_is_the_same_to_the_byte(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write_card(tmp_path / folder, a_card(), a_sample())
    for path in (tmp_path / "one").rglob("*.*"):
        assert (
            path.read_bytes()
            == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()
        )


def test_a_card_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"card\.json' does not exist"):
        read_card(tmp_path)
    (tmp_path / cards.CARD).write_text("[]", "utf-8")
    with pytest.raises(DataError, match="is no card"):
        read_card(tmp_path)
    (tmp_path / cards.CARD).write_text('{"name": "x"}', "utf-8")
    with pytest.raises(DataError, match="field 'licence'"):
        read_card(tmp_path)
