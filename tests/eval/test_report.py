"""The report: every promised key, nothing from outside, and no reply that becomes markup."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from synthetic_results import make_facts, make_results, write_metrics

from cogaudio_rl.eval.console import print_table
from cogaudio_rl.eval.report import write_report
from cogaudio_rl.eval.result import Answer, ModelResult
from cogaudio_rl.eval.summary import METRIC_TEXTS, Results
from cogaudio_rl.metrics import MetricsLog
from cogaudio_rl.rewards.canaries import Outcome, RunCanaries

PROMISED = (
    "emotion_accuracy",
    "emotion_accuracy_as_written",
    "emotion_accuracy_silenced",
    "format_validity",
    "empathy_direct",
    "empathy_explicit",
    "response_divergence",
)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_metrics(folder, steps=30)
    return folder


@pytest.fixture(scope="module")
def results(run_dir: Path) -> Results:
    return make_results(run_dir)


@pytest.fixture(scope="module")
def report(run_dir: Path, results: Results) -> dict[str, Any]:
    write_report(run_dir, results, make_facts())
    text = (run_dir / "report.json").read_text("utf-8")
    return json.loads(text, parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))


@pytest.fixture(scope="module")
def page(run_dir: Path, report: dict[str, Any]) -> str:
    return (run_dir / "report.html").read_text("utf-8")


def with_answers(result: ModelResult, change: Callable[[Answer], Answer]) -> ModelResult:
    rows = tuple(
        replace(row, answers={k: change(a) for k, a in row.answers.items()}) for row in result.rows
    )
    return replace(result, rows=rows)


def test_every_promised_key_is_there_with_its_interval(report: dict[str, Any]):
    assert {"seed", "wall_s", "peak_rss_gib", "n", "versions", "git_revision"} <= set(report)
    assert set(report["models"]) == {"base", "B", "C", "D"}
    for model in report["models"].values():
        for metric in PROMISED:
            lo, hi = model["ci95"][metric]
            assert lo <= model[metric] <= hi
        assert model["n"] == report["n"] == 84


def test_paired_differences_cover_both_routes_greedy_and_sampled(report: dict[str, Any]):
    for pair, (ours, theirs) in {"D-C": ("D", "C"), "C-base": ("C", "base")}.items():
        for metric in ("empathy_direct", "empathy_explicit"):
            for key in (metric, f"{metric}_t1"):
                entry = report["paired"][pair][key]
                gap = report["models"][ours][key] - report["models"][theirs][key]
                assert entry["mean"] == pytest.approx(gap)
                assert entry["ci95"][0] <= entry["mean"] <= entry["ci95"][1]


def test_speakers_and_confusion_add_up(report: dict[str, Any]):
    for name in report["models"]:
        assert sum(s["n"] for s in report["per_speaker"][name].values()) == report["n"]
        counts = report["confusion"][name]
        assert sum(map(sum, counts)) == report["n"]
        right = sum(row[i] for i, row in enumerate(counts)) / report["n"]
        assert right == pytest.approx(report["models"][name]["emotion_accuracy"])


def test_the_page_holds_charts_players_and_curves(page: str):
    assert page.count("<svg") >= 12
    assert page.count("data:audio/flac;base64,") == 21
    for text in ("SFT loss", "Seconds per step", "chance 0.143", "Held-out speakers", "D − C"):
        assert text in page


def test_the_page_loads_nothing_from_outside(page: str):
    assert "<script" not in page
    targets = re.findall(r'(?:src|href|xlink:href)="([^"]*)"', page)
    assert all(t.startswith(("data:", "#")) for t in targets)
    assert "@import" not in page
    assert all(u.startswith("#") for u in re.findall(r"url\(([^)]*)\)", page))
    assert "default-src 'none'" in page


def test_ink_follows_the_theme(page: str):
    assert "#010203" not in page
    assert "currentColor" in page
    assert "prefers-color-scheme: dark" in page


def test_replies_cannot_become_markup(tmp_path: Path, results: Results):
    attack = "</pre><script>alert('x')</script><img src=x onerror=alert(1)>"
    hostile = {
        name: with_answers(result, lambda a: replace(a, reply=attack, text=attack))
        for name, result in results.items()
    }
    hostile = {
        name: replace(
            r, rows=tuple(replace(row, transcript=attack, speaker=attack) for row in r.rows)
        )
        for name, r in hostile.items()
    }
    write_report(tmp_path, hostile, make_facts(name=attack))
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert" in page


def test_the_same_results_give_the_same_bytes(run_dir: Path, results: Results, page: str):
    write_report(run_dir, results, make_facts())
    assert (run_dir / "report.html").read_text("utf-8") == page


def test_canaries_stand_in_the_report_where_the_run_had_some(tmp_path: Path, results: Results):
    kinds = {
        "empty": Outcome(n=8, mean=1.0, max=1.0, unscored=0),
        "asks_for_4": Outcome(n=8, mean=2.5, max=4.0, unscored=1),
        "template": Outcome(n=8, mean=None, max=None, unscored=8),
    }
    canaries = RunCanaries(judge="<script>judge", digest="0" * 12, kinds=kinds)
    report = write_report(tmp_path, results, make_facts(canaries=canaries))
    assert report["canaries"]["kinds"]["asks_for_4"]["max"] == 4.0
    page = (tmp_path / "report.html").read_text("utf-8")
    assert '<td>asks for 4</td><td>8</td><td>2.50</td><td class="down">4.00</td>' in page
    assert "<td>template</td><td>8</td><td>–</td><td>–</td><td>8</td>" in page
    assert "&lt;script&gt;judge" in page
    assert "<script" not in page


def test_without_canaries_nothing_is_said_of_them(report: dict[str, Any], page: str):
    assert report["canaries"] is None
    assert 'id="canaries"' not in page


def test_a_held_out_judges_gap_is_a_curve(tmp_path: Path, results: Results):
    with MetricsLog(tmp_path) as log:
        for step in (10, 20, 30):
            log.log("stage3", step, {"alarm/held_out_gap": step / 100})
    write_report(tmp_path, results, make_facts())
    assert "Held-out judge" in (tmp_path / "report.html").read_text("utf-8")


def test_headline_admits_when_rl_changed_nothing(tmp_path: Path, results: Results):
    same = {**results, "D": results["C"]}
    told = write_report(tmp_path, same, make_facts())["headline"]
    assert told.startswith("Reinforcement learning did not make replies measurably more empathetic")


def test_headline_speaks_of_gain_when_the_interval_excludes_zero(report: dict[str, Any]):
    assert "more empathetic on both routes" in report["headline"]


def test_a_single_model_without_curves_or_clips_still_makes_a_report(tmp_path: Path):
    only = make_results(tmp_path / "made", models=("base",), families=2)
    shutil.rmtree(tmp_path / "made")
    report = write_report(tmp_path, only, make_facts(ready_for_rl=None))
    page = (tmp_path / "report.html").read_text("utf-8")
    assert report["models"]["base"]["thought_reply_agreement"] is None
    assert report["paired"] == {}
    assert "the recording is no longer there" in page
    assert 'id="training"' not in page


def test_a_checkpoint_of_any_name_makes_a_report(tmp_path: Path):
    (made,) = make_results(tmp_path / "made", models=("D",), families=2).values()
    write_report(tmp_path, {"my-adapter": made}, make_facts())
    assert "my-adapter" in (tmp_path / "report.html").read_text("utf-8")


def test_models_evaluated_on_different_utterances_are_not_compared(
    tmp_path: Path, results: Results
):
    short = replace(results["D"], rows=results["D"].rows[:-1])
    with pytest.raises(ValueError, match="D and C were evaluated on different utterances"):
        write_report(tmp_path, {**results, "D": short}, make_facts())


def test_the_terminal_table_fits_80_columns_with_all_five_models(tmp_path: Path):
    results = make_results(tmp_path, models=("base", "A", "B", "C", "D"), families=2)
    out = io.StringIO()
    print_table(results, Console(file=out, width=80))
    told = out.getvalue()
    assert "…" not in told
    assert all(text.title in told for text in METRIC_TEXTS.values())
