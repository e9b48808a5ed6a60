"""The suites' report: every number, nothing from outside, and no word that becomes markup."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from synthetic_results import make_facts
from synthetic_suites import NOTHING, estimate, make_suites, not_run, with_estimates

from cogaudio_rl.eval.console import SUITE_COLUMNS, print_suites
from cogaudio_rl.eval.result import ModelResult
from cogaudio_rl.eval.suite import SuiteResult
from cogaudio_rl.eval.suite_forest import difference_forest
from cogaudio_rl.eval.suite_metrics import LISTENING, PAIRED_TEXTS, TABLE_TEXTS, chance_level
from cogaudio_rl.eval.suite_report import write_suite_report
from cogaudio_rl.eval.suite_summary import OTHER, confusion, pairs_of
from cogaudio_rl.eval.suite_words import headline

Suites = dict[str, SuiteResult]
ATTACK = "</style></pre><script>alert('x')</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("suites")


@pytest.fixture(scope="module")
def suites(folder: Path) -> Suites:
    return make_suites(folder, families=6)


@pytest.fixture(scope="module")
def report(folder: Path, suites: Suites) -> dict[str, Any]:
    write_suite_report(folder, suites, make_facts())
    return read(folder)


@pytest.fixture(scope="module")
def page(folder: Path, report: dict[str, Any]) -> str:
    return (folder / "report.html").read_text("utf-8")


def read(folder: Path) -> dict[str, Any]:
    text = (folder / "report.json").read_text("utf-8")
    return json.loads(text, parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))


def only(suites: Suites, name: str, **models: ModelResult) -> Suites:
    return {name: replace(suites[name], models=models)}


def test_the_file_holds_what_the_function_returns(folder: Path, suites: Suites):
    told = write_suite_report(folder, suites, make_facts())
    assert json.loads(json.dumps(told)) == read(folder)


def test_facts_of_the_run_are_there(report: dict[str, Any]):
    assert report["name"] == "quickstart"
    assert {"seed", "versions", "git_revision", "prompt_digests", "wall_s"} <= set(report)


def test_every_estimate_is_there_with_interval_and_n(report: dict[str, Any], suites: Suites):
    for name, result in suites.items():
        for model, found in result.models.items():
            told = report["suites"][name]["models"][model]
            assert set(told) == set(found.estimates)
            for metric, e in found.estimates.items():
                assert told[metric]["n"] == e.n
                if e.n:
                    assert told[metric]["value"] == e.value
                    assert told[metric]["ci95"] == [e.lo, e.hi]
                else:
                    assert told[metric]["value"] is None


def test_suites_that_were_not_run_say_why(report: dict[str, Any], page: str):
    esd = report["suites"]["esd"]
    assert (esd["status"], esd["reason"]) == ("not run", "no folder was given for esd")
    assert (esd["models"], esd["paired"], esd["chance"]) == ({}, {}, None)
    assert "Not run: no folder was given for esd" in page
    assert "Emotion Speech Dataset" in page
    assert report["suites"]["test"]["reason"] is None


def test_sizes_labels_and_chance(report: dict[str, Any]):
    test, humdial = report["suites"]["test"], report["suites"]["humdial"]
    assert (test["n"], len(test["labels"])) == (42, 7)
    assert test["chance"] == pytest.approx(1 / 7)
    assert humdial["n"] == 150
    assert (humdial["paired"], humdial["confusion"]) == ({}, {})


def test_models_are_paired_with_d_whatever_they_are_called():
    names = ("base", "A", "C", "D", "D/grpo", "other")
    assert pairs_of(names) == [
        ("D", "C"),
        ("D", "base"),
        ("C", "base"),
        ("D", "A"),
        ("D/grpo", "D"),
        ("other", "D"),
    ]
    assert pairs_of(("base", "mine")) == []


def test_paired_differences_are_differences(report: dict[str, Any]):
    test = report["suites"]["test"]
    assert set(test["paired"]) == {"D-C", "D-base", "C-base", "D-A", "D/grpo-D", "qwen-omni-7b-D"}
    for ours, theirs in (("D", "base"), ("qwen-omni-7b", "D")):
        for metric in ("emotion_accuracy", "empathy_direct"):
            entry = test["paired"][f"{ours}-{theirs}"][metric]
            gap = test["models"][ours][metric]["value"] - test["models"][theirs][metric]["value"]
            assert entry["mean"] == pytest.approx(gap)
            assert entry["n"] == 42


def test_mcnemar_stands_beside_accuracies_alone(report: dict[str, Any], suites: Suites):
    paired = report["suites"]["test"]["paired"]["D-base"]
    assert "mcnemar" not in paired["empathy_direct"]
    told = paired["emotion_accuracy"]["mcnemar"]
    d, base = (suites["test"].models[name].rows for name in ("D", "base"))
    won = sum(a.chosen == a.emotion and b.chosen != b.emotion for a, b in zip(d, base, strict=True))
    assert told["ours_only"] == won
    assert 0 < told["p_value"] < 0.01


def test_other_utterances_are_not_compared(tmp_path: Path, suites: Suites):
    models = dict(suites["test"].models)
    models["D"] = replace(models["D"], rows=models["D"].rows[1:])
    with pytest.raises(ValueError, match="D and C were evaluated on different utterances"):
        write_suite_report(tmp_path, only(suites, "test", **models), make_facts())
    assert not (tmp_path / "report.html").exists()


def test_confusion_adds_up_to_accuracy(report: dict[str, Any]):
    test = report["suites"]["test"]
    for name, told in test["confusion"].items():
        assert told["columns"] == test["labels"]
        right = sum(row[i] for i, row in enumerate(told["counts"])) / test["n"]
        assert right == pytest.approx(test["models"][name]["emotion_accuracy"]["value"])


def test_an_answer_that_is_no_label_has_its_own_column(suites: Suites):
    model = suites["test"].models["D"]
    rows = (replace(model.rows[0], chosen="happy-ish"), *model.rows[1:])
    columns, counts = confusion(replace(model, rows=rows))
    assert columns == (*model.labels, OTHER)
    assert len(counts) == 7
    assert [row[-1] for row in counts] == [1, 0, 0, 0, 0, 0, 0]


def test_classical_baseline_stands_beside_the_models(report: dict[str, Any], page: str):
    classical = report["suites"]["test"]["classical"]
    assert classical["trained_on"] == 480
    assert classical["metrics"]["emotion_accuracy"]["value"] == 0.41
    assert "acoustics + SVM, trained on 480" in page


def test_divergence_is_told_pair_by_pair(report: dict[str, Any]):
    pairs = report["suites"]["test"]["divergence_by_pair"]
    assert {len(of_model) for of_model in pairs.values()} == {21}
    assert all(pair["families"] == 6 for pair in pairs["D"])
    # The base says one and the same of every voice.
    assert {pair["divergence"] for pair in pairs["base"]} == {0.0}


def test_paper_and_ours_stand_side_by_side(report: dict[str, Any], page: str):
    rows = {row["name"]: row for row in report["paper"]["ablation"]["rows"]}
    d = rows["D stages I+II+III"]
    assert d["paper"]["accuracy/conflict"] == 46.0
    assert d["ours"]["accuracy/esd"] is None
    assert d["ours_name"] == "ours: D, quickstart"
    assert 0 <= d["ours"]["accuracy/conflict"]["value"] <= 100
    for text in ("made set", "ours: qwen-omni-7b", "Step-Audio-2-mini", "Tencent AI Lab-NJU"):
        assert text in page


def test_every_measure_of_dominance_is_explained(page: str, suites: Suites):
    found = suites["conflict"].models["D"].estimates
    for metric, text in LISTENING.items():
        if metric in found:
            assert text.title in page
            assert text.about.split(":")[0] in page


def test_the_page_is_drawn_without_scripts_or_anything_from_outside(page: str):
    assert page.count("<svg") >= 5
    assert "<script" not in page
    assert "default-src 'none'" in page
    targets = re.findall(r'(?:src|href|xlink:href)="([^"]*)"', page)
    assert all(t.startswith("#") for t in targets)
    assert all(u.startswith("#") for u in re.findall(r"url\(([^)]*)\)", page))
    assert "@import" not in page
    assert "#010203" not in page


def test_links_inside_the_page_lead_somewhere(page: str):
    header = page[page.index("<nav>") : page.index("</nav>")]
    ids = set(re.findall(r'<h2 id="([^"]*)"', page))
    assert set(re.findall(r'href="#([^"]*)"', header)) == ids


def test_nothing_that_was_said_or_named_becomes_markup(tmp_path: Path, suites: Suites):
    def hostile(model: ModelResult) -> ModelResult:
        rows = tuple(
            replace(
                row,
                transcript=ATTACK,
                speaker=ATTACK,
                chosen=ATTACK,
                answers={k: replace(a, reply=ATTACK, text=ATTACK) for k, a in row.answers.items()},
            )
            for row in model.rows
        )
        return replace(model, rows=rows)

    test = suites["test"]
    models = {name: hostile(model) for name, model in test.models.items()}
    models[f"$x^{ATTACK}"] = models["A"]
    results = {
        "test": replace(test, name=ATTACK, about=ATTACK, models=models),
        ATTACK: replace(not_run("esd"), name=ATTACK, not_run=ATTACK),
    }
    write_suite_report(tmp_path, results, make_facts(name=ATTACK))
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "<script" not in page
    assert "<img" not in page
    assert page.count("</style>") == page.count("<style")
    assert "&lt;script&gt;alert" in page


def test_the_same_results_give_the_same_bytes(folder: Path, suites: Suites, page: str):
    write_suite_report(folder, suites, make_facts())
    assert (folder / "report.html").read_text("utf-8") == page


def test_missing_metrics_are_dashes(tmp_path: Path, suites: Suites):
    models = {
        name: replace(model, estimates={"emotion_accuracy": model.estimates["emotion_accuracy"]})
        for name, model in suites["test"].models.items()
    }
    models["D"] = with_estimates(models["D"], {"empathy_direct": NOTHING, "s_audio": estimate(0.3)})
    told = write_suite_report(tmp_path, only(suites, "test", **models), make_facts())
    assert told["suites"]["test"]["models"]["D"]["empathy_direct"]["value"] is None
    assert set(told["suites"]["test"]["paired"]["D-C"]) == {"emotion_accuracy"}
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "S_audio" in page
    assert "rubric 1–4 of replies without a chain" not in page


def test_nothing_run_at_all_is_a_report_too(tmp_path: Path):
    results = {name: not_run(name) for name in ("esd", "emodb")}
    told = write_suite_report(tmp_path, results, make_facts())
    assert told["headline"] == "No suite was run."
    assert "No suite was run." in (tmp_path / "report.html").read_text("utf-8")


def words(base: float, d: float, *, half: float, excess: float | None, suites: Suites) -> str:
    """The headline for these accuracies on conflict items, from numbers alone."""

    def model(accuracy: float) -> ModelResult:
        estimates = {"conflict_accuracy": estimate(accuracy, half=half, n=120)}
        if excess is not None:
            estimates["divergence_excess"] = estimate(excess, half=0.05)
        return replace(suites["test"].models["D"], rows=(), estimates=estimates)

    results = {
        "conflict": SuiteResult(
            name="conflict", about="", models={"base": model(base), "D": model(d)}
        )
    }
    return " ".join(headline(results, {"conflict": {}}))


def test_the_headline_points_where_the_numbers_do(suites: Suites):
    better = words(0.2, 0.5, half=0.05, excess=0.3, suites=suites)
    assert "D names the emotion of the voice more often than the base: 50%" in better
    assert "120 items of the made set" in better
    assert "replies follow the voice" in better
    worse = words(0.5, 0.2, half=0.05, excess=0.02, suites=suites)
    assert "D names the emotion of the voice less often" in worse
    assert "replies follow the words" in worse
    same = words(0.30, 0.35, half=0.05, excess=None, suites=suites)
    assert "D is not measurably better or worse than the base at naming" in same


def test_the_headline_goes_by_the_paired_interval_where_there_is_one(suites: Suites):
    d = with_estimates(suites["test"].models["D"], {"conflict_accuracy": estimate(0.35)})
    base = with_estimates(suites["test"].models["base"], {"conflict_accuracy": estimate(0.30)})
    results = {"conflict": SuiteResult(name="conflict", about="", models={"base": base, "D": d})}
    told = {"D-base": {"conflict_accuracy": {"mean": 0.05, "ci95": [0.01, 0.09], "n": 100}}}
    assert "more often than the base" in headline(results, {"conflict": told})[0]
    assert "not measurably" in headline(results, {"conflict": {}})[0]


def test_replies_that_change_but_not_towards_the_emotion_are_called_so(suites: Suites):
    blind = with_estimates(
        suites["test"].models["D"],
        {
            "divergence_excess": estimate(0.4),
            "response_swap_accuracy": estimate(0.16),
            "response_swap_chance": estimate(1 / 7, half=0),
        },
    )
    results = {"test": SuiteResult(name="test", about="", models={"D": blind})}
    assert "not measurably towards its emotion" in headline(results, {"test": {}})[-1]


def test_a_checkpoint_of_any_name_speaks_for_itself(tmp_path: Path, suites: Suites):
    results = only(suites, "conflict", mine=suites["conflict"].models["D"])
    told = write_suite_report(tmp_path, results, make_facts())
    assert told["headline"].startswith("Where words and voice disagree, mine names")
    assert told["suites"]["conflict"]["paired"] == {}


def test_guessing_is_told_by_whoever_knows_it_best(suites: Suites):
    model = with_estimates(
        suites["test"].models["D"], {"t4_chance": estimate(0.25), "response_swap_chance": NOTHING}
    )
    assert chance_level("t4_conflict_accuracy", model) == 0.25
    assert chance_level("t1_accuracy", model) is None
    assert chance_level("emotion_accuracy", model) == pytest.approx(1 / 7)
    assert chance_level("response_swap_accuracy", model) is None
    assert chance_level("s_audio", model) == 0.0
    assert chance_level("empathy_direct", model) is None


def test_titles_are_told_apart():
    for texts in (TABLE_TEXTS, LISTENING):
        full = [text.full for text in texts.values()]
        assert len(set(full)) == len(full)


def test_the_terminal_shows_every_suite_in_80_columns(suites: Suites):
    out = io.StringIO()
    print_suites(suites, Console(file=out, width=80))
    told = out.getvalue()
    assert "…" not in told
    assert max(map(len, told.splitlines())) <= 80
    assert "test: 42 items" in told
    assert "esd: not run: no folder was given for esd" in told
    for text in ("qwen-omni-7b", "D/grpo", "SVM", "chance", "text only", "final"):
        assert text in told


def test_many_figures_leave_their_names_room_in_80_columns(suites: Suites):
    votes = {name: estimate(0.25) for name in SUITE_COLUMNS if name.startswith("votes_")}
    votes["format_ambiguity"] = estimate(1.0)
    model = replace(suites["test"].models["D"], estimates=votes)
    out = io.StringIO()
    of = replace(suites["test"], models={"base": model, "D/from_text_alone": model}, classical=None)
    print_suites({"ambiguity": of}, Console(file=out, width=80))
    told = out.getvalue()
    assert "…" not in told
    for text in ("base", "D/from_text_alone", "Brier", "too narrow for intervals"):
        assert text in told


def test_less_of_what_should_fall_is_better():
    told = {"mean": -0.2, "ci95": [-0.3, -0.1], "n": 9}
    rows = difference_forest(("D", "base"), {"votes_js": told, "votes_top1": told}).rows
    assert {row.name: row.tone for row in rows} == {
        PAIRED_TEXTS["votes_js"].full: "up",
        PAIRED_TEXTS["votes_top1"].full: "down",
    }


def test_names_are_not_markup_on_the_terminal(suites: Suites):
    out = io.StringIO()
    named = {"[red]mine[/red]": suites["test"].models["D"]}
    print_suites({"test": replace(suites["test"], models=named)}, Console(file=out, width=80))
    assert "[red]mine" in out.getvalue()
