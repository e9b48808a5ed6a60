"""How small corpora are made: in several processes, whole or not at all, and once for a folder."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import multiprocessing
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib import resources
from pathlib import Path
from typing import TypeVar

from cogaudio_rl.errors import DataError, RunError

CARD = "stats.json"
"""What says what a folder holds: its ``name`` and ``digest``, beside what is told of the corpus."""

SYNTHESISER = f"espeakng-loader {importlib.metadata.version('espeakng-loader')}"

Progress = Callable[[int, int], None]
"""Called with (utterances done, utterances in all)."""

_FAMILIES_AT_A_TIME = 4

Family = TypeVar("Family")
Made = TypeVar("Made")


def make_once(folder: Path, *, name: str, digest: str, make: Callable[[Path], None]) -> None:
    """Have ``make`` write the corpus, unless it is there with this digest.

    ``folder`` appears only when it is complete; an interrupted build leaves nothing in it. ``make``
    gets the folder to write to, and puts ``name`` and ``digest`` into its ``CARD``. Raises DataError
    for a ``folder`` of something else.
    """
    if _found_digest(folder, name) == digest:
        return
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        make(partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def in_processes(
    work: Callable[[Family], Made], plan: Sequence[Family], workers: int
) -> Iterator[Made]:
    """What ``work`` makes of each, in order."""
    if workers == 1:
        yield from map(work, plan)
        return
    # Spawned, not forked: the parent may hold threads and a running espeak-ng.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_leave_ctrl_c_to_parent)
    try:
        yield from pool.map(work, plan, chunksize=_FAMILIES_AT_A_TIME)
    except BrokenProcessPool:
        raise RunError("a process that made speech was killed; is there memory left?") from None
    finally:
        pool.shutdown(cancel_futures=True)


def digest_of(settings: str, seed: int) -> str:
    """Of everything that decides what a corpus holds: settings, seed, banks and the code here."""
    hashed = hashlib.blake2b(digest_size=16)
    hashed.update(f"{settings}\n{seed}\n{SYNTHESISER}\n".encode())
    sources = resources.files("cogaudio_rl.data.lime").iterdir()
    for source in sorted(sources, key=lambda entry: entry.name):
        if source.name.endswith((".py", ".yaml")):
            hashed.update(source.name.encode() + source.read_bytes())
    return hashed.hexdigest()


def _leave_ctrl_c_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _found_digest(folder: Path, name: str) -> str | None:
    """The digest of the corpus in ``folder``, None where there is none; refuses other folders."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        card = {}
    if not isinstance(card, dict) or card.get("name") != name:
        raise DataError(f"{str(folder)!r} holds something other than {name}; name an empty folder")
    return str(card.get("digest"))
