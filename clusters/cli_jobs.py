"""``cogaudio-rl submit`` and ``cogaudio-rl jobs``: runs on a Ray cluster somewhere else."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from clusters.exits import reports
from cogaudio_rl.console import Console

if TYPE_CHECKING:
    from clusters.jobs import Job, Jobs

jobs_app = typer.Typer(
    help="Jobs on a Ray cluster: list, status, logs, stop.", no_args_is_help=True
)

Address = Annotated[
    str,
    typer.Option(
        "--address",
        envvar="RAY_API_SERVER_ADDRESS",
        help="The cluster's dashboard, as Ray's own job commands take it.",
    ),
]
JobId = Annotated[
    str, typer.Argument(metavar="ID", help="As submit printed it; without `.N` the latest attempt.")
]
_HERE = "http://127.0.0.1:8265"
_STOPPED = 130  # as after Ctrl-C


@reports
def submit(
    command: Annotated[
        list[str],
        typer.Argument(
            metavar="-- COMMAND [ARGUMENT]...",
            help="What comes after `cogaudio-rl`.",
            show_default=False,
        ),
    ],
    address: Address = _HERE,
    name: Annotated[
        str | None,
        typer.Option(
            help="The job's id.",
            show_default="the recipe's name and a digest of the resolved command",
        ),
    ] = None,
    working_dir: Annotated[
        Path, typer.Option(help="Folder that goes along: your checkout, or your recipes.")
    ] = Path("."),
    installed: Annotated[
        bool,
        typer.Option(
            "--installed", help="Upload nothing; run what the nodes' image has installed."
        ),
    ] = False,
    env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Pass this variable of your environment on; once for each."
        ),
    ] = None,
    store_secrets: Annotated[
        bool,
        typer.Option(
            "--store-secrets",
            help="Let --env pass on what looks like a secret. Ray stores it in plain text; better set "
            "it on the nodes.",
        ),
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Follow the log until the job has ended.")
    ] = True,
) -> None:
    """Run a command of ours as a job on a Ray cluster. Submitting it again goes on.

    The same command is the same job: while it runs it is followed, when it failed or was stopped it
    goes on from its last checkpoint (`--resume`), when it has succeeded nothing is done. Ends with 0
    when the job succeeds, and with its exit code when not.

    - `cogaudio-rl submit -- run --recipe quickstart out_dir=/shared/runs/first`

    - `cogaudio-rl submit --address http://HEAD:8265 --installed --no-wait -- run -r emodb …`

    `out_dir` must be a folder that every node sees. A cluster with a token wants RAY_AUTH_MODE=token
    and RAY_AUTH_TOKEN_PATH here too.
    """
    from clusters.job_request import job_request, passed_on, upload_of
    from clusters.jobs import Jobs
    from clusters.runtime_env import driver_env

    console = Console()
    passed = passed_on(env or (), store_secrets=store_secrets)
    folder = None if installed else working_dir.resolve()
    request = job_request(command, name=name, env_vars=driver_env() | passed, working_dir=folder)
    upload = None if folder is None else upload_of(folder)
    jobs = Jobs(address)
    before = jobs.latest(request.id)
    if before is not None and before.status == "SUCCEEDED":
        console.note(f"{before.id} has succeeded already; nothing to do (--name starts another)")
        return
    if before is not None and not before.ended:
        console.note(f"{before.id} is {before.status} already")
        job = before
    else:
        if upload is not None:
            runs = "this checkout's code runs" if upload.has_code else "no code of ours in it"
            console.note(
                f"uploading {upload.files} files, {upload.size_mib:.1f} MiB, from {folder}; {runs}"
            )
        for secret in passed if store_secrets else ():
            console.note(f"{secret} is stored with the job, in plain text", warn=True)
        if before is not None:
            console.note(f"{before.id} was {before.status}; a new attempt goes on from there")
        job = jobs.submit(request)
        console.note(f"submitted {job.id}")
    if not wait:
        typer.echo(f"cogaudio-rl jobs logs -f {job.id} --address {address}")
        return
    _follow(jobs, job, console)


@jobs_app.command("list")
@reports
def list_jobs(address: Address = _HERE) -> None:
    """Every job, the latest last."""
    from clusters.jobs import Jobs

    found = Jobs(address).all()
    if not found:
        Console().note(f"no jobs on the cluster at {address}")
    width = max((len(job.id) for job in found), default=0)
    for job in found:
        began, command = _clock(job.start_s), job.entrypoint.removeprefix("exec ")
        typer.echo(f"{job.id:{width}}  {job.status:9}  {began}  {_took(job):>8}  {command}")


@jobs_app.command()
@reports
def status(job_id: JobId, address: Address = _HERE) -> None:
    """What became of a job. Exit code 0 when it runs or has succeeded, 1 when not."""
    from clusters.jobs import Jobs

    job = Jobs(address).get(job_id)
    typer.echo(f"{job.id}  {job.status}  began {_clock(job.start_s)}, {_took(job)}")
    typer.echo(f"  {job.message}")
    typer.echo(f"  {job.entrypoint.removeprefix('exec ')}")
    if job.status in ("FAILED", "STOPPED"):
        raise SystemExit(1)


@jobs_app.command()
@reports
def logs(
    job_id: JobId,
    address: Address = _HERE,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")
    ] = False,
) -> None:
    """What a job has printed. With -f the exit code follows the job's outcome."""
    from clusters.jobs import Jobs

    jobs = Jobs(address)
    if follow:
        _follow(jobs, jobs.get(job_id), Console())
    _write(jobs.logs(job_id))


@jobs_app.command()
@reports
def stop(job_id: JobId, address: Address = _HERE) -> None:
    """End a job, as by Ctrl-C. What its run folder holds stays; submitting it again goes on."""
    from clusters.jobs import Jobs

    job = Jobs(address).stop(job_id)
    typer.echo(f"{job.id}  {job.status}")


def _follow(jobs: Jobs, job: Job, console: Console) -> NoReturn:
    """The job's log, then its outcome as our exit code."""
    try:
        ended = jobs.follow(job.id, _write)
    except KeyboardInterrupt:
        print(
            f"\n{job.id} goes on; follow it with `cogaudio-rl jobs logs -f {job.id}`, "
            f"end it with `cogaudio-rl jobs stop {job.id}`",
            file=sys.stderr,
        )
        raise SystemExit(_STOPPED) from None
    console.note(
        f"{ended.id}: {ended.status} after {_took(ended)}", warn=ended.status != "SUCCEEDED"
    )
    if ended.status == "SUCCEEDED":
        raise SystemExit(0)
    if ended.status == "STOPPED":
        raise SystemExit(_STOPPED)
    if ended.exit_code is None:  # it never began: what it was to run in could not be set up
        console.note(ended.message, warn=True)
    raise SystemExit(ended.exit_code or 1)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _clock(seconds: float | None) -> str:
    return "-" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _took(job: Job) -> str:
    if job.seconds is None:
        return "-"
    minutes, seconds = divmod(round(job.seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
