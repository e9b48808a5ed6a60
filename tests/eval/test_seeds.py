"""One table over several seeds."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from cogaudio_rl.eval.seeds import COLUMNS, markdown_table, summarise_seeds, terminal_table


def report(value: float) -> dict[str, Any]:
    base: dict[str, float | None] = dict.fromkeys(COLUMNS, 0.1)
    return {"models": {"base": base | {"divergence": None}, "D": dict.fromkeys(COLUMNS, value)}}


REPORTS = [report(0.8), report(0.9), report(1.0)]


def test_mean_smallest_and_largest() -> None:
    lines = markdown_table(REPORTS).splitlines()
    assert lines[2].startswith("| base | 0.10 (0.10–0.10) |")
    assert lines[3].startswith("| D | 0.90 (0.80–1.00) |")
    assert markdown_table(REPORTS[:1]).splitlines()[3].startswith("| D | 0.80 |")


def test_the_terminals_table_is_not_cut_at_eighty_columns() -> None:
    five = [{"models": dict.fromkeys(("base", *"ABCD"), r["models"]["D"])} for r in REPORTS]
    out = io.StringIO()
    Console(file=out, width=80).print(terminal_table(five))
    assert "…" not in out.getvalue()
    assert out.getvalue().count("0.80–1.00") == 5 * len(COLUMNS)


def test_every_seeds_report_is_read(tmp_path: Path) -> None:
    for seed, content in enumerate(REPORTS):
        folder = tmp_path / f"seed-{seed}"
        folder.mkdir()
        (folder / "report.json").write_text(json.dumps(content))
    summarise_seeds(tmp_path, (0, 1, 2))
    assert "0.90 (0.80–1.00)" in (tmp_path / "table.md").read_text()
    assert set(json.loads((tmp_path / "report.json").read_text())["seeds"]) == {"0", "1", "2"}
