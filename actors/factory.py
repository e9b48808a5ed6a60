"""The LIME factory as a graph on Ray Data: parts flow through, and memory holds only those under way.

numbers of missing parts ─► Write (waits for an LLM) ─► Speak (one process a core) ─► seals
"""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cogaudio_rl.data.lime.factory import speak_part, write_part
from cogaudio_rl.data.lime.recipe import LimeRecipe
from cogaudio_rl.data.lime.speakers import make_speaker
from cogaudio_rl.errors import CogAudioError, RunError

Row = dict[str, Any]

_WRITERS = 4


class Write:
    """Words of one part."""

    def __init__(self, recipe: LimeRecipe, root: Path) -> None:
        self._recipe, self._answers = recipe, root / "answers"

    def __call__(self, row: Row) -> Row:
        try:
            written = asyncio.run(write_part(self._recipe, int(row["item"]), self._answers))
        except CogAudioError as error:  # Ray Data would hand on its traceback alone
            return {"written": b"", "error": str(error)}
        return {"written": pickle.dumps(written), "error": ""}


class Speak:
    """Sound of one part, and the part itself."""

    def __init__(self, recipe: LimeRecipe, root: Path) -> None:
        self._recipe, self._root = recipe, root
        self._speaker = make_speaker(recipe.speaker)

    def __call__(self, row: Row) -> Row:
        if row["error"]:
            return {"part": -1, "utterances": 0, "error": row["error"]}
        # Our own process wrote it a moment ago.
        written = pickle.loads(row["written"])
        try:
            seal = speak_part(written, self._recipe, self._speaker, self._root)
        except CogAudioError as error:
            return {"part": -1, "utterances": 0, "error": str(error)}
        return {"part": seal["part"], "utterances": seal["utterances"], "error": ""}


def make_parts(
    recipe: LimeRecipe, root: Path, missing: Sequence[int], *, workers: int
) -> Iterator[tuple[int, int]]:
    """(part, its utterances) for each missing part, as they are made; any order.

    Raises RunError with what a worker raised on purpose.
    """
    import ray.data

    _hush()
    write: Any = Write  # its annotations know functions only
    speak: Any = Speak
    count, author = _writers(recipe, len(missing))
    workers = min(workers, len(missing))
    writers: dict[str, Any] = {"compute": ray.data.ActorPoolStrategy(size=count), "num_cpus": 0.1}
    speakers: dict[str, Any] = {
        "compute": ray.data.ActorPoolStrategy(size=workers),
        "num_cpus": 1,
        "num_gpus": recipe.speaker.gpus,
    }
    made = (
        ray.data.from_items(list(missing), override_num_blocks=len(missing))
        .map(write, fn_constructor_args=(author, root), **writers)
        .map(speak, fn_constructor_args=(recipe, root), **speakers)
    )
    for row in made.iter_rows():
        if row["error"]:
            raise RunError(row["error"])
        yield int(row["part"]), int(row["utterances"])


def _writers(recipe: LimeRecipe, parts: int) -> tuple[int, LimeRecipe]:
    """How many parts are written at a time, and with which share of the endpoint each.

    A part begins with its few sentences: alone it would leave most of the endpoint's slots idle then.
    """
    llm = recipe.author.kind == "llm"
    count = min(_WRITERS, recipe.author.concurrency, parts) if llm else 1
    author = recipe.author.model_copy(update={"concurrency": recipe.author.concurrency // count})
    return count, recipe.model_copy(update={"author": author})


def _hush() -> None:
    """Our own bar shows how far it is; Ray Data would add its plan and bars of its own."""
    import ray.data

    for name in ("ray.data", "ray.data._internal"):
        logging.getLogger(name).setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
