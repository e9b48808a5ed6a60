"""Two models on the same utterances: McNemar by hand and what is compared with what."""

from __future__ import annotations

import math
from dataclasses import replace
from math import comb

import pytest
from synthetic_results import make_results

from cogaudio_rl.eval.paired import compare, compare_accuracies, compare_votes, mcnemar
from cogaudio_rl.eval.result import ModelResult, VoteRow
from cogaudio_rl.eval.suite_summary import paired


def answers(won: int, lost: int, both: int = 3, neither: int = 2) -> tuple[list[int], list[int]]:
    ours = [1] * won + [0] * lost + [1] * both + [0] * neither
    theirs = [0] * won + [1] * lost + [1] * both + [0] * neither
    return ours, theirs


def test_p_is_the_binomial_tail_of_the_discordant_pairs():
    # 2 · (1 + 10 + 45) / 2^10
    assert mcnemar(*answers(8, 2)).p_value == pytest.approx(0.109375)
    # 2 · 1 / 2^5
    assert mcnemar(*answers(5, 0)).p_value == pytest.approx(0.0625)


@pytest.mark.parametrize(("won", "lost"), [(0, 1), (3, 12), (20, 7), (4, 5)])
def test_p_agrees_with_the_formula_written_out(won: int, lost: int):
    n, k = won + lost, min(won, lost)
    tail = 2 * sum(comb(n, i) for i in range(k + 1)) / 2**n
    assert mcnemar(*answers(won, lost)).p_value == pytest.approx(min(1.0, tail))


def test_models_that_never_or_evenly_differ_are_not_told_apart():
    assert mcnemar(*answers(0, 0)).p_value == 1.0
    assert mcnemar(*answers(3, 3)).p_value == 1.0


def test_both_sides_are_counted_and_agreement_is_not():
    found = mcnemar(*answers(4, 1, both=50))
    assert (found.ours_only, found.theirs_only) == (4, 1)


def test_an_utterance_that_has_no_answer_drops_out():
    ours, theirs = answers(5, 0)
    found = mcnemar([*ours, math.nan, 1], [*theirs, 0, math.nan])
    assert found == mcnemar(ours, theirs)


def test_what_is_no_paired_answer_is_refused():
    with pytest.raises(ValueError, match="of one length, got 2 and 1"):
        mcnemar([1, 0], [1])
    with pytest.raises(ValueError, match=r"right \(1\) or wrong \(0\), got 2"):
        mcnemar([1, 2], [1, 0])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelResult]:
    return make_results(tmp_path_factory.mktemp("made"), models=("base", "D"), families=4)


def test_other_utterances_are_not_compared(models: dict[str, ModelResult]):
    short = {**models, "base": replace(models["base"], rows=models["base"].rows[:-1])}
    with pytest.raises(ValueError, match="D and base were evaluated on different utterances"):
        compare(("D", "base"), short, seed=0)


def test_only_accuracies_that_both_have_are_tested(models: dict[str, ModelResult]):
    scant = dict(models["base"].estimates)
    del scant["emotion_accuracy_text_only"]
    tests = compare_accuracies(
        ("D", "base"), {**models, "base": replace(models["base"], estimates=scant)}
    )
    assert "emotion_accuracy" in tests
    assert "emotion_accuracy_text_only" not in tests
    assert not {"empathy_direct", "format_validity"} & set(tests)


def test_conflict_items_are_paired_among_themselves(models: dict[str, ModelResult]):
    def worded(result: ModelResult, heard: bool) -> ModelResult:
        rows = tuple(
            replace(row, lexical="sad", chosen=row.emotion if heard else "sad")
            for row in result.rows
        )
        conflict = result.estimates["emotion_accuracy"]
        return replace(
            result, rows=rows, estimates={**result.estimates, "conflict_accuracy": conflict}
        )

    pair = {"D": worded(models["D"], True), "base": worded(models["base"], False)}
    found = compare(("D", "base"), pair, seed=0)["conflict_accuracy"]
    # 4 families of 7 emotions, one of which is the words' own
    assert (found.value, found.n) == (1.0, 24)
    assert compare_accuracies(("D", "base"), pair)["conflict_accuracy"].ours_only == 24


def told(name: str, predicted: float, speaker: str) -> VoteRow:
    return VoteRow(
        utterance_id=name,
        speaker=speaker,
        text="",
        failure=None,
        tokens=1,
        votes=(1.0, 0.0),
        predicted=(predicted, 1 - predicted),
    )


def test_votes_are_compared_clip_by_clip():
    """(p − q)², a mean over two classes: 0.25 where half is missed, 0 where nothing is."""
    clips = [("a", "x"), ("b", "x"), ("c", "y"), ("d", "y")]
    base = ModelResult(labels=("happy", "sad"), rows=(), estimates={}, bootstrap_samples=50)
    half, right = (
        replace(base, votes=tuple(told(name, p, who) for name, who in clips)) for p in (0.5, 1.0)
    )
    found = compare_votes(("D", "C"), {"C": half, "D": right}, seed=0)
    assert found["votes_brier"].value == pytest.approx(-0.25)
    assert found["votes_brier"].hi == pytest.approx(-0.25)
    assert found["votes_top1"].value == pytest.approx(0.5)  # a draw between two labels
    assert found["votes_js"].n == 4
    report = paired({"C": half, "D": right}, seed=0)
    assert report["D-C"]["votes_brier"]["mean"] == pytest.approx(-0.25)
    with pytest.raises(ValueError, match="different utterances"):
        compare_votes(("D", "C"), {"C": replace(half, votes=half.votes[:3]), "D": right}, seed=0)
