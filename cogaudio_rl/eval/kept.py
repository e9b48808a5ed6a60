"""Answers to an evaluation's questions, kept on disk: nothing is asked twice.

    question ─► answers.jsonl? ─► kept answer
                      └► no ─► the sampler ─► a line more ─► its answer

A question is a model, a prompt with what is heard or read in it, and how it is asked. Its answer does
not depend on the questions beside it (ports.Sampler), so each is kept alone. The file only grows; a
line that a kill cut short is passed over, and its question is asked again.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from cogaudio_rl import prompts
from cogaudio_rl.config import ModelConfig
from cogaudio_rl.errors import CheckpointError, DataError
from cogaudio_rl.models.architecture import BUILTIN, resolve_checkpoint
from cogaudio_rl.models.checkpoint import LORA_WEIGHTS, WHOLE_WEIGHTS, is_whole
from cogaudio_rl.ports import Sampler, in_order_of_place
from cogaudio_rl.rollout_file import read_rollout, rollout_record
from cogaudio_rl.types import Adapter, Group, Prefix, Prompt, Rollout, Route, Utterance

FILE_NAME = "answers.jsonl"


@dataclass(frozen=True, slots=True)
class Weights:
    """How probable each option was."""

    shares: tuple[float, ...]


Kept = tuple[Rollout, ...] | Weights | str
"""A prompt's rollouts, its options' weights, or the option that was chosen."""


@runtime_checkable
class StreamsChoices(Protocol):
    """A sampler whose choices come one by one, so that one that fails takes no other with it."""

    def stream_choices(
        self, prompts_P: Sequence[Prompt], *, prefix: str, options: Sequence[str]
    ) -> AsyncGenerator[tuple[int, str]]:
        """What ``Sampler.choose`` gives, each with its place, as soon as it is there."""
        ...


class KeptSampler:
    """Implements the Sampler port around another, which is asked only what was never answered."""

    def __init__(self, sampler: Sampler, folder: Path, *, model: str) -> None:
        """``model`` stands for what ``sampler`` answers with, see :func:`model_digest`: with another
        adapter published, it takes another KeptSampler. Several may share a folder."""
        self._sampler, self._model = sampler, model
        self._path = folder / FILE_NAME
        self._known = _read(self._path, model)
        self._sounds: dict[str, str] = {}

    async def sample(
        self, prompts_P: Sequence[Prompt], *, n: int, temperature: float, seed: int
    ) -> list[Group]:
        """See :class:`cogaudio_rl.ports.Sampler`."""
        return await in_order_of_place(
            self.stream(prompts_P, n=n, temperature=temperature, seed=seed)
        )

    async def stream(
        self, prompts_P: Sequence[Prompt], *, n: int, temperature: float, seed: int
    ) -> AsyncGenerator[tuple[int, Group]]:
        """See :class:`cogaudio_rl.ports.Sampler`. Kept groups come first."""
        places = self._places(prompts_P, "sample", n, float(temperature), seed)
        kept = [key for key in places if key in self._known]
        missing = [key for key in places if key not in self._known]
        for key in kept:
            for item in self._groups(key, places[key], prompts_P):
                yield item
        if not missing:
            return
        asked = [prompts_P[places[key][0]] for key in missing]
        answers = self._sampler.stream(asked, n=n, temperature=temperature, seed=seed)
        async with aclosing(answers):
            async for i, group in answers:
                self._keep(missing[i], group.prompt, group.rollouts)
                for item in self._groups(missing[i], places[missing[i]], prompts_P):
                    yield item

    async def probe(self, prompts_P: Sequence[Prompt]) -> list[Group]:
        """Never kept: it asks what the engines answer now."""
        return await self._sampler.probe(prompts_P)

    async def choose(
        self, prompts_P: Sequence[Prompt], *, prefix: str, options: Sequence[str]
    ) -> list[str]:
        """See :class:`cogaudio_rl.ports.Sampler`."""
        places = self._places(prompts_P, "choose", prefix, list(options))
        missing = [key for key in places if key not in self._known]
        asked = [prompts_P[places[key][0]] for key in missing]
        if asked:
            choices = _choices(self._sampler, asked, prefix=prefix, options=options)
            async with aclosing(choices):
                async for i, option in choices:
                    self._keep(missing[i], asked[i], option)
        found = {i: self._known[key] for key, where in places.items() for i in where}
        return [str(found[i]) for i in range(len(prompts_P))]

    async def weigh(
        self, prompts_P: Sequence[Prompt], prefixes_P: Sequence[Prefix], options: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """See :class:`cogaudio_rl.ports.Sampler`."""
        begun = [[prefix.text, prefix.token_ids] for prefix in prefixes_P]
        places = self._places(prompts_P, "weigh", list(options), each=begun)
        missing = [key for key in places if key not in self._known]
        first = [places[key][0] for key in missing]
        if first:
            weights = await self._sampler.weigh(
                [prompts_P[i] for i in first], [prefixes_P[i] for i in first], options
            )
            for key, i, shares in zip(missing, first, weights, strict=True):
                self._keep(key, prompts_P[i], Weights(shares))
        found: dict[int, tuple[float, ...]] = {}
        for key, where in places.items():
            kept = self._known[key]
            assert isinstance(kept, Weights), "its key says that it was weighed"
            found |= dict.fromkeys(where, kept.shares)
        return [found[i] for i in range(len(prompts_P))]

    async def publish(self, adapter: Adapter | None) -> None:
        """See :class:`cogaudio_rl.ports.Sampler`."""
        await self._sampler.publish(adapter)

    def _groups(
        self, key: str, where: Sequence[int], prompts_P: Sequence[Prompt]
    ) -> list[tuple[int, Group]]:
        rollouts = self._known[key]
        assert isinstance(rollouts, tuple), "its key says that it was sampled"
        return [(i, Group(prompt=prompts_P[i], rollouts=rollouts)) for i in where]

    def _places(
        self, prompts_P: Sequence[Prompt], *how: object, each: Sequence[object] = ()
    ) -> dict[str, list[int]]:
        """Each question's key, and where it is asked: a prompt that comes twice is asked once. ``each``
        is what is asked of one prompt and not of another."""
        places: defaultdict[str, list[int]] = defaultdict(list)
        for i, prompt in enumerate(prompts_P):
            told = (f.name for f in fields(prompt) if f.name not in ("utterance", "history"))
            asked: list[object] = [*(str(getattr(prompt, name)) for name in told), prompt.id]
            asked += self._said(prompt.utterance)
            asked += [[*self._said(turn.utterance), turn.reply] for turn in prompt.history]
            question = json.dumps([self._model, asked, (*how, each[i]) if each else how])
            places[hashlib.blake2b(question.encode(), digest_size=16).hexdigest()].append(i)
        return places

    def _said(self, utterance: Utterance) -> list[str | None]:
        """What is heard of it, and the words, which are read by who cannot hear."""
        heard = None if utterance.audio is None else self._sound(utterance.audio.path)
        return [utterance.transcript, heard]

    def _sound(self, path: str) -> str:
        if path not in self._sounds:
            self._sounds[path] = _digest_of(Path(path))
        return self._sounds[path]

    def _keep(self, key: str, prompt: Prompt, answer: Kept) -> None:
        said: dict[str, Any]
        match answer:
            case str():
                said = {"choice": answer}
            case Weights():
                said = {"weights": answer.shares}
            case _:
                said = {"rollouts": [rollout_record(rollout) for rollout in answer]}
        # ASCII: whatever a model says, its line ends where this one ends.
        line = json.dumps({"model": self._model, "key": key, "prompt": prompt.id} | said)
        _append(self._path, line.encode() + b"\n")
        self._known[key] = answer


def model_digest(config: ModelConfig, adapter_folder: Path | None) -> str:
    """Stands for backbone, adapter (None: the bare base), prompts and how long an answer may be.

    A backbone's weights are known by name, size and time of last change, for they may be large.
    Raises CheckpointError for a backbone or an adapter that is missing.
    """
    backbone = resolve_checkpoint(config.path)
    files = sorted(path for path in backbone.iterdir() if path.is_file())
    told = [
        _digest_of(backbone / "config.json"),
        # The one that ships changes with the package, and its times with every installation.
        [_digest_of(file) for file in files]
        if config.path == BUILTIN
        else [str(backbone.resolve()), *([f.name, *_size_and_time(f)] for f in files)],
        None if adapter_folder is None else _adapter_digest(adapter_folder),
        config.dtype,
        None if config.lora is None else config.lora.model_dump(),
        [config.max_new_tokens(route) for route in Route],
        [prompts.for_route(route) for route in Route],
    ]
    return hashlib.blake2b(json.dumps(told).encode(), digest_size=16).hexdigest()


def _adapter_digest(folder: Path) -> tuple[str, str]:
    weights = folder / (WHOLE_WEIGHTS if is_whole(folder) else LORA_WEIGHTS)
    if not weights.is_file():
        raise CheckpointError(f"checkpoint {str(folder)!r} holds no {weights.name}")
    return weights.name, _digest_of(weights)


def _digest_of(path: Path) -> str:
    """Of a file's content. Raises DataError naming it."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise DataError(f"file {str(path)!r} cannot be read: {error.strerror}") from None


def _size_and_time(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


async def _choices(
    sampler: Sampler, prompts_P: Sequence[Prompt], *, prefix: str, options: Sequence[str]
) -> AsyncGenerator[tuple[int, str]]:
    if isinstance(sampler, StreamsChoices):
        stream = sampler.stream_choices(prompts_P, prefix=prefix, options=options)
        async with aclosing(stream):
            async for item in stream:
                yield item
        return
    chosen = await sampler.choose(prompts_P, prefix=prefix, options=options)
    for item in enumerate(chosen):
        yield item


def _read(path: Path, model: str) -> dict[str, Kept]:
    """This model's answers by key; a line that is not whole is none."""
    known: dict[str, Kept] = {}
    if not path.is_file():
        return known
    with path.open("rb") as file:
        for line in file:
            try:
                record: dict[str, Any] = json.loads(line)
                if record["model"] == model:
                    known[record["key"]] = _answer(record)
            except (ValueError, KeyError, TypeError):
                continue
    return known


def _answer(record: dict[str, Any]) -> Kept:
    if "choice" in record:
        return str(record["choice"])
    if "weights" in record:
        return Weights(tuple(float(share) for share in record["weights"]))
    return tuple(read_rollout(rollout) for rollout in record["rollouts"])


def _append(path: Path, line: bytes) -> None:
    """One write, so that others may append to the same file; behind a line that was cut short, on a
    line of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        if file.tell() and not _ends_whole(path):
            line = b"\n" + line
        file.write(line)


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"
