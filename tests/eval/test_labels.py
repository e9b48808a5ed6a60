"""Labelled replies and what they say of a judge: strict reading, numbers from elsewhere, the page."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median_low
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from cogaudio_rl.errors import DataError
from cogaudio_rl.eval.agreement import icc_2_1
from cogaudio_rl.eval.calibration_report import write_calibration
from cogaudio_rl.eval.labels import JudgeCalibration, LabelledReply, calibrate_labels, read_labels
from cogaudio_rl.types import LIME_EMOTIONS, Unscored

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "judge_labels.jsonl"
"""Sixty replies written for the tests, rated by three raters that are simulated: one careful, one
strict, one mild."""

GOOD: dict[str, Any] = {
    "words": "Our team plays tonight.",
    "emotion": "happy",
    "language": "en",
    "reply": "You can hardly wait!",
    "labels": {"a": 3, "b": 4},
}


@pytest.fixture(scope="module")
def items() -> tuple[LabelledReply, ...]:
    return read_labels(GOLDEN)


def one_off(items: Sequence[LabelledReply]) -> list[int]:
    """A judge who is one level too mild with every fourth reply."""
    return [min(4, item.median + (i % 4 == 0)) for i, item in enumerate(items)]


def labelled(labels: dict[str, int]) -> LabelledReply:
    return LabelledReply(**{**GOOD, "labels": labels})


def written(tmp_path: Path, *lines: object) -> Path:
    path = tmp_path / "labels.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


# -- reading ------------------------------------------------------------------------------------


def test_the_golden_set_covers_emotions_languages_and_levels(items: tuple[LabelledReply, ...]):
    assert len(items) == 60
    assert {item.emotion for item in items} == set(LIME_EMOTIONS)
    assert {item.language for item in items} == {"en", "zh"}
    for language in ("en", "zh"):
        levels = Counter(item.median for item in items if item.language == language)
        assert min(levels[level] for level in (1, 2, 3, 4)) >= 5
    assert all(rater.startswith("made_for_tests") for rater in items[0].labels)


def test_every_line_is_read_as_it_stands(tmp_path: Path):
    (item,) = read_labels(written(tmp_path, GOOD))
    assert item == LabelledReply(**GOOD)
    (empty,) = read_labels(written(tmp_path, "", GOOD | {"reply": ""}, "  "))
    assert empty.reply == ""


@pytest.mark.parametrize(
    ("labels", "median"), [({"a": 2}, 2), ({"a": 3, "b": 2}, 2), ({"a": 1, "b": 4, "c": 3}, 3)]
)
def test_the_median_of_an_even_number_is_the_lower(labels: dict[str, int], median: int):
    assert labelled(labels).median == median


@pytest.mark.parametrize(
    ("second", "told"),
    [
        (GOOD | {"score": 3}, "unknown column 'score'; known: words, emotion, language"),
        ({k: v for k, v in GOOD.items() if k != "reply"}, "column 'reply' is missing"),
        (GOOD | {"words": " "}, "column 'words' is empty"),
        (GOOD | {"reply": None}, "column 'reply' must be text, got None"),
        (GOOD | {"emotion": "bored"}, "unknown emotion 'bored'; known: angry"),
        (GOOD | {"labels": {"a": 3, "b": 5}}, "label 5 of rater 'b' is not one of 1, 2, 3, 4"),
        (GOOD | {"labels": {"a": 0, "b": 4}}, "label 0 of rater 'a'"),
        (GOOD | {"labels": {"a": "3", "b": 4}}, "label '3' of rater 'a'"),
        (GOOD | {"labels": {"a": 3.0, "b": 4}}, r"label 3\.0 of rater 'a'"),
        (GOOD | {"labels": {"a": True, "b": 4}}, "label True of rater 'a'"),
        (GOOD | {"labels": {"a": None, "b": 4}}, "label None of rater 'a'"),
        (GOOD | {"labels": {"a": 3, "": 4}}, "rater '' has no name"),
        (GOOD | {"labels": {"a": 3}}, "no label of rater 'b'; every rater must rate every reply"),
        (GOOD | {"labels": {"a": 3, "b": 4, "c": 1}}, "rater 'c' is not among those of the first"),
        (GOOD | {"labels": {}}, r"labels must be \{rater: level\}, got \{\}"),
        (GOOD | {"labels": [3, 4]}, r"labels must be \{rater: level\}, got \[3, 4\]"),
        ("[1]", "not a JSON object but list"),
        ("{", "not a JSON object"),
        ('{"labels": {"a": 3, "a": 4}}', "'a' comes twice"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path: Path, second: object, told: str):
    path = written(tmp_path, GOOD, second)
    with pytest.raises(DataError, match=rf"labels\.jsonl line 2: .*{told}") as raised:
        read_labels(path)
    assert "\n" not in str(raised.value)


def test_an_empty_file_and_a_missing_one_are_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"labels\.jsonl' is empty: it needs at least one"):
        read_labels(written(tmp_path, ""))
    with pytest.raises(DataError, match=r"nowhere\.jsonl' does not exist"):
        read_labels(tmp_path / "nowhere.jsonl")


def test_bytes_that_are_no_text_are_named(tmp_path: Path):
    path = tmp_path / "labels.jsonl"
    path.write_bytes(b'{"words": "\xff"}\n')
    with pytest.raises(DataError, match="line 1: not a JSON object"):
        read_labels(path)


# -- calibrating --------------------------------------------------------------------------------


def test_the_numbers_are_those_of_other_libraries(items: tuple[LabelledReply, ...]):
    judge = one_off(items)
    found = calibrate_labels(items, judge, samples=200, seed=0)
    median = [median_low(item.labels.values()) for item in items]
    kappa = cohen_kappa_score(median, judge, weights="quadratic", labels=[1, 2, 3, 4])
    assert found.judge.kappa.value == pytest.approx(kappa, abs=1e-6)
    assert found.judge.icc.value == pytest.approx(icc_2_1(np.column_stack([median, judge])))
    assert found.confusion == tuple(
        map(tuple, confusion_matrix(median, judge, labels=[1, 2, 3, 4]))
    )
    assert (found.n, found.unscored) == (60, 0)
    for rater, agreed in found.per_rater.items():
        own = [item.labels[rater] for item in items]
        theirs = cohen_kappa_score(own, judge, weights="quadratic", labels=[1, 2, 3, 4])
        assert agreed.kappa.value == pytest.approx(theirs, abs=1e-6)
        assert agreed.kappa.lo <= agreed.kappa.value <= agreed.kappa.hi


def test_a_judge_who_gives_the_median_agrees_perfectly_and_better_than_people(
    items: tuple[LabelledReply, ...],
):
    found = calibrate_labels(items, [item.median for item in items], samples=200, seed=0)
    assert (found.judge.kappa.value, found.judge.icc.value) == pytest.approx((1, 1))
    assert found.humans is not None
    assert 0.7 < found.humans.kappa.value < 1
    assert all(row[j] == 0 for i, row in enumerate(found.confusion) for j in range(4) if i != j)


def test_a_judge_who_gives_fours_to_all_has_no_agreement(items: tuple[LabelledReply, ...]):
    found = calibrate_labels(items, [4] * 60, samples=100, seed=0)
    assert found.judge.kappa.value == 0
    assert abs(found.judge.icc.value) < 1e-12


def test_unscored_replies_drop_out_and_are_counted(items: tuple[LabelledReply, ...]):
    whole = one_off(items)
    some = [Unscored(reason="timeout") if i % 3 == 0 else s for i, s in enumerate(whole)]
    found = calibrate_labels(items, some, samples=100, seed=0)
    assert (found.n, found.unscored) == (40, 20)
    kept = [i for i in range(60) if i % 3]
    alone = calibrate_labels(
        [items[i] for i in kept], [whole[i] for i in kept], samples=100, seed=0
    )
    assert found.judge == alone.judge
    assert found.confusion == alone.confusion
    assert sum(map(sum, found.confusion)) == 40


def test_one_rater_leaves_nothing_between_people(tmp_path: Path):
    items = [labelled({"a": level}) for level in (1, 2, 3, 4, 4)]
    found = calibrate_labels(items, [1, 2, 3, 4, 3], samples=50, seed=0)
    assert found.humans is None
    content, page = report(tmp_path, found)
    assert content["humans"] is None
    assert "agrees with the one rater" in page


def test_a_judge_who_scored_nearly_nothing_is_an_error(items: tuple[LabelledReply, ...]):
    dead: list[int | Unscored] = [Unscored(reason="timeout")] * 59
    with pytest.raises(DataError, match="the judge scored 1 of 60 labelled replies"):
        calibrate_labels(items, [*dead, 3], samples=10, seed=0)


def test_scores_of_another_number_or_outside_the_rubric_are_refused(
    items: tuple[LabelledReply, ...],
):
    with pytest.raises(ValueError, match="got 1 judge scores for 60"):
        calibrate_labels(items, [3], samples=10, seed=0)
    with pytest.raises(ValueError, match="rating 5 is not one of 1, 2, 3, 4"):
        calibrate_labels(items, [5, *[3] * 59], samples=10, seed=0)


def test_the_same_seed_gives_the_same_calibration(items: tuple[LabelledReply, ...]):
    judge = one_off(items)
    one = calibrate_labels(items, judge, samples=100, seed=3)
    assert one == calibrate_labels(items, judge, samples=100, seed=3)
    assert one != calibrate_labels(items, judge, samples=100, seed=4)


# -- the report ---------------------------------------------------------------------------------


def report(folder: Path, found: JudgeCalibration, **names: Any) -> tuple[dict[str, Any], str]:
    told = {"judge": "embedded", "labelled_file": "labels.jsonl", "samples": 100, "seed": 0} | names
    write_calibration(folder, found, **told)
    content = json.loads(
        (folder / "calibration.json").read_text("utf-8"),
        parse_constant=lambda c: pytest.fail(f"{c} is not JSON"),
    )
    return content, (folder / "calibration.html").read_text("utf-8")


@pytest.fixture(scope="module")
def found(items: tuple[LabelledReply, ...]) -> JudgeCalibration:
    return calibrate_labels(items, one_off(items), samples=100, seed=0)


def test_json_has_every_number_with_n_and_interval(tmp_path: Path, found: JudgeCalibration):
    content, _ = report(tmp_path, found)
    assert content["judge_name"] == "embedded"
    assert content["raters"] == [f"made_for_tests_{i}" for i in (1, 2, 3)]
    sides = [content["judge"], content["humans"], *content["per_rater"].values()]
    assert len(sides) == 5
    for side in sides:
        for measure in ("kappa_quadratic", "icc_2_1"):
            lo, hi = side[measure]["ci95"]
            assert lo <= side[measure]["value"] <= hi
            assert side[measure]["n"] == 60
    assert np.array(content["confusion"]["counts"]).shape == (4, 4)
    assert (content["n"], content["unscored"]) == (60, 0)


def test_the_page_shows_every_count_and_loads_nothing(tmp_path: Path, found: JudgeCalibration):
    _, page = report(tmp_path, found)
    cells = re.findall(r'title="human (\d), judge (\d): (\d+) of', page)
    assert {(int(h), int(j)): int(c) for h, j, c in cells} == {
        (i + 1, j + 1): found.confusion[i][j] for i in range(4) for j in range(4)
    }
    assert page.count('class="track"') == 10
    single = np.mean([a.kappa.value for a in found.per_rater.values()])
    assert f"With one person the judge agrees at a weighted kappa of {single:.2f}" in page
    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="', page)
    assert "url(" not in page
    assert "default-src 'none'" in page


def test_names_cannot_become_markup(tmp_path: Path, items: tuple[LabelledReply, ...]):
    attack = "<script>alert(1)</script>"
    hostile = [replace(item, labels={attack: item.median, "b": item.median}) for item in items]
    found = calibrate_labels(hostile, one_off(items), samples=20, seed=0)
    _, page = report(tmp_path, found, judge=attack, labelled_file=attack)
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_numbers_that_do_not_exist_are_null_and_a_dash(
    tmp_path: Path, items: tuple[LabelledReply, ...]
):
    threes = [labelled({"a": 3, "b": 3})] * 4
    content, page = report(tmp_path, calibrate_labels(threes, [3] * 4, samples=20, seed=0))
    assert content["judge"]["icc_2_1"] == {"value": None, "ci95": [None, None], "n": 0}
    assert "Agreement cannot be told" in page
    assert 'class="track"' not in page


def test_the_same_calibration_gives_the_same_bytes(tmp_path: Path, found: JudgeCalibration):
    _, one = report(tmp_path / "one", found)
    _, other = report(tmp_path / "other", found)
    assert one == other
