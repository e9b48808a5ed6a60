"""Prepare a published corpus, and say what was found of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console as Terminal
from rich.table import Table

from cogaudio_rl.config import override, parse
from cogaudio_rl.console import Console
from cogaudio_rl.data.attribute import AttributeRecipe, attribute_manifest
from cogaudio_rl.data.corpora.prepare import prepare
from cogaudio_rl.data.load import check_audio
from cogaudio_rl.data.manifest import records
from cogaudio_rl.data.reannotate import AnnotateRecipe, annotate_manifest
from cogaudio_rl.data.shards import write_shards
from cogaudio_rl.data.voted import PRESETS, VotedRecipe, prepare_voted
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import Utterance


def prepare_corpus(
    corpus: str, root: Path, out: Path, options: Mapping[str, Any], *, strict: bool
) -> None:
    """Manifest, rejections and card in ``out``; a table of what was found against what is known."""
    console = Console()
    console.stage(f"{corpus}: read what is on disk, look at every sound")
    with console.progress("utterances") as advance:
        done = prepare(corpus, root, out, strict=strict, progress=advance, options=options)
    table = Table("what", "found", "known", title=corpus)
    for what, row in done.card["counts"].items():
        known = row.get("known")
        table.add_row(what, f"{row['found']:,}", "-" if known is None else f"{known:,}")
    Terminal().print(table)
    console.note(f"{done.utterances} utterances in {done.manifest}, {done.rejected} rejected")


def annotate_corpus(manifest: Path, out: Path, recipe: AnnotateRecipe) -> None:
    """Train and test manifests with annotations in ``out``."""
    console = Console()
    console.stage(f"annotations: {recipe.author.model} at {recipe.author.base_url}")
    with console.progress("utterances") as advance:
        done = annotate_manifest(manifest, out, recipe, advance)
    console.note(
        f"{done.train} to train on and {done.test} to test on ({recipe.split}) in {out}, "
        f"{done.rejected} without an annotation in rejected.jsonl"
    )


def prepare_votes(corpus: str, manifest: Path, out: Path, overrides: Sequence[str]) -> None:
    """A folder of each fold in ``out``."""
    recipe = parse(VotedRecipe, override(dict(PRESETS[corpus]), overrides))
    console = Console()
    console.stage(f"votes in {', '.join(recipe.labels)}; chains; folds of {recipe.protocol}")
    with console.progress("utterances") as advance:
        done = prepare_voted(manifest, out, recipe, advance)
    table = Table("fold", "train", "dev", "test", title=corpus)
    for name, sizes in done.folds.items():
        table.add_row(name, *(str(sizes.get(split, "-")) for split in ("train", "dev", "test")))
    Terminal().print(table)
    console.note(
        f"{done.rejected} utterances set aside in {out / 'rejected.jsonl'}, "
        f"{done.renormalised} without the votes of some listeners"
    )


def attribute_corpus(manifest: Path, out: Path, recipe: AttributeRecipe) -> None:
    """The same manifest with a thought for each utterance in ``out``."""
    console = Console()
    console.stage(f"attributions: {recipe.author.model} at {recipe.author.base_url}")
    with console.progress("utterances") as advance:
        done = attribute_manifest(manifest, out, recipe, advance)
    console.note(
        f"{done.utterances} utterances with a thought in {out}, "
        f"{done.quarantined} set aside in quarantined.jsonl"
    )


def pack(manifest: Path, out: Path, rows: int, *, strict: bool) -> None:
    """Parquet files of ``rows`` utterances each, sound and all.

    What cannot be packed is listed in ``rejected.jsonl``; ``strict`` makes the first an error.
    """
    console = Console()
    console.stage(f"shards: {manifest} with its sounds, {rows} utterances a file")
    with console.progress("utterances") as advance:
        total, rejected = _lines_in(manifest), list[DataError]()

        def sound() -> Iterator[Utterance]:
            for done, record in enumerate(records(manifest), start=1):
                advance(done, total)
                try:
                    yield _heard(record)
                except DataError as error:
                    if strict:
                        raise
                    rejected.append(error)

        count = write_shards(sound(), out, rows)
    if rejected:
        lines = "".join(json.dumps({"reason": str(e)}, ensure_ascii=False) + "\n" for e in rejected)
        (out / "rejected.jsonl").write_text(lines, "utf-8")
    console.note(
        f"{count} utterances in {len(list(out.glob('*.parquet')))} files in {out}, "
        f"{len(rejected)} rejected"
    )


def _heard(record: Utterance | DataError) -> Utterance:
    """An utterance whose sound is there and as stated; raises DataError for any other."""
    if isinstance(record, DataError):
        raise record
    check_audio([record])
    return record


def _lines_in(path: Path) -> int:
    if not path.is_file():
        return 0  # whoever reads it says so
    with path.open("rb") as lines:
        return sum(1 for _ in lines)
