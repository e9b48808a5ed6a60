"""Nothing is asked twice: interruptions, second runs, and what makes a question another one."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeSampler
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from sounds import an_utterance, write_sine

from cogaudio_rl.config import LoraConfig, ModelConfig
from cogaudio_rl.errors import CheckpointError, DataError, RunError
from cogaudio_rl.eval.kept import FILE_NAME, KeptSampler, model_digest
from cogaudio_rl.types import (
    REPLY_ROUTES,
    Adapter,
    Group,
    Prompt,
    Rollout,
    Route,
    StopReason,
    Turn,
    Utterance,
)

HOW: dict[str, Any] = {"n": 1, "temperature": 1.0, "seed": 7}


def said(prompt: Prompt, temperature: float, i: int) -> str:
    return f"{prompt.id} at {temperature:g}, draw {i}"


def words_of(number: int, **changes: Any) -> Utterance:
    return replace(an_utterance(f"u{number}"), audio=None, **changes)


def asked_of(utterance: Utterance, route: Route = Route.DIRECT) -> Prompt:
    return Prompt(utterance=utterance, route=route)


PROMPTS = [asked_of(words_of(i), route) for i in range(3) for route in REPLY_ROUTES]


async def sampled(
    folder: Path, prompts: Sequence[Prompt] = PROMPTS, model: str = "m", **how: Any
) -> tuple[list[Group], list[Prompt]]:
    """The groups, and what had to be asked for them."""
    inner = FakeSampler(said)
    groups = await KeptSampler(inner, folder, model=model).sample(prompts, **{**HOW, **how})
    return groups, inner.seen


async def chosen(
    folder: Path, prompts: Sequence[Prompt] = PROMPTS, **how: Any
) -> tuple[list[str], list[Prompt]]:
    inner = FakeSampler(said)
    given = {"prefix": "Emotion:", "options": [" sad", " happy"], **how}
    return await KeptSampler(inner, folder, model="m").choose(prompts, **given), inner.seen


async def test_a_second_run_asks_nothing_and_gets_the_same(tmp_path: Path) -> None:
    first, asked = await sampled(tmp_path, n=3)
    assert asked == PROMPTS
    assert first == await FakeSampler(said).sample(PROMPTS, **(HOW | {"n": 3}))
    assert await sampled(tmp_path, n=3) == (first, [])
    options, asked = await chosen(tmp_path)
    assert (options, asked) == ([" happy"] * len(PROMPTS), PROMPTS)
    assert await chosen(tmp_path) == (options, [])


class Scripted(FakeSampler):
    """Gives the groups it holds, by prompt; dies behind so many."""

    def __init__(self, groups: Sequence[Group], lives: float = math.inf) -> None:
        super().__init__(said)
        self._groups = {group.prompt.id: group for group in groups}
        self._lives = lives
        self.closed = False

    async def stream(
        self, prompts_P: Sequence[Prompt], *, n: int, temperature: float, seed: int
    ) -> AsyncGenerator[tuple[int, Group]]:
        try:
            for i, prompt in enumerate(prompts_P):
                if len(self.seen) >= self._lives:
                    raise RunError("killed")
                self.seen.append(prompt)
                yield i, self._groups[prompt.id]
        finally:
            self.closed = True


numbers = st.floats(allow_nan=False)
rollouts = st.lists(st.tuples(st.integers(0, 200_000), numbers), max_size=5).flatmap(
    lambda tokens: st.builds(
        Rollout,
        token_ids=st.just(tuple(token for token, _ in tokens)),
        logprobs=st.just(tuple(logprob for _, logprob in tokens)),
        text=st.text(st.characters(exclude_categories=()), max_size=20),
        stop=st.sampled_from(StopReason),
        policy_version=st.integers(0, 9),
        later_versions=st.lists(st.tuples(st.integers(), st.integers()), max_size=2).map(tuple),
    )
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rollouts=st.lists(rollouts, min_size=1, max_size=3))
def test_what_comes_back_is_what_was_given(tmp_path: Path, rollouts: list[Rollout]) -> None:
    """Whatever was said: half surrogates, and what some take for the end of a line."""
    rollouts.append(replace(ROLLOUT, text="one\u2028two\x85three\x1cfour\nfive\ud800"))
    group = Group(prompt=PROMPTS[0], rollouts=tuple(rollouts))
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    for inner in (Scripted([group]), Scripted([], lives=0)):
        kept = KeptSampler(inner, folder, model="m")
        assert asyncio.run(kept.sample([group.prompt], **HOW)) == [group]


ROLLOUT = Rollout(token_ids=(), logprobs=(), text="", stop=StopReason.EOS, policy_version=0)


async def test_an_evaluation_that_dies_goes_on_where_it_stopped(tmp_path: Path) -> None:
    whole = await FakeSampler(said).sample(PROMPTS, **HOW)
    dying = Scripted(whole, lives=4)
    with pytest.raises(RunError, match="killed"):
        await KeptSampler(dying, tmp_path, model="m").sample(PROMPTS, **HOW)
    assert dying.seen == PROMPTS[:4]
    assert await sampled(tmp_path) == (whole, PROMPTS[4:])


async def test_a_file_cut_anywhere_loses_only_what_was_cut(tmp_path: Path) -> None:
    whole, _ = await sampled(tmp_path, PROMPTS[:3])
    path = tmp_path / FILE_NAME
    content = path.read_bytes()
    ends = [i for i, byte in enumerate(content) if byte == ord("\n")]
    assert len(ends) == 3
    for size in range(len(content) + 1):
        path.write_bytes(content[:size])
        lines = sum(end <= size for end in ends)  # without its newline a line is still whole
        assert await sampled(tmp_path, PROMPTS[:3]) == (whole, PROMPTS[lines:3]), size
        assert await sampled(tmp_path, PROMPTS[:3]) == (whole, []), size


async def test_a_damaged_line_is_asked_again(tmp_path: Path) -> None:
    whole, _ = await sampled(tmp_path)
    path = tmp_path / FILE_NAME
    lines = path.read_text().splitlines()
    lines[1] = lines[1][:30] + "\x00" + lines[1][31:]
    lines[2] = "[]"
    lines[3] = lines[3].replace('"stop": "eos"', '"stop": "bored"')
    path.write_text("\n".join(lines) + "\n")
    assert await sampled(tmp_path) == (whole, PROMPTS[1:4])


async def test_a_prompt_that_comes_twice_is_asked_once(tmp_path: Path) -> None:
    twice = [PROMPTS[0], PROMPTS[1], PROMPTS[0]]
    groups, asked = await sampled(tmp_path, twice)
    assert asked == twice[:2]
    assert [group.prompt for group in groups] == twice
    assert (await chosen(tmp_path, twice))[1] == twice[:2]


@pytest.mark.parametrize(
    "change",
    [
        *({"n": 2}, {"temperature": 0.9}, {"seed": 8}, {"model": "another"}),
        *(
            {"prompts": [asked_of(words_of(0), Route.EXPLICIT)]},
            {"prompts": [asked_of(words_of(1))]},
        ),
        {"prompts": [asked_of(words_of(0, transcript="Other words."))]},
    ],
)
async def test_another_question_is_asked(tmp_path: Path, change: dict[str, Any]) -> None:
    await sampled(tmp_path, [asked_of(words_of(0))])
    given = {"prompts": [asked_of(words_of(0))], **change}
    _, asked = await sampled(tmp_path, **given)
    assert asked == given["prompts"]
    assert (await sampled(tmp_path, [asked_of(words_of(0))]))[1] == []


@pytest.mark.parametrize("change", [{"prefix": "Feeling:"}, {"options": [" happy", " sad"]}])
async def test_another_choice_is_asked(tmp_path: Path, change: dict[str, Any]) -> None:
    await chosen(tmp_path)
    assert (await chosen(tmp_path, **change))[1] == PROMPTS


async def test_a_sound_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    here, there = write_sine(tmp_path / "a.wav"), tmp_path / "elsewhere.wav"
    there.write_bytes(here.read_bytes())
    heard = an_utterance(path=str(here))
    moved = replace(heard, audio=replace(heard.clip, path=str(there)), emotion="sad")
    assert (await sampled(tmp_path, [asked_of(heard)]))[1] != []
    groups, asked = await sampled(tmp_path, [asked_of(moved)])
    assert asked == [], "another label or another place makes it no other question"
    assert groups[0].prompt == asked_of(moved)
    write_sine(here, seconds=0.6)
    assert (await sampled(tmp_path, [asked_of(heard)]))[1] != []
    silent = replace(heard, audio=None)
    assert (await sampled(tmp_path, [asked_of(silent)]))[1] != []


async def test_earlier_turns_are_part_of_the_question(tmp_path: Path) -> None:
    first, second = (
        an_utterance(f"t{i}", path=str(write_sine(tmp_path / f"{i}.wav", seconds=0.1 * (i + 1))))
        for i in range(2)
    )
    alone = asked_of(words_of(0))
    told = replace(alone, history=(Turn(utterance=first, reply="Oh."),))
    prompts = [
        alone,
        told,
        replace(alone, history=(Turn(utterance=first, reply="No."),)),
        replace(alone, history=(Turn(utterance=second, reply="Oh."),)),
        replace(alone, history=told.history * 2),
    ]
    groups, asked = await sampled(tmp_path, prompts)
    assert asked == prompts
    assert await sampled(tmp_path, prompts) == (groups, [])
    # Known by what is in it, as a prompt's own sound is.
    write_sine(tmp_path / "0.wav", seconds=0.3)
    assert (await sampled(tmp_path, prompts))[1] == [prompts[i] for i in (1, 2, 4)]


async def test_a_sound_that_is_not_there_is_named(tmp_path: Path) -> None:
    lost = an_utterance(path=str(tmp_path / "lost.wav"))
    with pytest.raises(DataError, match=r"lost\.wav.*No such file"):
        await sampled(tmp_path, [asked_of(lost)])


async def test_models_share_a_folder(tmp_path: Path) -> None:
    both = [KeptSampler(FakeSampler(said), tmp_path, model=name) for name in "ab"]
    for prompt in PROMPTS:
        for kept in both:
            await kept.sample([prompt], **HOW)
    for name in "ab":
        assert (await sampled(tmp_path, model=name))[1] == []
    assert (await sampled(tmp_path, model="c"))[1] == PROMPTS


async def test_who_stops_listening_stops_the_sampler(tmp_path: Path) -> None:
    inner = Scripted(await FakeSampler(said).sample(PROMPTS, **HOW))
    groups = KeptSampler(inner, tmp_path, model="m").stream(PROMPTS, **HOW)
    async with aclosing(groups):
        await anext(groups)
    assert inner.closed
    assert (await sampled(tmp_path))[1] == PROMPTS[1:]


class OneByOne(FakeSampler):
    """Chooses in another order than asked, and fails at the third."""

    async def stream_choices(
        self, prompts_P: Sequence[Prompt], *, prefix: str, options: Sequence[str]
    ) -> AsyncGenerator[tuple[int, str]]:
        for count, i in enumerate(reversed(range(len(prompts_P)))):
            if count == 2:
                raise RunError("the line went dead")
            yield i, options[i % len(options)]


async def test_choices_made_before_a_failure_are_kept(tmp_path: Path) -> None:
    kept = KeptSampler(OneByOne(said), tmp_path, model="m")
    with pytest.raises(RunError, match="went dead"):
        await kept.choose(PROMPTS, prefix="Emotion:", options=[" sad", " happy"])
    options, asked = await chosen(tmp_path)
    assert asked == PROMPTS[:-2]
    assert options == [" happy"] * 4 + [" sad", " happy"]


async def test_publish_and_probe_go_through(tmp_path: Path) -> None:
    inner = FakeSampler(said)
    kept = KeptSampler(inner, tmp_path, model="m")
    adapter = Adapter(version=3, tensors={})
    await kept.publish(adapter)
    assert inner.adapter is adapter
    for _ in range(2):
        assert [g.prompt for g in await kept.probe(PROMPTS)] == PROMPTS
    assert inner.seen == PROMPTS * 2
    assert not (tmp_path / FILE_NAME).exists()


# -- what stands for a model -----------------------------------------------------------------------


def backbone(folder: Path) -> ModelConfig:
    folder.mkdir()
    (folder / "config.json").write_text('{"architectures": ["Qwen2ForCausalLM"]}')
    (folder / "model.safetensors").write_bytes(b"weights")
    return ModelConfig(path=str(folder))


def adapter(folder: Path, value: float, name: str = "adapter_model") -> Path:
    folder.mkdir()
    save_file({"w": np.array([value], np.float32)}, folder / f"{name}.safetensors")
    if name == "trained_model":
        (folder / "trained_model.json").write_text("{}")
    return folder


def test_a_model_is_its_weights_and_not_their_place(tmp_path: Path) -> None:
    config = backbone(tmp_path / "base")
    one = model_digest(config, adapter(tmp_path / "one", 1.0))
    assert one == model_digest(config, adapter(tmp_path / "copy", 1.0))
    others = [
        model_digest(config, adapter(tmp_path / "two", 2.0)),
        model_digest(config, adapter(tmp_path / "whole", 2.0, "trained_model")),
        model_digest(config, None),
    ]
    assert len({one, *others}) == 4


@pytest.mark.parametrize(
    "change",
    [
        *({"dtype": "bfloat16"}, {"lora": None}, {"lora": LoraConfig(r=4)}),
        *({"max_new_tokens_explicit": 97}, {"max_new_tokens_direct": 49}),
        {"path": "builtin:tiny-omni"},
    ],
)
def test_another_way_to_run_it_is_another_model(tmp_path: Path, change: dict[str, Any]) -> None:
    config = backbone(tmp_path / "base")
    changed = config.model_copy(update=change)
    assert model_digest(changed, None) != model_digest(config, None)
    slower = config.model_copy(update={"gradient_checkpointing": True})
    assert model_digest(slower, None) == model_digest(config, None)


@pytest.mark.parametrize("how", ["longer", "touched", "another config", "another tokenizer"])
def test_another_backbone_in_the_same_folder_is_another_model(tmp_path: Path, how: str) -> None:
    config = backbone(tmp_path / "base")
    before = model_digest(config, None)
    assert model_digest(config, None) == before
    weights = tmp_path / "base" / "model.safetensors"
    if how == "longer":
        weights.write_bytes(b"more weights")
    if how == "touched":
        os.utime(weights, ns=(1, 1))
    if how == "another config":
        path = tmp_path / "base" / "config.json"
        path.write_text(path.read_text() + " ")
    if how == "another tokenizer":
        (tmp_path / "base" / "tokenizer.json").write_text("{}")
    assert model_digest(config, None) != before


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere.*holds no config\.json"):
        model_digest(ModelConfig(path=str(tmp_path / "nowhere")), None)
    with pytest.raises(CheckpointError, match=r"holds no adapter_model\.safetensors"):
        model_digest(backbone(tmp_path / "base"), tmp_path / "no adapter")
