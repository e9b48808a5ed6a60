"""Benchmarks of the server; writes bench_serve.json.

    python scripts/bench/serve.py --out runs/bench_serve [--run runs/quickstart] [--parts …]

The server is `cogaudio-rl serve` as a person starts it. Beside it stands the bare engine: vLLM's
AsyncLLM, opened with the same options, asked by a loop in its own process. Both answer the same clips
greedily, in turns, with everything else at rest.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import random
import signal
import statistics
import sys
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import openai
import psutil
from serve_parties import BareEngine, Clip, Server, Timed, clips_of, in_parallel, timed_chat

PARTS = ("overhead", "routes", "soak", "reload", "kill")
CONCURRENCIES = (8, 32)
TURNS = 5
REQUESTS_PER_TURN = {8: 96, 32: 192}
ROUTE_CLIPS = 60
SOAK_REQUESTS = 2_000
SOAK_CONCURRENCY = 64
BROKEN_SHARE = 0.3
LOAD = 8
"""Clients that ask one question after another while a replica is killed or adapters change."""
KILL_S = 60.0
RELOAD_AFTER_S = 5.0


def main() -> int:
    options = argparse.ArgumentParser(description="Benchmarks of the server.")
    options.add_argument("--out", type=Path, default=Path("runs/bench_serve"))
    options.add_argument("--run", type=Path, default=Path("runs/quickstart"))
    options.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    asked = options.parse_args()
    run, out = asked.run.absolute(), asked.out.absolute()
    if not (run / "checkpoints" / "stage3").is_dir():
        raise SystemExit(f"{run} has no checkpoints/stage3; run `make quickstart` first")
    out.mkdir(parents=True, exist_ok=True)
    path, details = out / "bench_serve.json", out / "details.json"
    found: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    seen: dict[str, Any] = json.loads(details.read_text("utf-8")) if details.is_file() else {}
    measure: dict[str, Callable[[Server, Path], tuple[dict[str, Any], dict[str, Any]]]] = {
        "overhead": overhead,
        "routes": routes,
        "soak": soak,
        "reload": reload,
        "kill": kill,
    }
    for part in asked.parts:
        print(f"▶ {part}", flush=True)
        # Each part has a server of its own: none inherits what another did to it.
        with Server(run, out / f"{part}.log") as server:
            result, detail = measure[part](server, run)
        found |= result
        seen[part] = detail
        path.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
        details.write_text(json.dumps(seen, indent=2) + "\n", "utf-8")
        print(json.dumps(result), flush=True)
    return 0


# -- against the bare engine ---------------------------------------------------------------------


def overhead(server: Server, run: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tokens a second, and the wait for the first word, over those of the bare engine."""
    clips = clips_of(run, max(REQUESTS_PER_TURN.values()))
    turns: list[dict[str, Any]] = []
    with BareEngine(run) as bare:
        for _ in range(2):  # Both have everything loaded and compiled before the clock runs.
            bare.answer(clips[:32], 8)
            server.answer("D", clips[:32], 8)
        for turn in range(TURNS):
            for concurrency in CONCURRENCIES:
                asked = clips[: REQUESTS_PER_TURN[concurrency]]
                arms = {
                    "bare": lambda asked=asked, c=concurrency: bare.answer(asked, c),
                    "served": lambda asked=asked, c=concurrency: server.answer("D", asked, c),
                }
                order = list(arms) if turn % 2 == 0 else list(arms)[::-1]
                got = {arm: arms[arm]() for arm in order}
                turns.append(
                    {"concurrency": concurrency} | {a: _figures(g) for a, g in got.items()}
                )
                print(f"  {turns[-1]}", flush=True)
                differing = _differing(got["bare"][0], got["served"][0])
                assert differing <= 0.02 * len(asked), f"{differing} answers differ"

    def median(arm: str, concurrency: int, figure: str) -> float:
        of = (t[arm][figure] for t in turns if t["concurrency"] == concurrency)
        return statistics.median(of)

    ratio = {
        str(c): statistics.median(
            t["served"]["tokens_per_s"] / t["bare"]["tokens_per_s"]
            for t in turns
            if t["concurrency"] == c
        )
        for c in CONCURRENCIES
    }
    added = {
        str(c): median("served", c, "first_ms") - median("bare", c, "first_ms")
        for c in CONCURRENCIES
    }
    result = {"throughput_ratio": ratio, "ttft_added_ms": max(added.values())}
    return result, {"turns": turns, "ttft_added_ms": added}


def _figures(answered: tuple[Sequence[Timed], float]) -> dict[str, float]:
    timed, seconds = answered
    return {
        "tokens_per_s": sum(t.tokens for t in timed) / seconds,
        "first_ms": 1e3 * statistics.median(t.first_s for t in timed),
        "whole_ms": 1e3 * statistics.median(t.whole_s for t in timed),
    }


def _differing(bare: Sequence[Timed], served: Sequence[Timed]) -> int:
    """How many clips the two arms answered otherwise: batches of another size round otherwise."""
    return sum(a.tokens != b.tokens for a, b in zip(bare, served, strict=True))


def routes(server: Server, run: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What internalising saves: a whole answer that reasons over one that does not, one at a time."""
    clips = clips_of(run, ROUTE_CLIPS)
    server.answer("D", clips[:8], 1)
    direct: list[float] = []
    explicit: list[float] = []
    for clip in clips:
        direct.append(server.answer("D", [clip], 1)[0][0].whole_s)
        explicit.append(server.answer("D-think", [clip], 1)[0][0].whole_s)
    ratio = statistics.median(explicit) / statistics.median(direct)
    detail = {
        "direct_ms": 1e3 * statistics.median(direct),
        "explicit_ms": 1e3 * statistics.median(explicit),
    }
    return {"latency_ratio_explicit_over_direct": ratio}, detail


# -- soak ----------------------------------------------------------------------------------------


def soak(server: Server, run: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Valid and broken requests, many at a time; every one has to end as it should."""
    return asyncio.run(_soak(server, clips_of(run, 200)))


async def _soak(server: Server, clips: Sequence[Clip]) -> tuple[dict[str, Any], dict[str, Any]]:
    rng = random.Random(0)
    counts = dict.fromkeys(("sent", "ok", "client_errors", "server_errors", "lost"), 0)
    wrong: list[str] = []
    bodies = _bodies(rng, clips)

    async def one(session: aiohttp.ClientSession, body: bytes, *, broken: bool) -> None:
        counts["sent"] += 1
        try:
            async with session.post("/v1/chat/completions", data=body) as answer:
                text, status = await answer.text(), answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            counts["lost"] += 1
            wrong.append(repr(error)[:200])
            return
        if status >= 500:
            counts["server_errors"] += 1
        elif status == 200 and not broken and '"finish_reason":"' in text:
            counts["ok"] += 1
        elif 400 <= status < 500 and broken and "message" in json.loads(text)["error"]:
            counts["client_errors"] += 1
            return
        else:
            counts["lost"] += 1
        if status != 200:
            wrong.append(f"{status} {text[:200]}")

    async with _session(server) as session:
        for _ in range(2 * SOAK_CONCURRENCY):  # caches fill before memory is looked at
            await one(session, next(bodies)[0], broken=False)
        counts = dict.fromkeys(counts, 0)
        wrong.clear()
        async with _watched(server) as sizes:
            work: list[Callable[[], Coroutine[Any, Any, None]]] = [
                lambda b=body, k=broken: one(session, b, broken=k)
                for (body, broken), _ in zip(bodies, range(SOAK_REQUESTS), strict=False)
            ]
            started = time.perf_counter()
            await in_parallel(work, SOAK_CONCURRENCY)
            seconds = time.perf_counter() - started
    tenth = max(1, len(sizes) // 10)
    growth = statistics.fmean(sizes[-tenth:]) / statistics.fmean(sizes[:tenth])
    detail = {"seconds": seconds, "wrong": wrong[:20], "rss_mib": [s / 2**20 for s in sizes]}
    return {"soak": counts | {"rss_last_over_first": growth}}, detail


def _bodies(rng: random.Random, clips: Sequence[Clip]) -> Iterator[tuple[bytes, bool]]:
    """(body, whether it is broken), without end."""
    sound = clips[0].data
    broken = [
        b"",
        b"{",
        b"\x00\xff" * 500,
        _json(_request("D", sound))[:-1],
        _json(_request("nobody", sound)),
        _json(_request("D", sound, n=3)),
        _json(_request("D", sound, temperature=-1)),
        _json(_request("D", sound, max_tokens=10**9)),
        _json(_request("D", "not base64 !")),
        _json(_request("D", base64.b64encode(b"not audio at all" * 20).decode())),
        _json(_request("D", sound[: len(sound) // 8 * 4][:40])),
        _json({"model": "D", "messages": [{"role": "system", "content": "x"}]}),
        _json({"model": "D", "messages": "x"}),
    ]
    while True:
        if rng.random() < BROKEN_SHARE:
            yield rng.choice(broken), True
        else:
            model = rng.choice(("D", "D-think", "C", "base"))
            fields = {"stream": rng.random() < 0.5}
            yield _json(_request(model, rng.choice(clips).data, **fields)), False


def _request(model: str, data: str, **fields: Any) -> Any:
    part = {"type": "input_audio", "input_audio": {"data": data, "format": "flac"}}
    return {"model": model, "messages": [{"role": "user", "content": [part]}], **fields}


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


@asynccontextmanager
async def _session(server: Server) -> AsyncGenerator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(
        server.url,
        timeout=aiohttp.ClientTimeout(total=600),
        connector=aiohttp.TCPConnector(limit=0),
        headers={"content-type": "application/json"},
    ) as session:
        yield session


@asynccontextmanager
async def _watched(server: Server) -> AsyncGenerator[list[int]]:
    """Resident bytes of the server's own processes, every half second."""
    sizes: list[int] = []

    async def look() -> None:
        while True:
            sizes.append(sum(p.memory_info().rss for p in server.processes()))
            await asyncio.sleep(0.5)

    task = asyncio.create_task(look())
    try:
        yield sizes
    finally:
        task.cancel()


# -- changes under load --------------------------------------------------------------------------


async def _load(
    server: Server,
    clips: Sequence[Clip],
    until: Callable[[], bool],
    **options: Any,
) -> tuple[list[tuple[float, int, str]], list[str]]:
    """(when it was sent, which clip, what was answered) of the official client, and what it lost."""
    answered: list[tuple[float, int, str]] = []
    lost: list[str] = []
    turn = iter(range(10**9))
    async with openai.AsyncOpenAI(api_key="none", base_url=f"{server.url}/v1", **options) as client:

        async def ask_on() -> None:
            while not until():
                i = next(turn) % len(clips)
                sent = time.monotonic()
                try:
                    answer = await client.chat.completions.create(**_request("D", clips[i].data))
                    answered.append((sent, i, answer.choices[0].message.content or ""))
                except openai.OpenAIError as error:
                    lost.append(repr(error)[:200])

        await asyncio.gather(*(ask_on() for _ in range(LOAD)))
    return answered, lost


def reload(server: Server, run: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """D becomes another adapter under load; nothing is asked twice."""
    return asyncio.run(_reload(server, clips_of(run, 16), run))


async def _reload(
    server: Server, clips: Sequence[Clip], run: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    before = [t.text for t in (await timed_chat(server.url, "D", clips, LOAD))[0]]
    took = ended = 0.0

    async def change() -> None:
        nonlocal took, ended
        await asyncio.sleep(RELOAD_AFTER_S)
        started = time.monotonic()
        await asyncio.to_thread(server.reload, {"D": run / "checkpoints" / "stage2"})
        ended = time.monotonic()
        took = ended - started

    change_made = asyncio.create_task(change())
    answered, lost = await _load(
        server,
        clips,
        lambda: change_made.done() and time.monotonic() > ended + RELOAD_AFTER_S,
        max_retries=0,
    )
    await change_made
    after = [t.text for t in (await timed_chat(server.url, "D", clips, LOAD))[0]]
    told = [i for i in range(len(clips)) if before[i] != after[i]]
    later = [(i, text) for sent, i, text in answered if sent > ended and i in told]
    stale = sum(text == before[i] != after[i] for i, text in later)
    neither = sum(text not in (before[i], after[i]) for _, i, text in answered)
    assert later, "no request was sent after the reload"
    detail = {
        "answered": len(answered),
        "after": len(later),
        "clips_that_tell": len(told),
        "neither": neither,
        "seconds": took,
        "errors": lost[:20],
    }
    return {"reload": {"lost": len(lost), "stale": stale}}, detail


def kill(server: Server, run: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The only replica is killed; the official client retries as it does by default."""
    return asyncio.run(_kill(server, clips_of(run, 16)))


async def _kill(server: Server, clips: Sequence[Clip]) -> tuple[dict[str, Any], dict[str, Any]]:
    until = time.monotonic() + KILL_S
    back = 0.0
    killed: list[psutil.Process] = []

    async def strike() -> None:
        await asyncio.sleep(RELOAD_AFTER_S)
        killed.extend(server.engine_of_replica())
        os.kill(server.replica().pid, signal.SIGKILL)

    striking = asyncio.create_task(strike())
    answered, lost = await _load(server, clips, lambda: time.monotonic() > until)
    await striking
    struck = until - KILL_S + RELOAD_AFTER_S
    back = min((sent for sent, _, _ in answered if sent > struck), default=0.0) - struck
    detail = {
        "answered": len(answered),
        "first_sent_after_s": back,
        "orphans": sum(p.is_running() for p in killed),
        "errors": lost[:20],
    }
    return {"kill": {"lost": len(lost)}}, detail


if __name__ == "__main__":
    sys.exit(main())
