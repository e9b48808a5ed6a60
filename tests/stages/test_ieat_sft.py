"""SFT on IEAT's targets: what is asked, what is weighed, and that a teacher is learnt from."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from tiny_world import adapter_gap, make_checkpoint, make_config, make_policy, make_utterances

from cogaudio_rl import attribution, eips, spoken
from cogaudio_rl.config import ROUTES, Config, SftConfig, SftStageConfig, load_config
from cogaudio_rl.data.lime.attributions import with_attributions
from cogaudio_rl.data.manifest import write_manifest
from cogaudio_rl.data.mixture import Mixture
from cogaudio_rl.errors import ConfigError, DataError
from cogaudio_rl.models.engine import LocalEngine
from cogaudio_rl.models.generate import LocalSampler
from cogaudio_rl.models.policy import Policy
from cogaudio_rl.stages.feeds import draw_prompts
from cogaudio_rl.stages.sft import run_sft
from cogaudio_rl.stages.targets import TargetMaker
from cogaudio_rl.stages.teaching import lessons_of, stated_best
from cogaudio_rl.types import Adapter, Prefix, Prompt, Route, Utterance
from cogaudio_rl.voices import VOICES, level_shares, suiting
from cogaudio_rl.written import answer_to, check_written, stated

Log = list[Mapping[str, float]]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return make_config(make_checkpoint(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def utterances(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    made = with_attributions(make_utterances(tmp_path_factory.mktemp("clips"), 7)).utterances
    return [replace(u, dictated=f"I hear you about {u.emotion}.") for u in made]


def train(
    config: Config,
    utterances: list[Utterance],
    *,
    micro_batch_tokens: int = 4096,
    policy: Policy | None = None,
    **given: object,
) -> tuple[Adapter, Log]:
    stage = SftStageConfig.model_validate({"batch_size": 7, **given})
    policy, log = policy or make_policy(config), Log()
    run_sft(
        policy,
        LocalEngine(policy, gradient_clip=1.0),
        utterances,
        stage,
        SftConfig(micro_batch_tokens=micro_batch_tokens),
        stage="distil",
        seed=0,
        log=lambda step, total, metrics: log.append(metrics),
    )
    return policy.adapter(0), log


# -- what is asked, and what is written --------------------------------------------------------


def test_a_teacher_reads_the_words_and_what_is_stated(utterances: list[Utterance]) -> None:
    prompts = list(islice(draw_prompts(utterances, 1.0, stage="t", seed=0, asks="stated"), 7))
    for prompt in prompts:
        u = next(u for u in utterances if prompt.utterance.id == f"{u.id}#stated")
        assert u.annotation is not None
        assert prompt.utterance.audio is None
        assert prompt.route is Route.DIRECT
        assert f"Inference: {u.emotion}, {u.intensity}." in prompt.question
        assert u.transcript.rstrip(".") in prompt.question
        # It learns to follow the plan that the written reply follows, and is then told the best.
        assert f"Plan: {u.annotation.eips.strategy}." in prompt.question
        assert u.attribution is not None
        assert f"Plan: {u.attribution.plan}." in stated_best(u).question
    with pytest.raises(DataError, match="'u0' has no attribution to state"):
        stated(replace(utterances[0], attribution=None), "be kind")


@pytest.mark.parametrize(
    ("asks", "more"), [("dictated", Route.ATTRIBUTION), ("spoken", Route.SPOKEN)]
)
def test_a_share_is_asked_for_more_than_the_reply(
    utterances: list[Utterance], asks: str, more: Route
) -> None:
    ten = [replace(utterances[0], id=f"u{i}") for i in range(10)]
    prompts = list(islice(draw_prompts(ten, 0.3, stage="s", seed=0, asks=asks), 100))
    for epoch in range(10):
        routes = [p.route for p in prompts[10 * epoch : 10 * epoch + 10]]
        assert routes.count(more) == 3
        assert 2 <= routes.count(Route.DIRECT) <= 7
    # What the rest is for: nothing that was learnt before is forgotten.
    assert {p.route for p in prompts} == set(ROUTES[asks])
    each = Counter(p.route for p in prompts)
    others = [each[route] for route in ROUTES[asks] if route is not more]
    assert max(others) - min(others) <= 10


def test_what_was_dictated_goes_before_what_was_written(utterances: list[Utterance]) -> None:
    u = utterances[2]
    assert u.annotation is not None
    assert answer_to(Prompt(utterance=u, route=Route.DIRECT)) == eips.render_direct(
        u.dictated or ""
    )
    thought = attribution.parse(answer_to(Prompt(utterance=u, route=Route.ATTRIBUTION)))
    assert not isinstance(thought, str)
    assert (thought.thought, thought.response) == (u.attribution, u.dictated)
    said = spoken.parse(answer_to(Prompt(utterance=u, route=Route.SPOKEN)))
    assert not isinstance(said, str)
    assert said.response == u.dictated
    written = answer_to(Prompt(utterance=replace(u, dictated=None), route=Route.DIRECT))
    assert written == eips.render_direct(u.annotation.eips.response)
    # The chain is the annotator's, and so is its reply.
    assert u.annotation.eips.response in answer_to(Prompt(utterance=u, route=Route.EXPLICIT))
    with pytest.raises(DataError, match="'u2' has no attribution to learn from"):
        check_written([replace(u, attribution=None)], [Route.ATTRIBUTION])
    with pytest.raises(DataError, match="'u2' has no annotation to learn from"):
        check_written([replace(u, annotation=None, dictated=None)], [Route.SPOKEN])


def test_the_emotion_of_a_thought_can_weigh_more(
    config: Config, utterances: list[Utterance]
) -> None:
    policy = make_policy(config)
    maker = TargetMaker(policy, emotion_token_weight=7.0)
    for u in utterances:
        target = maker.make(Prompt(utterance=u, route=Route.ATTRIBUTION))
        heavy = [i for i, w in zip(target.token_ids, target.weights, strict=True) if w == 7.0]
        assert policy.decode(heavy).strip() == u.emotion


# -- the voice ----------------------------------------------------------------------------------


def apart(config: Config, adapter: Adapter | None, utterances: list[Utterance]) -> float:
    """Mean KL of each attribute's shares from what a sampler says behind the reply."""
    sampler = LocalSampler(make_policy(config), config.model)
    if adapter is not None:
        asyncio.run(sampler.publish(adapter))
    found: list[float] = []
    for u in utterances:
        prompt = Prompt(utterance=u, route=Route.SPOKEN)
        reply = spoken.parse(answer_to(prompt))
        assert not isinstance(reply, str)
        shares = level_shares(VOICES[suiting(u.emotion)])
        for nth, (name, levels) in enumerate(spoken.LEVELS.items()):
            prefix = Prefix(text=spoken.before_level(reply, nth))
            # This tokenizer begins "lowest" with "low".
            options = [f" {level}{spoken.after_level(nth)}" for level in levels]
            (said,) = asyncio.run(sampler.weigh([prompt], [prefix], options))
            pairs = zip(shares[name], said, strict=True)
            found.append(sum(p * math.log(p / q) for p, q in pairs if p > 0))
    return sum(found) / len(found)


def test_the_voice_s_divergence_is_that_of_what_a_sampler_would_say(
    config: Config, utterances: list[Utterance]
) -> None:
    _, log = train(config, utterances, asks="spoken", epochs=1, distribution_weight=1.0)
    assert log[0]["sft/voice_divergence"] == pytest.approx(
        apart(config, None, utterances), rel=1e-4
    )


def test_the_voice_is_learnt_and_micro_batches_change_nothing(
    config: Config, utterances: list[Utterance]
) -> None:
    hard = {"asks": "spoken", "epochs": 40, "learning_rate": 2e-2, "warmup_share": 0.1}
    learnt, log = train(config, utterances, distribution_weight=2.0, **hard)
    assert log[-1]["sft/voice_divergence"] < 0.2 * log[0]["sft/voice_divergence"]
    assert apart(config, learnt, utterances) < 0.5 * apart(config, None, utterances)
    few = {"asks": "spoken", "epochs": 2, "learning_rate": 1e-4, "distribution_weight": 1.5}
    whole, a = train(config, utterances, micro_batch_tokens=1 << 20, **few)
    cut, b = train(config, utterances, micro_batch_tokens=1, **few)
    for one, other in zip(a, b, strict=True):
        assert one["sft/voice_divergence"] == pytest.approx(other["sft/voice_divergence"], rel=1e-4)
        assert one["sft/grad_norm"] == pytest.approx(other["sft/grad_norm"], rel=1e-4)
    assert adapter_gap(whole, cut) < 1e-6


# -- the teacher's tokens -----------------------------------------------------------------------


def lessons(policy: Policy, utterances: list[Utterance], *, micro_batch_tokens: int = 4096):
    engine = LocalEngine(policy, gradient_clip=1.0)
    return lessons_of(policy, engine, utterances, tokens=5, micro_batch_tokens=micro_batch_tokens)


@torch.no_grad()
def test_a_lesson_is_what_the_policy_itself_would_have_said(
    config: Config, utterances: list[Utterance]
) -> None:
    policy = make_policy(config)
    found = lessons(policy, utterances)
    assert set(found) == {u.id for u in utterances}
    for u in utterances[:3]:
        prompt = stated_best(u)
        said = policy.response_ids(answer_to(prompt))
        sequence = policy.sequence(prompt, said)
        hidden = (
            policy.inner()
            .model(
                inputs_embeds=policy.embed(
                    torch.tensor([sequence.prompt_ids + said]), sequence.audio
                )
            )
            .last_hidden_state[0]
        )
        behind = policy.inner().lm_head(hidden).log_softmax(-1)[len(sequence.prompt_ids) - 1 : -1]
        lesson = found[u.id]
        for place, token in enumerate(said):
            ids, logprobs = lesson.ids_TK[place], lesson.logprobs_TK[place]
            assert ids[0] == token
            assert len(set(ids)) == 5
            assert logprobs == pytest.approx(behind[place, list(ids)].tolist(), abs=1e-4)
            others = [i for i in behind[place].topk(5).indices.tolist() if i != token][:4]
            assert list(ids[1:]) == others
    cut = lessons(policy, utterances, micro_batch_tokens=1)
    assert {k: v.ids_TK for k, v in cut.items()} == {k: v.ids_TK for k, v in found.items()}


def direct_gap(policy: Policy, utterances: list[Utterance], taught: Mapping[str, object]) -> float:
    """Mean KL of direct replies from the lessons, over all tokens."""
    from cogaudio_rl.objectives.distil import distil_token_loss
    from cogaudio_rl.stages.targets import Lesson, pack

    maker, total = TargetMaker(policy, emotion_token_weight=1.0), list[float]()
    for u in utterances:
        target = maker.make(Prompt(utterance=u, route=Route.DIRECT))
        lesson = taught[u.id]
        assert isinstance(lesson, Lesson)
        packed = pack(policy, [replace(target, lesson=lesson)])
        with torch.no_grad():
            logprobs_BT, _ = policy(packed.batch)
        student = packed.lessons[0].logprobs(logprobs_BT, packed.batch)
        total += distil_token_loss(student, torch.tensor(lesson.logprobs_TK)).tolist()
    return sum(total) / len(total)


def test_the_first_loss_is_the_divergence_and_it_falls(
    config: Config, utterances: list[Utterance]
) -> None:
    given = {"asks": "dictated", "explicit_share": 0.0, "distil": "token_kl", "teacher_tokens": 5}
    policy = make_policy(config)
    taught = lessons(policy, utterances)
    before = direct_gap(policy, utterances, taught)
    _, log = train(
        config, utterances, policy=policy, epochs=40, learning_rate=1e-2, warmup_share=0.1, **given
    )
    assert log[0]["sft/loss"] == pytest.approx(before, rel=1e-4)
    assert direct_gap(policy, utterances, taught) < 0.5 * before


def test_thoughts_are_imitated_beside_it_and_micro_batches_change_nothing(
    config: Config, utterances: list[Utterance]
) -> None:
    given = {
        "asks": "dictated",
        "explicit_share": 0.5,
        "distil": "token_kl",
        "epochs": 2,
        "learning_rate": 1e-4,
    }
    whole, a = train(config, utterances, micro_batch_tokens=1 << 20, **given)
    cut, b = train(config, utterances, micro_batch_tokens=1, **given)
    for one, other in zip(a, b, strict=True):
        assert one["sft/loss"] == pytest.approx(other["sft/loss"], rel=1e-4)
    assert adapter_gap(whole, cut) < 1e-6


def test_bad_settings_are_named(
    config: Config, utterances: list[Utterance], tmp_path: Path
) -> None:
    write_manifest(tmp_path / "train.jsonl", utterances)
    stage = SftStageConfig(asks="dictated", distil="token_kl", batch_size=7)
    policy = make_policy(config)
    with pytest.raises(ConfigError, match="take distil=sequence"):
        run_sft(
            policy,
            LocalEngine(policy, gradient_clip=1.0),
            Mixture({tmp_path / "train.jsonl": 1.0}),
            stage,
            SftConfig(),
            stage="distil",
            seed=0,
            log=lambda *_: None,
        )
    with pytest.raises(ConfigError, match="distil=token_kl needs asks=dictated, got asks=replies"):
        load_config("quickstart", ["sft.stage1.distil=token_kl"])
    with pytest.raises(ConfigError, match=r"speak\.asks must be spoken, got replies"):
        load_config("ieat", ["sft.speak.asks=replies", "sft.speak.distribution_weight=0"])
    with pytest.raises(ConfigError, match=r"T is not trained where sft\.teacher=null"):
        load_config("ieat", ["sft.teacher=null"])
    with pytest.raises(ConfigError, match=r"I1, I2 cannot be made where rl\.route_mix=ambiguity"):
        load_config("ambiguity_mini", ["models=[I1, I2]"])
