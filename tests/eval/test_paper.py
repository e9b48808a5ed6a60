"""The published figures, typed again from the paper, and ours beside them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_suites import NOTHING, estimate, humdial, make_suites, not_run, with_estimates

from cogaudio_rl.eval.paper import SideBySide, side_by_side
from cogaudio_rl.eval.published import ABLATION, BOARD, EMPATHY, HUMAN, TABLES
from cogaudio_rl.eval.suite import SuiteResult

Suites = dict[str, SuiteResult]


@pytest.fixture(scope="module")
def suites(tmp_path_factory: pytest.TempPathFactory) -> Suites:
    return make_suites(tmp_path_factory.mktemp("made"), families=2)


def table(key: str, results: Suites) -> SideBySide:
    return next(t for t in side_by_side(results, backbone="quickstart") if t.published.key == key)


def suites_of(beside: SideBySide) -> list[str | None]:
    return [source.suite if source else None for source in beside.sources]


def row_of(beside: SideBySide, name: str | None = None, ours: str | None = None):
    return next(r for r in beside.rows if (name or r.name) == r.name and (ours or r.ours) == r.ours)


def test_empathy_by_llm_judge():
    assert EMPATHY.rows["Freeze-Omni"] == (1.34, 1.34, 2.12)
    assert EMPATHY.rows["GLM-4-Voice"] == (1.42, 1.79, 2.09)
    assert EMPATHY.rows["Kimi-Audio"] == (1.54, 1.53, 2.16)
    assert EMPATHY.rows["Step-Audio-2-mini"] == (1.22, 1.58, 1.95)
    assert EMPATHY.rows["Qwen3-Omni-30B"] == (1.52, 1.86, 2.38)
    assert EMPATHY.rows["GPT-4o-Audio"] == (1.59, 1.82, 2.58)
    assert len(EMPATHY.rows) == 8


def test_empathy_by_human_raters():
    assert HUMAN.rows["Freeze-Omni"] == (1.56, 1.90)
    assert HUMAN.rows["Kimi-Audio"] == (1.90, 2.29)
    assert HUMAN.rows["Qwen2.5-Omni-7B"] == (2.14, 2.51)
    assert HUMAN.rows["CogAudio-LLM"] == (3.16, 3.17)
    assert list(HUMAN.rows) == list(EMPATHY.rows)


def test_ablation():
    rows = {ABLATION.ours[name]: figures for name, figures in ABLATION.rows.items()}
    assert rows["base"] == (26.5, 24.0, 68.0, 1.64, 1.75, 2.40, 1.54, 1.64, 2.64)
    assert rows["A"][3:6] == (2.10, 2.62, 3.11)
    assert rows["B"][:3] == (47.5, 42.0, 73.0)
    assert rows["B"][6:] == (2.39, 2.35, 3.16)
    assert rows["C"] == (47.0, 44.0, 73.0, 2.26, 2.61, 3.09, 2.43, 2.71, 3.24)
    assert rows["D"] == (49.5, 46.0, 71.0, 2.90, 2.91, 3.24, 2.92, 2.89, 3.39)
    assert rows["A"].count(None) == 6
    assert rows["B"].count(None) == 3


def test_the_tables_agree_where_they_tell_the_same():
    assert ABLATION.rows["base"][3:6] == EMPATHY.rows["Qwen2.5-Omni-7B"]
    assert ABLATION.rows["D stages I+II+III"][3:6] == EMPATHY.rows["CogAudio-LLM"]


def test_the_board():
    assert BOARD.rows["TeleAI"] == (4.27,)
    assert BOARD.rows["Tencent AI Lab-NJU"] == (4.24,)
    assert BOARD.rows["BJTU_Unisound"] == (4.21,)
    assert BOARD.rows["baseline"] == (2.45,)


def test_every_row_has_a_figure_or_a_dash_for_every_column():
    for published in TABLES:
        assert {len(figures) for figures in published.rows.values()} == {len(published.columns)}
        assert set(published.ours) <= set(published.rows)


def test_without_task_4_the_made_set_stands_in_and_says_so(suites: Suites):
    ablation = table("ablation", suites)
    assert suites_of(ablation)[:3] == [None, "conflict", "conflict"]
    assert {s.called for s in ablation.sources if s} == {"made set"}
    ours = row_of(ablation, name="D stages I+II+III")
    made = suites["conflict"].models["D"].estimates["conflict_accuracy"]
    assert ours.figures[1] is not None
    assert ours.figures[1].value == pytest.approx(100 * made.value)
    assert ours.figures[1].n == made.n
    assert ours.ours == "ours: D, quickstart"


def test_task_4_comes_before_the_made_set(suites: Suites):
    known = humdial(("base", "D"))
    told = {"t4_conflict_accuracy": estimate(0.30), "t4_consistent_accuracy": estimate(0.60)}
    models = {name: with_estimates(m, told) for name, m in known.models.items()}
    ablation = table("ablation", {**suites, "humdial": replace(known, models=models)})
    assert suites_of(ablation)[1:5] == ["humdial", "humdial", None, "conflict"]
    figure = row_of(ablation, name="base").figures[1]
    assert figure is not None
    assert (figure.value, figure.lo) == (pytest.approx(30), pytest.approx(22))
    # C was not asked Task 4; the made set's figure must not slip into its column.
    assert row_of(ablation, name="C stages I+II").figures[1] is None


def test_esd_fills_the_first_column(suites: Suites):
    esd = replace(suites["test"], name="esd")
    ablation = table("ablation", {**suites, "esd": esd})
    figure = row_of(ablation, name="base").figures[0]
    assert figure is not None
    base = esd.models["base"].estimates
    assert figure.value == pytest.approx(100 * base["emotion_accuracy"].value)
    empathy = row_of(ablation, name="base").figures[3]
    assert empathy == base["empathy_direct"]


def test_the_papers_own_models_are_never_ours(suites: Suites):
    empathy = table("empathy", suites)
    assert row_of(empathy, name="GPT-4o-Audio").ours is None
    assert not any(row_of(empathy, name="GPT-4o-Audio").figures)
    for name, ours in (("CogAudio-LLM", "D"), ("Qwen2.5-Omni-7B", "base")):
        assert row_of(empathy, name=name).ours == f"ours: {ours}, quickstart"


def test_variants_and_others_stand_at_the_bottom(suites: Suites):
    last = table("ablation", suites).rows[-2:]
    assert [(r.name, r.ours) for r in last] == [
        (None, "ours: D/grpo, quickstart"),
        (None, "ours: qwen-omni-7b"),
    ]
    assert not any(f is not None for r in last for f in r.paper)
    assert last[1].figures[1] is not None


def test_human_ratings_are_never_ours(suites: Suites):
    human = table("human", suites)
    assert len(human.rows) == 8
    assert not any(figure for row in human.rows for figure in row.figures)
    assert not any(row.ours for row in human.rows)


def test_the_board_shows_every_model_that_has_a_final_score(suites: Suites):
    board = table("board", suites)
    ours = {r.ours: r.figures[0] for r in board.rows if r.ours}
    found = ours["ours: D, quickstart"]
    assert found is not None
    assert found.value == 3.0
    assert ours["ours: C, quickstart"] is None


def test_nothing_run_is_no_figure_and_no_nan(tmp_path: Path):
    results = {name: not_run(name) for name in ("esd", "conflict", "humdial")}
    for beside in side_by_side(results, backbone="quickstart"):
        assert set(beside.sources) == {None}
        assert len(beside.rows) == len(beside.published.rows)
        told = beside.to_json()
        assert not any(f for row in told["rows"] for f in row["ours"].values())


def test_a_metric_that_rests_on_nothing_is_not_run(suites: Suites):
    conflict = suites["conflict"]
    empty = {
        name: with_estimates(m, {"conflict_accuracy": NOTHING})
        for name, m in conflict.models.items()
    }
    beside = table("ablation", {"conflict": replace(conflict, models=empty)})
    assert beside.sources[1] is None
    assert math.isnan(NOTHING.value)
    assert row_of(beside, name="base").figures[1] is None
