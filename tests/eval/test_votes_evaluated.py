"""Evaluation of vote shares: what is asked behind what, and what the figures are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeSampler
from rl_world import utterance

from cogaudio_rl import ambiguity
from cogaudio_rl.config import EvalConfig, load_config
from cogaudio_rl.errors import ConfigError, DataError
from cogaudio_rl.eval.ambiguity import evaluate_votes, labels_of, save_rows
from cogaudio_rl.eval.distribution import jensen_shannon
from cogaudio_rl.eval.kept import KeptSampler
from cogaudio_rl.eval.suite import SuiteResult
from cogaudio_rl.eval.suite_report import write_suite_report
from cogaudio_rl.eval.summary import RunFacts
from cogaudio_rl.run_folder import read_lines
from cogaudio_rl.stages.variants import config_of, load_variants
from cogaudio_rl.types import AmbiguityResponse, Prefix, Prompt, Route

VOTES = ((0.5, 0.5, 0.0), (1.0, 0.0, 0.0), (0.2, 0.2, 0.6))
LABELS = ("happy", "sad", "angry")
VOTED = [
    replace(utterance(i), audio=None, votes=dict(zip(LABELS, shares, strict=True)), listeners=10)
    for i, shares in enumerate(VOTES)
]
CHAIN = AmbiguityResponse(words="w", voice="v", synthesis="happy", emotion="happy")


def answers(prompt: Prompt, temperature: float, i: int) -> str:
    """The first in form, the second in form with an emotion that nobody could choose, the third not."""
    assert prompt.route is Route.AMBIGUITY
    assert temperature == 0
    return {
        "u0": ambiguity.render(CHAIN),
        "u1": ambiguity.render(replace(CHAIN, emotion="fear")),
        "u2": "Noted. sad sad",
    }[prompt.utterance.id]


class Watched(FakeSampler):
    """Keeps the prefixes."""

    def __init__(self) -> None:
        super().__init__(answers)
        self.prefixes: list[Prefix] = []

    async def weigh(
        self, prompts_P: Sequence[Prompt], prefixes_P: Sequence[Prefix], options: Sequence[str]
    ) -> list[tuple[float, ...]]:
        self.prefixes += prefixes_P
        return await super().weigh(prompts_P, prefixes_P, options)


async def test_each_is_asked_behind_its_own_answer(tmp_path: Path) -> None:
    sampler, told = Watched(), list[tuple[int, int]]()
    result, rows = await evaluate_votes(
        sampler, VOTED, EvalConfig(), seed=0, progress=lambda *at: told.append(at)
    )
    assert told == [(3, 3)]
    # The labels come in the order of all reports; the votes with them.
    assert result.labels == ("happy", "sad", "angry")
    by_id = {row.utterance_id: row for row in rows}
    behind = dict(zip([row.utterance_id for row in rows], sampler.prefixes, strict=True))
    assert behind["u0"].text == ambiguity.render_chain(CHAIN)
    assert behind["u0"].token_ids == tuple(map(ord, by_id["u0"].text))
    assert behind["u2"] == Prefix(text="Noted. sad sad\n" + ambiguity.ANSWER_PREFIX)
    # One part each, and one more for each time that it is named.
    assert by_id["u0"].predicted == (0.5, 0.25, 0.25)
    assert by_id["u2"].predicted == (0.2, 0.6, 0.2)
    assert [by_id[f"u{i}"].failure for i in range(3)] == [None, "unknown_emotion", "no_thought"]
    js = jensen_shannon([r.votes for r in rows], [r.predicted for r in rows])
    assert result.estimates["votes_js"].value == pytest.approx(float(np.mean(js)))
    assert result.estimates["votes_js"].n == 3
    assert result.estimates["format_ambiguity"].value == pytest.approx(1 / 3)
    save_rows(rows, tmp_path / "rows.jsonl")
    assert [line["utterance_id"] for line in read_lines(tmp_path / "rows.jsonl")] == list(by_id)


async def test_what_was_weighed_is_kept(tmp_path: Path) -> None:
    for asked in (3, 0):
        sampler = Watched()
        kept = KeptSampler(sampler, tmp_path, model="m")
        result, _ = await evaluate_votes(
            kept, VOTED, EvalConfig(), seed=0, progress=lambda *_: None
        )
        assert len(sampler.prefixes) == asked
        assert len(sampler.seen) == 2 * asked
        assert result.estimates["votes_top1"].n == 3
    other = Prefix(text="another beginning")
    prompt = Prompt(utterance=VOTED[0], route=Route.AMBIGUITY)
    sampler = Watched()
    kept = KeptSampler(sampler, tmp_path, model="m")
    await kept.weigh([prompt, prompt], [other, other], [" happy", " sad"])
    assert len(sampler.prefixes) == 1


async def test_the_report_has_them_beside_the_paper_s(tmp_path: Path) -> None:
    result, _ = await evaluate_votes(
        Watched(), VOTED, EvalConfig(), seed=0, progress=lambda *_: None
    )
    suites = {
        "ambiguity": SuiteResult(
            name="ambiguity", about="made", models={"base": result, "D": result}
        )
    }
    facts = RunFacts(name="mini", seed=0, wall_s=1.0, peak_rss_gib=1.0, versions={})
    report = write_suite_report(tmp_path, suites, facts)
    metrics = report["suites"]["ambiguity"]["models"]["D"]
    for name in ("js", "bhattacharyya", "r2", "brier", "calibration_error", "top1", "top2"):
        assert metrics[f"votes_{name}"]["n"] == 3
        assert len(metrics[f"votes_{name}"]["ci95"]) == 2
    table = report["paper"]["ambiguity_iemocap"]
    rows = {row["name"]: row for row in table["rows"]}
    assert rows["GRPO_z"]["paper"]["ambiguity_iemocap/js"] == 0.20
    ours = rows["GRPO_z"]["ours"]["ambiguity_iemocap/js"]
    assert ours["value"] == result.estimates["votes_js"].value
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "Brier" in page
    assert report["headline"].startswith("D lies no nearer to listeners' votes than the base")
    assert "words and voice disagree" not in report["headline"]
    assert report["suites"]["ambiguity"]["paired"]["D-base"]["votes_js"]["mean"] == 0


def test_label_sets_that_differ_are_refused() -> None:
    fewer = replace(VOTED[1], votes={"happy": 0.5, "sad": 0.5})
    with pytest.raises(
        DataError, match="'u0' and of 'u1' could not choose among the same emotions"
    ):
        labels_of([VOTED[0], fewer])
    with pytest.raises(DataError, match="'u5' has no votes"):
        labels_of([utterance(5)])


def test_recipes_and_their_variants() -> None:
    paper = load_config("ambiguity_crema_d")
    assert paper.model.lora is not None
    assert (paper.model.lora.r, paper.model.lora.alpha) == (8, 16)
    rates = (paper.sft.votes.learning_rate, paper.rl.learning_rate, paper.sft.votes.warmup_share)
    assert rates == (1e-4, 2e-5, 0.03)
    assert paper.rl.warmup_steps == round(0.03 * paper.rl.steps)
    assert paper.rl.schedule == "cosine"
    iemocap = load_config("ambiguity_iemocap")
    assert iemocap.rl.model_copy(update={"min_divergence": paper.rl.min_divergence}) == paper.rl
    mini = load_config("ambiguity_mini")
    known = load_variants("ambiguity")
    rl = {n: config_of(mini, Path("run"), n, v).rl for n, v in known.items()}
    assert {n: c.objective.name for n, c in rl.items()} == {
        "dpo": "dpo",
        "grpo": "grpo",
        "sapo": "sapo",
        "sapo_z": "sapo",
        "from_text_alone": "grpo",
    }
    assert [n for n, c in rl.items() if c.reference_in_group] == ["sapo_z", "from_text_alone"]
    with pytest.raises(ConfigError, match=r"B cannot be made where rl\.route_mix=ambiguity"):
        load_config("ambiguity_mini", ["models=[base, B]"])
