"""The adapters a serving engine answers with, each replaced while requests go on.

    put ─► read ─► check ─► load under a new id ─► swap ─► the old one goes when its last request ends

What is under way keeps the adapter it began with.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actors.weights import served_rank, write_for_vllm
from cogaudio_rl.config import LoraConfig
from cogaudio_rl.errors import CheckpointError
from cogaudio_rl.models.architecture import Architecture
from cogaudio_rl.models.checkpoint import LORA_WEIGHTS, is_whole, load_adapter, lora_of
from cogaudio_rl.models.export import check_fits
from cogaudio_rl.serve.responder import check_name

_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class _Loaded:
    """An adapter in the engine."""

    lora: Any
    """vLLM's LoRARequest."""
    digest: str
    files: Path
    """Under vLLM's names; it reads them again whenever it has put the adapter aside."""
    created: int = field(default_factory=lambda: int(time.time()))
    users: int = 0
    retired: bool = False


class Adapters:
    """LoRAs of one engine, by the name they are asked by."""

    def __init__(self, llm: Any, base: Path, *, max_rank: int, room: int) -> None:
        """``base`` is the backbone's folder, ``room`` how many the engine was opened for."""
        self._llm, self._base, self._max_rank, self._room = llm, base, max_rank, room
        self._loaded: dict[str, _Loaded] = {}
        self._ids = itertools.count(1)
        self._one_at_a_time = asyncio.Lock()
        self._open = False
        """Whether something is served, be it the base alone."""
        self._leaving: set[asyncio.Task[None]] = set()
        self._copies = tempfile.TemporaryDirectory(prefix="cogaudio-adapters-")

    def close(self) -> None:
        """Remove the copies; the engine has ended."""
        self._copies.cleanup()

    @property
    def created(self) -> Mapping[str, int]:
        """Name → when it was loaded, Unix seconds."""
        return {name: loaded.created for name, loaded in self._loaded.items()}

    @contextmanager
    def use(self, name: str) -> Iterator[Any]:
        """The LoRA request of ``name``, kept in the engine meanwhile. Raises KeyError."""
        loaded = self._loaded[name]
        loaded.users += 1
        try:
            yield loaded.lora
        finally:
            loaded.users -= 1
            self._let_go(loaded)

    async def put(self, folders: Mapping[str, Path]) -> None:
        """Answer with these from now on, and with no others; what has not changed stays.

        All or nothing: raises CheckpointError for one that cannot be served, ConfigError for a name,
        and all stays as it was.
        """
        async with self._one_at_a_time:
            await self._put(folders)
            self._open = True

    async def renew(self, folders: Mapping[str, Path]) -> bool:
        """As :meth:`put`; but once something is served, what cannot be is noted in the log, and all
        goes on. Whether these are served now."""
        try:
            await self.put(folders)
        except Exception as error:
            # Raised on, Ray Serve would end this replica, and others that begin with the same.
            if not self._open:
                raise
            _log.error("not served: %s; %s stay", error, ", ".join(self._loaded) or "none")
            return False
        return True

    async def _put(self, folders: Mapping[str, Path]) -> None:
        for name in folders:
            check_name(name)
        if len(folders) > self._room:
            raise CheckpointError(
                f"{len(folders)} checkpoints are more than serve.max_adapters={self._room}"
            )
        wanted: dict[str, _Loaded] = {}
        fresh: list[_Loaded] = []
        try:
            for name, folder in folders.items():
                digest = await asyncio.to_thread(digest_of, folder)
                held = self._loaded.get(name)
                if held is not None and held.digest == digest:
                    wanted[name] = held
                    continue
                wanted[name] = await self._load(name, folder, digest)
                fresh.append(wanted[name])
        except BaseException:
            for loaded in fresh:
                self._retire(loaded)
            raise
        kept = {id(loaded) for loaded in wanted.values()}
        before, self._loaded = self._loaded, wanted
        for loaded in before.values():
            if id(loaded) not in kept:
                self._retire(loaded)

    async def _load(self, name: str, folder: Path, digest: str) -> _Loaded:
        from vllm.lora.request import LoRARequest

        files = await asyncio.to_thread(self._written, folder)
        # Another name each time: it is part of a prefix block's key, so no stale block is shared.
        lora = LoRARequest(f"{name}@{digest}", next(self._ids), str(files))
        try:
            added = await self._llm.add_lora(lora)
        except Exception as error:  # vLLM has a kind of error for each thing it does not like
            shutil.rmtree(files, ignore_errors=True)
            said = " ".join(str(error).split())[:300]
            raise CheckpointError(f"vLLM refuses checkpoint {str(folder)!r}: {said}") from error
        if not added:
            shutil.rmtree(files, ignore_errors=True)
            raise CheckpointError(f"vLLM did not take checkpoint {str(folder)!r}")
        _log.info("serving %s from %s", lora.lora_name, folder)
        return _Loaded(lora=lora, digest=digest, files=files)

    def _written(self, folder: Path) -> Path:
        """A copy for vLLM of an adapter that fits the backbone."""
        lora = check_servable(folder, self._base, max_rank=self._max_rank)
        files = Path(tempfile.mkdtemp(dir=self._copies.name))
        architecture = Architecture.of(self._base, name=str(self._base))
        write_for_vllm(load_adapter(folder), files, lora, architecture)
        return files

    def _retire(self, loaded: _Loaded) -> None:
        loaded.retired = True
        self._let_go(loaded)

    def _let_go(self, loaded: _Loaded) -> None:
        if loaded.retired and not loaded.users:
            task = asyncio.get_running_loop().create_task(self._remove(loaded))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def _remove(self, loaded: _Loaded) -> None:
        try:
            await self._llm.remove_lora(loaded.lora.lora_int_id)
        except Exception as error:  # the engine is gone, and the adapter with it
            _log.warning("%s was not removed: %s", loaded.lora.lora_name, error)
        shutil.rmtree(loaded.files, ignore_errors=True)


def check_servable(folder: Path, base: Path, *, max_rank: int) -> LoraConfig:
    """The settings of an adapter that an engine over ``base``, opened for ``max_rank``, can hold.

    Raises CheckpointError for any other.
    """
    if is_whole(folder):
        raise CheckpointError(
            f"checkpoint {str(folder)!r} is a whole language model and not a LoRA; "
            "`cogaudio-rl export` it and serve the result as model.path"
        )
    lora = lora_of(folder)
    if served_rank(lora.r) > max_rank:
        raise CheckpointError(
            f"checkpoint {str(folder)!r} has rank {lora.r}; the engine was opened for "
            f"{max_rank}; set model.lora.r={lora.r} and start it anew"
        )
    check_fits(folder, base)
    return lora


def digest_of(folder: Path) -> str:
    """Twelve hex digits of an adapter's weights. Raises CheckpointError where there are none."""
    try:
        with (folder / LORA_WEIGHTS).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:12]
    except OSError as error:
        raise CheckpointError(
            f"checkpoint {str(folder)!r} holds no readable {LORA_WEIGHTS}: {error.strerror}"
        ) from None
