"""Jobs on a running Ray cluster: submit, follow, look, stop. Submitting again goes on.

A job's attempts are ``ID``, ``ID.2``, ``ID.3`` …: Ray takes an id once. ``ID`` alone means the latest.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from clusters.job_request import JobRequest
from cogaudio_rl.errors import ClusterError, RunError, WaitTimeout

if TYPE_CHECKING:
    from ray.job_submission import JobDetails

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
_CONNECT_SECONDS = 10.0
_STOP_SECONDS = 60.0
_AGENT_SECONDS = 60.0
_POLL_SECONDS = 0.5
_RECONNECTS = 5
_BETWEEN_RECONNECTS_S = 3.0

_CHATTY = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
    "ray._private.runtime_env.working_dir",
)
"""Loggers of Ray's client that tell every step of an upload."""
_TOKEN = (
    "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to the file (or RAY_AUTH_TOKEN to the text) of "
    "the token that the cluster was started with"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One attempt at a job. Times are seconds since the epoch."""

    id: str
    status: str
    """PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED."""
    message: str
    """One line."""
    entrypoint: str
    start_s: float | None
    end_s: float | None
    exit_code: int | None

    @property
    def ended(self) -> bool:
        return self.status in ("STOPPED", "SUCCEEDED", "FAILED")

    @property
    def base(self) -> str:
        """The id without the attempt."""
        return self.id.partition(".")[0]

    @property
    def attempt(self) -> int:
        number = self.id.partition(".")[2]
        return int(number) if number.isdecimal() else 1

    @property
    def seconds(self) -> float | None:
        """From its start until its end, or until now."""
        return None if self.start_s is None else (self.end_s or time.time()) - self.start_s


class _Log:
    """What a job has printed, handed on once however often it is read from its beginning."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self.seen = 0
        """Characters handed on."""

    def take(self, text: str, position: int) -> None:
        """A piece, and where in the log it begins."""
        if fresh := text[max(0, self.seen - position) :]:
            self._write(fresh)
        self.seen = max(self.seen, position + len(text))


class Jobs:
    """The jobs of the cluster at an address such as ``http://127.0.0.1:8265``.

    Every call raises ClusterError when the cluster cannot be reached, refuses the token, or knows no
    such job.
    """

    def __init__(self, address: str) -> None:
        self.address = address if "://" in address else f"http://{address}"
        _check_reachable(self.address)
        # Ray's client would take this variable before the address that it is given.
        os.environ["RAY_API_SERVER_ADDRESS"] = self.address
        from ray.job_submission import JobSubmissionClient

        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.ERROR)
        with self._reported():
            self._client = JobSubmissionClient(self.address)

    def all(self) -> list[Job]:
        """Every attempt at every submitted job, the earliest first."""
        with self._reported():
            found = self._client.list_jobs()
        jobs = [_job(details) for details in found if details.submission_id]
        return sorted(jobs, key=lambda job: job.start_s or 0.0)

    def latest(self, base: str) -> Job | None:
        """The latest attempt at a job."""
        attempts = [job for job in self.all() if job.base == base]
        return max(attempts, key=lambda job: job.attempt, default=None)

    def get(self, job_id: str) -> Job:
        """An attempt by its whole id, or the latest by that of its job."""
        jobs = self.all()
        found = [job for job in jobs if job_id in ((job.id,) if "." in job_id else (job.base,))]
        if not found:
            known = ", ".join(job.id for job in jobs[-5:]) or "none"
            raise ClusterError(
                f"no job {job_id!r} on the cluster at {self.address}; its latest: {known}"
            )
        return max(found, key=lambda job: job.attempt)

    def submit(self, request: JobRequest) -> Job:
        """Start the job's next attempt. The caller has looked whether one is running."""
        before = self.latest(request.id)
        job_id = request.id if before is None else f"{request.id}.{before.attempt + 1}"
        deadline = time.monotonic() + _AGENT_SECONDS
        while True:
            try:
                with self._reported():
                    self._client.submit_job(
                        entrypoint=request.entrypoint,
                        submission_id=job_id,
                        runtime_env=request.runtime_env,
                    )
                return self.get(job_id)
            except RunError as error:
                # A cluster that has just come up takes jobs some seconds later than questions.
                if "No available agent" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(_BETWEEN_RECONNECTS_S)

    def stop(self, job_id: str) -> Job:
        """End an attempt, and wait until it has ended. Raises WaitTimeout when it does not."""
        job = self.get(job_id)
        if not job.ended:
            with self._reported():
                self._client.stop_job(job.id)
        deadline = time.monotonic() + _STOP_SECONDS
        while not (job := self.get(job.id)).ended:
            if time.monotonic() > deadline:
                raise WaitTimeout(f"waited {_STOP_SECONDS:g} s for job {job.id!r} to end, in vain")
            time.sleep(_POLL_SECONDS)
        return job

    def logs(self, job_id: str) -> str:
        """What the attempt has printed so far."""
        with self._reported():
            return self._client.get_job_logs(self.get(job_id).id)

    def follow(self, job_id: str, write: Callable[[str], None]) -> Job:
        """Hand on what the attempt prints until it has ended; a lost connection is taken up again."""
        job, log, left = self.get(job_id), _Log(write), _RECONNECTS
        while True:
            seen = log.seen
            lost: Exception | None = None
            try:
                with self._reported():
                    asyncio.run(self._tail(job.id, log))
                if (job := self._settled(job.id)).ended:
                    return job
            # Ray's client says in a RuntimeError that the connection broke, and so in a RunError here.
            except (ClusterError, RunError) as error:
                lost = error
            # Attempts in vain alone count: what runs for days is cut off any number of times.
            left = _RECONNECTS if log.seen > seen else left - 1
            if not left:
                raise lost or ClusterError(
                    f"the log of {job.id!r} ends again and again while it is {job.status}; it may go "
                    f"on: cogaudio-rl jobs status {job.id}"
                )
            time.sleep(_BETWEEN_RECONNECTS_S)

    async def _tail(self, job_id: str, log: _Log) -> None:
        """Everything that the log has not got yet; each connection begins at its beginning."""
        position = 0
        async for text in self._client.tail_job_logs(job_id):
            log.take(text, position)
            position += len(text)

    def _settled(self, job_id: str) -> Job:
        """Its log may end a moment before its status does."""
        deadline = time.monotonic() + 10 * _POLL_SECONDS
        while not (job := self.get(job_id)).ended and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return job

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """Whatever Ray's client says of a failure, in one line."""
        import aiohttp
        import requests
        from ray.exceptions import AuthenticationError

        try:
            yield
        except AuthenticationError as error:
            refused = "wants a token" if "required" in str(error) else "refuses our token"
            raise ClusterError(f"the cluster at {self.address} {refused}; {_TOKEN}") from None
        except aiohttp.WSServerHandshakeError as error:
            if error.status in (401, 403):
                raise ClusterError(
                    f"the cluster at {self.address} refuses our token; {_TOKEN}"
                ) from None
            raise ClusterError(f"the cluster at {self.address} answered {error.status}") from None
        except (
            ConnectionError,
            TimeoutError,
            requests.exceptions.RequestException,
            aiohttp.ClientError,
        ) as error:
            gist = (str(error) or type(error).__name__).splitlines()[0]
            raise ClusterError(f"the cluster at {self.address} does not answer: {gist}") from None
        except RuntimeError as error:  # every refusal of the job server
            if "already exists" in str(error):
                raise ClusterError(
                    "somebody submitted this job at the same moment; submit again to follow it"
                ) from None
            raise RunError(f"the job server at {self.address}: {_gist(str(error))}") from None


def _check_reachable(address: str) -> None:
    """Ray's client would wait for minutes where nobody answers, and then say so in a traceback."""
    parts = urlsplit(address)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        port = 0
    if parts.scheme not in ("http", "https") or not parts.hostname or not port:
        raise ClusterError(
            f"--address {address!r} is not that of a Ray dashboard, such as {DEFAULT_ADDRESS}"
        )
    try:
        socket.create_connection((parts.hostname, port), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise ClusterError(
            f"no Ray cluster answers at {address} ({error.strerror or error}); start one with "
            "`ray start --head`, or name its dashboard with --address"
        ) from None


def _job(details: JobDetails) -> Job:
    def seconds(milliseconds: int | None) -> float | None:
        return None if milliseconds is None else milliseconds / 1000

    known: Any = details
    return Job(
        id=known.submission_id,
        status=str(known.status.value),
        message=_gist(known.message or ""),
        entrypoint=known.entrypoint,
        start_s=seconds(known.start_time),
        end_s=seconds(known.end_time),
        exit_code=known.driver_exit_code,
    )


def _gist(text: str) -> str:
    """The first line; a failed job's message goes on with its log."""
    first = (text.strip().splitlines() or [""])[0]
    return first.partition(", last available logs")[0][:300]
