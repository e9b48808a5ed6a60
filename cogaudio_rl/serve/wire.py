"""Events as OpenAI's JSON, whole and as server-sent events.

Written by hand and not by models: a stream has hundreds of chunks a second.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable
from typing import Any

from cogaudio_rl.serve.engine import Emotion
from cogaudio_rl.serve.errors import ApiError
from cogaudio_rl.serve.responder import Ended, Event, Felt, Said, Served
from cogaudio_rl.types import StopReason

_FINISH = {StopReason.EOS: "stop", StopReason.LENGTH: "length", StopReason.ABORTED: "stop"}
DONE = b"data: [DONE]\n\n"


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


class Whole:
    """Gathers the events of one answer into a ``chat.completion``."""

    def __init__(self, model: str) -> None:
        self._model, self._id, self._created = model, _new_id(), int(time.time())
        self._reasoning, self._content = list[str](), list[str]()
        self._emotion: Emotion | None = None
        self._ended: Ended | None = None

    def add(self, event: Event) -> None:
        """The next event."""
        match event:
            case Said(reasoning, content):
                self._reasoning.append(reasoning)
                self._content.append(content)
            case Felt(emotion):
                self._emotion = emotion
            case Ended():
                self._ended = event

    def body(self) -> bytes:
        """After its last event."""
        ended = self._ended
        assert ended is not None, "an answer ends with Ended"
        message = {
            "role": "assistant",
            "content": "".join(self._content),
            "reasoning_content": "".join(self._reasoning) or None,
            "cogaudio": {"emotion": _emotion(self._emotion), **_form(ended)},
        }
        return _json(
            {
                "id": self._id,
                "object": "chat.completion",
                "created": self._created,
                "model": self._model,
                "choices": [
                    {
                        "index": 0,
                        "message": message,
                        "logprobs": None,
                        "finish_reason": _FINISH[ended.stop],
                    }
                ],
                "usage": _usage(ended),
            }
        )


class Chunks:
    """Renders the events of one answer as ``chat.completion.chunk`` server-sent events."""

    def __init__(self, model: str, *, with_usage: bool) -> None:
        card = {
            "id": _new_id(),
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
        }
        self._card, self._with_usage = card, with_usage
        # All but the delta is the same in every chunk.
        self._head = b"data: " + _json(card)[:-1] + b',"choices":[{"index":0,"delta":'

    def begin(self) -> bytes:
        """What comes before the first event."""
        return self._chunk({"role": "assistant", "content": ""})

    def render(self, event: Event) -> bytes:
        """One event, as one or more chunks."""
        match event:
            case Said(reasoning, content):
                first = self._chunk({"reasoning_content": reasoning}) if reasoning else b""
                return first + (self._chunk({"content": content}) if content else b"")
            case Felt(emotion):
                return self._chunk({"cogaudio": {"emotion": _emotion(emotion)}})
            case Ended():
                last = self._chunk({"cogaudio": _form(event)}, finish=_FINISH[event.stop])
                return last + self._usage(event) + DONE

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        return b'%b%b,"logprobs":null,"finish_reason":%b}]}\n\n' % (
            self._head,
            _json(delta),
            _json(finish),
        )

    def _usage(self, ended: Ended) -> bytes:
        if not self._with_usage:
            return b""
        return b"data: %b\n\n" % _json({**self._card, "choices": [], "usage": _usage(ended)})


def broken_off(error: ApiError) -> bytes:
    """The last server-sent event of a stream that cannot go on."""
    return b"data: %b\n\n" % _json(error.body())


def model_list(models: Iterable[Served]) -> bytes:
    """``GET /v1/models`` of what :meth:`Responder.models` gives."""
    return _json({"object": "list", "data": [_model(one) for one in models]})


def model(one: Served) -> bytes:
    """``GET /v1/models/{model}``."""
    return _json(_model(one))


def _model(one: Served) -> dict[str, Any]:
    return {
        "id": one.id,
        "object": "model",
        "created": one.created,
        "owned_by": "cogaudio-rl",
        "cogaudio": {
            "adapter": one.adapter,
            "route": one.route.value,
            "max_audio_s": one.max_seconds,
        },
    }


def _new_id() -> str:
    return f"chatcmpl-{uuid.uuid4().hex}"


def _emotion(emotion: Emotion | None) -> dict[str, Any] | None:
    if emotion is None:
        return None
    shares = {label: round(p, 6) for label, p in emotion.probabilities.items()}
    return {"label": emotion.label, "probabilities": shares}


def _form(ended: Ended) -> dict[str, Any]:
    return {"steps": ended.steps, "parse": ended.parse}


def _usage(ended: Ended) -> dict[str, int]:
    return {
        "prompt_tokens": ended.prompt_tokens,
        "completion_tokens": ended.completion_tokens,
        "total_tokens": ended.prompt_tokens + ended.completion_tokens,
    }
