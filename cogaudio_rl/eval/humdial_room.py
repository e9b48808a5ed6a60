"""How much of an engine HumDial's dialogues need: clips of one prompt, and tokens."""

from __future__ import annotations

from collections.abc import Mapping

from cogaudio_rl.data.audio import SAMPLE_RATE_HZ
from cogaudio_rl.data.corpora.humdial import Choice, Dialogue, HumDialReading
from cogaudio_rl.eval.humdial_dialogues import plain, utterance_of
from cogaudio_rl.eval.humdial_items import asked_text
from cogaudio_rl.models.chat import Chat
from cogaudio_rl.types import Prompt, Route, Turn


def clips_needed(reading: HumDialReading) -> int:
    """Most clips that one prompt holds."""
    return max((len(dialogue.turns) for dialogue in reading.dialogues), default=1)


def tokens_needed(
    chat: Chat, reading: HumDialReading, *, new_tokens: int, route: Route = Route.DIRECT
) -> int:
    """Most tokens that a dialogue and its answers may take, where each answer has ``new_tokens``."""
    choices = {choice.id: choice for choice in reading.choices}
    return max(
        (_tokens(chat, dialogue, choices, new_tokens, route) for dialogue in reading.dialogues),
        default=0,
    )


def _tokens(
    chat: Chat, dialogue: Dialogue, choices: Mapping[str, Choice], new_tokens: int, route: Route
) -> int:
    utterances = [
        utterance_of(turn.number, turn.text, dialogue.language, turn.audio)
        for turn in dialogue.turns
    ]
    asked = Prompt(
        utterance=utterances[-1],
        route=route,
        history=tuple(Turn(utterance=u, reply="") for u in utterances[:-1]),
    )
    prompts = [asked]
    if choice := choices.get(dialogue.id):
        options = tuple(map(plain, choice.options))
        question = asked_text(
            plain(choice.question), options, task=choice.task, language=dialogue.language
        )
        prompts.append(
            Prompt(utterance=asked.utterance, route=route, history=asked.history, question=question)
        )
    seconds = [utterance.clip.seconds for utterance in chat.clips(asked)]
    heard = [chat.num_audio_tokens(round(s * SAMPLE_RATE_HZ)) for s in seconds]
    # A clip that is resampled may take one more; a reply that is encoded again seldom does.
    answers = len(utterances) * (new_tokens + 2)
    return max(chat.length(prompt, *heard) for prompt in prompts) + answers
