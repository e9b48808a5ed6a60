"""Benchmarks of the judges; writes bench_judge.json.

    python scripts/bench/judge.py --out runs/bench_judge [--parts latency faults embedded canaries]

The endpoint is a server in a process of its own, on loopback, with everything else at rest.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import multiprocessing
import random
import shutil
import socket
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from actors.judge import JudgeWorker
from cogaudio_rl import eips
from cogaudio_rl.config import ClusterConfig, JudgeConfig, RewardConfig
from cogaudio_rl.data.lime import author
from cogaudio_rl.rewards.canaries import max_score, try_canaries, write_canaries
from cogaudio_rl.rewards.judge import EmbeddedJudge
from cogaudio_rl.rewards.ranking import rank_families
from cogaudio_rl.types import (
    LIME_EMOTIONS,
    AudioRef,
    Group,
    Prompt,
    Rollout,
    Route,
    Score,
    StopReason,
    Unscored,
    Utterance,
)

PARTS = ("latency", "faults", "embedded", "canaries")
JUDGMENTS = 1_000
CONCURRENCY = 64
LATENCY_S = 0.2
TIMEOUT_S = 2.0
ATTEMPTS = 5
"""The default of a recipe."""
GROUP_SIZE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Shares of the requests that fail, and how often for how long all of them are refused."""

    errors: float = 0.2
    hangs: float = 0.1
    malformed: float = 0.1
    burst_every_s: float = 4.0
    burst_s: float = 0.4
    retry_after_s: int = 1

    def ideal_s(self) -> float:
        """Wall-clock of a client that loses nothing but what this mix takes from everybody.

        An attempt takes the latency, or the whole time-out where the server hangs; it succeeds with
        the share that is left, so a judgment needs 1 / share of them; ``CONCURRENCY`` go at a time.
        A burst takes its Retry-After from everybody: who was told to stay away stays away. Not in
        it: waits between attempts, attempts that bursts use up, and the last few judgments, which
        leave slots idle.
        """
        works = 1.0 - self.errors - self.hangs - self.malformed
        attempt_s = (1.0 - self.hangs) * LATENCY_S + self.hangs * TIMEOUT_S
        busy_s = JUDGMENTS / CONCURRENCY * attempt_s / works
        return busy_s / (1.0 - self.retry_after_s / self.burst_every_s)


CALM = Faults(errors=0.0, hangs=0.0, malformed=0.0, burst_s=0.0)


def main() -> int:
    options = argparse.ArgumentParser(description="Benchmarks of judges; writes bench_judge.json.")
    options.add_argument("--out", type=Path, default=Path("runs/bench_judge"))
    options.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    asked = options.parse_args()
    out: Path = asked.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    path = out / "bench_judge.json"
    found: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    run: dict[str, Callable[[Path], dict[str, Any]]] = {
        "latency": latency,
        "faults": faults,
        "embedded": embedded,
        "canaries": canaries,
    }
    for part in asked.parts:
        print(f"▶ {part}", flush=True)
        found[part] = run[part](out)
        path.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
        print(json.dumps(found[part]), flush=True)
    return 0


# -- the LLM judge -------------------------------------------------------------------------------


class Server:
    """Judges every reply by its digest, after a while, and fails as it is told to."""

    def __init__(self, faults: Faults) -> None:
        self._faults, self._rng, self._seen = faults, random.Random(0), Counter[str]()
        self._started = time.monotonic()

    async def answer(self, request: web.Request) -> web.Response:
        asked, draw = await request.json(), self._rng.random()
        faults, self._seen["requests"] = self._faults, self._seen["requests"] + 1
        if (time.monotonic() - self._started) % faults.burst_every_s < faults.burst_s:
            self._seen["refused"] += 1
            return web.json_response(
                {}, status=429, headers={"retry-after": str(faults.retry_after_s)}
            )
        await asyncio.sleep(LATENCY_S)
        if draw < faults.errors:
            self._seen["errors"] += 1
            return web.json_response({}, status=500)
        if draw < faults.errors + faults.hangs:
            self._seen["hangs"] += 1
            await asyncio.sleep(10 * TIMEOUT_S)
            return web.json_response({}, status=504)  # Nobody waits for it any more.
        score = level(json.loads(asked["messages"][1]["content"])["assistant_reply"])
        content = json.dumps({"reasoning": "It does what the rubric says of it.", "score": score})
        if draw < faults.errors + faults.hangs + faults.malformed:
            self._seen["malformed"] += 1
            wrong = json.dumps({"reasoning": "", "score": 5 - score})
            content = self._rng.choice([content[:-4], "A 4, I would say.", f"Not {wrong}", "[4]"])
        message = {"role": "assistant", "content": content}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        usage = {"prompt_tokens": 500, "completion_tokens": 20, "total_tokens": 520}
        return web.json_response({"object": "chat.completion", "choices": [choice], "usage": usage})

    async def count(self, _: web.Request) -> web.Response:
        return web.json_response(dict(self._seen))


def level(reply: str) -> int:
    """The verdict that the server means; the bench knows by it what was scored by accident."""
    return 1 + hashlib.blake2b(reply.encode(), digest_size=1).digest()[0] % 4


def _serve(line: Any, faults: Faults) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(256)
        app, server = web.Application(), Server(faults)
        app.router.add_post("/v1/chat/completions", server.answer)
        app.router.add_get("/count", server.count)
        line.send(f"http://127.0.0.1:{listening.getsockname()[1]}")
        web.run_app(app, sock=listening, print=None)


@contextmanager
def served(faults: Faults) -> Iterator[str]:
    """The address of a server in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, faults), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.kill()
        process.join()


def counted(url: str) -> dict[str, int]:
    """What the server has seen, by itself."""
    with urllib.request.urlopen(f"{url}/count", timeout=10) as said:
        return json.load(said)


def rollouts() -> list[Group]:
    """Groups with a reply each that is nobody else's."""
    cases = [(s, e) for s in author.sentences("en") for e in LIME_EMOTIONS]
    return [
        group_of(said(sentence, emotion), [f"Reply {i} of {n}." for i in range(GROUP_SIZE)])
        for n, (sentence, emotion) in enumerate(cases[: JUDGMENTS // GROUP_SIZE])
    ]


def said(sentence: author.Sentence, emotion: str) -> Utterance:
    return Utterance(
        id=f"{sentence.text_id}_{emotion}",
        text_id=sentence.text_id,
        audio=AudioRef(path="", sample_rate_hz=16_000, num_samples=1),
        transcript=sentence.text,
        emotion=emotion,
        intensity="mid",
        speaker="",
        language=sentence.language,
    )


def group_of(utterance: Utterance, replies: Sequence[str]) -> Group:
    texts = [eips.render_direct(reply) for reply in replies]
    return Group(
        prompt=Prompt(utterance=utterance, route=Route.DIRECT),
        rollouts=tuple(
            Rollout(token_ids=(), logprobs=(), text=text, stop=StopReason.EOS, policy_version=0)
            for text in texts
        ),
    )


async def judged(
    url: str, folder: Path | None, *, attempts: int
) -> tuple[float, list[Score | Unscored], dict[str, float]]:
    """Seconds, one verdict for each rollout, and what the judge itself counted."""
    config = JudgeConfig(
        kind="llm",
        base_url=f"{url}/v1",
        model="m",
        concurrency=CONCURRENCY,
        timeout_s=TIMEOUT_S,
        max_attempts=attempts,
        cache=folder,
    )
    judge, groups = JudgeWorker(config, RewardConfig(), ClusterConfig()), rollouts()
    # The client imports what it needs at its first use; kept verdicts are not asked for, so this
    # question is another one.
    await judge.score([group_of(groups[0].prompt.utterance, ["Before the start."])])
    await judge.spent()
    started = time.perf_counter()
    scores_PG = await judge.score(groups)
    seconds = time.perf_counter() - started
    spent = await judge.spent()
    await judge.close()
    return seconds, [score for scores in scores_PG for score in scores], spent


def latency(out: Path) -> dict[str, Any]:
    """1,000 judgments from an endpoint of 200 ms, then once more over the verdicts that were kept."""
    ideal, folder = JUDGMENTS / CONCURRENCY * LATENCY_S, out / "verdicts"
    shutil.rmtree(folder, ignore_errors=True)
    with served(CALM) as url:
        seconds, scores, spent = asyncio.run(judged(url, folder, attempts=1))
        before = counted(url)["requests"]
        again_s, again, _ = asyncio.run(judged(url, folder, attempts=1))
        requests = counted(url)["requests"] - before
    return {
        "n": len(scores),
        "scored": sum(isinstance(score, Score) for score in scores),
        "seconds": seconds,
        "ideal_s": ideal,
        "over_ideal": seconds / ideal,
        "second_run_requests": requests,
        "second_run_seconds": again_s,
        "second_run_equal": scores == again,
        "spent": spent,
    }


def faults(out: Path) -> dict[str, Any]:
    """The same from an endpoint in trouble; every judgment has to end one way or the other."""
    mix = Faults()
    with served(mix) as url:
        seconds, scores, spent = asyncio.run(judged(url, None, attempts=ATTEMPTS))
        seen = counted(url)
    meant = [
        level(f"Reply {i} of {n}.")
        for n in range(JUDGMENTS // GROUP_SIZE)
        for i in range(GROUP_SIZE)
    ]
    scored = [(s, m) for s, m in zip(scores, meant, strict=True) if isinstance(s, Score)]
    unscored = [s.reason for s in scores if isinstance(s, Unscored) and s.reason]
    return {
        "n": len(scores),
        "scored": len(scored),
        "unscored": len(unscored),
        "unaccounted": JUDGMENTS - len(scored) - len(unscored),
        "scored_by_accident": sum(round(3 * s.terms["empathy"]) + 1 != m for s, m in scored),
        "reasons": Counter(reason[:60] for reason in unscored),
        "seconds": seconds,
        "ideal_s": mix.ideal_s(),
        "over_ideal": seconds / mix.ideal_s(),
        "server": seen,
        "spent": spent,
    }


# -- the embedded judge --------------------------------------------------------------------------


def embedded(_: Path) -> dict[str, Any]:
    """Families in which the right reply stands above every sibling's, in both languages.

    The second annotator's replies are none that the judge was made of; Chinese has the first alone.
    """
    judge = EmbeddedJudge(RewardConfig())

    def ranked(language: str, annotator: str) -> dict[str, float]:
        found = asyncio.run(rank_families(judge, author.sentences(language), annotator=annotator))
        return {
            "families": found.families,
            "rank_accuracy": found.accuracy,
            "reply_accuracy": found.reply_accuracy,
        }

    english = ranked("en", "first") | {"second_annotator": ranked("en", "second")}
    return {"en": english, "zh": ranked("zh", "first")}


def canaries(out: Path) -> dict[str, Any]:
    """What the embedded judge gives canaries for every sentence in every emotion."""
    utterances = [
        said(s, e)
        for language in ("en", "zh")
        for s in author.sentences(language)
        for e in LIME_EMOTIONS
    ]
    found = asyncio.run(try_canaries(EmbeddedJudge(RewardConfig()), utterances))
    write_canaries(found, out / "canaries.json")
    return {
        "max_score": max_score(found),
        "n": sum(outcome.n for outcome in found.values()),
        "unscored": sum(outcome.unscored for outcome in found.values()),
        "max_by_kind": {kind: outcome.max for kind, outcome in found.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
