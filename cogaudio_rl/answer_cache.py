"""Answers that were paid for, kept by what was asked: a file for each, on any file system.

Two processes may ask the same at the same time; the file appears whole, and the last one stays.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from cogaudio_rl.endpoint import ChatEndpoint, MalformedAnswerError

T = TypeVar("T", bound=BaseModel)


class AnswerCache:
    """Texts by key, in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> str | None:
        try:
            return self._path(key).read_text("utf-8")
        except (FileNotFoundError, UnicodeDecodeError):
            return None

    def put(self, key: str, text: str) -> None:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=path.parent, suffix=".partial")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(partial, path)

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key[2:]}.json"


async def ask_once(
    endpoint: ChatEndpoint,
    cache: AnswerCache,
    messages: Sequence[Mapping[str, Any]],
    form: type[T],
    *,
    model: str,
    nth: int = 0,
    temperature: float = 0.0,
    max_tokens: int = 600,
) -> T:
    """An answer of this form, from the cache where the same was asked before.

    ``nth`` asks for another answer to the same question. Raises NoAnswer.
    """
    asked = [model, list(map(dict, messages)), schema_of(form), nth, temperature]
    key = hashlib.blake2b(json.dumps(asked, sort_keys=True).encode(), digest_size=16).hexdigest()
    known = cache.get(key)
    if known is not None:
        with suppress(MalformedAnswerError):  # a file that a failing disk cut short
            return _read(known, form)
    content = await endpoint.ask(
        messages,
        response_format=response_format(form),
        read=lambda content: (_read(content, form), content)[1],
        temperature=temperature,
        max_tokens=max_tokens,
    )
    cache.put(key, content)
    return _read(content, form)


def response_format(form: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema that an endpoint holds its model to."""
    name = form.__name__.lower()
    return {
        "type": "json_schema",
        "json_schema": {"name": name, "strict": True, "schema": schema_of(form)},
    }


@cache
def schema_of(form: type[BaseModel]) -> dict[str, Any]:
    """Its JSON schema, made once: pydantic takes half a millisecond for it."""
    return form.model_json_schema()


def _read(content: str, form: type[T]) -> T:
    """Raises MalformedAnswerError naming the first thing wrong."""
    try:
        return form.model_validate_json(content)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "answer"
        raise MalformedAnswerError(f"{where}: {problem['msg']}") from None
