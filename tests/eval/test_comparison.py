"""The comparison: what stands in which cell, and what is said where nothing can."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from synthetic_suites import estimate

from cogaudio_rl.eval.comparison import Spent, System, balance_of, key
from cogaudio_rl.eval.comparison_console import print_comparison
from cogaudio_rl.eval.comparison_pairs import Leader
from cogaudio_rl.eval.comparison_report import (
    Comparison,
    comparison_json,
    write_comparison,
)
from cogaudio_rl.eval.distribution import distribution_estimates, jensen_shannon
from cogaudio_rl.eval.metrics import Estimate, mean_estimate
from cogaudio_rl.eval.result import ModelResult, Row, VoteRow
from cogaudio_rl.eval.suite import SuiteResult

LABELS = ("neutral", "happy", "sad")
EVIL = "<script>alert(1)</script>&amp;"


def result(**estimates: Estimate) -> ModelResult:
    return ModelResult(labels=LABELS, rows=(), estimates=estimates, bootstrap_samples=10)


def spent(utterances: int, **changes: Any) -> Spent:
    given: dict[str, Any] = {
        "stages": ("stage1",),
        "steps": utterances // 10,
        "utterances": utterances,
        "rollouts": 0,
        "tokens": utterances * 100,
        "seconds": 60.0,
    }
    return Spent(**given | changes)


BASE = System(
    name="base",
    recipe="",
    about="the backbone, as it came",
    base="builtin:tiny-omni",
    stands_for="base",
    spent={0: spent(0, stages=(), steps=0)},
)
D = System(
    name="quickstart/D",
    recipe="quickstart",
    about="reinforcement learning: SAPO",
    base="builtin:tiny-omni",
    stands_for="D",
    spent={0: spent(1000), 1: spent(1000)},
)
KL = System(
    name="votes/KL",
    recipe="votes",
    about="the chain and how votes are shared",
    base="builtin:tiny-omni",
    stands_for="KL",
    of_votes=True,
    spent={0: spent(4000)},
)
GRPO_Z = replace(KL, name="votes/D", stands_for="D", about="reinforcement learning: GRPO_z")
SYSTEMS = (BASE, D, KL, GRPO_Z)


def made(systems: tuple[System, ...] = SYSTEMS, **changes: Any) -> Comparison:
    """Two test sets, one of votes; D was measured in two seeds."""
    named = {key(s.name, seed): f"{s.name}/seed-{seed}" for s in systems for seed in s.seeds}
    values = iter((0.2, 0.7, 0.8, 0.3, 0.4))
    esd = {
        called: result(
            emotion_accuracy=estimate(next(values), n=40, half=0.1),
            empathy_direct=mean_estimate([], samples=10, seed=0),
        )
        for called in named.values()
    }
    values = iter((0.56, 0.5, 0.52, 0.22, 0.21))
    voted = {
        called: result(votes_js=estimate(next(values), n=21, half=0.02))
        for called in named.values()
    }
    results = {
        "esd": SuiteResult(name="esd", about="acted", models=esd),
        "ambiguity": SuiteResult(name="ambiguity", about="SIMULATED listeners", models=voted),
        "emodb": SuiteResult(name="emodb", about="", not_run="emodb: give its folder"),
    }
    given: dict[str, Any] = {
        "systems": systems,
        "results": results,
        "named": named,
        "folders": {"runs/quickstart": ("quickstart", 0)},
        "scorer": "the test scorer of the package",
        "seed": 0,
        "wall_s": 61.0,
        "limits": {"max_new_tokens_direct": 48},
        "git_revision": "0" * 40,
    }
    return Comparison(**given | changes)


def test_seeds_of_a_system_become_one_figure() -> None:
    """(0.7 + 0.8)/2, and t(0.975, 1)·0.05 = 0.635 beside the 0.1 of the utterances: beyond 0 and 1."""
    told = comparison_json(made())["systems"]["quickstart/D"]
    cell = told["suites"]["esd"]["emotion_accuracy"]
    assert told["seeds"] == [0, 1]
    assert cell["value"] == pytest.approx(0.75)
    assert cell["ci95"] == [pytest.approx(0.75 - 0.643132, abs=1e-5), 1.0]
    assert cell["n"] == 40
    assert cell["by_seed"] == {"0": 0.7, "1": 0.8}


def test_every_cell_is_a_figure_with_its_interval_or_says_why_not() -> None:
    report = comparison_json(made())
    assert report["systems"]["base"]["seeds"] == []
    reasons: set[str] = set()
    for system in report["systems"].values():
        assert set(system["suites"]) == {"esd", "ambiguity"}
        for suite in system["suites"].values():
            assert {"emotion_accuracy", "votes_js", "empathy_direct", "s_audio"} <= set(suite)
            for cell in suite.values():
                if "not_applicable" in cell:
                    assert "value" not in cell
                    assert cell["not_applicable"]
                    reasons.add(cell["not_applicable"])
                else:
                    assert cell["n"] > 0
                    assert len(cell["ci95"]) == 2
    assert "this test set asks how votes are shared, and for no reply" in reasons
    assert "nobody voted on this test set" in reasons
    assert "the scorer had no verdict on these replies" in reasons
    assert report["suites"]["emodb"]["status"] == "not run"


def test_papers_figures_stand_beside_what_stands_for_their_systems() -> None:
    systems = comparison_json(made())["systems"]
    (accuracy,) = systems["quickstart/D"]["suites"]["esd"]["emotion_accuracy"]["paper"]
    assert accuracy["value"] == pytest.approx(0.495)  # 49.5 % of the ablation's D
    assert "2606.06940" in accuracy["source"]
    # The system that learnt votes is nobody's D of replies, and the other way round.
    assert systems["votes/D"]["suites"]["esd"]["emotion_accuracy"]["paper"] == []
    assert systems["quickstart/D"]["suites"]["ambiguity"]["votes_js"]["paper"] == []
    (grpo_z,) = systems["votes/D"]["suites"]["ambiguity"]["votes_js"]["paper"]
    assert (grpo_z["value"], grpo_z["row"]) == (0.20, "GRPO_z")
    assert systems["votes/KL"]["suites"]["ambiguity"]["votes_js"]["paper"] == []
    papers = comparison_json(made())["paper"]
    assert "ambiguity_iemocap" in papers["votes"]
    assert "ablation" not in papers["votes"]
    assert "ablation" in papers["quickstart"]


def test_budgets_are_told_and_whether_they_are_equal() -> None:
    unequal = balance_of(SYSTEMS)
    assert unequal.equal is False
    assert "utterances 1,000 to 4,000, least for quickstart/D;" in unequal.sentence
    assert unequal.ranges["utterances"] == (1000, 4000)
    near = (BASE, D, replace(KL, spent={0: spent(1040)}))
    assert balance_of(near).equal is True
    # SFT draws no rollouts: that is what it is. Of two that do, one had fewer.
    drawn = (BASE, D, replace(KL, spent={0: spent(1000, rollouts=960)}))
    assert balance_of(drawn).equal is True
    fewer = (*drawn, replace(GRPO_Z, spent={0: spent(1000, rollouts=480)}))
    assert balance_of(fewer).equal is False
    assert balance_of(fewer).sentence == (
        "Budgets are not equal: rollouts 480 to 960, least for votes/D."
    )
    far = (BASE, D, replace(KL, spent={0: spent(1000, tokens=None)}))
    assert balance_of(far).ranges["tokens"] is None
    assert balance_of(far).equal is None
    assert "Not every run counted its tokens" in balance_of(far).sentence
    lost = (BASE, replace(D, spent={0: spent(10, is_whole=False)}))
    assert balance_of(lost).equal is None
    assert "quickstart/D" in balance_of(lost).sentence


def test_the_headline_says_who_leads_and_who_cannot_be_told_apart() -> None:
    told = " ".join(comparison_json(made())["headline"])
    assert "votes/D comes nearest to the votes (JS in bits): 0.21 (0.19 – 0.23)" in told
    assert "all others are worse but votes/KL, not told apart from it" in told
    alone = made((BASE, replace(D, spent={0: spent(1000)})))
    assert "one seed says nothing of others" in " ".join(comparison_json(alone)["headline"])


def voted(shift: float) -> ModelResult:
    """Sixteen clips in eight voices; the nearer ``shift`` to 0, the nearer each to its votes."""
    rows = [
        VoteRow(
            utterance_id=f"u{i}",
            speaker=f"v{i % 8}",
            text="",
            failure=None,
            tokens=9,
            votes=(0.5, 0.5, 0.0),
            predicted=(0.5 - 0.02 * i - shift, 0.5 + 0.02 * i + shift, 0.0),
        )
        for i in range(16)
    ]
    found = distribution_estimates(
        [r.votes for r in rows],
        [r.predicted for r in rows],
        samples=200,
        seed=0,
        voices=[r.speaker for r in rows],
    )
    estimates = {f"votes_{name}": one for name, one in found.items()}
    return replace(result(**estimates), votes=tuple(rows), bootstrap_samples=200)


def test_a_leader_is_told_apart_item_by_item_where_intervals_overlap() -> None:
    comparison = made()
    models = {"votes/D/seed-0": voted(0.0), "votes/KL/seed-0": voted(0.02)}
    suite = replace(comparison.results["ambiguity"], models=models)
    report = comparison_json(
        made((KL, GRPO_Z), results={"ambiguity": suite}, named=comparison.named)
    )
    cells = [report["systems"][name]["suites"]["ambiguity"] for name in ("votes/D", "votes/KL")]
    assert cells[0]["votes_js"]["ci95"][1] > cells[1]["votes_js"]["ci95"][0]
    led = report["leaders"]["ambiguity"]["votes_js"]
    assert (led["leader"], led["not_told_apart"]) == ("votes/D", [])
    apart = [
        float(jensen_shannon([theirs.votes], [theirs.predicted])[0])
        - float(jensen_shannon([ours.votes], [ours.predicted])[0])
        for ours, theirs in zip(
            models["votes/D/seed-0"].votes, models["votes/KL/seed-0"].votes, strict=True
        )
    ]
    assert led["differences"]["votes/KL"]["value"] == pytest.approx(sum(apart) / len(apart))
    assert led["differences"]["votes/KL"]["ci95"][0] > 0
    assert "; item by item all others are worse." in " ".join(report["headline"])


def heard(*right: float) -> ModelResult:
    """One row an utterance, right or wrong; NaN: it was never asked for."""
    rows = tuple(
        a_row(i, chosen="sad" if one else "happy") for i, one in enumerate(right) if one == one
    )
    accuracy = mean_estimate([one for one in right if one == one], samples=200, seed=0)
    return replace(result(emotion_accuracy=accuracy), rows=rows, bootstrap_samples=200)


def a_row(number: int, *, chosen: str) -> Row:
    return Row(
        utterance_id=f"u{number}",
        text_id="t",
        transcript="",
        emotion="sad",
        intensity="mid",
        speaker="s",
        language="en",
        audio_path="",
        lexical=None,
        chosen=chosen,
        chosen_silenced=chosen,
        chosen_read=chosen,
        chosen_mismatched=None,
        answers={},
        again="",
    )


def led(models: dict[str, dict[int, ModelResult]]) -> Leader:
    """Who leads in emotion accuracy on one suite, of systems by seed."""
    systems = tuple(
        replace(D, name=name, spent={seed: spent(1000) for seed in of})
        for name, of in models.items()
    )
    named = {key(name, seed): f"{name}#{seed}" for name, of in models.items() for seed in of}
    suite = SuiteResult(
        name="esd",
        about="",
        models={f"{name}#{seed}": one for name, of in models.items() for seed, one in of.items()},
    )
    comparison = made(systems, results={"esd": suite}, named=named)
    return comparison.leaders["esd"]["emotion_accuracy"]


def test_the_shorter_list_is_told() -> None:
    right, wrong = heard(1, 1, 1, 1), heard(0, 0, 0, 0)

    def headline_of(**models: ModelResult) -> str:
        systems = tuple(replace(D, name=name, spent={0: spent(1000)}) for name in models)
        named = {key(name, 0): name for name in models}
        suite = SuiteResult(name="esd", about="", models=models)
        return " ".join(made(systems, results={"esd": suite}, named=named).told)

    assert "item by item z is worse." in headline_of(a=right, b=right, c=right, z=wrong)
    told = headline_of(a=right, b=right, y=wrong, z=wrong)
    assert "item by item all others are worse but b, not told apart from it." in told
    assert "item by item no other system is told to be worse." in headline_of(a=right, b=right)


def test_one_seed_stands_against_each_of_the_others() -> None:
    """0.5 against 1.0, 0.75 and 0.75: −0.5, −0.25 and −0.25, and −1/3 in the mean."""
    leader = led(
        {
            "base": {0: heard(1, 1, 0, 0)},
            "three": {1: heard(1, 1, 1, 1), 2: heard(1, 1, 1, 0), 3: heard(1, 1, 0, 1)},
        }
    )
    assert leader.name == "three"
    by = leader.behind["base"]
    assert by is not None
    assert by.value == pytest.approx(-1 / 3)


def test_seeds_of_two_systems_are_paired_by_their_number() -> None:
    """Seed 1 against seed 1: they differ on one item of four; 0 and 2 have no other."""
    leader = led(
        {
            "one": {0: heard(0, 0, 0, 0), 1: heard(1, 1, 1, 0)},
            "other": {1: heard(1, 1, 0, 0), 2: heard(1, 1, 1, 1)},
        }
    )
    by = leader.behind["one"]
    assert leader.name == "other"
    assert by is not None
    assert by.value == pytest.approx(0.25)
    # Where both were asked it was the other way round: nobody is told to be worse.
    assert leader.near == ("one",)
    apart = led({"one": {0: heard(0)}, "other": {0: heard(1)}, "none": {}})
    assert apart.near == ()


class _Watcher(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href") and v is not None]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_whole_escaped_and_fetches_nothing(tmp_path: Path) -> None:
    odd = replace(D, name=EVIL, about=EVIL, recipe=EVIL, base=EVIL)
    report = write_comparison(tmp_path, made((BASE, odd, KL, GRPO_Z), scorer=EVIL))
    kept = json.loads((tmp_path / "compare.json").read_text("utf-8"))
    assert kept == json.loads(json.dumps(report))
    page = (tmp_path / "compare.html").read_text("utf-8")
    watcher = _Watcher()
    watcher.feed(page)
    assert "script" not in watcher.tags
    assert all(link.startswith("#") for link in watcher.links)
    assert EVIL in watcher.text
    assert "not applicable" in watcher.text.lower()
    assert "paper 0.20" in watcher.text
    assert "emodb: give its folder" in watcher.text
    assert "None" not in watcher.text
    assert "nan" not in watcher.text.split()


def test_the_terminal_has_every_system_and_no_blank() -> None:
    out = io.StringIO()
    print_comparison(made(), Console(file=out, width=120))
    told = out.getvalue()
    for system in SYSTEMS:
        assert system.name in told
    assert "0.75±" in told
    assert "None" not in told
