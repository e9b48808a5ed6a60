"""The two parties of the server's benchmark: the server, and the bare engine."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from actors.environment import engine_env
from actors.serving_engine import engine_options
from actors.vllm_options import bans
from actors.weights import write_for_vllm
from cogaudio_rl.config import Config, load_config
from cogaudio_rl.data.audio import SAMPLE_RATE_HZ, read_audio
from cogaudio_rl.data.manifest import read_manifest
from cogaudio_rl.models.architecture import Architecture, resolve_checkpoint
from cogaudio_rl.models.chat import Chat, open_processor
from cogaudio_rl.models.checkpoint import load_adapter, lora_of
from cogaudio_rl.types import Route

START_S = 300.0
REPLICA = "ServeReplica:"
ENGINE = "EngineCore"
PROXY = "ProxyActor"
_FIRST_WORD = (b'"delta":{"content":"', b'"delta":{"reasoning_content":"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A recording of the run's test set."""

    path: str
    data: str
    """Base64 of its file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One answer. The first word is the first of the reply, behind its tag."""

    first_s: float
    whole_s: float
    tokens: int
    text: str


def clips_of(run: Path, n: int) -> list[Clip]:
    """Of the run's test set, again from its beginning where it is too small."""
    paths = [u.clip.path for u in read_manifest(run / "data" / "test.jsonl") if u.audio]
    chosen = [paths[i % len(paths)] for i in range(n)]
    return [
        Clip(path=path, data=base64.b64encode(Path(path).read_bytes()).decode()) for path in chosen
    ]


async def in_parallel(
    work: Sequence[Callable[[], Coroutine[Any, Any, None]]], concurrency: int
) -> None:
    """Do all of it, so much at a time."""
    left = iter(work)

    async def one_after_another() -> None:
        for item in left:
            await item()

    await asyncio.gather(*(one_after_another() for _ in range(concurrency)))


# -- the server ----------------------------------------------------------------------------------


class Server:
    """``cogaudio-rl serve`` with a run's two last stages, as D and C."""

    def __init__(self, run: Path, log: Path) -> None:
        self._run, self._log = run, log
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Server:
        stages = {
            "D": self._run / "checkpoints" / "stage3",
            "C": self._run / "checkpoints" / "stage2",
        }
        with self._log.open("w") as out:
            self._process = subprocess.Popen(
                self._command(stages, f"--port={self._port}"), stdout=out, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + START_S
        while not (found := re.search(r"cluster\.address=(\S+)", self._log.read_text("utf-8"))):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise SystemExit(f"the server did not start: {self._log.read_text('utf-8')}")
            time.sleep(0.5)
        self._cluster = found[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(timeout=60)

    def _command(self, checkpoints: Mapping[str, Path], *words: str) -> list[str]:
        given = [
            word for name, folder in checkpoints.items() for word in ("-c", f"{name}={folder}")
        ]
        command = str(Path(sys.executable).with_name("cogaudio-rl"))
        return [command, "serve", "--recipe", str(self._run / "config.yaml"), *given, *words]

    def reload(self, checkpoints: Mapping[str, Path]) -> None:
        """Serve these instead."""
        command = self._command(checkpoints, "--reload", f"cluster.address={self._cluster}")
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answer(
        self, model: str, clips: Sequence[Clip], concurrency: int
    ) -> tuple[list[Timed], float]:
        """The streamed answers in the clips' order, and how long they took together."""
        return asyncio.run(timed_chat(self.url, model, clips, concurrency))

    def processes(self) -> list[psutil.Process]:
        """Those that answer: the proxy, the replica and its engine."""
        return [p for name in (PROXY, REPLICA, ENGINE) for p in self._named(name)]

    def replica(self) -> psutil.Process:
        """The only one."""
        [replica] = self._named(REPLICA)
        return replica

    def engine_of_replica(self) -> list[psutil.Process]:
        """vLLM's process."""
        return self._named(ENGINE)

    def _named(self, part: str) -> list[psutil.Process]:
        found: list[psutil.Process] = []
        for process in psutil.Process(self._process.pid).children(recursive=True):
            try:
                if part in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found


async def timed_chat(
    url: str, model: str, clips: Sequence[Clip], concurrency: int
) -> tuple[list[Timed], float]:
    """Ask by HTTP, streaming, with a client that costs little: it shares the machine."""
    answers: dict[int, Timed] = {}
    bodies = [
        json.dumps(
            {
                "model": model,
                "stream": True,
                "stream_options": {"include_usage": True},
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "input_audio",
                                "input_audio": {"data": clip.data, "format": "flac"},
                            }
                        ],
                    }
                ],
            }
        ).encode()
        for clip in clips
    ]
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), headers={"content-type": "application/json"}
    ) as session:

        async def one(i: int) -> None:
            began = time.perf_counter()
            first, lines = 0.0, []
            async with session.post(f"{url}/v1/chat/completions", data=bodies[i]) as answer:
                answer.raise_for_status()
                async for line in answer.content:
                    if not first and any(mark in line for mark in _FIRST_WORD):
                        first = time.perf_counter() - began
                    lines.append(line)
            whole = time.perf_counter() - began
            chunks = [json.loads(x[6:]) for x in lines if x.startswith(b"data: {")]
            said = [c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"]]
            answers[i] = Timed(
                first_s=first or whole,
                whole_s=whole,
                tokens=chunks[-1]["usage"]["completion_tokens"],
                text="".join(said),
            )

        started = time.perf_counter()
        await in_parallel([lambda i=i: one(i) for i in range(len(clips))], concurrency)
        seconds = time.perf_counter() - started
    return [answers[i] for i in range(len(clips))], seconds


# -- the bare engine -----------------------------------------------------------------------------


class BareEngine:
    """AsyncLLM in a process of its own, with the same options, adapters and prompts."""

    def __init__(self, run: Path) -> None:
        config = load_config(str(run / "config.yaml"))
        env = engine_env(
            threads=config.serve.threads_per_replica, gpus=config.serve.gpus_per_replica
        )
        context = multiprocessing.get_context("spawn")
        self._line, theirs = context.Pipe()
        before = {name: os.environ.get(name) for name in env}
        os.environ.update(env)
        # Not a daemon: the engine has a process of its own.
        self._process = context.Process(target=_answer_bare, args=(theirs, run))
        self._process.start()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

    def __enter__(self) -> BareEngine:
        assert self._line.recv() == "ready"
        return self

    def __exit__(self, *_: object) -> None:
        self._line.send(None)
        self._process.join(30)
        self._process.kill()

    def answer(self, clips: Sequence[Clip], concurrency: int) -> tuple[list[Timed], float]:
        """As :meth:`Server.answer`, with adapter D and the direct route."""
        self._line.send(([clip.path for clip in clips], concurrency))
        return self._line.recv()


def _answer_bare(line: Any, run: Path) -> None:
    config = load_config(str(run / "config.yaml"))
    asyncio.run(_bare(line, config, run / "checkpoints" / "stage3"))


async def _bare(line: Any, config: Config, adapter: Path) -> None:
    with tempfile.TemporaryDirectory() as copy:
        bare = _Bare(config)
        await bare.load(adapter, Path(copy))
        line.send("ready")
        while (order := await asyncio.to_thread(line.recv)) is not None:
            line.send(await bare.answer(*order))
        bare.close()


class _Bare:
    """Nothing of ours is in its loop but the prompt's ids and the bans."""

    def __init__(self, config: Config) -> None:
        from vllm import SamplingParams
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.async_llm import AsyncLLM

        folder = resolve_checkpoint(config.model.path)
        self._architecture = Architecture.of(folder, name=config.model.path)
        chat = Chat(open_processor(folder, name=config.model.path), name=config.model.path)
        self._llm = AsyncLLM.from_engine_args(
            AsyncEngineArgs(model=str(folder), **engine_options(config, self._architecture))
        )
        self._params = SamplingParams(
            temperature=0.0,
            max_tokens=config.model.max_new_tokens_direct,
            logit_bias=bans(chat),
            output_kind=RequestOutputKind.DELTA,
        )
        self._ids = list(chat.prompt_ids(Route.DIRECT))
        self._sounds: dict[str, Any] = {}
        self._asked = itertools.count()
        self._lora: Any = None

    async def load(self, adapter: Path, copy: Path) -> None:
        from vllm.lora.request import LoRARequest

        write_for_vllm(load_adapter(adapter), copy, lora_of(adapter), self._architecture)
        self._lora = LoRARequest("D", 1, str(copy))
        await self._llm.add_lora(self._lora)

    async def answer(self, paths: Sequence[str], concurrency: int) -> tuple[list[Timed], float]:
        """As :func:`timed_chat`, of clips that are decoded before the clock runs."""
        self._sounds |= {p: read_audio(p)[0] for p in paths if p not in self._sounds}
        answers: dict[int, Timed] = {}

        async def one(i: int) -> None:
            answers[i] = await self._one(paths[i])

        started = time.perf_counter()
        await in_parallel([lambda i=i: one(i) for i in range(len(paths))], concurrency)
        return [answers[i] for i in range(len(paths))], time.perf_counter() - started

    async def _one(self, path: str) -> Timed:
        began, first, tokens, text = time.perf_counter(), 0.0, 0, ""
        prompt: Any = {
            "prompt_token_ids": self._ids,
            "multi_modal_data": {"audio": (self._sounds[path], SAMPLE_RATE_HZ)},
        }
        async for answer in self._llm.generate(
            prompt, self._params, str(next(self._asked)), lora_request=self._lora
        ):
            tokens += len(answer.outputs[0].token_ids)
            text += answer.outputs[0].text
            if not first and text.removeprefix("<response>"):
                first = time.perf_counter() - began
        whole = time.perf_counter() - began
        return Timed(first_s=first or whole, whole_s=whole, tokens=tokens, text=text)

    def close(self) -> None:
        self._llm.shutdown()
