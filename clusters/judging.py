"""Trials of the judge that a recipe names: in this process, or where its engine has one of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from rich.console import Console as Terminal
from rich.table import Table

from clusters.backend import RayBackend
from cogaudio_rl.config import Config
from cogaudio_rl.console import Console
from cogaudio_rl.data.lime import author
from cogaudio_rl.errors import RunError
from cogaudio_rl.eval.calibrate import utterance_of
from cogaudio_rl.eval.calibration_report import headline, write_calibration
from cogaudio_rl.eval.judge_trial import judge_labelled
from cogaudio_rl.eval.labels import calibrate_labels, read_labels
from cogaudio_rl.ports import Judge
from cogaudio_rl.rewards.canaries import LIKED, max_score, try_canaries, write_canaries
from cogaudio_rl.rewards.judge import make_judge, probe_judge
from cogaudio_rl.run_folder import JUDGE_CACHE
from cogaudio_rl.types import LIME_EMOTIONS

T = TypeVar("T")

_FAMILIES = 8
"""Test sentences of each language that canaries are made for, in every emotion."""


def calibrate_judge(config: Config, labels: Path, out: Path) -> None:
    """Write ``calibration.json`` and ``calibration.html``, and say the gist."""
    console, items = Console(), read_labels(labels)
    console.stage(f"judge {config.judge.name}: {len(items)} replies that people have rated")
    scores = _asked(config, out, lambda judge: judge_labelled(judge, items))
    samples = config.eval.bootstrap_samples
    found = calibrate_labels(items, scores, samples=samples, seed=config.seed)
    write_calibration(
        out,
        found,
        judge=config.judge.name,
        labelled_file=str(labels),
        samples=samples,
        seed=config.seed,
    )
    console.note(headline(found))
    if found.unscored:
        console.note(f"{found.unscored} of {len(items)} replies got no score", warn=True)
    console.note(f"report: {out / 'calibration.html'}")


def try_judge_with_canaries(config: Config, out: Path) -> None:
    """Write ``canaries.json`` and show it. Raises RunError where a canary reached a 2."""
    console = Console()
    utterances = [
        utterance_of(sentence, emotion)
        for language in ("en", "zh")
        for sentence in author.split_sentences(language)["test"][:_FAMILIES]
        for emotion in LIME_EMOTIONS
    ]
    console.stage(f"judge {config.judge.name}: canaries for {len(utterances)} utterances")
    found = _asked(config, out, lambda judge: try_canaries(judge, utterances))
    write_canaries(found, out / "canaries.json")
    table = Table("canary", "replies", "mean", "highest", "unscored")
    for kind, one in found.items():
        mean, highest = (f"{x:.2f}" if x is not None else "-" for x in (one.mean, one.max))
        table.add_row(kind, str(one.n), mean, highest, str(one.unscored))
    Terminal().print(table)
    if (highest := max_score(found)) is not None and highest >= LIKED:
        raise RunError(f"a canary got {highest:g} of 4: a policy would learn to say it")


def _asked(config: Config, out: Path, ask: Callable[[Judge], Awaitable[T]]) -> T:
    """Verdicts stay in ``out``: the same trial again asks for none of them."""
    kept = config.judge.kept_in(out / JUDGE_CACHE)

    async def whole() -> T:
        await probe_judge(kept)
        if kept.engine is not None:
            backend = RayBackend(config.model_copy(update={"judge": kept}), out)
            try:
                return await ask(backend.judge())
            finally:
                backend.close()
        judge = make_judge(kept, config.rl.reward)
        try:
            return await ask(judge)
        finally:
            await judge.close()

    return asyncio.run(whole())
