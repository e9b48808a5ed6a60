"""Make a LIME corpus on Ray: claim the folder, make the parts that are missing, finish."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clusters.backend import connect
from clusters.in_job import in_a_job
from cogaudio_rl.config import Config
from cogaudio_rl.console import Console
from cogaudio_rl.data.lime.attributed import QUARANTINED, build_attributed
from cogaudio_rl.data.lime.conflict import build_conflict, lexical_emotion
from cogaudio_rl.data.lime.dialogues import build_dialogues
from cogaudio_rl.data.lime.factory import is_made, sweep_drafts
from cogaudio_rl.data.lime.finish import Finished, claim, finish
from cogaudio_rl.data.lime.mixtures import build_mixtures
from cogaudio_rl.data.lime.plan import part
from cogaudio_rl.data.lime.recipe import STYLES, LimeRecipe
from cogaudio_rl.data.lime.speakers import check_speaker
from cogaudio_rl.errors import ConfigError
from cogaudio_rl.run_folder import read_lines


def build_corpus(
    recipe: LimeRecipe, out: Path, *, workers: int | None, address: str | None
) -> Finished:
    """Build, or go on with what an interrupted build left; raises DataError for another's folder."""
    console, out = Console(), out.absolute()
    check_speaker(recipe.speaker)  # what it lacks is said before anything starts
    claim(out, recipe)
    sweep_drafts(out)
    missing = [number for number in range(recipe.parts) if not is_made(out, number)]
    console.stage(
        f"LIME: {recipe.families} sentences in {STYLES} styles, by {recipe.author.kind} author and "
        f"{recipe.speaker.kind}; {len(missing)} of {recipe.parts} parts to make"
    )
    if missing:
        _make(recipe, out, missing, workers, address, console)
    console.stage("finish: manifests by split, checks over the whole corpus, leak test, card")
    with console.progress("heard") as advance:
        done = finish(out, recipe, advance)
    console.note(f"{done.utterances} utterances, {done.rejected} rejected, digest {done.digest}")
    for reason, count in list(done.reasons.items())[:5]:
        console.note(f"{count} x {reason}")
    if (leaks := done.leaks) is not None:
        for clue in leaks.leaking:
            low, high = leaks.intervals[clue]
            told = f"{low:.3f} to {high:.3f}, guessing {leaks.chance:.3f}"
            console.note(
                f"{clue} alone tells some of the emotion ({told}); see the card", warn=True
            )
    return done


def build_conflict_set(out: Path, *, language: str, seed: int) -> None:
    """``conflict.jsonl`` and its sounds in ``out``."""
    console = Console()
    console.stage("conflict: sentences whose words name a feeling, said in every emotion")
    with console.progress("utterances") as advance:
        made = build_conflict(out, language=language, seed=seed, progress=advance)
    agree = sum(lexical_emotion(u) == u.emotion for u in made)
    console.note(f"{len(made)} utterances: {agree} consistent, {len(made) - agree} in conflict")


def build_mixture_set(
    out: Path,
    *,
    utterances: int,
    rl_utterances: int,
    test_families: int,
    dev_families: int,
    seed: int,
) -> None:
    """``train``, ``rl`` and ``test.jsonl``, their sounds, card and README in ``out``."""
    console = Console()
    console.stage("ambiguity: voices between two emotions, and the votes of SIMULATED listeners")
    with console.progress("utterances") as advance:
        made = build_mixtures(
            out,
            utterances=utterances,
            rl_utterances=rl_utterances,
            test_families=test_families,
            dev_families=dev_families,
            seed=seed,
            progress=advance,
        )
    console.note(
        f"{utterances} train, {rl_utterances} rl and {len(made.test)} test utterances in {out};"
        " their votes are simulated, see README.md"
    )


def build_dialogue_set(out: Path, *, dialogues: int, seed: int) -> None:
    """Made dialogues in HumDial's layout, card and README in ``out``."""
    console = Console()
    console.stage("dialogues: MADE, in synthetic voices whose emotion changes from turn to turn")
    with console.progress("dialogues") as advance:
        made = build_dialogues(out, dialogues=dialogues, seed=seed, progress=advance)
    console.note(f"{made} made dialogues in {out}; see README.md")


def build_attributed_set(config: Config, out: Path) -> None:
    """``train``, ``rl`` and ``test.jsonl`` with thoughts, and the sounds, in ``out``."""
    console = Console()
    console.stage("attributions: the same words in seven tones of voice, each with a thought")
    with console.progress("utterances") as advance:
        made = build_attributed(config.data, config.seed, out, progress=advance)
    assert isinstance(made.train, tuple), "what is made here is not streamed"
    console.note(
        f"{len(made.train)} train, {len(made.rl)} rl and {len(made.test)} test utterances in {out}; "
        f"{len(read_lines(out / QUARANTINED))} set aside in {QUARANTINED}"
    )


def _make(
    recipe: LimeRecipe,
    out: Path,
    missing: list[int],
    workers: int | None,
    address: str | None,
    console: Console,
) -> None:
    import ray

    from actors.factory import make_parts

    with _native_log_off():
        connect(address)
    total = sum(1 for number in missing for _ in part(recipe, number)) * STYLES
    made = 0
    try:
        with console.progress("utterances") as advance:
            speaking = workers or _speakers(recipe, address)
            for _number, count in make_parts(recipe, out, missing, workers=speaking):
                made += count
                advance(made, total)
    finally:
        ray.shutdown()


def _speakers(recipe: LimeRecipe, address: str | None) -> int:
    """As many processes as there are cores, or GPUs where each takes some."""
    import ray

    have = ray.cluster_resources()
    if gpus := recipe.speaker.gpus:
        if have.get("GPU", 0.0) < gpus:
            raise ConfigError(
                f"speaker.gpus={gpus:g}, but this Ray has {have.get('GPU', 0.0):g}; "
                "name a cluster with --address"
            )
        return int(have["GPU"] / gpus)
    return int(have["CPU"]) if address or in_a_job() else os.cpu_count() or 1


@contextmanager
def _native_log_off() -> Iterator[None]:
    """Ray's C++ side warns that Ray Data's actors could not be started again with their arguments.

    A build that was cut off is begun again instead. Its log is turned off before it starts, and says so
    on stderr itself, past Python; what goes wrong still comes as an exception.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
