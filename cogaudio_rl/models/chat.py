"""What is said around a clip, as one checkpoint's processor writes it; no weights are loaded.

The learner and the samplers both build their prompts here, so that the tokens cannot drift apart.
Where there is nothing to hear, or a checkpoint that hears nothing, the words stand in the place of
the sound.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cogaudio_rl import prompts
from cogaudio_rl.errors import CheckpointError
from cogaudio_rl.models.architecture import Architecture
from cogaudio_rl.types import Prompt, Route

_WORDS = "THE-WORDS-STAND-HERE"
_QUESTION = "THE-QUESTION-STANDS-HERE"


def audio_token_count(frames: int) -> int:
    """Audio placeholders of a clip of ``frames`` log-mel frames (Qwen2.5-Omni: two halvings)."""
    return ((frames - 1) // 2 + 1 - 2) // 2 + 1


def open_processor(folder: Path, *, name: str) -> Any:
    """A checkpoint's processor, or its tokenizer where it only reads; from disk alone.

    Raises CheckpointError naming the checkpoint.
    """
    from transformers import AutoTokenizer, Qwen2_5OmniProcessor

    hears = Architecture.of(folder, name=name).hears
    try:
        kind: Any = Qwen2_5OmniProcessor if hears else AutoTokenizer
        return kind.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"model.path {name!r} cannot be loaded: {first}") from None


class Chat:
    """The prompts, the tokenizer and the forbidden tokens of one checkpoint."""

    def __init__(self, processor: Any, *, name: str) -> None:
        self.processor = processor
        self.hears = hasattr(processor, "feature_extractor")
        self.tokenizer = processor.tokenizer if self.hears else processor
        self.name = name
        self.audio_id: int | None = (
            self.tokenizer.convert_tokens_to_ids(processor.audio_token) if self.hears else None
        )
        self.eos_id: int = self.tokenizer.eos_token_id
        self.pad_id: int = self.tokenizer.pad_token_id
        # A sampled placeholder would ask the learner for a clip that is not there.
        self.banned_ids: tuple[int, ...] = tuple(
            i for i in self.tokenizer.all_special_ids if i not in (self.eos_id, self.pad_id)
        )
        added = sorted((str(t) for t in self.tokenizer.get_added_vocab()), key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, added)) or "(?!)")
        # By route alone: questions come from outside, and there may be any number of them.
        self._unexpanded: dict[Route, tuple[int, ...]] = {}
        self._around_words: dict[Route, tuple[tuple[int, ...], tuple[int, ...]]] = {}

    def listens(self, prompt: Prompt) -> bool:
        """Whether this prompt is heard; else its words are read."""
        return self.hears and prompt.utterance.audio is not None

    def ids(self, prompt: Prompt, num_audio_tokens: int = 1) -> tuple[int, ...]:
        """The whole prompt's token ids, the clip's placeholder expanded to its length."""
        if self.listens(prompt):
            return self.prompt_ids(prompt.route, num_audio_tokens, question=prompt.question)
        head, tail = self._frame(prompt.route, prompt.question)
        return (*head, *self.words(prompt.utterance.transcript), *tail)

    def words(self, text: str) -> tuple[int, ...]:
        """Token ids of what somebody said or asks. What spells a control token stays words."""
        pieces, start = [], 0
        for found in self._control.finditer(text):
            # Cut behind its first character, no tokenizer can see it any more.
            pieces.append(text[start : found.start() + 1])
            start = found.start() + 1
        pieces.append(text[start:])
        return tuple(i for piece in pieces if piece for i in self.encode(piece))

    def length(self, prompt: Prompt, num_audio_tokens: int) -> int:
        """How many ids :meth:`ids` gives."""
        if self.listens(prompt):
            unexpanded = self._with_placeholder(prompt.route, prompt.question)
            return len(unexpanded) - 1 + num_audio_tokens
        return len(self.ids(prompt))

    def prompt_text(self, route: Route) -> str:
        """The chat prompt with one unexpanded audio placeholder."""
        return self._heard(prompts.for_route(route))

    def prompt_ids(
        self, route: Route, num_audio_tokens: int = 1, *, question: str = ""
    ) -> tuple[int, ...]:
        """The prompt's token ids with the placeholder expanded to the clip's length."""
        ids, sound = self._with_placeholder(route, question), self.audio_id
        assert sound is not None, "only a checkpoint that hears has a place for sound"
        at = ids.index(sound)
        return ids[:at] + (sound,) * num_audio_tokens + ids[at + 1 :]

    def _heard(self, asking: str) -> str:
        """The chat around a clip, its placeholder unexpanded."""
        content = [{"type": "audio"}, {"type": "text", "text": asking}]
        return self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )

    def _read(self, asking: str) -> tuple[str, str]:
        """The chat before and after words that are read."""
        text = f"{_WORDS}\n{asking}"
        content: Any = [{"type": "text", "text": text}] if self.hears else text
        try:
            chat = self.processor.apply_chat_template(
                [{"role": "user", "content": content}],
                add_generation_prompt=True,
                tokenize=False,
                enable_thinking=False,  # Qwen3: the chain is ours, not the backbone's own
            )
        except ValueError as error:
            first = str(error).splitlines()[0]
            raise CheckpointError(f"{self.name!r} has no chat template: {first}") from None
        return self._cut(chat, _WORDS, "the user's words")

    def _frame(self, route: Route, question: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What stands before and after the words."""
        if question:
            head, tail = self._read(_QUESTION)
            before, after = self._cut(tail, _QUESTION, "the question")
            return self.encode(head), (*self.words(before + question), *self.encode(after))
        if route not in self._around_words:
            head, tail = self._read(prompts.for_route(route))
            self._around_words[route] = (self.encode(head), self.encode(tail))
        return self._around_words[route]

    def _with_placeholder(self, route: Route, question: str) -> tuple[int, ...]:
        if question:
            before, after = self._cut(self._heard(_QUESTION), _QUESTION, "the question")
            return self._one_sound(
                (*self.encode(before), *self.words(question), *self.encode(after))
            )
        if route not in self._unexpanded:
            self._unexpanded[route] = self._one_sound(self.encode(self.prompt_text(route)))
        return self._unexpanded[route]

    def _one_sound(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        if ids.count(self.audio_id) != 1:
            raise CheckpointError(f"the chat template of {self.name!r} must hold one audio token")
        return ids

    def _cut(self, chat: str, mark: str, what: str) -> tuple[str, str]:
        before, found, after = chat.partition(mark)
        if not found:
            raise CheckpointError(f"the chat template of {self.name!r} drops {what}")
        return before, after

    def num_audio_tokens(self, num_samples: int) -> int:
        """Placeholders of a clip of ``num_samples``, which the extractor cuts at its limit."""
        extractor = self.processor.feature_extractor
        heard = min(num_samples, extractor.n_samples)
        return audio_token_count(-(-heard // extractor.hop_length))

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of a text that stands in the assistant's turn."""
        return tuple(self.tokenizer(text, add_special_tokens=False).input_ids)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Token ids as text, without end and padding tokens."""
        return self.tokenizer.decode(
            [i for i in token_ids if i not in (self.eos_id, self.pad_id)], skip_special_tokens=False
        )
