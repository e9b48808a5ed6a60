"""What is said around a clip, as one checkpoint's processor writes it; no weights are loaded.

The learner and the samplers both build their prompts here, so that the tokens cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cogaudio_rl import prompts
from cogaudio_rl.errors import CheckpointError
from cogaudio_rl.types import Route


def audio_token_count(frames: int) -> int:
    """Audio placeholders of a clip of ``frames`` log-mel frames (Qwen2.5-Omni: two halvings)."""
    return ((frames - 1) // 2 + 1 - 2) // 2 + 1


def open_processor(folder: Path, *, name: str) -> Any:
    """A checkpoint's processor, from disk alone. Raises CheckpointError naming the checkpoint."""
    from transformers import Qwen2_5OmniProcessor

    try:
        return Qwen2_5OmniProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"model.path {name!r} cannot be loaded: {first}") from None


class Chat:
    """The prompts, the tokenizer and the forbidden tokens of one checkpoint."""

    def __init__(self, processor: Any, *, name: str) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.name = name
        self.audio_id: int = self.tokenizer.convert_tokens_to_ids(processor.audio_token)
        self.eos_id: int = self.tokenizer.eos_token_id
        self.pad_id: int = self.tokenizer.pad_token_id
        # A sampled placeholder would ask the learner for a clip that is not there.
        self.banned_ids: tuple[int, ...] = tuple(
            i for i in self.tokenizer.all_special_ids if i not in (self.eos_id, self.pad_id)
        )
        self._unexpanded: dict[Route, tuple[int, ...]] = {}

    def prompt_text(self, route: Route) -> str:
        """The chat prompt with one unexpanded audio placeholder."""
        content = [{"type": "audio"}, {"type": "text", "text": prompts.for_route(route)}]
        return self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )

    def prompt_ids(self, route: Route, num_audio_tokens: int = 1) -> tuple[int, ...]:
        """The prompt's token ids with the placeholder expanded to the clip's length."""
        ids = self._with_placeholder(route)
        at = ids.index(self.audio_id)
        return ids[:at] + (self.audio_id,) * num_audio_tokens + ids[at + 1 :]

    def prompt_length(self, route: Route, num_audio_tokens: int) -> int:
        """How many ids :meth:`prompt_ids` gives."""
        return len(self._with_placeholder(route)) - 1 + num_audio_tokens

    def _with_placeholder(self, route: Route) -> tuple[int, ...]:
        if route not in self._unexpanded:
            ids = self.encode(self.prompt_text(route))
            if ids.count(self.audio_id) != 1:
                raise CheckpointError(
                    f"the chat template of {self.name!r} must hold one audio token"
                )
            self._unexpanded[route] = ids
        return self._unexpanded[route]

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
