"""``cogaudio-rl eval``: models on test sets, side by side.

suites ─► for each model: sampler, with its answers kept ─► rows and estimates ─► report
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from clusters.backend import make_backend
from clusters.memory_watch import MemoryWatch
from cogaudio_rl.config import Config, RewardConfig, load_config
from cogaudio_rl.console import Console
from cogaudio_rl.errors import ConfigError
from cogaudio_rl.eval.classical import classical_of
from cogaudio_rl.eval.console import print_suites
from cogaudio_rl.eval.humdial import evaluate_humdial
from cogaudio_rl.eval.kept import KeptSampler, model_digest
from cogaudio_rl.eval.outside import EndpointSampler, baseline_digest
from cogaudio_rl.eval.result import ModelResult, load_timings, save_result, save_timings
from cogaudio_rl.eval.run import Progress, evaluate, select_utterances
from cogaudio_rl.eval.scoring import EmbeddedScorer, JudgeScorer, Scorer
from cogaudio_rl.eval.silence import silence_in
from cogaudio_rl.eval.suite import Suite, SuiteResult
from cogaudio_rl.eval.suite_report import write_suite_report
from cogaudio_rl.eval.suites import SUITES, Shelf, SuiteAbsent
from cogaudio_rl.eval.summary import RunFacts
from cogaudio_rl.models.architecture import Architecture, resolve_checkpoint
from cogaudio_rl.models.checkpoint import load_adapter
from cogaudio_rl.ports import Sampler
from cogaudio_rl.rewards.judge import make_judge, probe_judge
from cogaudio_rl.run_folder import JUDGE_CACHE, write_whole
from cogaudio_rl.stages.pipeline import MODEL_FOLDERS
from cogaudio_rl.stages.variants import trained

BASE = "base"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What is evaluated: a backbone, and what was trained on it."""

    name: str
    backbone: str
    adapter: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that is measured with: the same for every model."""

    config: Config
    suites: tuple[Suite, ...]
    out: Path
    console: Console


def run_of(folder: Path, overrides: Sequence[str]) -> tuple[Config, list[Model]]:
    """The recipe that a run folder was made by, and the models that it holds, in the paper's order.

    Raises ConfigError for a folder that is no run's.
    """
    written = folder / "config.yaml"
    if not written.is_file():
        raise ConfigError(f"--run {str(folder)!r} is not a run folder: it holds no config.yaml")
    config = load_config(str(written), overrides)
    data = folder / "data"
    if config.data.kind == "lime_mini" and config.data.root is None and data.is_dir():
        config = config.model_copy(
            update={"data": config.data.model_copy(update={"root": data.absolute()})}
        )
    found = [Model(name=BASE, backbone=config.model.path)]
    for name, stage in MODEL_FOLDERS.items():
        adapter = folder / "checkpoints" / stage
        if adapter.is_dir():
            found.append(Model(name=name, backbone=config.model.path, adapter=adapter))
    for name, adapter in trained(folder).items():
        found.append(Model(name=f"D/{name}", backbone=config.model.path, adapter=adapter))
    return config, found


def model_of(given: str, config: Config) -> Model:
    """``base``, ``[NAME=]FOLDER`` of an adapter, or ``[NAME=]FOLDER`` of a whole checkpoint.

    Raises CheckpointError for a folder that is neither.
    """
    if given == BASE:
        return Model(name=BASE, backbone=config.model.path)
    name, equals, path = given.partition("=")
    folder = Path(path if equals else given)
    name = name if equals else folder.name
    if (folder / "config.json").is_file():
        Architecture.of(resolve_checkpoint(str(folder)), name=str(folder))
        return Model(name=name, backbone=str(folder))
    load_adapter(folder)
    return Model(name=name, backbone=config.model.path, adapter=folder)


def evaluate_models(
    config: Config,
    models: Sequence[Model],
    names: Sequence[str],
    out: Path,
    *,
    allow_missing: bool,
) -> None:
    """Write ``report.json`` and ``report.html`` of every model on every suite into ``out``.

    Answers are kept in ``out``: the same command goes on where it was interrupted, and asks only for
    what is new. Raises ConfigError for an unknown suite or two models of one name, SuiteAbsent for a
    suite whose corpus is not there, unless ``allow_missing``.
    """
    _refuse_twins([*(m.name for m in models), *(b.name for b in config.eval.baselines)])
    started, console = time.monotonic(), Console()
    suites, absent = _load(config, names, out, console)
    if absent and not allow_missing:
        raise SuiteAbsent(f"{'; '.join(absent.values())} (or leave them out with --allow-missing)")
    if config.eval.judge is not None:
        asyncio.run(probe_judge(config.eval.judge))
    plan = Plan(config=config, suites=suites, out=out, console=console)
    results = {s.name: _with_classical(s, config, console) for s in suites}
    with MemoryWatch() as watch:
        versions: dict[str, str] = {}
        for backbone in dict.fromkeys(m.backbone for m in models):
            same = [m for m in models if m.backbone == backbone]
            versions |= _evaluate_backbone(plan, backbone, same, results)
        for baseline in config.eval.baselines:
            _evaluate_one(
                plan, baseline.name, EndpointSampler(baseline), baseline_digest(baseline), results
            )
    for name, why in absent.items():
        results[name] = SuiteResult(name=name, about="", not_run=why)
    facts = RunFacts(
        name=config.name,
        seed=config.seed,
        wall_s=time.monotonic() - started,
        peak_rss_gib=watch.peak_gib(),
        versions=versions,
    )
    order = [name for name in names if name in results]
    ordered = {name: results[name] for name in order}
    write_suite_report(out, ordered, facts)
    print_suites(ordered)
    console.note(f"report: {out / 'report.html'}")


def _load(
    config: Config, names: Sequence[str], out: Path, console: Console
) -> tuple[tuple[Suite, ...], dict[str, str]]:
    """The suites that are there, and of the others why not."""
    for name in names:
        if name not in SUITES:
            raise ConfigError(f"--suite {name!r} is not one of: {', '.join(SUITES)}")
    found: list[Suite] = []
    absent: dict[str, str] = {}
    for name in dict.fromkeys(names):
        console.stage(f"test set {name}")
        with console.progress("utterances") as advance:
            shelf = Shelf(config, out / "data", advance)
            try:
                found.append(shelf.suite(name))
            except SuiteAbsent as error:
                absent[name] = str(error)
                console.note(str(error), warn=True)
    return tuple(found), absent


def _with_classical(suite: Suite, config: Config, console: Console) -> SuiteResult:
    console.stage(f"{suite.name}: a classical classifier, acoustic statistics and SVM")
    asked = suite.utterances  # the same that the models are asked
    if asked:
        asked = select_utterances(asked, config.eval.max_utterances, seed=config.seed)
    samples, same = config.eval.bootstrap_samples, replace(suite, utterances=asked)
    with console.progress("sounds") as advance:
        classical = classical_of(same, samples=samples, seed=config.seed, progress=advance)
    return SuiteResult(name=suite.name, about=suite.about, classical=classical)


def _evaluate_backbone(
    plan: Plan, backbone: str, models: Sequence[Model], results: dict[str, SuiteResult]
) -> dict[str, str]:
    """All models of one backbone by one set of engines; gives the versions of what ran."""
    model = plan.config.model.model_copy(update={"path": backbone})
    config = plan.config.model_copy(update={"model": model})
    backend = make_backend(config, plan.out)
    try:
        sampler = backend.rollout_ports().sampler
        for one in models:
            adapter = load_adapter(one.adapter) if one.adapter else None
            asyncio.run(sampler.publish(adapter))
            _evaluate_one(plan, one.name, sampler, model_digest(model, one.adapter), results)
        return backend.versions()
    finally:
        backend.close()


def _evaluate_one(
    plan: Plan, name: str, sampler: Sampler, digest: str, results: dict[str, SuiteResult]
) -> None:
    """One model on every suite; what it said stays in a folder of its own."""
    plan.console.stage(f"model {name}")
    asked = Asked(name=name, sampler=sampler, folder=plan.out / "answers" / digest, digest=digest)
    found = asyncio.run(_measure(plan, asked))
    for suite, result in found.items():
        save_result(result, plan.out / "eval" / suite / f"{_file(name)}.json")
        before = results[suite]
        results[suite] = replace(before, models={**before.models, name: result})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A model that answers, and where its answers are kept."""

    name: str
    sampler: Sampler
    folder: Path
    digest: str


async def _measure(plan: Plan, asked: Asked) -> dict[str, ModelResult]:
    kept = KeptSampler(asked.sampler, asked.folder, model=asked.digest)
    async with AsyncExitStack() as stack:
        if isinstance(asked.sampler, EndpointSampler):
            stack.push_async_callback(asked.sampler.close)
        scorer: Scorer = EmbeddedScorer()
        if (judge := plan.config.eval.judge) is not None:
            # Its verdicts are kept, so that it is asked about a reply once in a lifetime.
            opened = make_judge(judge.kept_in(plan.out / JUDGE_CACHE), RewardConfig())
            stack.push_async_callback(opened.close)
            scorer = JudgeScorer(opened)
        found: dict[str, ModelResult] = {}
        for suite in plan.suites:
            with plan.console.progress(suite.name) as advance:
                result: ModelResult | None = None
                if suite.utterances:
                    result = await _single(plan, asked, suite, kept, scorer, advance)
                if suite.dialogues is not None:
                    result = await _with_dialogues(plan, asked, suite, kept, result, advance)
            if result is not None:
                found[suite.name] = result
        return found


async def _single(
    plan: Plan, asked: Asked, suite: Suite, kept: Sampler, scorer: Scorer, advance: Progress
) -> ModelResult:
    """The suite's utterances, one by one."""
    times = asked.folder / f"{suite.name}.timings.json"
    result = await evaluate(
        kept,
        suite.utterances,
        scorer,
        plan.config.eval,
        labels=suite.labels,
        silence=silence_in(plan.out / "data", plan.config.eval),
        seed=plan.config.seed,
        progress=advance,
        lexical=suite.lexical,
        clock=asked.sampler,
        timings=load_timings(times),
    )
    save_timings(result.timings, times)
    return result


async def _with_dialogues(
    plan: Plan,
    asked: Asked,
    suite: Suite,
    kept: Sampler,
    result: ModelResult | None,
    advance: Progress,
) -> ModelResult:
    """HumDial's tasks beside what its single utterances showed."""
    config, judge = plan.config, plan.config.eval.judge
    assert suite.dialogues is not None
    found = await evaluate_humdial(
        kept,
        suite.dialogues,
        judge=judge if judge is not None and judge.kind == "llm" else None,
        sounds=plan.out / "data" / "humdial",
        cache=plan.out / JUDGE_CACHE,
        samples=config.eval.bootstrap_samples,
        seed=config.seed,
        progress=advance,
    )
    for what, why in found.not_run.items():
        plan.console.note(f"humdial {what} not run: {why}", warn=True)
    for note in found.notes:
        plan.console.note(note)
    text = json.dumps(found.to_json(), ensure_ascii=False)
    write_whole(plan.out / "eval" / suite.name / f"{_file(asked.name)}.dialogues.json", text)
    if result is None:
        return ModelResult(
            labels=suite.labels,
            rows=(),
            estimates=found.estimates,
            bootstrap_samples=found.bootstrap_samples,
        )
    return replace(result, estimates={**result.estimates, **found.estimates})


def _refuse_twins(names: Sequence[str]) -> None:
    for name, times in Counter(names).items():
        if times > 1:
            raise ConfigError(f"two models are called {name!r}; give one another: -c NAME=FOLDER")


def _file(name: str) -> str:
    """A model's name as that of a file: variants are called D/NAME."""
    return name.replace("/", ".")
