"""Ablations beyond A to D: model D with one thing changed, beside the run it belongs to.

RUN/checkpoints/stage2 ─► RL with a few settings changed ─► RUN/variants/NAME/checkpoints/stage3
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from cogaudio_rl.config import Config, Strict, override, parse, parse_config, read_recipe
from cogaudio_rl.errors import ConfigError

FOLDER = "variants"

_NAME = TypeAdapter(Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")])


class Variant(Strict):
    """One thing done otherwise."""

    about: str
    """For whoever reads the table."""
    start: Literal["stage2", "stage1", "votes", "chain", "scratch"] = "stage2"
    """The adapter that RL begins with; ``scratch``: all stages are run again, as for other data."""
    set: tuple[str, ...] = ()
    """Settings of the recipe, as on the command line: ``rl.reward.emotion=0``."""


def load_variants(source: str) -> dict[str, Variant]:
    """Shipped variants by name, or those of a YAML file.

    Raises ConfigError naming the variant or the value that is wrong.
    """
    raw = read_recipe(source, kind="variants")
    found: dict[str, Variant] = {}
    for name, given in raw.items():
        if not _is_name(name):
            raise ConfigError(f"variant {name!r} is the name of a folder: use a-z, 0-9 and _ only")
        if not isinstance(given, dict):
            raise ConfigError(f"variant {name!r} must be a mapping with about, start and set")
        found[name] = parse(Variant, given)
    return found


def config_of(base: Config, run: Path, name: str, variant: Variant) -> Config:
    """The run's own recipe with the variant's settings, in a folder of its own.

    Raises ConfigError for a setting that the recipe does not know.
    """
    try:
        changed = parse_config(override(base.model_dump(mode="json"), variant.set))
    except ConfigError as error:
        raise ConfigError(f"variant {name!r}: {error}") from None
    return changed.model_copy(
        update={"name": f"{base.name}/{name}", "out_dir": folder_of(run, name), "seeds": ()}
    )


def folder_of(run: Path, name: str) -> Path:
    """Where a variant of this run is trained."""
    return run / FOLDER / name


def trained(run: Path) -> Mapping[str, Path]:
    """Variants of a run that are finished: name → adapter."""
    found = sorted((run / FOLDER).glob("*/checkpoints/stage3"))
    return {adapter.parents[1].name: adapter for adapter in found}


def _is_name(name: object) -> bool:
    try:
        _NAME.validate_python(name, strict=True)
    except ValueError:
        return False
    return True
