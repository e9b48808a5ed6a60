"""``cogaudio-rl ablate``: variants of model D, trained beside the run they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console as Terminal
from rich.markup import escape
from rich.table import Table

from clusters.contestants import recipe_of, run_of
from clusters.launch import run_pipeline
from cogaudio_rl.config import Config, dump_config
from cogaudio_rl.console import Console
from cogaudio_rl.errors import CheckpointError, ConfigError
from cogaudio_rl.stages.variants import Variant, config_of, folder_of, load_variants, trained
from cogaudio_rl.types import Route


def list_variants(source: str) -> None:
    """A table of what there is."""
    table = Table("variant", "what is done otherwise", "settings", title="Variants of model D")
    for name, variant in load_variants(source).items():
        start = "" if variant.start == "stage2" else f"from {variant.start} "
        table.add_row(name, escape(variant.about), escape(start + " ".join(variant.set)))
    Terminal().print(table)


def ablate(run: Path, names: Sequence[str], source: str, overrides: Sequence[str]) -> None:
    """Train the named variants, or all, one after another; those that are finished stay as they are.

    An interrupted one goes on from its last checkpoint. Raises ConfigError for a name that the source
    does not know, CheckpointError where the run has not got as far as a variant starts from.
    """
    chosen = _chosen(load_variants(source), names)
    as_written, (on_its_data, _models) = recipe_of(run, overrides), run_of(run, overrides)
    for name, variant in chosen.items():
        if variant.start != "scratch" and not (run / "checkpoints" / variant.start).is_dir():
            raise CheckpointError(
                f"variant {name!r} starts from {variant.start}, which {str(run)!r} has not; "
                "finish the run first"
            )
    configs = {
        # From scratch the data may be others; else the run's own are there already.
        name: config_of(as_written if v.start == "scratch" else on_its_data, run, name, v)
        for name, v in chosen.items()
    }
    for name, config in configs.items():
        _refuse_changed(name, config, folder_of(run, name))
    console = Console()
    for name, variant in chosen.items():
        if name in trained(run):
            console.note(f"variant {name} is there: {folder_of(run, name)}")
            continue
        console.stage(f"variant {name}: {variant.about}")
        whole = variant.start == "scratch"
        run_pipeline(
            configs[name],
            stages=None if whole else ("rl",),
            init=None if whole else run / "checkpoints" / variant.start,
            resume=folder_of(run, name).is_dir(),
        )
    suite = "ambiguity" if Route.AMBIGUITY in as_written.rl.routes else "test"
    console.note(f"compare them: cogaudio-rl eval --run {run} --suite {suite}")


def _refuse_changed(name: str, config: Config, folder: Path) -> None:
    """What was trained under a variant's name has to be what the variant says now."""
    written = folder / "config.yaml"
    if written.is_file() and written.read_text("utf-8") != dump_config(config):
        raise ConfigError(
            f"variant {name!r} was trained with other settings; delete {str(folder)!r}, or give it "
            "another name"
        )


def _chosen(known: Mapping[str, Variant], names: Sequence[str]) -> Mapping[str, Variant]:
    for name in names:
        if name not in known:
            raise ConfigError(f"variant {name!r} is not one of: {', '.join(known)}")
    return {name: known[name] for name in names} if names else known
