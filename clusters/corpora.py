"""Prepare a published corpus, and say what was found of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console as Terminal
from rich.table import Table

from cogaudio_rl.console import Console
from cogaudio_rl.data.corpora.prepare import prepare
from cogaudio_rl.data.manifest import iter_manifest
from cogaudio_rl.data.shards import write_shards
from cogaudio_rl.types import Utterance


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


def pack(manifest: Path, out: Path, rows: int) -> None:
    """Parquet files of ``rows`` utterances each, sound and all."""
    console = Console()
    console.stage(f"shards: {manifest} with its sounds, {rows} utterances a file")
    with console.progress("utterances") as advance:
        total = _lines_in(manifest)

        def counted() -> Iterator[Utterance]:
            for done, utterance in enumerate(iter_manifest(manifest), start=1):
                yield utterance
                advance(done, total)

        count = write_shards(counted(), out, rows)
    console.note(f"{count} utterances in {len(list(out.glob('*.parquet')))} files in {out}")


def _lines_in(path: Path) -> int:
    if not path.is_file():
        return 0  # whoever reads it says so
    with path.open("rb") as lines:
        return sum(1 for _ in lines)
