"""What is submitted: which job it is, what the cluster runs, and what of this folder goes along.

All of it is worked out here, before anything is sent, from the command as it was typed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cogaudio_rl.config import dump_config, load_config
from cogaudio_rl.errors import ConfigError

EXCLUDES = (
    *(".git", ".venv", "venv", "__pycache__", "*.egg-info", ".*_cache", ".hypothesis"),
    # Anchored: the package has folders called `data` of its own.
    *("/runs", "/data", "/checkpoints", "/build", "/dist", "/drill"),
    *(".env", ".env.*", ".envrc", ".netrc", "*.pem", "*.key", "*_token", "auth_token"),
)
"""What never goes along, beside what a ``.gitignore`` or ``.rayignore`` names."""
UPLOAD_LIMIT_MIB = 100
_NO_PART_OF_THE_JOB = ("resume", "overwrite")
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """One job. ``id`` is the same whenever the same command is submitted."""

    id: str
    arguments: tuple[str, ...]
    """Of ``cogaudio-rl``, on the cluster."""
    env_vars: Mapping[str, str] = field(repr=False)
    working_dir: Path | None
    """The folder that goes along; None runs what the nodes have installed."""

    @property
    def entrypoint(self) -> str:
        """The shell command. ``exec``: the signal that ends the job then reaches the run itself."""
        return f"exec cogaudio-rl {shlex.join(self.arguments)}"

    @property
    def runtime_env(self) -> dict[str, Any]:
        """In Ray's words."""
        env: dict[str, Any] = {"env_vars": dict(self.env_vars)}
        if self.working_dir is not None:
            env |= {"working_dir": str(self.working_dir), "excludes": list(EXCLUDES)}
        return env


def job_request(
    arguments: Sequence[str],
    *,
    name: str | None,
    env_vars: Mapping[str, str],
    working_dir: Path | None,
) -> JobRequest:
    """The job of ``cogaudio-rl ARGUMENTS``, which is read here as it will be read there.

    Raises ConfigError for a command, recipe or value that would fail there, for an ``out_dir`` that
    would be lost, and for a name that Ray could not use.
    """
    command, given = read_command(arguments)
    if command[0] in ("submit", "jobs"):
        raise ConfigError(f"{' '.join(command)!r} cannot itself be submitted")
    recipe: str | None = given.get("recipe") or ("quickstart" if "overrides" in given else None)
    config = (
        load_config(recipe, given.get("overrides") or ()) if _is_run(command) and recipe else None
    )
    if config is not None:
        _check_reachable(str(recipe), config.out_dir, working_dir)
    facts = {k: v for k, v in given.items() if k not in _NO_PART_OF_THE_JOB}
    facts |= {"recipe": dump_config(config), "overrides": None} if config is not None else {}
    if name is None:
        text = json.dumps([command, facts], sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        name = f"{config.name if config is not None else '-'.join(command)}-{digest}"
    if not _NAME.fullmatch(name):
        raise ConfigError(f"job name {name!r} may hold letters, digits, - and _ alone; give --name")
    if "resume" in given and not given["resume"] and not given.get("overwrite"):
        # Where there is no run folder yet, it begins one.
        arguments = [*command, "--resume", *arguments[len(command) :]]
    return JobRequest(
        id=name, arguments=tuple(arguments), env_vars=env_vars, working_dir=working_dir
    )


def read_command(arguments: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """The words of the command and its parameters, ``["data", "lime", "build"]`` and ``{"out": …}``.

    Raises ConfigError with what the command line would have said.
    """
    import typer

    from clusters.cli import app

    # Typer brings a click of its own, or uses the one that is installed: neither has a public name.
    command: Any = typer.main.get_command(app)
    context: Any = None
    left, words = list(arguments), list[str]()
    try:
        while True:
            context = command.make_context(words[-1] if words else "", left, parent=context)
            if not hasattr(command, "resolve_command"):
                return words, context.params
            # A group reads its own options alone: what follows is its command's.
            left = [*context._protected_args, *context.args]
            word, command, left = command.resolve_command(context, left)
            words.append(word)
    except typer.Exit:  # --help, --version
        raise ConfigError(f"{' '.join(arguments)!r} does no work; nothing to submit") from None
    except Exception as error:
        told = getattr(error, "format_message", None)
        if told is None:
            raise
        gist = told() or "names no command"
        raise ConfigError(f"cogaudio-rl {' '.join(words)}: {gist}") from None


def _is_run(command: Sequence[str]) -> bool:
    return command[0] in ("run", "rl", "sft", "quickstart")


def _check_reachable(recipe: str, out_dir: Path, working_dir: Path | None) -> None:
    if working_dir is None:
        return
    if not out_dir.is_absolute():
        raise ConfigError(
            f"out_dir {str(out_dir)!r} is relative: on the cluster it would lie in a temporary copy of "
            "working_dir and be lost; name a folder that every node sees: out_dir=/shared/runs/NAME"
        )
    file = Path(recipe)
    if file.is_file() and (file.is_absolute() or not (working_dir / file).is_file()):
        raise ConfigError(
            f"recipe {recipe!r} does not go along with {str(working_dir)!r}; keep it there, and name "
            "it by its path from there"
        )


def passed_on(names: Iterable[str], *, store_secrets: bool) -> dict[str, str]:
    """These variables of our environment with their values.

    Ray keeps a job's variables in its store (GCS) in plain text, where everyone with the cluster's
    token can read them. Raises ConfigError for a name that looks like a secret's, unless
    ``store_secrets``, and for one that is not set.
    """
    found: dict[str, str] = {}
    for name in names:
        if "=" in name:
            # The value is not repeated: it may be the secret.
            raise ConfigError(
                f"--env {name.partition('=')[0]}=…: give the name alone; the value is taken from here"
            )
        if name not in os.environ:
            raise ConfigError(f"--env {name}: this variable is not set here")
        if _SECRET.search(name) and not store_secrets:
            raise ConfigError(
                f"--env {name} looks like a secret, and Ray would store its value with the job, where "
                "everyone with the cluster's token can read it; set it on the nodes instead (on "
                "Kubernetes from a Secret), or add --store-secrets"
            )
        found[name] = os.environ[name]
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """What would be sent."""

    files: int
    size_bytes: int
    has_code: bool
    """Whether our packages are among it: they then run in place of the installed ones."""

    @property
    def size_mib(self) -> float:
        return self.size_bytes / 2**20


def upload_of(folder: Path) -> Upload:
    """Count what Ray would send of ``folder``. Raises ConfigError as soon as it is too much."""
    # Ray's own walk: its reading of ignore files is what will be heeded.
    from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

    if not folder.is_dir():
        raise ConfigError(f"--working-dir {str(folder)!r} is not a folder")
    files, size_bytes, by_top = 0, 0, dict[str, int]()

    def count(path: Path) -> None:
        nonlocal files, size_bytes
        if path.is_dir():
            return
        files, one = files + 1, path.stat().st_size
        size_bytes += one
        top = path.relative_to(folder).parts[0]
        by_top[top] = by_top.get(top, 0) + one
        if size_bytes > UPLOAD_LIMIT_MIB * 2**20:
            biggest = max(by_top, key=lambda name: by_top[name])
            raise ConfigError(
                f"--working-dir {str(folder)!r} holds more than {UPLOAD_LIMIT_MIB} MiB to upload, "
                f"most of it in {biggest!r}; name that in a .rayignore file, or upload nothing with "
                "--installed"
            )

    _dir_travel(
        folder,
        [_get_excludes(folder, list(EXCLUDES))],
        count,
        include_gitignore=True,
        logger=logging.getLogger(__name__),
    )
    code = (folder / "cogaudio_rl" / "__init__.py").is_file()
    return Upload(files=files, size_bytes=size_bytes, has_code=code)
