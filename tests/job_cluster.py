"""A Ray head on loopback with a token of its own, as `ray start --head` makes it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

BIN = Path(sys.executable).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Where it is, and the environment of a shell that may talk to it."""

    address: str
    env: dict[str, str]
    token: str

    def command(
        self, *arguments: str, cwd: Path, env: dict[str, str] | None = None, limit_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of our environment, to its end."""
        return subprocess.run(
            [str(BIN / arguments[0]), *arguments[1:]],
            cwd=cwd,
            env=self.env | (env or {}),
            capture_output=True,
            text=True,
            timeout=limit_s,
        )


@contextlib.contextmanager
def ray_head(*, cpus: int = 8) -> Iterator[Head]:
    """Started with --block, in a process group of its own, which is ended on the way out."""
    # Sockets lie in this folder, and their paths may have some hundred characters at most.
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    token = secrets.token_hex(16)
    (folder / "token").write_text(token)
    gcs, dashboard, client = free_ports(3)
    env = dict(os.environ) | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN"):
        env.pop(name, None)
    options = {
        "--port": gcs,
        "--dashboard-host": "127.0.0.1",
        "--dashboard-port": dashboard,
        "--ray-client-server-port": client,
        "--dashboard-agent-listen-port": 0,
        "--metrics-export-port": 0,
        # Ray would take 127.0.0.1 in a cluster's address for the machine's own.
        "--node-ip-address": "127.0.0.2",
        "--temp-dir": folder / "ray",
        "--num-cpus": cpus,
        "--object-store-memory": 2**28,
    }
    with (folder / "head.log").open("w") as log:
        process = subprocess.Popen(
            [BIN / "ray", "start", "--head", "--block", *(f"{k}={v}" for k, v in options.items())],
            env=env,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{dashboard}"
        _wait_until_up(process, address, token, folder / "head.log")
        yield Head(address=address, env=env, token=token)
    finally:
        _end(process)
        shutil.rmtree(folder, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.2", 0))
        return [probe.getsockname()[1] for probe in probes]


def _wait_until_up(process: subprocess.Popen[bytes], address: str, token: str, log: Path) -> None:
    request = urllib.request.Request(
        f"{address}/api/jobs/", headers={"Authorization": f"Bearer {token}"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + 90
    while True:
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        try:
            with opener.open(request, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Everything that the head started, and nothing else."""
    try:
        started = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        started = []
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(20)
    for one in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait(20)
