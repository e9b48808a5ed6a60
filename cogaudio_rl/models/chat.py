"""What is said around clips, as one checkpoint's processor writes it; no weights are loaded.

The learner and the samplers both build their prompts here, so that the tokens cannot drift apart.
Where there is nothing to hear, or a checkpoint that hears nothing, the words stand in the place of
the sound. Earlier turns come as the checkpoint's own chat template has them:

    user <clip> ─► assistant "reply" ─► … ─► user <clip> what is asked for ─► assistant
"""

from __future__ import annotations

import itertools
import re
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cogaudio_rl import prompts
from cogaudio_rl.errors import CheckpointError, InputError
from cogaudio_rl.models.architecture import Architecture
from cogaudio_rl.types import Prefix, Prompt, Route, Utterance

_GAP = "HERE-STANDS-WHAT-SOMEBODY-SAYS"

Frame = tuple[tuple[int, ...], ...]
"""What a chat template writes around the words of others: token ids, cut at each gap between them."""


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
        # Not by what fills the gaps: that comes from outside, and there may be any amount of it.
        self._frames: dict[tuple[tuple[bool, ...], Route | None], Frame] = {}

    def clips(self, prompt: Prompt) -> tuple[Utterance, ...]:
        """What is heard of a prompt, in order; the words of all other turns are read."""
        return tuple(u for u in prompt.utterances if self._listens(u))

    def ids(self, prompt: Prompt, *num_audio_tokens: int) -> tuple[int, ...]:
        """The whole prompt's token ids, the placeholder of each clip expanded to its length.

        ``num_audio_tokens``: one number for each of :meth:`clips`; none leaves one placeholder each.
        """
        heard = tuple(map(self._listens, prompt.utterances))
        replies = [turn.reply for turn in prompt.history]
        said: list[str] = []
        for utterance, hears, reply in itertools.zip_longest(prompt.utterances, heard, replies):
            said += [] if hears else [utterance.transcript]
            said += [] if reply is None else [reply]
        if prompt.question:
            # Behind words that are read it begins a line.
            said.append(prompt.question if heard[-1] else f"\n{prompt.question}")
        route = None if prompt.question else prompt.route
        return self._expand(self._fill(self._frame(heard, route), said), num_audio_tokens)

    def words(self, text: str) -> tuple[int, ...]:
        """Token ids of what somebody said or asks. What spells a control token stays words."""
        pieces, start = [], 0
        for found in self._control.finditer(text):
            # Cut behind its first character, no tokenizer can see it any more.
            pieces.append(text[start : found.start() + 1])
            start = found.start() + 1
        pieces.append(text[start:])
        return tuple(i for piece in pieces if piece for i in self.encode(piece))

    def length(self, prompt: Prompt, *num_audio_tokens: int) -> int:
        """How many ids :meth:`ids` gives, for one number for each of :meth:`clips`."""
        return len(self.ids(prompt)) - len(num_audio_tokens) + sum(num_audio_tokens)

    def prompt_text(self, route: Route) -> str:
        """The chat prompt with one unexpanded audio placeholder."""
        return self._write((True,), route)

    def prompt_ids(
        self, route: Route, num_audio_tokens: int = 1, *, question: str = ""
    ) -> tuple[int, ...]:
        """Token ids of a prompt of one clip, its placeholder expanded to the clip's length."""
        frame = self._frame((True,), None if question else route)
        return self._expand(self._fill(frame, [question] if question else []), (num_audio_tokens,))

    def _listens(self, utterance: Utterance) -> bool:
        return self.hears and utterance.audio is not None

    def _fill(self, frame: Frame, said: Sequence[str]) -> tuple[int, ...]:
        ids = [*frame[0]]
        for text, behind in zip(said, frame[1:], strict=True):
            ids += (*self.words(text), *behind)
        return tuple(ids)

    def _expand(self, ids: tuple[int, ...], num_audio_tokens: Sequence[int]) -> tuple[int, ...]:
        if not num_audio_tokens:
            return ids
        places = [place for place, token in enumerate(ids) if token == self.audio_id]
        whole, start = list[int](), 0
        for place, count in zip(places, num_audio_tokens, strict=True):
            whole += (*ids[start:place], *[ids[place]] * count)
            start = place + 1
        return (*whole, *ids[start:])

    def _frame(self, heard: tuple[bool, ...], route: Route | None) -> Frame:
        """Around as many user turns; each is heard, or has a gap for its words. Without a route there
        is a gap for a question."""
        if (heard, route) not in self._frames:
            gaps = ["the user's words"] * heard.count(False)
            gaps += ["earlier replies"] * (len(heard) - 1)
            gaps += ["the question"] * (route is None)
            pieces = self._write(heard, route).split(_GAP)
            if len(pieces) != len(gaps) + 1:
                dropped = " or ".join(dict.fromkeys(gaps)) or "nothing, and adds words of its own"
                raise CheckpointError(f"the chat template of {self.name!r} drops {dropped}")
            frame = tuple(map(self.encode, pieces))
            if self.hears and sum(piece.count(self.audio_id) for piece in frame) != sum(heard):
                raise CheckpointError(
                    f"the chat template of {self.name!r} must hold one audio token for each clip"
                )
            self._frames[heard, route] = frame
        return self._frames[heard, route]

    def _write(self, heard: tuple[bool, ...], route: Route | None) -> str:
        """The chat as text, with gaps in the place of what others say."""
        asking = _GAP if route is None else prompts.for_route(route)
        turns: list[dict[str, Any]] = []
        for place, hears in enumerate(heard):
            last = place == len(heard) - 1
            # The line break before a question is the question's own.
            text = asking if last else ""
            if not hears:
                text = _GAP + ("\n" if last and route else "") + text
            turns.append({"role": "user", "content": self._content(text, hears)})
            if not last:
                turns.append({"role": "assistant", "content": self._content(_GAP, hears=False)})
        try:
            return self.processor.apply_chat_template(
                turns,
                add_generation_prompt=True,
                tokenize=False,
                # Qwen3: the chain is ours, not the backbone's own.
                **({} if self.hears else {"enable_thinking": False}),
            )
        except ValueError as error:
            first = str(error).splitlines()[0]
            raise CheckpointError(f"{self.name!r} has no chat template: {first}") from None

    def _content(self, text: str, hears: bool) -> Any:
        """A turn's content as this checkpoint's processor takes it."""
        if not self.hears:
            return text
        sound = [{"type": "audio"}] if hears else []
        return [*sound, *([{"type": "text", "text": text}] if text else [])]

    def num_audio_tokens(self, num_samples: int) -> int:
        """Placeholders of a clip of ``num_samples``, which the extractor cuts at its limit."""
        extractor = self.processor.feature_extractor
        heard = min(num_samples, extractor.n_samples)
        return audio_token_count(-(-heard // extractor.hop_length))

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of a text that stands in the assistant's turn."""
        return tuple(self.tokenizer(text, add_special_tokens=False).input_ids)

    def prefix_ids(self, prefix: Prefix) -> tuple[int, ...]:
        """The tokens an answer begins with: those that were said, if they can be cut where the text
        ends, else the text encoded."""
        ids, size = prefix.token_ids, len(prefix.text)
        at = bisect_left(range(len(ids)), size, key=lambda k: len(self.decode(ids[:k])))
        if self.decode(ids[:at]) == prefix.text:
            return ids[:at]
        return self.encode(prefix.text)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Token ids as text, without end and padding tokens."""
        return self.tokenizer.decode(
            [i for i in token_ids if i not in (self.eos_id, self.pad_id)], skip_special_tokens=False
        )

    def by_first_token(self, options: Sequence[str]) -> dict[int, str]:
        """First token id → option. Raises InputError naming two options that begin alike."""
        found: dict[int, str] = {}
        for option in options:
            first = self.encode(option)[0]
            if first in found:
                raise InputError(
                    f"options {found[first]!r} and {option!r} begin with the same token "
                    f"{self.decode([first])!r}; choose words that differ in it"
                )
            found[first] = option
        return found
