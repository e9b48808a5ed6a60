"""Somebody else's model over real HTTP on loopback: what is asked, what fails, how it goes on."""

from __future__ import annotations

import base64
import io
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
from chat_server import Endpoint, Reply, completion
from fakes import FakeScorer
from judging import KEY, trouble
from sounds import an_utterance, sine, write_sine

from cogaudio_rl import prompts
from cogaudio_rl.config import BaselineConfig, EvalConfig, load_config
from cogaudio_rl.eips import EMOTION_PREFIX
from cogaudio_rl.endpoint import MalformedAnswerError
from cogaudio_rl.errors import ConfigError, DataError, PublishError, RunError
from cogaudio_rl.eval.kept import KeptSampler
from cogaudio_rl.eval.outside import EndpointSampler, baseline_digest, read_choice
from cogaudio_rl.eval.run import evaluate
from cogaudio_rl.ports import PROBE_TOKENS
from cogaudio_rl.types import Adapter, AudioRef, Group, Prompt, Route, StopReason, Turn, Utterance

OPTIONS = [" sad", " happy", " angry"]
HOW: dict[str, Any] = {"n": 1, "temperature": 1.0, "seed": 0}


@pytest.fixture
def server() -> Iterator[Endpoint]:
    served = Endpoint()
    served.script = lambda i: answered(served.requests[i])
    yield served
    served.close()


def answered(request: dict[str, Any]) -> Reply:
    """Sad where it is asked to choose; else a reply."""
    if "response_format" in request:
        return completion('{"emotion": "sad"}')
    return completion(f"I hear you, at {request['temperature']}.")


def baseline(url: str, **settings: Any) -> BaselineConfig:
    values = {"name": "other", "model": "m", "timeout_s": 5.0, "max_attempts": 2, **settings}
    return BaselineConfig(base_url=url, **values)


@asynccontextmanager
async def opened(url: str, **settings: Any) -> AsyncIterator[EndpointSampler]:
    sampler = EndpointSampler(baseline(url, **settings))
    try:
        yield sampler
    finally:
        await sampler.close()


def spoken(folder: Path, count: int) -> list[Utterance]:
    """Each in a sound of another length, and in other words."""
    found = []
    for i in range(count):
        path = write_sine(folder / f"{i}.wav", seconds=0.1 + 0.05 * i)
        found.append(an_utterance(f"u{i}", path=str(path), transcript=f"Word number {i}."))
    return found


def asked_of(utterances: list[Utterance], route: Route = Route.DIRECT) -> list[Prompt]:
    return [Prompt(utterance=u, route=route) for u in utterances]


def seconds_of(request: dict[str, Any]) -> float:
    """Of the recording in a request, which has to be a WAV at 16 kHz."""
    [message] = [m for m in request["messages"] if m["role"] == "user"]
    heard = message["content"][0]
    assert heard["type"] == "input_audio"
    assert heard["input_audio"]["format"] == "wav"
    sound, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(heard["input_audio"]["data"])))
    assert rate_hz == 16_000
    return len(sound) / rate_hz


def texts(groups: list[Group]) -> list[str]:
    return [rollout.text for group in groups for rollout in group.rollouts]


async def until_it_fails(stream: AsyncIterator[tuple[int, Any]]) -> tuple[dict[int, Any], str]:
    """What came, by place, and the error that ended it."""
    found: dict[int, Any] = {}
    try:
        async for place, answer in stream:
            found[place] = answer
    except RunError as error:
        return found, str(error)
    raise AssertionError("it did not fail")


# -- what is asked ---------------------------------------------------------------------------------


@pytest.mark.parametrize("hears", [True, False])
async def test_earlier_turns_come_before_with_their_replies(
    server: Endpoint, tmp_path: Path, hears: bool
) -> None:
    first, second, last = spoken(tmp_path, 3)
    history = (Turn(utterance=first, reply="Oh."), Turn(utterance=second, reply="And then?"))
    prompt = Prompt(utterance=last, route=Route.DIRECT, question="Which?", history=history)
    async with opened(server.url, hears=hears) as sampler:
        await sampler.sample([prompt], **HOW)
    [request] = server.requests
    messages = request["messages"]
    assert [m["role"] for m in messages] == ["user", "assistant", "user", "assistant", "user"]
    assert [messages[i]["content"] for i in (1, 3)] == ["Oh.", "And then?"]
    users = [messages[i]["content"] for i in (0, 2, 4)]
    if hears:
        kinds = [[part["type"] for part in content] for content in users]
        assert kinds == [["input_audio"], ["input_audio"], ["input_audio", "text"]]
        heard = [content[0]["input_audio"]["data"] for content in users]
        lengths = [len(soundfile.read(io.BytesIO(base64.b64decode(h)))[0]) for h in heard]
        assert lengths == [1_600, 2_400, 3_200]
        assert users[-1][1]["text"] == "Which?"
    else:
        assert users == ["Word number 0.", "Word number 1.", "Word number 2.\nWhich?"]


@pytest.mark.parametrize("route", list(Route))
async def test_it_hears_the_recording_and_reads_our_own_prompt(
    server: Endpoint, tmp_path: Path, route: Route
) -> None:
    [utterance] = spoken(tmp_path, 1)
    async with opened(server.url, max_tokens=77) as sampler:
        [group] = await sampler.sample(asked_of([utterance], route), **HOW)
    [request] = server.requests
    assert seconds_of(request) == pytest.approx(0.1)
    heard = base64.b64decode(request["messages"][0]["content"][0]["input_audio"]["data"])
    assert soundfile.read(io.BytesIO(heard))[0] == pytest.approx(sine(seconds=0.1), abs=1e-4)
    assert request["messages"][0]["content"][1] == {
        "type": "text",
        "text": prompts.for_route(route),
    }
    assert utterance.transcript not in json.dumps(request), "it is not told what is said"
    assert "response_format" not in request
    assert (request["model"], request["temperature"], request["max_tokens"]) == ("m", 1.0, 77)
    [rollout] = group.rollouts
    assert rollout.text == "I hear you, at 1.0."
    assert (rollout.token_ids, rollout.logprobs, rollout.stop) == ((), (), StopReason.EOS)


@pytest.mark.parametrize("why", ["it hears nothing", "there is no sound"])
async def test_it_reads_the_words_where_it_cannot_hear(
    server: Endpoint, tmp_path: Path, why: str
) -> None:
    [utterance] = spoken(tmp_path, 1)
    hears = why == "there is no sound"
    if hears:
        utterance = replace(utterance, audio=None)
    async with opened(server.url, hears=hears) as sampler:
        await sampler.sample(asked_of([utterance]), **HOW)
        await sampler.choose(asked_of([utterance]), prefix="", options=OPTIONS)
    said, chose = (request["messages"][0]["content"] for request in server.requests)
    assert said == f"Word number 0.\n{prompts.for_route(Route.DIRECT)}"
    assert chose.startswith("Word number 0.\n")
    assert "voice" not in chose


async def test_draws_are_requests_of_their_own(server: Endpoint, tmp_path: Path) -> None:
    def slowly(i: int) -> Reply:
        time.sleep(0.05)
        return completion(f"draw {i}")

    server.script = slowly
    async with opened(server.url, concurrency=4) as sampler:
        groups = await sampler.sample(asked_of(spoken(tmp_path, 3)), n=2, temperature=0.7, seed=0)
    assert [len(group.rollouts) for group in groups] == [2, 2, 2]
    assert sorted(texts(groups)) == [f"draw {i}" for i in range(6)]
    assert 1 < server.most_busy <= 4


async def test_what_it_says_can_be_written_to_a_file(server: Endpoint, tmp_path: Path) -> None:
    server.script = lambda i: completion(["", "half a pair \ud83d", "😢"][i])
    async with opened(server.url, concurrency=1) as sampler:
        groups = await sampler.sample(asked_of(spoken(tmp_path, 3)), **HOW)
    assert sorted(texts(groups)) == ["", "half a pair ?", "😢"]


async def test_the_emotion_is_one_of_the_options(server: Endpoint, tmp_path: Path) -> None:
    utterances = spoken(tmp_path, 3)
    emotions = {0.1: "sad", 0.15: "Angry", 0.2: " happy "}  # by length of the sound

    def name(i: int) -> Reply:
        emotion = emotions[round(seconds_of(server.requests[i]), 2)]
        return completion(json.dumps({"emotion": emotion}))

    server.script = name
    async with opened(server.url) as sampler:
        found = await sampler.choose(asked_of(utterances), prefix=EMOTION_PREFIX, options=OPTIONS)
    assert found == [" sad", " angry", " happy"]
    form = server.requests[0]["response_format"]["json_schema"]
    assert form["strict"] is True
    assert form["schema"]["properties"] == {
        "emotion": {"type": "string", "enum": ["sad", "happy", "angry"]}
    }
    assert "sad, happy, angry" in server.requests[0]["messages"][0]["content"][1]["text"]
    assert server.requests[0]["temperature"] == 0.0


async def test_one_that_takes_no_schema_is_asked_in_words(server: Endpoint, tmp_path: Path) -> None:
    def stubborn(i: int) -> Reply:
        if "response_format" in server.requests[i]:
            return trouble(400, "response_format is not supported with audio")
        return completion('Here you are:\n```json\n{"emotion": "happy"}\n```')

    server.script = stubborn
    async with opened(server.url, concurrency=1) as sampler:
        for prompt in asked_of(spoken(tmp_path, 2)):
            assert await sampler.choose([prompt], prefix="", options=OPTIONS) == [" happy"]
    assert len(server.requests) == 3, "the second prompt is asked in words at once"
    system, user = server.requests[-1]["messages"]
    assert '"enum": ["sad", "happy", "angry"]' in system["content"]
    assert user["content"][0]["type"] == "input_audio"


async def test_a_wrong_label_is_asked_again(server: Endpoint, tmp_path: Path) -> None:
    replies = [completion('{"emotion": "frustrated"}'), completion('{"emotion": "angry"}')]
    server.script = replies.__getitem__
    async with opened(server.url) as sampler:
        prompts_P = asked_of(spoken(tmp_path, 1))
        assert await sampler.choose(prompts_P, prefix="", options=OPTIONS) == [" angry"]


@pytest.mark.parametrize(
    "content",
    [
        *('{"emotion": "frustrated"}', '{"emotion": "sad or angry"}', '{"emotion": ""}'),
        *('{"emotion": ["sad"]}', '{"emotion": null}', '{"label": "sad"}', "{}"),
        *('["sad"]', '"sad"', "sad", "", pytest.param("[" * 100_000, id="deep")),
    ],
)
def test_no_other_answer_becomes_an_option(content: str) -> None:
    with pytest.raises(MalformedAnswerError):
        read_choice(content, OPTIONS)


async def test_probing_is_greedy_and_short(server: Endpoint, tmp_path: Path) -> None:
    async with opened(server.url) as sampler:
        assert len(await sampler.probe(asked_of(spoken(tmp_path, 2)))) == 2
    assert {(r["temperature"], r["max_tokens"]) for r in server.requests} == {(0.0, PROBE_TOKENS)}


async def test_it_takes_no_adapter(server: Endpoint) -> None:
    async with opened(server.url) as sampler:
        await sampler.publish(None)
        with pytest.raises(PublishError, match="'other' takes no adapter"):
            await sampler.publish(Adapter(version=1, tensors={}))


# -- what fails ------------------------------------------------------------------------------------


async def test_what_always_fails_ends_it_behind_all_others(
    server: Endpoint, tmp_path: Path
) -> None:
    def dislikes_long_ones(i: int) -> Reply:
        long = seconds_of(server.requests[i]) > 0.18
        return completion('{"emotion": "bored"}' if long else '{"emotion": "sad"}')

    server.script = dislikes_long_ones
    prompts_P = asked_of(spoken(tmp_path, 5))
    async with opened(server.url) as sampler:
        choices = sampler.stream_choices(prompts_P, prefix="", options=OPTIONS)
        found, line = await until_it_fails(choices)
    assert found == {0: " sad", 1: " sad"}
    assert len(server.requests) == 2 + 3 * 2, "each of the others had both of its attempts"
    assert "\n" not in line
    for part in ("'other'", server.url, "3 of 5 prompts", "'bored' is not one of", "same command"):
        assert part in line


async def test_an_outage_ends_it_at_once(server: Endpoint, tmp_path: Path) -> None:
    server.script = lambda i: completion("well") if i < 2 else trouble(401)
    async with opened(server.url, concurrency=1) as sampler:
        stream = sampler.stream(asked_of(spoken(tmp_path, 20)), **HOW)
        found, line = await until_it_fails(stream)
    assert len(found) == 2
    assert "no answer to 18 of 20 prompts (HTTP 401" in line
    assert len(server.requests) <= 4, "three, and perhaps one that was on its way"


async def test_the_key_is_in_the_request_and_in_no_error(
    server: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHERS_KEY", KEY)
    server.script = lambda _: trouble(403)  # it quotes the key
    async with opened(server.url, api_key_env="OTHERS_KEY") as sampler:
        with pytest.raises(RunError, match=r"HTTP 403.*\*\*\*") as caught:
            await sampler.sample(asked_of(spoken(tmp_path, 1)), **HOW)
    assert server.keys == [f"Bearer {KEY}"]
    assert KEY not in str(caught.value)


async def test_nobody_there(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    async with opened(url, max_attempts=1) as sampler:
        with pytest.raises(RunError, match=r"2 of 2 prompts \(no connection"):
            await sampler.sample(asked_of(spoken(tmp_path, 2)), **HOW)


async def test_a_recording_that_is_lost_is_the_datas_fault(
    server: Endpoint, tmp_path: Path
) -> None:
    lost = an_utterance(path=str(tmp_path / "lost.wav"))
    async with opened(server.url) as sampler:
        with pytest.raises(DataError, match=r"lost\.wav"):
            await sampler.sample(asked_of([lost]), **HOW)
    assert server.requests == []


@pytest.mark.parametrize("first", [trouble(500), trouble(429), (200, {}, b"<html>")])
async def test_a_second_try_mends(server: Endpoint, tmp_path: Path, first: Reply) -> None:
    server.script = lambda i: first if i == 0 else completion("now")
    async with opened(server.url) as sampler:
        assert texts(await sampler.sample(asked_of(spoken(tmp_path, 1)), **HOW)) == ["now"]
        assert sampler.metrics()["retries"] == 1


# -- how it goes on --------------------------------------------------------------------------------


async def test_what_was_answered_before_a_failure_is_not_asked_again(tmp_path: Path) -> None:
    prompts_P = asked_of(spoken(tmp_path, 6))

    async def both(good: int) -> tuple[list[Any], list[dict[str, Any]]]:
        """Said and chosen, and the requests that were answered, which so many are."""
        server = Endpoint()
        server.script = lambda i: answered(server.requests[i]) if i < good else trouble(404)
        try:
            async with opened(server.url, concurrency=1) as sampler:
                # Started anew elsewhere: the caller knows that it is the same model.
                kept = KeptSampler(sampler, tmp_path / "eval", model="other")
                said = await kept.sample(prompts_P, **HOW)
                chose = await kept.choose(prompts_P, prefix=EMOTION_PREFIX, options=OPTIONS)
            return [*texts(said), *chose], server.requests
        except RunError as error:
            return [str(error)], server.requests[:good]
        finally:
            server.close()

    [error], first = await both(3)
    assert "no answer to 3 of 6 prompts" in error
    [error], second = await both(5)
    assert "no answer to 4 of 6 prompts" in error
    whole, third = await both(99)
    assert whole == ["I hear you, at 1.0."] * 6 + [" sad"] * 6
    assert await both(0) == (whole, [])
    asked = [("response_format" in r, seconds_of(r)) for r in (*first, *second, *third)]
    assert len(asked) == len(set(asked)) == 12, "each question was answered once, none twice"


async def test_a_whole_evaluation_asks_nothing_the_second_time(
    server: Endpoint, tmp_path: Path
) -> None:
    emotions = ("sad", "happy", "sad")
    utterances = [replace(u, emotion=e) for u, e in zip(spoken(tmp_path, 3), emotions, strict=True)]
    silence = AudioRef(
        path=str(write_sine(tmp_path / "s.wav")), sample_rate_hz=16_000, num_samples=8_000
    )
    results = []
    for _ in range(2):
        async with opened(server.url) as sampler:
            kept = KeptSampler(sampler, tmp_path / "eval", model="other")
            results.append(
                await evaluate(
                    kept,
                    utterances,
                    FakeScorer(),
                    EvalConfig(bootstrap_samples=20),
                    labels=("sad", "happy"),
                    silence=silence,
                    seed=0,
                    progress=lambda done, total: None,
                )
            )
        # Three choices (all say the same words, so there is no other sound to choose by), five
        # answers of which one is drawn twice, and two that are timed.
        assert len(server.requests) == (3 + 5 + 2) * 3
    assert results[0].rows == results[1].rows
    assert results[0].estimates["emotion_accuracy"].value == pytest.approx(2 / 3)


def test_what_answers_otherwise_is_another_baseline() -> None:
    config = baseline("http://127.0.0.1:1/v1")
    changes = [
        *(
            {"base_url": "http://127.0.0.1:2/v1"},
            {"model": "n"},
            {"hears": False},
            {"max_tokens": 5},
        ),
    ]
    others = {baseline_digest(config.model_copy(update=change)) for change in changes}
    assert len({baseline_digest(config), *others}) == 5
    same = config.model_copy(update={"name": "renamed", "concurrency": 2, "max_attempts": 9})
    assert baseline_digest(same) == baseline_digest(config)


# -- the recipe ------------------------------------------------------------------------------------

GIVEN = "name: x, base_url: 'http://127.0.0.1:1/v1', model: m"


def test_a_recipe_names_its_baselines() -> None:
    config = load_config(
        "quickstart", [f"eval.baselines=[{{{GIVEN}, hears: false, concurrency: 3}}]"]
    )
    [found] = config.eval.baselines
    assert (found.name, found.hears, found.concurrency, found.max_tokens) == ("x", False, 3, 400)
    assert load_config("quickstart").eval.baselines == ()


@pytest.mark.parametrize(
    ("baselines", "problem"),
    [
        ("{name: x, model: m}", "'x' needs base_url and model"),
        ("{name: x, base_url: 'http://127.0.0.1:1/v1'}", "'x' needs base_url and model"),
        ("{base_url: u, model: m}", r"eval\.baselines\.0\.name"),
        (f"{{{GIVEN}, modle: m}}", r"unknown key 'eval\.baselines\.0\.modle'"),
        (f"{{{GIVEN}}}, {{{GIVEN}}}", "two baselines are named 'x'"),
        (f"{{{GIVEN}}}, {{{GIVEN.replace('x', 'X', 1)}}}", "two baselines are named 'x'"),
        *(
            (f"{{{GIVEN.replace('x', repr(name), 1)}}}", r"eval\.baselines\.0\.name.*pattern")
            for name in ("", "a/b", "..", ".x", "-x", "a b", "ü")
        ),
        ("{" + GIVEN.replace("x", '"x\\n"', 1) + "}", r"eval\.baselines\.0\.name.*pattern"),
        *(
            (f"{{{GIVEN.replace('x', name, 1)}}}", f"'{name}' has the name of a model of ours")
            for name in ("base", "A", "B", "C", "D", "d", "Base")
        ),
        (f"{{{GIVEN.replace('x', 'x' * 65, 1)}}}", "at most 64 characters"),
    ],
)
def test_a_baseline_that_cannot_be_asked_or_named_is_refused(baselines: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        load_config("quickstart", [f"eval.baselines=[{baselines}]"])


async def test_a_question_of_its_own_is_asked_in_the_place_of_ours(
    server: Endpoint, tmp_path: Path
) -> None:
    (utterance,) = spoken(tmp_path, 1)
    prompt = Prompt(
        utterance=utterance, route=Route.EXPLICIT, question="Why is she sad?\nA. x\nB. y"
    )
    server.script = lambda _: completion('{"answer": "b"}')
    async with opened(server.url) as sampler:
        assert await sampler.choose([prompt], prefix="", options=["A", "B"]) == ["B"]
        await sampler.sample([prompt], n=1, temperature=0.0, seed=0)
    for request in server.requests:
        assert request["messages"][0]["content"][1]["text"] == prompt.question
    schema = server.requests[0]["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["answer"]["enum"] == ["A", "B"]
