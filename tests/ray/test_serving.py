"""The server as a person starts it: Ray Serve, vLLM, and the official client over loopback."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
import torch
from serve.chatting import clip, heard, read
from tiny_backbone import make_backbone, shaken_adapter

from cogaudio_rl.config import ModelConfig
from cogaudio_rl.models.checkpoint import save_adapter
from cogaudio_rl.models.policy import Policy

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    # Ray leaves sockets and files to the garbage collector.
    pytest.mark.filterwarnings("default"),
]

CHAT = "/v1/chat/completions"
TOKENS = 12
START_S = 400


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running ``cogaudio-rl serve``."""

    url: str
    cluster: str
    process: subprocess.Popen[str]
    client: openai.OpenAI

    def says(self, model: str, **fields: Any) -> str:
        body = heard(model, max_tokens=TOKENS, **fields)
        return self.client.chat.completions.create(**body).choices[0].message.content or ""

    def replicas(self) -> set[int]:
        """Process ids."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return {p.pid for p in children if "ServeReplica:" in " ".join(p.cmdline())}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def adapters(backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three that say different things."""
    model = ModelConfig(path=str(backbone))
    policy, folder = Policy.load(model), tmp_path_factory.mktemp("adapters")
    with torch.no_grad():
        for version in (1, 2, 3):
            adapter = shaken_adapter(policy, version)
            save_adapter(adapter, folder / str(version), lora=model.lora, base=str(backbone))
    return [folder / str(version) for version in (1, 2, 3)]


def command(backbone: Path, *words: str) -> list[str]:
    return [
        str(Path(sys.executable).with_name("cogaudio-rl")),
        "serve",
        *words,
        f"model.path={backbone}",
        "serve.max_model_len=256",
        "serve.max_ongoing_requests=4",
        "serve.max_queued_requests=4",
    ]


@pytest.fixture(scope="module")
def server(
    backbone: Path, adapters: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = folder / "said"
    with said.open("w") as out:
        process = subprocess.Popen(
            command(backbone, "-c", f"D={adapters[0]}", "-c", f"C={adapters[1]}", f"--port={port}"),
            cwd=folder,
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
            env={k: v for k, v in os.environ.items() if k != "COGAUDIO_API_KEYS"},
        )
    try:
        deadline = time.monotonic() + START_S
        while "cluster.address=" not in said.read_text("utf-8"):
            assert process.poll() is None, said.read_text("utf-8")
            assert time.monotonic() < deadline, said.read_text("utf-8")
            time.sleep(0.5)
        found = re.search(r"cluster\.address=(\S+)", said.read_text("utf-8"))
        assert found is not None
        url = f"http://127.0.0.1:{port}"
        with openai.OpenAI(api_key="none", base_url=f"{url}/v1", max_retries=0) as client:
            yield Server(url=url, cluster=found[1], process=process, client=client)
    finally:
        started = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        _, left = psutil.wait_procs(started, timeout=20)
        assert left == []


def test_the_official_client_over_both_routes(server: Server) -> None:
    client = server.client
    names = [model.id for model in client.models.list()]
    assert names == ["D", "D-think", "C", "C-think", "base", "base-think"]
    for model in names:
        body = heard(model, max_tokens=TOKENS)
        whole = client.chat.completions.create(**body)
        message, usage = whole.choices[0].message, whole.usage
        assert usage is not None
        assert usage.completion_tokens <= TOKENS
        reasoning = content = ""
        for chunk in client.chat.completions.create(**body, stream=True):
            delta = chunk.choices[0].delta.model_dump()
            reasoning += delta.get("reasoning_content") or ""
            content += delta.get("content") or ""
        assert content == message.content
        assert reasoning == (message.model_dump()["reasoning_content"] or "")


def test_adapters_and_base_differ_side_by_side(server: Server) -> None:
    """Each says alone what it says among the others: no request gets another's adapter."""
    alone = {model: server.says(model) for model in ("D", "C", "base")}
    assert len(set(alone.values())) == 3

    async def together() -> list[tuple[str, str]]:
        async with openai.AsyncOpenAI(
            api_key="none", base_url=f"{server.url}/v1", max_retries=5
        ) as client:

            async def one(model: str) -> tuple[str, str]:
                body = heard(model, max_tokens=TOKENS)
                answer = await client.chat.completions.create(**body)
                return model, answer.choices[0].message.content or ""

            return await asyncio.gather(*(one(model) for model in [*alone] * 4))

    for model, said in asyncio.run(together()):
        assert said == alone[model]


def test_words_alone_and_a_question(server: Server) -> None:
    client = server.client
    for body in (read("D", max_tokens=TOKENS), heard("D", question="Who?", max_tokens=TOKENS)):
        assert client.chat.completions.create(**body).choices[0].finish_reason


def test_seeded_sampling_repeats(server: Server) -> None:
    first, again, other = (server.says("D", temperature=1.0, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_broken_requests_are_the_client_s_fault(server: Server) -> None:
    clips = {"data": clip(), "format": "wav"}
    broken: list[tuple[Any, int]] = [
        (read("nobody"), 404),
        (read("D", max_tokens=10_000), 400),
        (read("D", text="word " * 2_000), 400),
        (heard("D") | {"messages": [{"role": "system", "content": "x"}]}, 400),
        (with_audio({**clips, "data": "!!!"}), 400),
        (with_audio({**clips, "data": "aGVsbG8gaGVsbG8="}), 415),
        (with_audio({**clips, "data": clip(40.0)}), 413),
    ]
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for body, status in broken:
            answer = client.post(CHAT, json=body)
            assert answer.status_code == status, answer.text
            assert "message" in answer.json()["error"]
        for content in (b"", b"{", b"\x00" * 100):
            headers = {"content-type": "application/json"}
            assert client.post(CHAT, content=content, headers=headers).status_code == 400
        assert client.get("/health").json() == {"status": "ok"}
        assert "cogaudio_requests_total" in client.get("/metrics").text


def with_audio(audio: dict[str, str]) -> dict[str, Any]:
    part = {"type": "input_audio", "input_audio": audio}
    return {"model": "D", "messages": [{"role": "user", "content": [part]}]}


def test_a_full_server_says_429(server: Server) -> None:
    async def storm() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=server.url, timeout=120) as client:
            body = heard("D", max_tokens=150)
            return await asyncio.gather(*(client.post(CHAT, json=body) for _ in range(24)))

    answers = asyncio.run(storm())
    statuses = {answer.status_code for answer in answers}
    assert statuses == {200, 429}
    for answer in answers:
        if answer.status_code == 429:
            assert int(answer.headers["retry-after"]) >= 1
    with httpx.Client(base_url=server.url) as client:
        assert "cogaudio_requests_under_way 0.0" in client.get("/metrics").text


def test_a_client_that_leaves_frees_its_place(server: Server) -> None:
    with httpx.Client(base_url=server.url) as client:
        for stream in (True, False):
            body = client.build_request(
                "POST", CHAT, json=heard("D", max_tokens=200, stream=stream)
            )
            with socket.create_connection(("127.0.0.1", body.url.port or 80)) as leaving:
                leaving.sendall(
                    b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
                    b"content-length: %d\r\n\r\n%b" % (CHAT.encode(), len(body.read()), body.read())
                )
        deadline = time.monotonic() + 10
        while "cogaudio_requests_under_way 0.0" not in client.get("/metrics").text:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    assert server.says("D")


def test_reload_while_requests_are_under_way(
    server: Server, backbone: Path, adapters: list[Path]
) -> None:
    """None is lost; what comes back after it comes from the new adapter. It is run last: D changes."""
    before, replicas = server.says("D"), server.replicas()
    reload = subprocess.Popen(
        command(
            backbone,
            "--reload",
            *("-c", f"D={adapters[2]}", "-c", f"C={adapters[1]}"),
            f"cluster.address={server.cluster}",
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = [before]
    while reload.poll() is None:
        said.append(server.says("D"))
    output = reload.communicate()[0]
    assert reload.returncode == 0, output
    after = server.says("D")
    assert after != before
    assert server.replicas() == replicas, "it was not the same replica that changed"
    assert set(said) <= {before, after}
    assert server.says("C") == server.says("C") != after
