"""OpenAI's chat API, as far as it is spoken here.

Fields that the official client may send and that change nothing are let through; those that would
change the answer are refused by name (:func:`refuse_unsupported`), so that nobody thinks they worked.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from cogaudio_rl.serve.admission import admit_text
from cogaudio_rl.serve.errors import ApiError

_INT64 = 2**63 - 1
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "stop": ([],),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "prediction": (),
    "web_search_options": (),
}
"""Fields that are not supported, and the values besides null at which they would change nothing."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore")


class AudioData(_Part):
    """A clip inside the request."""

    data: Annotated[str, Field(min_length=1)]
    """Base64 of a whole file."""
    format: Annotated[str, Field(min_length=1, max_length=16)]
    """Its container, as ``wav``."""


class AudioPart(_Part):
    """A clip that is heard."""

    type: Literal["input_audio"]
    input_audio: AudioData


class TextPart(_Part):
    """Words: what the user says, or beside a clip a question about it."""

    type: Literal["text"]
    text: str


class Message(_Part):
    """One turn; only a single one of the user's is supported."""

    role: Literal["user", "system", "developer", "assistant", "tool", "function"]
    content: str | list[Annotated[AudioPart | TextPart, Field(discriminator="type")]] | None = None


class StreamOptions(_Part):
    """What else comes with a stream."""

    include_usage: bool | None = None


class ChatRequest(BaseModel):
    """The body of ``POST /v1/chat/completions``."""

    model_config = ConfigDict(extra="allow")

    model: Annotated[str, Field(min_length=1, max_length=200)]
    """``NAME`` replies directly, ``NAME-think`` reasons first."""
    messages: Annotated[list[Message], Field(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    """The newer name of ``max_tokens``; it wins where both are given."""
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-_INT64, le=_INT64)] | None = None
    n: Annotated[int, Field(ge=1)] | None = None


def refuse_unsupported(request: ChatRequest) -> None:
    """Raise ApiError naming the first field that would not do what it asks for."""
    if request.n not in (None, 1):
        raise ApiError(400, f"n must be 1, got {request.n}", code="unsupported_value", param="n")
    for name, value in (request.model_extra or {}).items():
        if name in _NEUTRAL and value is not None and value not in _NEUTRAL[name]:
            raise ApiError(
                400, f"{name} is not supported", code="unsupported_parameter", param=name
            )


def question_of(request: ChatRequest) -> tuple[AudioData | None, str]:
    """The clip and the words of the one user message. Raises ApiError for any other conversation."""
    if len(request.messages) != 1 or request.messages[0].role != "user":
        raise ApiError(
            400,
            "messages must hold one user message; system messages and earlier turns are not "
            "supported",
            code="unsupported_value",
            param="messages",
        )
    content = request.messages[0].content
    if content is None or isinstance(content, str):
        return None, _something(content or "")
    clips = [part.input_audio for part in content if isinstance(part, AudioPart)]
    if len(clips) > 1:
        raise ApiError(
            400,
            f"a message may hold one input_audio part, got {len(clips)}",
            code="unsupported_value",
            param="messages.0.content",
        )
    text = admit_text(
        "\n".join(part.text for part in content if isinstance(part, TextPart)).strip()
    )
    return (clips[0], text) if clips else (None, _something(text))


def _something(words: str) -> str:
    if not words.strip():
        raise ApiError(
            400,
            "the message is empty; give an input_audio part, or text",
            code="invalid_value",
            param="messages.0.content",
        )
    return admit_text(words.strip())
