"""The HumDial challenge from end to end: answer its dialogues, write what it takes, score it here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console as Terminal
from rich.table import Table

from clusters.backend import make_backend
from clusters.contestants import Model
from cogaudio_rl.config import ClusterConfig, Config, JudgeConfig, ModelConfig
from cogaudio_rl.console import Console
from cogaudio_rl.data.corpora import humdial
from cogaudio_rl.data.lime.making import SYNTHESISER
from cogaudio_rl.data.lime.recipe import SpeakerConfig
from cogaudio_rl.data.lime.speakers import check_speaker, make_speaker
from cogaudio_rl.errors import ConfigError, DataError
from cogaudio_rl.eval.humdial import answer_dialogues, score_dialogues
from cogaudio_rl.eval.humdial_dialogues import Answered, Heard, hear
from cogaudio_rl.eval.humdial_items import quarantined
from cogaudio_rl.eval.humdial_result import LANGUAGES, TALK_TASKS, HumDialResult
from cogaudio_rl.eval.humdial_room import clips_needed, tokens_needed
from cogaudio_rl.eval.humdial_submission import FOLDER, read_submission, write_submission
from cogaudio_rl.eval.humdial_voice import SPOKEN_TASK, speak_replies
from cogaudio_rl.eval.kept import KeptSampler, model_digest
from cogaudio_rl.eval.run import Progress
from cogaudio_rl.models.architecture import resolve_checkpoint
from cogaudio_rl.models.chat import Chat, open_processor
from cogaudio_rl.models.checkpoint import load_adapter
from cogaudio_rl.models.policy import quiet_transformers
from cogaudio_rl.rewards.judge import probe_judge
from cogaudio_rl.run_folder import JUDGE_CACHE, write_whole
from cogaudio_rl.types import Route

ABOUT, SCORES = "submission.json", "scores.json"
NEEDS_JUDGE = (
    "scoring needs a judge: 'eval.judge={kind: llm, base_url: URL, model: NAME, hears: true}'; the "
    "challenge's own is Qwen3-Omni-30B-A3B-Instruct; without hears=true there is no T3 D2, no D3 and "
    "no Final"
)
_SCORES = ("t1_score", "t2_score", "t3_d1", "t3_d2", "t3_d3", "challenge_final")


def submit_humdial(
    config: Config, model: Model, root: Path, out: Path, *, route: Route, speaker: SpeakerConfig
) -> None:
    """``HD-Track1`` in ``out``: what a model answers to every turn of ``root``'s dialogues, T3 spoken.

    Answers are kept in ``out``: the same command goes on where it stopped. Raises ConfigError for a
    speaker that is not there, DataError for a corpus without dialogues and a folder that is full.
    """
    console = Console()
    check_speaker(speaker)  # what it lacks is said before anything starts
    if (out / FOLDER).exists():
        raise DataError(f"{str(out / FOLDER)!r} is already there; name another --out")
    reading = _read(root, console)
    dialogues = [d for d in reading.dialogues if d.task in TALK_TASKS]
    if not dialogues:
        raise DataError(f"{str(root)!r} holds no dialogue of T1, T2 or T3 that can be answered")
    console.stage(f"model {model.name}: {len(dialogues)} dialogues, turn by turn")
    heard = [hear(dialogue, out / "cut") for dialogue in dialogues]
    said = _answer(config, model, reading, heard, out, route, console)
    by = SYNTHESISER if speaker.kind == "espeak" else speaker.kind
    console.stage(f"replies of T3 spoken by {by}")
    said = speak_replies(said, make_speaker(speaker), out / "spoken", seed=config.seed)
    voices = [v for a in said if a.dialogue.task == SPOKEN_TASK for v in a.voices]
    told = sum(v is not None for v in voices)
    if route is Route.SPOKEN:
        console.note(f"{told} of {len(voices)} replies of T3 say how they should sound")
    folder = write_submission(out, said)
    read_submission(folder, reading)
    about = {
        "model": model.name,
        "backbone": model.backbone,
        "adapter": None if model.adapter is None else str(model.adapter),
        "route": route,
        "spoken_by": by,
        "replies_with_a_voice": told,
        "dialogues": len(said),
        "quarantined": quarantined(reading),
    }
    write_whole(out / ABOUT, json.dumps(about, indent=1, ensure_ascii=False))
    console.note(f"submission: {folder}, read back without fault; replies spoken by {by}")
    console.note(
        "the rules also want NAME_System_Description.pdf in it, and all of it as a ZIP file"
    )


def score_humdial(config: Config, submission: Path, root: Path, out: Path) -> HumDialResult:
    """``scores.json`` in ``out``: the challenge's scores of a submission, by ``eval.judge``.

    ``root`` holds the dialogues with their words and emotions. Raises DataError for a submission that
    does not answer all of them, ConfigError without a judge that is an endpoint.
    """
    console = Console()
    reading = _read(root, console)
    said = read_submission(submission, reading)
    console.note(f"{submission}: {len(said)} dialogues, read back without fault")
    judge = config.eval.judge
    if judge is None or judge.kind != "llm":
        raise ConfigError(NEEDS_JUDGE)
    console.stage(f"judge {judge.name}" + (", which hears the replies" if judge.hears else ""))
    with console.progress("dialogues") as advance:
        result = asyncio.run(_score(config, judge, said, reading, out, advance))
    text = json.dumps(result.to_json(), ensure_ascii=False, indent=1)
    write_whole(out / SCORES, text)
    Terminal().print(_table(result))
    for name, why in result.not_run.items():
        console.note(f"{name}: {why}", warn=True)
    for note in result.notes:
        console.note(note, warn=True)
    console.note(f"scores: {out / SCORES}")
    return result


def with_room(
    cluster: ClusterConfig,
    model: ModelConfig,
    readings: Sequence[humdial.HumDialReading],
    route: Route = Route.DIRECT,
) -> ClusterConfig:
    """The same, with room for dialogues: their clips, and their tokens where they need more."""
    quiet_transformers()
    chat = Chat(open_processor(resolve_checkpoint(model.path), name=model.path), name=model.path)
    new_tokens = model.max_new_tokens(route)
    tokens = [tokens_needed(chat, r, new_tokens=new_tokens, route=route) for r in readings]
    return cluster.model_copy(
        update={
            "max_clips": max([cluster.max_clips, *map(clips_needed, readings)]),
            "max_model_len": max([cluster.max_model_len, *tokens]),
        }
    )


def _read(root: Path, console: Console) -> humdial.HumDialReading:
    with console.progress("lines") as advance:
        reading = humdial.read(root, progress=advance)
    for line in (bad := quarantined(reading))[:3]:
        console.note(f"quarantined: {line}", warn=True)
    if len(bad) > 3:
        console.note(f"quarantined: {len(bad)} lines in all", warn=True)
    return reading


def _answer(
    config: Config,
    model: Model,
    reading: humdial.HumDialReading,
    dialogues: list[Heard],
    out: Path,
    route: Route,
    console: Console,
) -> list[Answered]:
    backbone = config.model.model_copy(update={"path": model.backbone})
    cluster = with_room(config.cluster, backbone, [reading], route)
    # Nobody asks the reward's judge here, which may be an engine on a GPU of its own.
    cluster = cluster.model_copy(update={"judge_workers": 1, "gpus_per_judge": 0.0})
    config = config.model_copy(
        update={"model": backbone, "cluster": cluster, "judge": JudgeConfig()}
    )
    turns = sum(len(heard.utterances) for heard in dialogues)
    backend = make_backend(config, out)
    try:
        sampler = backend.rollout_ports().sampler
        adapter = load_adapter(model.adapter) if model.adapter else None
        digest = model_digest(backbone, model.adapter)
        kept = KeptSampler(sampler, out / "answers", model=digest)
        with console.progress("turns") as advance:
            done = 0

            def count(more: int) -> None:
                nonlocal done
                done += more
                advance(done, turns)

            async def ask() -> list[Answered]:
                await sampler.publish(adapter)
                return await answer_dialogues(kept, dialogues, route, config.seed, count)

            return asyncio.run(ask())
    finally:
        backend.close()


async def _score(
    config: Config,
    judge: JudgeConfig,
    said: list[Answered],
    reading: humdial.HumDialReading,
    out: Path,
    advance: Progress,
) -> HumDialResult:
    await probe_judge(judge)
    return await score_dialogues(
        said,
        reading,
        judge,
        cache=out / JUDGE_CACHE,
        samples=config.eval.bootstrap_samples,
        seed=config.seed,
        progress=advance,
    )


def _table(result: HumDialResult) -> Table:
    table = Table("language", "T1", "T2", "T3 D1", "T3 D2", "T3 D3", "Final")
    for language, suffix in (*((name, f"_{name}") for name in LANGUAGES), ("both", "")):
        found = (result.estimates.get(f"{name}{suffix}") for name in _SCORES)
        table.add_row(language, *("-" if e is None else f"{e.value:.2f}" for e in found))
    return table
