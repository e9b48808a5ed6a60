"""Benchmarks of the corpus factory and the loader; writes bench_data.json.

    python scripts/bench/data.py --out runs/bench_data [--parts build limit kills annotate loader]

Commands are run as a user runs them, in processes of their own, with everything else at rest.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from aiohttp import web
from loader import samples_per_s

from clusters.memory_watch import family_rss_gib
from cogaudio_rl.answer_cache import AnswerCache
from cogaudio_rl.config import parse
from cogaudio_rl.data.audio import write_audio
from cogaudio_rl.data.lime import author
from cogaudio_rl.data.lime.annotate import LlmAnnotator
from cogaudio_rl.data.lime.factory import lines_of, write_part
from cogaudio_rl.data.lime.recipe import LimeRecipe
from cogaudio_rl.data.lime.speakers import make_speaker
from cogaudio_rl.data.manifest import iter_manifest
from cogaudio_rl.endpoint import ChatEndpoint
from cogaudio_rl.types import LIME_EMOTIONS

COMMAND = str(Path(sys.executable).with_name("cogaudio-rl"))
PAPER = 438_884
SFT_SAMPLES_PER_S = 50.0
"""What the quickstart's first stage consumes on the same machine: 12,250 in 244 s."""
PARTS = ("build", "limit", "kills", "annotate", "loader")
_LIMIT_S = 3_600.0


def main() -> int:
    options = argparse.ArgumentParser(description="Benchmarks of corpora; writes bench_data.json.")
    options.add_argument("--out", type=Path, default=Path("runs/bench_data"))
    options.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    options.add_argument("--utterances", type=int, default=20_000)
    options.add_argument("--kills", type=int, default=10)
    asked = options.parse_args()
    out: Path = asked.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    path = out / "bench_data.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    run: dict[str, Callable[[], dict[str, Any]]] = {
        "build": lambda: build(out, asked.utterances),
        "limit": lambda: limit(out, found),
        "kills": lambda: kills(out, asked.kills),
        "annotate": lambda: annotate(out),
        "loader": lambda: loading(out),
    }
    for part in asked.parts:
        print(f"▶ {part}", flush=True)
        for name, values in run[part]().items():
            found[name] = found.get(name, {}) | values
        path.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
        print(json.dumps(found), flush=True)
    return 0


# -- the factory ---------------------------------------------------------------------------------


def build(out: Path, utterances: int) -> dict[str, Any]:
    """Utterances a second of a whole build, and the memory of a large one beside a small one's."""
    small, large = out / "small", out / "large"
    for folder in (small, large):
        shutil.rmtree(folder, ignore_errors=True)
    _, rss_small, _ = timed_build(small, utterances // 10)
    seconds, rss_large, made = timed_build(large, utterances)
    rate = made / seconds
    return {
        "build": {
            "utterances_per_s": rate,
            "utterances": made,
            "seconds": seconds,
            "rss_gib": {"small": rss_small, "large": rss_large},
            "rss_20k_over_2k": rss_large / rss_small,
            "hours_for_438884": PAPER / rate / 3600,
        }
    }


def timed_build(folder: Path, utterances: int) -> tuple[float, float, int]:
    """Seconds, largest memory of all its processes in GiB, utterances made."""
    started, peak = time.perf_counter(), 0.0
    process = start_build(folder, utterances)
    family = psutil.Process(process.pid)
    while process.poll() is None:
        peak = max(peak, family_rss_gib(family))
        time.sleep(1.0)
    seconds = time.perf_counter() - started
    if process.returncode != 0:
        raise SystemExit(f"the build ended with {process.returncode}; see {folder}.log")
    made = sum(1 for split in ("train", "test") for _ in (folder / f"{split}.jsonl").open())
    return seconds, peak, made


def start_build(folder: Path, utterances: int) -> subprocess.Popen[bytes]:
    log = folder.with_name(f"{folder.name}.log").open("ab")
    return subprocess.Popen(
        [COMMAND, "data", "lime", "build", "-o", str(folder), f"utterances={utterances}"],
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def limit(out: Path, found: dict[str, Any]) -> dict[str, Any]:
    """Synthesis and FLAC alone, in one process, and the factory's share of that on each core."""
    recipe = LimeRecipe(utterances=840)
    speaker, folder = make_speaker(recipe.speaker), out / "limit"
    shutil.rmtree(folder, ignore_errors=True)
    written = [
        w for n in range(recipe.parts) for w in asyncio.run(write_part(recipe, n, out)).families
    ]
    families = [lines_of(one, recipe, speaker) for one in written]
    speaker.say(families[0])
    started = time.perf_counter()
    for number, lines in enumerate(families):
        for i, sound in enumerate(speaker.say(lines)):
            write_audio(folder / f"{number}-{i}.flac", sound)
    alone = sum(map(len, families)) / (time.perf_counter() - started)
    cores = os.cpu_count() or 1
    whole = found.get("build", {}).get("utterances_per_s", 0.0)
    speaking = speaking_rate(out / "large")
    return {
        "build": {
            "limit_per_s_one_process": alone,
            "speaking_per_s": speaking,
            "limit_share": speaking / cores / alone,
            "limit_share_with_start_and_finish": whole / cores / alone,
        }
    }


def speaking_rate(folder: Path) -> float:
    """Utterances a second between the first parts that were made and the last."""
    seals = sorted(folder.glob("parts/*/part.json"), key=lambda p: p.stat().st_mtime)
    begun = seals[(os.cpu_count() or 1) - 1].stat().st_mtime
    later = seals[os.cpu_count() or 1 :]
    made = sum(json.loads(p.read_text("utf-8"))["utterances"] for p in later)
    return made / (later[-1].stat().st_mtime - begun)


def kills(out: Path, count: int) -> dict[str, Any]:
    """Builds killed at random moments, begun again until they end, beside one that was left alone."""
    calm = out / "calm"
    shutil.rmtree(calm, ignore_errors=True)
    seconds, _, whole = timed_build(calm, 2_100)
    expected, ids = digest_of(calm), ids_of(calm)
    rows: list[dict[str, Any]] = []
    folder = out / "killed"
    for seed in range(count):
        shutil.rmtree(folder, ignore_errors=True)
        rng, at = random.Random(seed), list[float]()
        while True:
            process = start_build(folder, 2_100)
            at.append(rng.uniform(0.2, 0.95) * seconds)
            if rng.random() < 0.5 and len(at) > 1:  # every build is killed at least once
                at[-1] = _LIMIT_S
            try:
                process.wait(at[-1])
                break
            except subprocess.TimeoutExpired:
                kill_family(process)
        found = ids_of(folder)
        rows.append(
            {
                "seed": seed,
                "killed_after_s": [round(t, 1) for t in at[:-1]],
                "equal": digest_of(folder) == expected,
                "duplicates": len(found) - len(set(found)),
                "missing": len(set(ids) - set(found)),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return {
        "kills": {
            "n": sum(len(row["killed_after_s"]) for row in rows),
            "builds": len(rows),
            "utterances": whole,
            "equal_digests": sum(row["equal"] for row in rows),
            "duplicates": sum(row["duplicates"] for row in rows),
            "missing": sum(row["missing"] for row in rows),
            "all": rows,
        }
    }


def kill_family(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL a build and all it started: Ray's daemons are in sessions of their own."""
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for one in family:
        with suppress(psutil.Error):
            one.kill()
    process.wait()


def digest_of(folder: Path) -> str:
    return json.loads((folder / "card.json").read_text("utf-8"))["facts"]["digest"]


def ids_of(folder: Path) -> list[str]:
    return [u.id for split in ("train", "test") for u in iter_manifest(folder / f"{split}.jsonl")]


# -- annotations ---------------------------------------------------------------------------------


class Server:
    """Annotates as the embedded author does, after a while, and badly for some of the questions."""

    def __init__(self, delay_s: float, shares: tuple[float, float, float]) -> None:
        """``shares`` of the questions: errors, time-outs, answers cut in half."""
        self._delay, self._shares, self._rng = delay_s, shares, random.Random(0)
        self._sentences = {sentence.text: sentence for sentence in author.sentences("en")}

    async def answer(self, request: web.Request) -> web.Response:
        asked, draw = await request.json(), self._rng.random()
        errors, hangs, malformed = self._shares
        await asyncio.sleep(self._delay)
        content = self._annotation(asked)
        if draw < errors:
            return web.json_response({}, status=503)
        if draw < errors + hangs:
            await asyncio.sleep(3.0)  # longer than the client waits
        elif draw < errors + hangs + malformed:
            content = content[: len(content) // 2]
        message = {"role": "assistant", "content": content}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        return web.json_response({"object": "chat.completion", "choices": [choice]})

    def _annotation(self, asked: dict[str, Any]) -> str:
        material = json.loads(asked["messages"][1]["content"])
        sentence = self._sentences[material["sentence"]]
        chain = author.annotate(sentence, material["emotion"], depth=4, variant=0).eips
        return json.dumps({name: getattr(chain, name) for name in chain.__dataclass_fields__})


def _serve(line: Any, delay_s: float, shares: tuple[float, float, float]) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(256)
        app = web.Application()
        app.router.add_post("/v1/chat/completions", Server(delay_s, shares).answer)
        line.send(f"http://127.0.0.1:{listening.getsockname()[1]}/v1")
        web.run_app(app, sock=listening, print=None)


@contextmanager
def served(delay_s: float, shares: tuple[float, float, float]) -> Iterator[str]:
    """The address of a server in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, delay_s, shares), daemon=True)
    process.start()
    yield ours.recv()
    process.kill()
    process.join()


def annotate(out: Path) -> dict[str, Any]:
    """500 annotations from an endpoint of 300 ms, then from one in trouble."""
    ideal = -(-500 // 64) * 0.3
    with served(0.3, (0.0, 0.0, 0.0)) as url:
        seconds, _ = asyncio.run(annotate_all(out / "answers-calm", url, timeout_s=30.0))
    with served(0.05, (0.2, 0.1, 0.1)) as url:
        _, rows = asyncio.run(annotate_all(out / "answers-trouble", url, timeout_s=2.0))
    listed = sum(annotation is None and bool(refused) for _, _, annotation, refused in rows)
    taken = [(s, e, a) for s, e, a, _ in rows if a is not None]
    return {
        "annotate": {
            "over_ideal": seconds / ideal,
            "seconds": seconds,
            "lost": 500 - len(taken) - listed,
            "listed_with_reason": listed,
            "wrong": sum(
                a.eips != author.annotate(s, e, depth=4, variant=0).eips for s, e, a in taken
            ),
        }
    }


async def annotate_all(folder: Path, url: str, *, timeout_s: float) -> tuple[float, list[Any]]:
    shutil.rmtree(folder, ignore_errors=True)
    recipe = parse(
        LimeRecipe,
        {
            "author": {
                "kind": "llm", "base_url": url, "model": "m", "concurrency": 64,
                "timeout_s": timeout_s, "max_attempts": 10,
            }
        },
    )  # fmt: skip
    pairs = [(s, e) for s in author.sentences("en") for e in LIME_EMOTIONS][:500]
    endpoint = ChatEndpoint(recipe.author)
    annotator = LlmAnnotator(recipe.author, endpoint, AnswerCache(folder))
    await annotator.annotate(*pairs[0], nth=1)  # the client imports what it needs at its first use
    started = time.perf_counter()
    answers = await asyncio.gather(*(annotator.annotate(s, e, nth=0) for s, e in pairs))
    seconds = time.perf_counter() - started
    await endpoint.close()
    return seconds, [(s, e, a, r) for (s, e), (a, r) in zip(pairs, answers, strict=True)]


# -- the loader ----------------------------------------------------------------------------------


def loading(out: Path) -> dict[str, Any]:
    """Samples a second with log-mel features made, over what the quickstart's SFT consumes."""
    manifest = next(
        p for p in (out / "large/train.jsonl", out / "small/train.jsonl") if p.is_file()
    )
    rate = samples_per_s(manifest, threads=2, seconds=20.0)
    return {"loader": {"samples_per_s": rate, "samples_per_s_over_sft": rate / SFT_SAMPLES_PER_S}}


if __name__ == "__main__":
    sys.exit(main())
