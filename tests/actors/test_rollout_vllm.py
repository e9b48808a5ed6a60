"""A real vLLM engine beside the real policy: what the one samples, the other must agree with."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_backbone import make_backbone, make_utterance, shaken_adapter

from actors.rollout import RolloutWorker
from clusters.runtime_env import rollout_env
from cogaudio_rl.config import ClusterConfig, Config, ModelConfig
from cogaudio_rl.eips import EMOTION_PREFIX
from cogaudio_rl.errors import InputError, PublishError
from cogaudio_rl.models.generate import LocalSampler
from cogaudio_rl.models.policy import Policy
from cogaudio_rl.ports import PROBE_TOKENS
from cogaudio_rl.types import LIME_EMOTIONS, Adapter, Group, Prefix, Prompt, Route, StopReason, Turn

# vLLM's own imports warn about torch's.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default"), pytest.mark.timeout(600)]

TOLERANCE = 1e-3
OPTIONS = tuple(f" {emotion}" for emotion in LIME_EMOTIONS)
NUM_SAMPLES = (8_000, 12_345, 16_001, 24_000, 40_000, 63_999)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = make_backbone(tmp_path_factory.mktemp("backbone"))
    return Config(
        model=ModelConfig(
            path=str(folder),
            max_new_tokens_explicit=24,
            max_new_tokens_direct=12,
            max_new_tokens_ambiguity=16,
            max_new_tokens_attribution=16,
            max_new_tokens_spoken=16,
        ),
        cluster=ClusterConfig(
            threads_per_rollout=1, max_num_seqs=16, max_model_len=512, max_clips=3
        ),
    )


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> list[Prompt]:
    folder = tmp_path_factory.mktemp("sounds")
    heard = [make_utterance(folder, f"u{i}", n) for i, n in enumerate(NUM_SAMPLES)]
    return [Prompt(utterance=u, route=route) for u in heard for route in Route]


@pytest.fixture(scope="module")
def policy(config: Config) -> Policy:
    return Policy.load(config.model).eval()


@pytest.fixture(scope="module")
def adapters(policy: Policy) -> list[Adapter]:
    return [shaken_adapter(policy, version) for version in (1, 2)]


@pytest.fixture(scope="module", params=["merged", "kernels"])
def engine(request: pytest.FixtureRequest, config: Config) -> Iterator[RolloutWorker]:
    """Both ways in which an adapter gets into an engine."""
    cluster = config.cluster.model_copy(update={"merge_adapter": request.param == "merged"})
    with pytest.MonkeyPatch.context() as patch:
        for name, value in rollout_env(cluster).items():
            patch.setenv(name, value)
        yield RolloutWorker(config.model_copy(update={"cluster": cluster}))


@pytest.fixture
def worker(engine: RolloutWorker) -> RolloutWorker:
    """The engine as it starts: with the bare base."""
    engine.publish(None)
    return engine


def rollouts(groups: Sequence[Group]) -> list[tuple[Prompt, tuple[int, ...], tuple[float, ...]]]:
    return [(g.prompt, r.token_ids, r.logprobs) for g in groups for r in g.rollouts]


def nothing(policy: Policy) -> Adapter:
    """A LoRA whose B is zero: it changes nothing."""
    own = policy.adapter(0)
    tensors = {k: np.asarray(v) * (".lora_B." not in k) for k, v in own.tensors.items()}
    return Adapter(version=0, tensors=tensors)


@torch.no_grad()
def gap(policy: Policy, adapter: Adapter | None, groups: Sequence[Group]) -> float:
    """The largest difference between the sampler's log-probs and the learner's."""
    said = rollouts(groups)
    batch = policy.pack([policy.sequence(prompt, ids) for prompt, ids, _ in said])
    policy.load_adapter(adapter or nothing(policy))
    own, _entropy = policy(batch)
    return max(
        abs(float(a) - b)
        for row, (_, _, theirs) in zip(own, said, strict=True)
        for a, b in zip(row, theirs, strict=False)
    )


def test_logprobs_are_the_learner_s_before_and_after_each_publish(
    worker: RolloutWorker, policy: Policy, prompts: list[Prompt], adapters: list[Adapter]
) -> None:
    stale: Adapter | None = None
    for adapter in (None, *adapters, None):
        worker.publish(adapter)
        groups = worker.sample(prompts, n=3, temperature=1.0, seed=5)
        assert gap(policy, adapter, groups) < TOLERANCE
        if adapter is not stale:
            assert gap(policy, stale, groups) > 10 * TOLERANCE, "the publish changed nothing"
        stale = adapter


@pytest.fixture(scope="module")
def dialogues(prompts: list[Prompt]) -> list[Prompt]:
    """One, two and three clips; the same clips in another order; a question behind them."""
    spoken = list(dict.fromkeys(p.utterance for p in prompts))
    first, second = (
        Turn(utterance=u, reply=r) for u, r in zip(spoken[:2], ("I see.", "And then?"), strict=True)
    )
    asked = Prompt(utterance=spoken[2], route=Route.DIRECT)
    return [
        asked,
        replace(asked, history=(first,)),
        replace(asked, history=(first, second)),
        replace(asked, history=(second, first)),
        replace(asked, history=(first, second), question="Which one?\nA. up\nB. down"),
    ]


def test_logprobs_after_earlier_turns_are_the_learner_s(
    worker: RolloutWorker, policy: Policy, dialogues: list[Prompt], adapters: list[Adapter]
) -> None:
    worker.publish(adapters[0])
    groups = worker.sample(dialogues, n=3, temperature=1.0, seed=5)
    assert [g.prompt for g in groups] == dialogues
    assert gap(policy, adapters[0], groups) < TOLERANCE
    # The order of the clips matters to both: what one says of it is far from the other's.
    swapped = [replace(groups[3], prompt=dialogues[2])]
    assert gap(policy, adapters[0], swapped) > 10 * TOLERANCE


def test_more_clips_than_the_engine_was_opened_for_are_refused(
    worker: RolloutWorker, dialogues: list[Prompt]
) -> None:
    long = replace(dialogues[2], history=dialogues[2].history * 2)
    with pytest.raises(InputError, match=r"holds 5 clips, more than cluster.max_clips=3; raise it"):
        worker.sample([long], n=1, temperature=0.0, seed=0)


def test_logprobs_do_not_depend_on_the_sampling_temperature(
    worker: RolloutWorker, policy: Policy, prompts: list[Prompt], adapters: list[Adapter]
) -> None:
    worker.publish(adapters[0])
    for temperature in (0.0, 0.3, 1.7):
        groups = worker.sample(prompts, n=1, temperature=temperature, seed=5)
        assert gap(policy, adapters[0], groups) < TOLERANCE


def test_rollouts_carry_the_version_that_was_published(
    worker: RolloutWorker, prompts: list[Prompt], adapters: list[Adapter]
) -> None:
    for adapter, version in ((None, 0), (adapters[1], 2), (adapters[0], 1), (None, 0)):
        worker.publish(adapter)
        (group,) = worker.sample(prompts[:1], n=2, temperature=1.0, seed=0)
        assert {r.policy_version for r in group.rollouts} == {version}


@torch.no_grad()
def logprobs_after_a_swap(
    policy: Policy, prompt: Prompt, ids: tuple[int, ...], before: Adapter, after: Adapter, at: int
) -> list[float]:
    """transformers' own: tokens from ``at`` on by ``after``, over what ``before`` left in the cache."""
    from transformers import DynamicCache

    part, inner, cache = policy.sequence(prompt, ids), policy.inner(), DynamicCache()
    whole = torch.tensor([[*part.prompt_ids, *ids]])
    embeddings = policy.embed(whole, part.audio)
    turn = len(part.prompt_ids) + at - 1
    hidden = []
    for adapter, begin, end in ((before, 0, turn), (after, turn, whole.shape[1] - 1)):
        policy.load_adapter(adapter)
        out = inner.model(
            inputs_embeds=embeddings[:, begin:end],
            position_ids=torch.arange(begin, end)[None, None].expand(3, 1, -1),
            past_key_values=cache,
            use_cache=True,
        )
        hidden.append(out.last_hidden_state)
    logits = inner.lm_head(torch.cat(hidden, dim=1)).float()[0, len(part.prompt_ids) - 1 :]
    return logits.log_softmax(-1).gather(-1, torch.tensor(ids)[:, None])[:, 0].tolist()


def test_a_rollout_under_way_goes_on_under_what_is_published_meanwhile(
    worker: RolloutWorker,
    policy: Policy,
    prompts: list[Prompt],
    adapters: list[Adapter],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each token keeps the version that said it, and that version's log-prob."""
    worker.publish(adapters[0])
    step, made = worker._step, 0

    def publish_before_the_sixth_step() -> None:
        nonlocal made
        if made == 5:
            worker._publish(adapters[1])
        made += 1
        step()

    monkeypatch.setattr(worker, "_step", publish_before_the_sixth_step)
    groups = worker.sample(prompts, n=2, temperature=1.0, seed=5)
    monkeypatch.undo()
    said = [(g.prompt, r) for g in groups for r in g.rollouts]
    # Those that had to wait for a place began after it.
    assert {r.policy_version for _, r in said} == {1, 2}
    swapped = [(p, r) for p, r in said if r.later_versions]
    assert len(swapped) > 5
    for prompt, rollout in swapped:
        ((version, at),) = rollout.later_versions
        assert (rollout.policy_version, version, rollout.last_version) == (1, 2, 2)
        assert 1 <= at <= 5
        expected = logprobs_after_a_swap(
            policy, prompt, rollout.token_ids, adapters[0], adapters[1], at
        )
        worst = max(abs(a - b) for a, b in zip(expected, rollout.logprobs, strict=True))
        assert worst < TOLERANCE
    # What is asked next knows nothing of the old policy.
    fresh = worker.sample(prompts, n=1, temperature=1.0, seed=5)
    assert gap(policy, adapters[1], fresh) < TOLERANCE
    assert {r.later_versions for g in fresh for r in g.rollouts} == {()}


def test_an_adapter_under_other_names_is_refused_and_the_old_one_stays(
    worker: RolloutWorker, prompts: list[Prompt], adapters: list[Adapter]
) -> None:
    worker.publish(adapters[0])
    before = worker.sample(prompts, n=1, temperature=0.0, seed=0)
    lost = {f"base_model.other.{name}": tensor for name, tensor in adapters[1].tensors.items()}
    with pytest.raises(PublishError, match=r"\d+ modules of policy version 2 have no place"):
        worker.publish(replace(adapters[1], tensors=lost))
    after = worker.sample(prompts, n=1, temperature=0.0, seed=0)
    assert rollouts(after) == rollouts(before)
    assert after[0].rollouts[0].policy_version == 1


def test_one_lost_module_is_enough_to_refuse(
    worker: RolloutWorker, adapters: list[Adapter]
) -> None:
    tensors = {
        name.replace("layers.1.self_attn.o_proj", "layers.9.self_attn.o_proj"): tensor
        for name, tensor in adapters[0].tensors.items()
    }
    with pytest.raises(PublishError, match="1 modules of policy version 1 have no place"):
        worker.publish(replace(adapters[0], tensors=tensors))


def test_an_abandoned_stream_ends_and_leaves_nothing_behind(
    worker: RolloutWorker, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    step, made = worker._step, 0

    def abandon_at_the_third_step() -> None:
        nonlocal made
        made += 1
        if made == 3:
            worker.abandon("mine")
        step()

    monkeypatch.setattr(worker, "_step", abandon_at_the_third_step)
    heard = list(worker.stream(prompts, n=2, temperature=1.0, seed=5, ticket="mine"))
    assert made == 3
    assert len(heard) < len(prompts)
    monkeypatch.undo()
    assert not worker._llm.llm_engine.has_unfinished_requests()
    assert len(worker.sample(prompts[:2], n=2, temperature=1.0, seed=5)) == 2


def test_a_probe_is_the_greedy_beginning(
    worker: RolloutWorker, prompts: list[Prompt], adapters: list[Adapter]
) -> None:
    worker.publish(adapters[0])
    begun = worker.probe(prompts)
    whole = worker.sample(prompts, n=1, temperature=0.0, seed=0)
    for short, long in zip(begun, whole, strict=True):
        ids = short.rollouts[0].token_ids
        assert ids == long.rollouts[0].token_ids[: len(ids)]
        assert len(ids) in (PROBE_TOKENS, len(long.rollouts[0].token_ids))


def test_every_rollout_ends_with_the_end_token_or_at_its_route_s_limit(
    worker: RolloutWorker, policy: Policy, prompts: list[Prompt], config: Config
) -> None:
    limits = {route: config.model.max_new_tokens(route) for route in Route}
    groups = worker.sample(prompts, n=16, temperature=1.0, seed=1)
    assert [g.prompt for g in groups] == prompts
    seen = set()
    for group in groups:
        for rollout in group.rollouts:
            seen.add(rollout.stop)
            ended = rollout.stop is StopReason.EOS
            assert rollout.token_ids.count(policy.eos_id) == ended
            assert (rollout.token_ids[-1] == policy.eos_id) == ended
            assert ended or len(rollout.token_ids) == limits[group.prompt.route]
            assert rollout.text == policy.decode(rollout.token_ids)
            assert "<|im_end|>" not in rollout.text
    assert seen == {StopReason.EOS, StopReason.LENGTH}


def test_no_sound_or_picture_token_is_ever_sampled(
    worker: RolloutWorker, policy: Policy, prompts: list[Prompt]
) -> None:
    """A random model gives each of 600 tokens about the same chance, at 2 almost exactly."""
    groups = worker.sample(prompts, n=16, temperature=2.0, seed=2)
    said = [i for _, ids, _ in rollouts(groups) for i in ids]
    assert len(said) > 2_000
    assert not set(said) & set(policy.banned_ids)


def test_same_seed_same_draws_whoever_sits_beside(
    worker: RolloutWorker, prompts: list[Prompt]
) -> None:
    first = worker.sample(prompts, n=4, temperature=1.0, seed=3)
    assert rollouts(worker.sample(prompts, n=4, temperature=1.0, seed=3)) == rollouts(first)
    alone = worker.sample(prompts[4:5], n=4, temperature=1.0, seed=3)
    assert [r.token_ids for r in alone[0].rollouts] == [r.token_ids for r in first[4].rollouts]
    other = worker.sample(prompts, n=4, temperature=1.0, seed=4)
    assert [ids for _, ids, _ in rollouts(other)] != [ids for _, ids, _ in rollouts(first)]
    assert all(len({r.token_ids for r in g.rollouts}) == 4 for g in first)


def test_temperature_0_says_the_same_whatever_the_seed(
    worker: RolloutWorker, prompts: list[Prompt]
) -> None:
    first = worker.sample(prompts, n=1, temperature=0.0, seed=0)
    assert rollouts(worker.sample(prompts, n=1, temperature=0.0, seed=9)) == rollouts(first)


def test_choice_is_the_learner_s_most_probable_option(
    worker: RolloutWorker, policy: Policy, prompts: list[Prompt], adapters: list[Adapter]
) -> None:
    firsts = [policy.chat.encode(option)[0] for option in OPTIONS]
    prefix = policy.chat.encode(EMOTION_PREFIX)
    picked = set()
    for adapter in adapters:
        worker.publish(adapter)
        policy.load_adapter(adapter)
        chosen = worker.choose(prompts, prefix=EMOTION_PREFIX, options=OPTIONS)
        for prompt, choice in zip(prompts, chosen, strict=True):
            rows = [policy.sequence(prompt, (*prefix, first)) for first in firsts]
            with torch.no_grad():
                logprobs, _entropy = policy(policy.pack(rows))
            assert choice == OPTIONS[int(logprobs[:, -1].argmax())]
        picked |= set(chosen)
    assert len(picked) > 1, "a constant choice would prove little"


def test_a_question_is_answered_as_the_learner_would(
    worker: RolloutWorker, policy: Policy, prompts: list[Prompt], adapters: list[Adapter]
) -> None:
    questions = ("Which one?\n\nA. up\nB. down", "Who <|im_end|> is it? A. you\nB. me")
    asked = [replace(p, question=q) for p in prompts[:4] for q in questions]
    worker.publish(adapters[0])
    groups = worker.sample(asked, n=2, temperature=1.0, seed=5)
    assert gap(policy, adapters[0], groups) < TOLERANCE
    # No prefix: the letter is the answer's first token.
    firsts = {option: policy.chat.encode(option)[:1] for option in ("A", "B")}
    chosen = worker.choose(asked, prefix="", options=list(firsts))
    for prompt, choice in zip(asked, chosen, strict=True):
        with torch.no_grad():
            rows = [policy.sequence(prompt, first) for first in firsts.values()]
            logprobs, _entropy = policy(policy.pack(rows))
        assert choice == list(firsts)[int(logprobs[:, 0].argmax())]


@pytest.mark.parametrize("names", [OPTIONS, (" sad talk", " sad Please", " happy")])
def test_options_weigh_what_they_weigh_with_the_learner(
    worker: RolloutWorker,
    policy: Policy,
    prompts: list[Prompt],
    adapters: list[Adapter],
    names: tuple[str, ...],
) -> None:
    worker.publish(adapters[0])
    said = worker.sample(prompts, n=1, temperature=1.0, seed=3)
    policy.load_adapter(adapters[0])
    local = LocalSampler(policy, ModelConfig())
    for prefixes in (
        [Prefix(text=EMOTION_PREFIX)] * len(prompts),
        # Behind the first half of what each said itself, in its own tokens.
        [
            Prefix(text=policy.decode(ids[: len(ids) // 2]), token_ids=ids)
            for ids in (g.rollouts[0].token_ids for g in said)
        ],
    ):
        theirs = worker.weigh(prompts, prefixes, names)
        ours = asyncio.run(local.weigh(prompts, prefixes, names))
        np.testing.assert_allclose(theirs, ours, atol=1e-4)
    chosen = worker.choose(prompts, prefix=EMOTION_PREFIX, options=names)
    assert chosen == asyncio.run(local.choose(prompts, prefix=EMOTION_PREFIX, options=names))


def test_an_option_that_begins_another_is_named(
    worker: RolloutWorker, prompts: list[Prompt]
) -> None:
    with pytest.raises(InputError, match="' happy again' begins with the tokens of ' happy'"):
        worker.choose(prompts, prefix=EMOTION_PREFIX, options=(" happy", " sad", " happy again"))


def test_a_clip_that_leaves_no_room_is_named(worker: RolloutWorker, tmp_path: Path) -> None:
    long = make_utterance(tmp_path, "long", 16_000 * 24)
    with pytest.raises(InputError, match=r"'long/direct'.*cluster\.max_model_len=512"):
        worker.sample([Prompt(utterance=long, route=Route.DIRECT)], n=1, temperature=1.0, seed=0)


def test_describes_itself(worker: RolloutWorker) -> None:
    told = worker.describe()
    assert told["pid"] == os.getpid()
    assert told["vllm"]
    assert 0.1 < told["rss_gib"] < 16
