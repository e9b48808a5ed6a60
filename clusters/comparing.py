"""``cogaudio-rl compare``: systems of several runs on the same test sets, same base, seeds grouped.

runs, by recipe and seed ─► systems ─► evaluating.measure, answers kept ─► cells ─► compare.json, .html
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from clusters.compared_runs import (
    Run,
    answer_limits,
    measuring_config,
    read_runs,
    refuse_own_tests,
    suites_for,
)
from clusters.contestants import (
    BASE,
    Model,
    model_of,
    recipe_of,
    recipes_behind,
    refuse_twins,
)
from clusters.evaluating import Plan, load_suites, measure
from cogaudio_rl.config import Config
from cogaudio_rl.console import Console
from cogaudio_rl.errors import ConfigError
from cogaudio_rl.eval.comparison import System, key
from cogaudio_rl.eval.comparison_console import print_comparison
from cogaudio_rl.eval.comparison_report import Comparison, write_comparison
from cogaudio_rl.eval.scoring import scorer_name
from cogaudio_rl.eval.suite import Suite, SuiteResult
from cogaudio_rl.eval.suites import SuiteAbsent
from cogaudio_rl.models.architecture import BUILTIN, resolve_checkpoint
from cogaudio_rl.rewards.judge import probe_judge
from cogaudio_rl.stages.budget import spent_on
from cogaudio_rl.stages.pipeline import MODEL_FOLDERS, SFT_STAGES


def compare_runs(
    given: Sequence[str],
    checkpoints: Sequence[str],
    names: Sequence[str],
    out: Path,
    *,
    other_bases: Sequence[str],
    allow_missing: bool,
) -> None:
    """Write ``compare.json`` and ``compare.html`` into ``out``, and show the table.

    Answers are kept in ``out``: the same command goes on where it was interrupted, and asks only for
    what is new. Raises ConfigError for what cannot be compared, see :func:`read_runs`, and SuiteAbsent
    for a test set that is not there, unless ``allow_missing``.
    """
    started, console = time.monotonic(), Console()
    runs, overrides = read_runs(given)
    if (out / "config.yaml").is_file():
        raise ConfigError(f"--out {str(out)!r} is a run's own folder; take one of its own")
    config = measuring_config([run.config for run in runs], overrides)
    others = [model_of(one, config) for one in checkpoints]
    systems, models = systems_of(runs, others, config)
    _refuse_other_bases(systems, other_bases)
    systems += [
        System(
            name=one.name,
            recipe="",
            about="somebody else's model, behind an endpoint",
            base=one.model,
            spent={config.seed: spent_on(None)},
        )
        for one in config.eval.baselines
    ]
    refuse_twins([system.name for system in systems])
    wanted = suites_for(runs, names)
    if config.eval.judge is not None:
        asyncio.run(probe_judge(config.eval.judge))
    suites: list[Suite] = []
    absent: dict[str, str] = {}
    for name in wanted:
        home, *taught = _home_first(name, runs, others)
        home = home.model_copy(update={"eval": config.eval})
        found, missing = load_suites([home, *taught], [name], out / "data" / home.name, console)
        suites += found
        absent |= missing
    if absent and not allow_missing:
        raise SuiteAbsent(f"{'; '.join(absent.values())} (or leave them out with --allow-missing)")
    plan = Plan(config=config, suites=tuple(suites), out=out, console=console)
    results, versions = measure(plan, list(models.values()))
    for name, why in absent.items():
        results[name] = SuiteResult(name=name, about="", not_run=why)
    comparison = Comparison(
        systems=tuple(systems),
        results={name: results[name] for name in wanted},
        named={at: model.name for at, model in models.items()}
        | {key(one.name, config.seed): one.name for one in config.eval.baselines},
        folders={run.folder.as_posix(): (run.name, run.config.seed) for run in runs},
        scorer=scorer_name(config.eval),
        seed=config.seed,
        wall_s=time.monotonic() - started,
        versions=versions,
        limits=answer_limits(config),
    )
    write_comparison(out, comparison)
    print_comparison(comparison)
    console.note(f"report: {out / 'compare.html'}")


def systems_of(
    runs: Sequence[Run], others: Sequence[Model], config: Config
) -> tuple[list[System], dict[str, Model]]:
    """The bases, what each recipe made of them, and what was given by its folder; and by :func:`key`
    the model of each system and seed. All are asked with the limits of ``config``."""
    systems: dict[str, System] = {}
    models: dict[str, Model] = {}

    def add(system: System, seed: int, model: Model) -> None:
        known = systems.setdefault(system.name, system)
        spent = {**known.spent, seed: spent_on(model.adapter)}
        systems[system.name] = replace(known, spent=spent)
        at = key(system.name, seed)
        built = model.built.model_copy(update=answer_limits(config))
        models[at] = Model(name=f"{system.name}/seed-{seed}", built=built, adapter=model.adapter)

    bases: dict[str, str] = {}
    for run in runs:
        backbone = run.config.model.path
        if _base(backbone) not in bases:
            called = BASE if not bases else f"{run.name}/{BASE}"
            bases[_base(backbone)] = called
            about = "the backbone, as it came"
            add(
                System(name=called, recipe="", about=about, base=backbone, stands_for=BASE),
                config.seed,
                run.models[0],
            )
    for run in runs:
        for model in run.models[1:]:
            add(_system(run, model), run.config.seed, model)
    for model in others:
        if model.adapter is None and _base(model.backbone) in bases:
            continue  # the base stands there already
        one = System(name=model.name, recipe="", about="given by its folder", base=model.backbone)
        refuse_twins([*systems, model.name])
        behind = [] if model.adapter is None else recipes_behind(model.adapter)[0]
        add(one, behind[0].seed if behind else config.seed, model)
    return list(systems.values()), models


def _refuse_other_bases(systems: Sequence[System], allowed: Sequence[str]) -> None:
    first = systems[0].base
    for system in systems:
        named = {system.name, system.recipe} & set(allowed)
        if _base(system.base) != _base(first) and not named:
            who = system.recipe or system.name.partition("/")[0]
            raise ConfigError(
                f"{system.name} stands on {system.base!r} and the others on {first!r}: figures would "
                f"say as much of the base as of the training; to see them, --other-base {who}"
            )
    known = {name for system in systems for name in (system.name, system.recipe)}
    for name in allowed:
        if name not in known:
            raise ConfigError(
                f"--other-base {name!r} is none of: {', '.join(sorted(known - {''}))}"
            )


def _base(path: str) -> str:
    """Equal for one backbone, however it is named."""
    return path if path == BUILTIN else str(resolve_checkpoint(path).resolve())


def _system(run: Run, model: Model) -> System:
    variant = model.name.partition("/")[2]
    config = run.config
    if variant:
        config = recipe_of(run.folder / "variants" / variant, ())
    is_papers = not run.config.is_about_votes or model.name != "D" or _method(config) == "GRPO_z"
    return System(
        name=f"{run.name}/{model.name}",
        recipe=run.name,
        about=_about(model.name, config),
        base=model.backbone,
        stands_for=model.name if is_papers else "",
        of_votes=run.config.is_about_votes,
    )


def _about(name: str, config: Config) -> str:
    stage = MODEL_FOLDERS.get(name)
    if stage in SFT_STAGES:
        return SFT_STAGES[stage][0].partition(": ")[0]
    return f"reinforcement learning: {_method(config)}"


def _method(config: Config) -> str:
    """Such as SAPO, GRPO_z (with what was written in the group) or DPO."""
    objective = config.rl.objective.name.upper()
    return f"{objective}_z" if config.rl.reference_in_group else objective


def _home_first(name: str, runs: Sequence[Run], others: Sequence[Model]) -> list[Config]:
    """The recipe that a test set is taken from, then the others that taught what is tested on it.

    Raises ConfigError for ``test`` where the runs do not have the same.
    """
    configs: list[Config] = []
    for run in runs:
        if all((c.data, c.seed) != (run.config.data, run.config.seed) for c in configs):
            configs.append(run.config)
    home = configs[0]
    if name == "test":
        refuse_own_tests(runs)
    elif name.startswith("ambiguity"):
        home = next((c for c in configs if c.is_about_votes), home)
    elif name == "attribution":
        home = next((c for c in configs if c.is_about_attribution), home)
    else:
        home = next((c for c in configs if c.data.kind == "lime_mini"), home)
    behind = [
        config
        for model in (*others, *(m for run in runs for m in run.models))
        if model.adapter is not None
        for config in recipes_behind(model.adapter)[0]
    ]
    found = [home]
    for config in (*configs, *behind):
        if all((c.data, c.seed) != (config.data, config.seed) for c in found):
            found.append(config)
    return found
