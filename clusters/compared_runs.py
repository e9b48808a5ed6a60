"""The runs that are compared: by recipe and seed, and what they may not differ in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clusters.contestants import Model, run_of
from cogaudio_rl.config import Config, load_config, override, parse_config
from cogaudio_rl.errors import ConfigError
from cogaudio_rl.eval.suites import SUITES
from cogaudio_rl.stages.variants import folder_of, trained

MEASURING = ("eval", "cluster", "seed")
"""Sections of a recipe that say how is measured, and not what was trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run folder among those that are compared."""

    name: str
    """What its systems are called after: its recipe's name, or one that was given."""
    folder: Path
    config: Config
    """With ``data.root`` at what the run made."""
    models: tuple[Model, ...]


def read_runs(given: Sequence[str]) -> tuple[list[Run], list[str]]:
    """The runs, by ``FOLDER`` or ``NAME=FOLDER``, and the overrides that were given among them.

    A folder of runs that differ in seed (``seed-0``, ``seed-1``) stands for all of them. Raises
    ConfigError for a folder that is no run's, two recipes of one name, and a seed that comes twice.
    """
    runs: list[Run] = []
    overrides: list[str] = []
    for one in given:
        name, equals, path = ("", "", one) if Path(one).is_dir() else one.partition("=")
        folder = Path(path if equals else one)
        if equals and not _folders(folder):
            overrides.append(one)
            continue
        for run in _folders(folder) or (folder,):
            config, models = run_of(run, ())
            runs.append(
                Run(name=name or config.name, folder=run, config=config, models=tuple(models))
            )
    if not runs:
        raise ConfigError("nothing to compare; give run folders, such as runs/quickstart")
    _refuse_unlike(runs)
    return runs, overrides


def measuring_config(configs: Sequence[Config], overrides: Sequence[str]) -> Config:
    """The first run's recipe, and for every system the longest answers that any recipe allows.

    Raises ConfigError for an override of what was trained.
    """
    for one in overrides:
        if one.partition("=")[0].partition(".")[0] not in MEASURING:
            raise ConfigError(
                f"{one!r} would change what a run was trained by; compare takes run folders, and "
                f"changes of {', '.join(f'{section}.…' for section in MEASURING[:-1])} and seed"
            )
    first, *others = map(answer_limits, configs)
    limits = {name: max([limit, *(o[name] for o in others)]) for name, limit in first.items()}
    room = max(config.cluster.max_model_len for config in configs)
    home = configs[0]
    widened = home.model_copy(
        update={
            "model": home.model.model_copy(update=limits),
            "cluster": home.cluster.model_copy(update={"max_model_len": room}),
        }
    )
    return parse_config(override(widened.model_dump(mode="json"), overrides))


def answer_limits(config: Config) -> dict[str, int]:
    """``max_new_tokens_…`` of each route."""
    told = config.model.model_dump()
    return {name: told[name] for name in told if name.startswith("max_new_tokens")}


def suites_for(runs: Sequence[Run], names: Sequence[str]) -> list[str]:
    """The test sets that were named; where none was, what can be made here, and votes where a run
    learnt them. ``all`` are those that no recipe owns. Raises ConfigError for a name that is none."""
    if unknown := [name for name in names if name not in (*SUITES, "all")]:
        raise ConfigError(f"--suite {unknown[0]!r} is not one of: {', '.join(SUITES)}")
    if "all" in names:
        return [name for name in SUITES if name not in ("test", "ambiguity_dev")]
    voted = any(run.config.is_about_votes for run in runs)
    return list(dict.fromkeys(names)) or ["lime", "conflict", *(["ambiguity"] if voted else [])]


def refuse_own_tests(runs: Sequence[Run]) -> None:
    """Raise ConfigError where recipes have test splits of their own that are not the same."""
    first = runs[0]
    for run in runs:
        if _own_test(run.config) != _own_test(first.config):
            raise ConfigError(
                f"--suite test is each recipe's own split, and {first.name} and {run.name} have not "
                "the same; take lime, conflict, ambiguity or a corpus"
            )


def _own_test(config: Config) -> tuple[object, ...]:
    """Equal for recipes whose own test split is the same, but for the seed."""
    data = config.data
    if data.is_spoken_here:
        return data.kind, data.test_families
    return data.kind, data.root, data.test_root, data.held_out_speakers


def _folders(folder: Path) -> list[Path]:
    """A run's folder, or those of its seeds."""
    if (folder / "config.yaml").is_file():
        return [folder]
    return sorted(path.parent for path in folder.glob("seed-*/config.yaml"))


def _refuse_unlike(runs: Sequence[Run]) -> None:
    by_name: dict[str, Run] = {}
    seen: dict[tuple[str, int], Run] = {}
    for run in runs:
        first = by_name.setdefault(run.name, run)
        if differs := _difference(first.config, run.config):
            raise ConfigError(
                f"{str(first.folder)!r} and {str(run.folder)!r} are both called {run.name!r} and "
                f"differ in {differs}; give one another name: NAME={run.folder}"
            )
        for variant in trained(first.folder).keys() & trained(run.folder).keys():
            one, two = (_variant(r.folder, variant) for r in (first, run))
            if differs := _difference(one, two):
                raise ConfigError(
                    f"variant {variant!r} of {str(first.folder)!r} and of {str(run.folder)!r} differ "
                    f"in {differs}; train one anew, or give a run another name: NAME={run.folder}"
                )
        other = seen.setdefault((run.name, run.config.seed), run)
        if other is not run:
            raise ConfigError(
                f"{str(other.folder)!r} and {str(run.folder)!r} are both {run.name!r} with seed "
                f"{run.config.seed}; give another seed, or another name: NAME={run.folder}"
            )


def _variant(run: Path, name: str) -> Config:
    """As it was trained, but for where its data lay."""
    return load_config(str(folder_of(run, name) / "config.yaml"), ["data.root=null"])


def _difference(one: Config, other: Config) -> str:
    """The first setting in which two recipes were trained differently; empty where in none."""
    return _first_difference(_trained_by(one), _trained_by(other), "")


def _trained_by(config: Config) -> dict[str, Any]:
    told = config.model_dump(mode="json", exclude={"name", "out_dir", "seed", "seeds", "models"})
    if config.data.is_spoken_here:
        told["data"]["root"] = None  # what was made from the recipe and its seed
    return {name: value for name, value in told.items() if name not in ("eval", "cluster", "serve")}


def _first_difference(one: Any, other: Any, where: str) -> str:
    if isinstance(one, dict) and isinstance(other, dict):
        for name in {**one, **other}:
            at = f"{where}.{name}" if where else str(name)
            if found := _first_difference(one.get(name), other.get(name), at):
                return found
        return ""
    return "" if one == other else f"{where} ({one} and {other})"
