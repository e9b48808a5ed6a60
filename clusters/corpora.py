"""Prepare a published corpus, and say what was found of it."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console as Terminal
from rich.table import Table

from cogaudio_rl.console import Console
from cogaudio_rl.data.corpora.prepare import prepare


def prepare_corpus(corpus: str, root: Path, out: Path, *, strict: bool) -> None:
    """Manifest, rejections and card in ``out``; a table of what was found against what is known."""
    console = Console()
    console.stage(f"{corpus}: read what is on disk, look at every sound")
    with console.progress("utterances") as advance:
        done = prepare(corpus, root, out, strict=strict, progress=advance)
    table = Table("what", "found", "known", title=corpus)
    for what, row in done.card["counts"].items():
        known = row.get("known")
        table.add_row(what, f"{row['found']:,}", "-" if known is None else f"{known:,}")
    Terminal().print(table)
    console.note(f"{done.utterances} utterances in {done.manifest}, {done.rejected} rejected")
