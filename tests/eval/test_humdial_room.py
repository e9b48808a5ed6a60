"""What an engine is opened with is what the longest dialogue takes, and not much more."""

from __future__ import annotations

from pathlib import Path

import pytest
from humdial_folder import COLUMNS, a_challenge, a_folder
from tiny_backbone import make_backbone
from tiny_world import make_reader

from cogaudio_rl.config import ModelConfig
from cogaudio_rl.data.corpora.humdial import read
from cogaudio_rl.eval.humdial_dialogues import hear, history_of
from cogaudio_rl.eval.humdial_items import make_items
from cogaudio_rl.eval.humdial_room import clips_needed, tokens_needed
from cogaudio_rl.models.policy import Policy
from cogaudio_rl.types import Prompt, Route

NEW_TOKENS = 12


@pytest.mark.parametrize("hears", [True, False])
@pytest.mark.parametrize("asked", [True, False])
def test_no_prompt_with_its_answer_is_longer(tmp_path: Path, hears: bool, asked: bool) -> None:
    folder = make_backbone(tmp_path / "model") if hears else make_reader(tmp_path / "model")
    config = ModelConfig(path=str(folder), max_new_tokens_direct=NEW_TOKENS)
    policy = Policy.load(config).eval()
    reading = (
        read(a_folder(tmp_path / "root"), columns=COLUMNS)
        if asked
        else read(a_challenge(tmp_path / "root"))
    )
    assert clips_needed(reading) == 3
    needed = tokens_needed(policy.chat, reading, new_tokens=NEW_TOKENS)
    # The longest reply there can be.
    words = policy.chat.encode("I hear you, and I am here for you. Tell me more about it, please.")
    reply = policy.chat.decode(words[:NEW_TOKENS])
    heard = [hear(dialogue, tmp_path / "cut") for dialogue in reading.dialogues]
    prompts = [
        Prompt(
            utterance=h.utterances[-1],
            route=Route.DIRECT,
            history=history_of(h.utterances, [reply] * (len(h.utterances) - 1)),
        )
        for h in heard
    ]
    histories = {h.dialogue.id: p.history for h, p in zip(heard, prompts, strict=True)}
    items = make_items(reading, tmp_path / "cut", talks=False).choices
    prompts += [item.prompt(histories[i]) for item in items if (i := item.choice.id) in histories]
    longest = max(policy.length(p, NEW_TOKENS) for p in prompts)
    assert longest <= needed <= longest + 3 * 2
