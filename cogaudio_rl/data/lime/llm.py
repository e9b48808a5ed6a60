"""The LLM that writes, guesses and annotates: a prompt file says what to do with one JSON object."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel

from cogaudio_rl import prompts
from cogaudio_rl.answer_cache import AnswerCache, ask_once
from cogaudio_rl.data.lime.recipe import AuthorConfig
from cogaudio_rl.endpoint import ChatEndpoint

T = TypeVar("T", bound=BaseModel)

_NAMES = {"en": "English", "zh": "Chinese"}


class LlmAuthor:
    """One endpoint with its settings; what it answered is kept, and asked for no second time."""

    def __init__(self, settings: AuthorConfig, endpoint: ChatEndpoint, cache: AnswerCache) -> None:
        self.settings = settings
        self._endpoint, self._cache = endpoint, cache

    async def ask(
        self,
        prompt: str,
        material: Mapping[str, Any],
        form: type[T],
        *,
        nth: int = 0,
        temperature: float | None = None,
    ) -> T:
        """What it makes of ``material`` by the prompt file, in this form; ``nth`` asks for another
        answer. Raises NoAnswer."""
        return await ask_once(
            self._endpoint,
            self._cache,
            [
                {"role": "system", "content": prompts.load(prompt)},
                {"role": "user", "content": json.dumps(material, ensure_ascii=False)},
            ],
            form,
            model=self.settings.model,
            nth=nth,
            temperature=self.settings.temperature if temperature is None else temperature,
            max_tokens=self.settings.max_tokens,
        )


def said_in(words: str, *, language: str, emotion: str) -> dict[str, str]:
    """Material for a question about words that are said in an emotion."""
    return {"sentence": words, "language": language_name(language), "emotion": emotion}


def language_name(language: str) -> str:
    """As an LLM is told it."""
    return _NAMES[language]
