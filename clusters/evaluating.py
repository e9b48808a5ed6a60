"""``cogaudio-rl eval``: models on test sets, side by side.

suites ─► for each model: sampler, with its answers kept ─► rows and estimates ─► report
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from clusters.backend import make_backend
from clusters.contestants import Model, file_of, recipes_behind, refuse_twins
from clusters.humdial import with_room
from clusters.memory_watch import MemoryWatch
from cogaudio_rl.config import Config, JudgeConfig, ModelConfig
from cogaudio_rl.console import Console
from cogaudio_rl.data.lime.recipe import SpeakerConfig
from cogaudio_rl.data.lime.speakers import make_speaker
from cogaudio_rl.errors import ConfigError
from cogaudio_rl.eval.ambiguity import evaluate_votes, save_rows
from cogaudio_rl.eval.attribution import Teaching, evaluate_attribution, with_gains
from cogaudio_rl.eval.attribution import save_rows as save_replies
from cogaudio_rl.eval.classical import classical_of
from cogaudio_rl.eval.console import print_suites
from cogaudio_rl.eval.humdial import evaluate_humdial
from cogaudio_rl.eval.kept import KeptSampler, model_digest
from cogaudio_rl.eval.outside import EndpointSampler, baseline_digest
from cogaudio_rl.eval.reply_voices import Listener, train_listener
from cogaudio_rl.eval.result import ModelResult, load_timings, save_result, save_timings
from cogaudio_rl.eval.run import Progress, evaluate, select_utterances
from cogaudio_rl.eval.scoring import Scorer, opened_scorer, scorer_name
from cogaudio_rl.eval.silence import silence_in
from cogaudio_rl.eval.suite import Suite, SuiteResult
from cogaudio_rl.eval.suite_report import write_suite_report
from cogaudio_rl.eval.suites import SUITES, Shelf, SuiteAbsent
from cogaudio_rl.eval.summary import RunFacts
from cogaudio_rl.models.checkpoint import load_adapter
from cogaudio_rl.ports import Sampler
from cogaudio_rl.rewards.judge import probe_judge
from cogaudio_rl.run_folder import JUDGE_CACHE, write_whole
from cogaudio_rl.types import Route


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that is measured with: the same for every model."""

    config: Config
    suites: tuple[Suite, ...]
    out: Path
    console: Console


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
    what is new. Raises ConfigError for an unknown suite, two models of one name or a run's own folder,
    SuiteAbsent for a suite whose corpus is not there, unless ``allow_missing``.
    """
    if (out / "config.yaml").is_file():
        inside = str(out / "suites")
        raise ConfigError(f"--out {str(out)!r} is a run's own folder; take one in it: {inside!r}")
    refuse_twins([*(m.name for m in models), *(b.name for b in config.eval.baselines)])
    started, console = time.monotonic(), Console()
    recipes = _recipes(config, models, console)
    suites, absent = load_suites(recipes, names, out / "data", console)
    if absent and not allow_missing:
        raise SuiteAbsent(f"{'; '.join(absent.values())} (or leave them out with --allow-missing)")
    if config.eval.judge is not None:
        asyncio.run(probe_judge(config.eval.judge))
    with MemoryWatch() as watch:
        results, versions = measure(
            Plan(config=config, suites=suites, out=out, console=console), models
        )
    for name, why in absent.items():
        results[name] = SuiteResult(name=name, about="", not_run=why)
    facts = RunFacts(
        name=config.name,
        seed=config.seed,
        wall_s=time.monotonic() - started,
        peak_rss_gib=watch.peak_gib(),
        versions=versions,
        scorer=scorer_name(config.eval),
    )
    order = [name for name in names if name in results]
    ordered = {name: results[name] for name in order}
    write_suite_report(out, ordered, facts)
    print_suites(ordered)
    console.note(f"report: {out / 'report.html'}")


def _recipes(config: Config, models: Sequence[Model], console: Console) -> list[Config]:
    """The recipe at hand and those that taught the models: on none of their data may be tested."""
    found = [config]
    for model in models:
        if model.adapter is None:
            continue
        behind, is_all = recipes_behind(model.adapter)
        found += [one for one in behind if one.data not in [other.data for other in found]]
        if not is_all:
            console.note(
                f"what taught {model.name} is not known; nobody looked whether it has heard the "
                "voices of the test",
                warn=True,
            )
    return found


def measure(plan: Plan, models: Sequence[Model]) -> tuple[dict[str, SuiteResult], dict[str, str]]:
    """Every suite with all models and the plan's baselines in it; and the versions of what ran.

    Models that one set of engines can be made for are asked one after the other.
    """
    results = {s.name: _with_classical(s, plan.config, plan.console) for s in plan.suites}
    versions: dict[str, str] = {}
    for built in dict.fromkeys(m.built for m in models):
        same = [m for m in models if m.built == built]
        versions |= _evaluate_built(plan, built, same, results)
    for baseline in plan.config.eval.baselines:
        _evaluate_one(
            plan, baseline.name, EndpointSampler(baseline), baseline_digest(baseline), results
        )
    for suite in plan.suites:
        if suite.dictation:
            results[suite.name] = _with_gains(results[suite.name], plan)
    return results, versions


def load_suites(
    recipes: Sequence[Config], names: Sequence[str], folder: Path, console: Console
) -> tuple[tuple[Suite, ...], dict[str, str]]:
    """The suites that are there, and of the others why not.

    They are the first recipe's; the others taught models that are tested. What has to be made is made
    in ``folder``. Raises ConfigError for a name that is none.
    """
    for name in names:
        if name not in SUITES:
            raise ConfigError(f"--suite {name!r} is not one of: {', '.join(SUITES)}")
    found: list[Suite] = []
    absent: dict[str, str] = {}
    console.stage(f"test sets: {', '.join(dict.fromkeys(names))}")
    with console.progress("utterances") as advance:
        shelf = Shelf(recipes[0], folder, advance, tuple(recipes[1:]))
        for name in dict.fromkeys(names):
            try:
                found.append(shelf.suite(name))
            except SuiteAbsent as error:
                absent[name] = str(error)
    for why in absent.values():
        console.note(why, warn=True)
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


def _evaluate_built(
    plan: Plan, built: ModelConfig, models: Sequence[Model], results: dict[str, SuiteResult]
) -> dict[str, str]:
    """All models of one build by one set of engines; gives the versions of what ran."""
    # Nobody asks the reward's judge here, which may be an engine on a GPU of its own.
    cluster = plan.config.cluster.model_copy(update={"judge_workers": 1, "gpus_per_judge": 0.0})
    readings = [suite.dialogues for suite in plan.suites if suite.dialogues is not None]
    cluster = with_room(cluster, built, readings)
    config = plan.config.model_copy(
        update={"model": built, "cluster": cluster, "judge": JudgeConfig()}
    )
    backend = make_backend(config, plan.out)
    try:
        sampler = backend.rollout_ports().sampler
        for one in models:
            adapter = load_adapter(one.adapter) if one.adapter else None
            asyncio.run(sampler.publish(adapter))
            digest = model_digest(built, one.adapter)
            _evaluate_one(plan, one.name, sampler, digest, results, thinks=one.thinks)
        return backend.versions()
    finally:
        backend.close()


def _evaluate_one(
    plan: Plan,
    name: str,
    sampler: Sampler,
    digest: str,
    results: dict[str, SuiteResult],
    *,
    thinks: Route = Route.EXPLICIT,
) -> None:
    """One model on every suite; what it said stays in a folder of its own."""
    plan.console.stage(f"model {name}")
    folder = plan.out / "answers" / digest
    asked = Asked(name=name, sampler=sampler, folder=folder, digest=digest, thinks=thinks)
    found = asyncio.run(_measure(plan, asked))
    for suite, one in found.items():
        save_result(one.result, plan.out / "eval" / suite / f"{file_of(name)}.json")
        before = results[suite]
        results[suite] = replace(
            before,
            models={**before.models, name: one.result},
            notes=(*before.notes, *(f"{name}: {note}" for note in one.notes)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A model that answers, and where its answers are kept."""

    name: str
    sampler: Sampler
    folder: Path
    digest: str
    thinks: Route = Route.EXPLICIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one model showed on one suite, and what has to be said beside it."""

    result: ModelResult
    notes: tuple[str, ...]


async def _measure(plan: Plan, asked: Asked) -> dict[str, Measured]:
    kept = KeptSampler(asked.sampler, asked.folder, model=asked.digest)
    async with AsyncExitStack() as stack:
        if isinstance(asked.sampler, EndpointSampler):
            stack.push_async_callback(asked.sampler.close)
        scorer = await stack.enter_async_context(
            opened_scorer(plan.config.eval, plan.out / JUDGE_CACHE)
        )
        found: dict[str, Measured] = {}
        for suite in plan.suites:
            before = Counter(scorer.unscored)
            notes: list[str] = []
            with plan.console.progress(suite.name) as advance:
                result: ModelResult | None = None
                if suite.voted and isinstance(asked.sampler, EndpointSampler):
                    plan.console.note(f"{suite.name}: not asked, for it tells no probabilities")
                elif suite.voted:
                    result = await _votes(plan, asked, suite, kept, advance)
                elif suite.dictation:
                    result = await _attributed(plan, asked, suite, kept, scorer, advance)
                elif suite.utterances:
                    result = await _single(plan, asked, suite, kept, scorer, advance)
                if suite.dialogues is not None:
                    result, notes = await _with_dialogues(plan, asked, suite, kept, result, advance)
            if unscored := Counter(scorer.unscored) - before:
                reason, most = unscored.most_common(1)[0]
                notes.append(
                    f"{unscored.total()} replies were not scored; {most} of them: {reason}"
                )
            for note in notes:
                plan.console.note(f"{suite.name}: {note}", warn=True)
            if result is not None:
                found[suite.name] = Measured(result=result, notes=tuple(notes))
        return found


async def _single(
    plan: Plan, asked: Asked, suite: Suite, kept: Sampler, scorer: Scorer, advance: Progress
) -> ModelResult:
    """The suite's utterances, one by one."""
    times = asked.folder / f"{suite.name}.{_circumstances(plan.config)}.timings.json"
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
        thinks=asked.thinks,
    )
    save_timings(result.timings, times)
    return result


async def _votes(
    plan: Plan, asked: Asked, suite: Suite, kept: Sampler, advance: Progress
) -> ModelResult:
    """How votes are shared; what was said stays beside the figures."""
    times = asked.folder / f"{suite.name}.{_circumstances(plan.config)}.timings.json"
    result, rows = await evaluate_votes(
        kept,
        suite.utterances,
        plan.config.eval,
        seed=plan.config.seed,
        progress=advance,
        clock=asked.sampler,
        timings=load_timings(times),
    )
    save_timings(result.timings, times)
    save_rows(rows, plan.out / "eval" / suite.name / f"{file_of(asked.name)}.votes.jsonl")
    return result


async def _attributed(
    plan: Plan, asked: Asked, suite: Suite, kept: Sampler, scorer: Scorer, advance: Progress
) -> ModelResult:
    """Replies beside a teacher's; what was said stays beside the figures, spoken replies as sound."""
    folder = plan.out / "eval" / suite.name
    samples, seed = plan.config.eval.bootstrap_samples, plan.config.seed
    listener = _listener(plan.out / "data" / "listener", samples, seed)
    result, rows = await evaluate_attribution(
        kept,
        suite.utterances,
        Teaching(suite.dictation, listener, folder / f"{file_of(asked.name)}.spoken"),
        scorer,
        plan.config.eval,
        seed=seed,
        progress=advance,
    )
    save_replies(rows, folder / f"{file_of(asked.name)}.replies.jsonl")
    return result


def _with_gains(result: SuiteResult, plan: Plan) -> SuiteResult:
    """What replies gain on those of SFT on the same data, where that was evaluated too."""
    folder, config = plan.out / "eval" / result.name, plan.config
    gained = with_gains(
        result.models,
        lambda name: folder / f"{file_of(name)}.replies.jsonl",
        samples=config.eval.bootstrap_samples,
        seed=config.seed,
    )
    return replace(result, models=gained)


@cache
def _listener(folder: Path, samples: int, seed: int) -> Listener:
    """The same for all models."""
    return train_listener(folder, samples=samples, seed=seed)


async def _with_dialogues(
    plan: Plan,
    asked: Asked,
    suite: Suite,
    kept: Sampler,
    result: ModelResult | None,
    advance: Progress,
) -> tuple[ModelResult, list[str]]:
    """HumDial's tasks beside what its single utterances showed; and what was not run, and why."""
    config, judge = plan.config, plan.config.eval.judge
    assert suite.dialogues is not None
    found = await evaluate_humdial(
        kept,
        suite.dialogues,
        judge=judge if judge is not None and judge.kind == "llm" else None,
        speaker=make_speaker(SpeakerConfig()),
        sounds=plan.out / "data" / "humdial",
        cache=plan.out / JUDGE_CACHE,
        samples=config.eval.bootstrap_samples,
        seed=config.seed,
        progress=advance,
    )
    notes = [f"{what} not run: {why}" for what, why in found.not_run.items()]
    if judge is not None and judge.kind != "llm":
        notes.append(f"replies take one judge of kind=llm, and eval.judge is of kind={judge.kind}")
    text = json.dumps(found.to_json(), ensure_ascii=False)
    write_whole(plan.out / "eval" / suite.name / f"{file_of(asked.name)}.dialogues.json", text)
    if result is None:
        result = ModelResult(
            labels=suite.labels,
            rows=(),
            estimates={},
            bootstrap_samples=found.bootstrap_samples,
        )
    merged = replace(result, estimates={**result.estimates, **found.estimates})
    return merged, [*notes, *found.notes]


def _circumstances(config: Config) -> str:
    """What times depend on besides the model: where it runs, and who is asked."""
    limits = config.eval.model_dump(include={"timed_utterances", "max_utterances"})
    told = [config.cluster.model_dump(mode="json"), limits, config.seed]
    return hashlib.blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=6).hexdigest()
