"""All folds of a protocol as one test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cogaudio_rl.errors import DataError
from cogaudio_rl.eval.ambiguity import save_rows
from cogaudio_rl.eval.metrics import Estimate
from cogaudio_rl.eval.over_folds import summarise_folds
from cogaudio_rl.eval.result import ModelResult, VoteRow, save_result

LABELS = ("happy", "sad")


def a_fold(folder: Path, rows: dict[str, tuple[float, float]], labels: tuple[str, ...] = LABELS):
    """Utterance → the share of happy that was voted, and that was predicted."""
    said = [
        VoteRow(
            utterance_id=name,
            speaker=name,
            text="",
            failure=None if name != "b2" else "no_thought",
            tokens=3,
            votes=(voted, 1 - voted),
            predicted=(told, 1 - told),
        )
        for name, (voted, told) in rows.items()
    ]
    save_rows(said, folder / "eval" / "KL.votes.jsonl")
    js = Estimate(value=0.5, lo=0.4, hi=0.6, n=len(rows))
    result = ModelResult(labels=labels, rows=(), estimates={"votes_js": js}, bootstrap_samples=9)
    save_result(result, folder / "eval" / "KL.json")


def test_every_utterance_of_every_fold_counts_once(tmp_path: Path) -> None:
    """JS of equal shares is 0, of opposite ones 1 bit: one wrong of four is 0.25."""
    a_fold(tmp_path / "one", {"a1": (1.0, 1.0), "a2": (0.0, 1.0), "a3": (0.5, 0.5)})
    a_fold(tmp_path / "two", {"b2": (0.25, 0.25)})
    report = summarise_folds(tmp_path, ("one", "two"), ("KL",), samples=200, seed=0)
    assert json.loads((tmp_path / "folds.json").read_text("utf-8")) == report
    js = report["models"]["KL"]["votes_js"]
    assert js["value"] == pytest.approx(0.25)
    assert js["n"] == 4
    assert js["ci95"][0] <= 0.25 <= js["ci95"][1]
    assert js["by_fold"] == {"one": 0.5, "two": 0.5}
    assert report["models"]["KL"]["format_ambiguity"]["value"] == 0.75


def test_folds_that_make_no_one_test_are_refused(tmp_path: Path) -> None:
    a_fold(tmp_path / "one", {"a": (1.0, 1.0)})
    a_fold(tmp_path / "two", {"a": (1.0, 1.0)})
    a_fold(tmp_path / "other", {"b": (1.0, 1.0)}, labels=("happy", "angry"))
    with pytest.raises(DataError, match="1 utterances are tested in two folds"):
        summarise_folds(tmp_path, ("one", "two"), ("KL",), samples=9, seed=0)
    with pytest.raises(DataError, match="fold other has labels happy, angry"):
        summarise_folds(tmp_path, ("one", "other"), ("KL",), samples=9, seed=0)
    with pytest.raises(DataError, match="fold one: model D was not evaluated; finish its run"):
        summarise_folds(tmp_path, ("one",), ("D",), samples=9, seed=0)
