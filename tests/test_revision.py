"""Which code is running."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import cogaudio_rl
from actors.describe import SOURCE, describe, report_in
from cogaudio_rl.errors import RunError
from cogaudio_rl.revision import REVISION, git_revision, source_digest

HOME = Path(cogaudio_rl.__file__).resolve().parent.parent


def test_git_revision_is_one_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(REVISION, raising=False)
    assert re.fullmatch(r"unknown|[0-9a-f]{40}(-dirty)?", git_revision())
    monkeypatch.setenv(REVISION, "abc")
    assert git_revision() == "abc"


def test_copies_are_equal_until_something_is_changed(tmp_path: Path) -> None:
    for package in ("cogaudio_rl", "actors", "clusters"):
        skipped = shutil.ignore_patterns("__pycache__", "*.safetensors")
        shutil.copytree(HOME / package, tmp_path / package, ignore=skipped)
    assert source_digest(tmp_path) == source_digest()
    source_digest.cache_clear()
    with (tmp_path / "cogaudio_rl" / "recipes" / "quickstart.yaml").open("a") as file:
        file.write("\n")
    assert source_digest(tmp_path) != source_digest()


def test_a_worker_of_other_code_refuses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(SOURCE, source_digest())
    report_in("judge")
    said = capsys.readouterr().out
    assert said.startswith(f"judge: cogaudio_rl {cogaudio_rl.__version__}, revision ")
    assert source_digest() in said
    monkeypatch.setenv(SOURCE, "0" * 12)
    with pytest.raises(RunError, match=r"judge worker on node .* runs other code than the driver"):
        report_in("judge")
    assert describe("judge", ())["source"] == source_digest()
