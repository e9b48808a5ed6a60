"""JSON from an endpoint that cannot be held to a schema: ask for it in words, read it strictly."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_AFTERWARDS = re.compile(r"\s*(```)?\s*")


class MalformedAnswerError(ValueError):
    """The model did not answer in the form it was asked for; takes one message."""


def asked_in_words(body: Mapping[str, Any]) -> dict[str, Any]:
    """The same request, with its schema in the system message in the place of ``response_format``."""
    schema = json.dumps(body["response_format"]["json_schema"]["schema"])
    wish = (
        "Answer with one JSON object and nothing else, no prose and no code fence. "
        f"It has to be valid against this JSON schema:\n{schema}"
    )
    first, *others = body["messages"]
    if first["role"] == "system":
        messages = [{**first, "content": f"{first['content']}\n\n{wish}"}, *others]
    else:
        messages = [{"role": "system", "content": wish}, first, *others]
    rest = {name: value for name, value in body.items() if name != "response_format"}
    return rest | {"messages": messages}


def only_object(text: str) -> str:
    """The first JSON object in a text, which must be all that follows its first brace.

    A model that talks about an object, perhaps one quoted from what it was shown, has not answered
    with it. Raises MalformedAnswerError.
    """
    start = text.find("{")
    if start < 0:
        raise MalformedAnswerError("prose without a JSON object")
    try:
        _, end = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        raise MalformedAnswerError("prose, and what its first brace opens is not JSON") from None
    if not _AFTERWARDS.fullmatch(text, end):
        raise MalformedAnswerError("prose goes on behind its first JSON object")
    return text[start:end]
