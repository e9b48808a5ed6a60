"""The policy's short way (clips heard once, LLM only) gives what transformers' whole model gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_backbone import make_backbone, make_utterance, shaken_adapter

from cogaudio_rl.config import LoraConfig, ModelConfig
from cogaudio_rl.data.audio import read_audio
from cogaudio_rl.errors import CheckpointError
from cogaudio_rl.models.policy import Policy
from cogaudio_rl.types import Adapter, Prompt, Route, Utterance

ANSWERS = ("<thought>\nEmotion: sad\nIntent: talk\n</thought>", "happy talk", "e")


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    folder = make_backbone(tmp_path_factory.mktemp("backbone"))
    policy = Policy.load(ModelConfig(path=str(folder), lora=LoraConfig(r=4, alpha=8)))
    shaken_adapter(policy, 1)
    return policy.eval()


@pytest.fixture(scope="module")
def utterances(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    folder = tmp_path_factory.mktemp("clips")
    # 2 s, an odd number of samples, and more than one encoder window.
    return [make_utterance(folder, f"u{n}", n) for n in (32_000, 17_777, 75_003)]


def whole_model_logprobs(policy: Policy, prompt: Prompt, answer: tuple[int, ...]) -> torch.Tensor:
    """transformers' own forward on the processor's own inputs, padded to 30 s."""
    sound, _ = read_audio(prompt.utterance.clip.path)
    inputs = policy.processor(
        text=[policy.prompt_text(prompt.route)], audio=[sound], sampling_rate=16_000,
        return_tensors="pt",
    )  # fmt: skip
    said = torch.tensor([answer])
    ids = torch.cat([inputs["input_ids"], said], dim=1)
    with torch.no_grad():
        logits = policy.model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            input_features=inputs["input_features"],
            feature_attention_mask=inputs["feature_attention_mask"],
        ).logits
    start = inputs["input_ids"].shape[1]
    return logits[0, start - 1 : -1].log_softmax(-1).gather(-1, said[0][:, None])[:, 0]


@pytest.mark.parametrize("route", list(Route))
def test_logprobs_are_those_of_the_whole_model(
    policy: Policy, utterances: list[Utterance], route: Route
) -> None:
    prompts = [Prompt(utterance=u, route=route) for u in utterances]
    answers = [policy.response_ids(text) for text in ANSWERS]
    batch = policy.pack([policy.sequence(p, a) for p, a in zip(prompts, answers, strict=True)])
    with torch.no_grad():
        logprobs_BT, entropy_BT = policy(batch)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        expected = whole_model_logprobs(policy, prompt, answer)
        torch.testing.assert_close(logprobs_BT[row, : len(answer)], expected, rtol=0, atol=2e-5)
        assert not logprobs_BT[row, len(answer) :].any()
        assert not entropy_BT[row, len(answer) :].any()


def test_short_padding_changes_no_bit_of_the_frames(
    policy: Policy, utterances: list[Utterance]
) -> None:
    for utterance in utterances:
        sound, _ = read_audio(utterance.clip.path)
        whole = policy.processor.feature_extractor(
            sound, sampling_rate=16_000, return_tensors="np", return_attention_mask=True
        )
        frames = policy.log_mel(sound)
        count = int(whole["attention_mask"].sum())
        assert frames.shape[1] == count == -(-len(sound) // 160)
        np.testing.assert_array_equal(frames.numpy(), whole["input_features"][0, :, :count])


def test_expected_length_is_the_length_heard(policy: Policy, utterances: list[Utterance]) -> None:
    for utterance, audio in zip(utterances, policy.hear(utterances), strict=True):
        for route in Route:
            prompt = Prompt(utterance=utterance, route=route)
            sequence = policy.sequence(prompt, (7,) * 5)
            assert policy.length(prompt, 5) == len(sequence.prompt_ids) + 5
            assert sequence.audio.shape == audio.shape


def test_a_clip_is_heard_once(policy: Policy, utterances: list[Utterance]) -> None:
    first, again = policy.hear([utterances[0], utterances[0]])
    assert first is again
    assert policy.hear(utterances)[0] is first


def test_adapter_names_what_does_not_fit(policy: Policy) -> None:
    own = policy.adapter(3)
    name = sorted(own.tensors)[0]
    with pytest.raises(CheckpointError, match="lacks tensor"):
        policy.load_adapter(Adapter(version=0, tensors={}))
    foreign = dict(own.tensors) | {name: np.zeros((1, 1), np.float32)}
    with pytest.raises(CheckpointError, match=r"has shape \(1, 1\), this model needs"):
        policy.load_adapter(Adapter(version=0, tensors=foreign))


def test_a_fresh_adapter_answers_as_the_base(policy: Policy, utterances: list[Utterance]) -> None:
    prompt = Prompt(utterance=utterances[0], route=Route.DIRECT)
    batch = policy.pack([policy.sequence(prompt, policy.response_ids(ANSWERS[1]))])
    fresh = Policy.load(ModelConfig(path=policy.name, lora=LoraConfig(r=4, alpha=8))).eval()
    base = Policy.load(ModelConfig(path=policy.name, lora=None)).eval()
    with torch.no_grad():
        torch.testing.assert_close(fresh(batch)[0], base(batch)[0])
        assert (policy(batch)[0] - base(batch)[0]).abs().max() > 1e-3
