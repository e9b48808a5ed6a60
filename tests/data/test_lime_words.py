"""What the factory's words must be: planned, ambiguous, annotated, paid for once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chat_server import Endpoint, Reply, completion
from lime_model import Model

from cogaudio_rl.config import parse
from cogaudio_rl.data.lime import author
from cogaudio_rl.data.lime.annotate import annotation_problems
from cogaudio_rl.data.lime.factory import write_part
from cogaudio_rl.data.lime.plan import family, part
from cogaudio_rl.data.lime.recipe import LimeRecipe
from cogaudio_rl.data.lime.write import SCENARIOS, scenario_of, sentence_problems
from cogaudio_rl.errors import ConfigError, RunError
from cogaudio_rl.types import LIME_EMOTIONS

SENTENCE = author.split_sentences("en")["train"][0]


def recipe(**values: Any) -> LimeRecipe:
    return parse(LimeRecipe, values)


# -- plan ----------------------------------------------------------------------------------------


def test_the_plan_has_its_shares_in_any_stretch() -> None:
    asked = recipe(utterances=21 * 2_000, chinese_share=0.3, test_share=0.1)
    families = [family(asked, i) for i in range(asked.families)]
    for first in (0, 500, 1_990):
        stretch = families[first : first + 10 if first == 1_990 else first + 500]
        chinese = sum(f.language == "zh" for f in stretch)
        assert abs(chinese - 0.3 * len(stretch)) <= 1
    counts = Counter((f.language, f.split) for f in families)
    assert counts["zh", "test"] == pytest.approx(60, abs=1)
    assert counts["en", "test"] == pytest.approx(140, abs=1)


def test_nth_counts_families_of_a_kind() -> None:
    asked, seen = recipe(utterances=21 * 700, chinese_share=0.37, test_share=0.07), Counter[Any]()
    for i in range(asked.families):
        one = family(asked, i)
        assert one.nth == seen[one.language, one.split]
        seen[one.language, one.split] += 1


def test_parts_are_all_families_once() -> None:
    asked = recipe(utterances=21 * 50, families_per_part=16)
    found = [f.index for number in range(asked.parts) for f in part(asked, number)]
    assert found == list(range(50))


def test_an_llm_needs_an_endpoint() -> None:
    with pytest.raises(ConfigError, match="needs base_url and model"):
        recipe(author={"kind": "llm"})
    with pytest.raises(ConfigError, match="did you mean 'utterances'"):
        recipe(uterances=3)


# -- checks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_bank_passes_every_check(language: str) -> None:
    for sentence in author.sentences(language)[::17]:
        assert sentence_problems(sentence.text, language) == ()
        for emotion in LIME_EMOTIONS:
            for depth in author.DEPTHS:
                chain = author.annotate(sentence, emotion, depth=depth, variant=1).eips
                assert annotation_problems(chain, sentence, emotion) == ()


@pytest.mark.parametrize(
    ("text", "language", "reason"),
    [
        ("Ouch.", "en", "5 characters"),
        ("我弟弟今天早上给我打了电话。", "en", "not written in 'en'"),
        ("My brother finally called me this morning.", "en", "names a feeling: 'finally'"),
        ("My brother called me this morning!", "en", "punctuation"),
        ("My brother called me this morning.", "zh", "not written in 'zh'"),
        ("我弟弟居然给我打了电话。", "zh", "names a feeling: '居然'"),
    ],
)
def test_a_sentence_is_refused_with_its_reason(text: str, language: str, reason: str) -> None:
    assert any(reason in found for found in sentence_problems(text, language))


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("intent", " ", "intent is empty"),
        ("emotion", "happy", "the emotion is 'happy'"),
        ("response", "你一定很难过。", "response is not written in 'en'"),
        ("response", "I'm sorry to hear that.", "template"),
        ("response", SENTENCE.text, "repeats the sentence"),
        ("strategy", "comfort</thought>", "cannot be written"),
    ],
)
def test_an_annotation_is_refused_with_its_reason(field: str, value: str, reason: str) -> None:
    chain = author.annotate(SENTENCE, "sad", depth=4, variant=0).eips
    found = annotation_problems(replace(chain, **{field: value}), SENTENCE, "sad")
    assert any(reason in one for one in found)


# -- an LLM --------------------------------------------------------------------------------------


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    served = Endpoint()
    yield served
    served.close()


def by_llm(endpoint: Endpoint, **author_values: Any) -> LimeRecipe:
    values = {"kind": "llm", "base_url": endpoint.url, "model": "m", "max_attempts": 6}
    return recipe(utterances=21 * 6, families_per_part=6, author=values | author_values)


async def test_what_an_llm_writes_is_asked_for_once(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.script = Model(endpoint)
    asked = by_llm(endpoint)
    first = await write_part(asked, 0, tmp_path)
    assert len(first.families) == 6
    assert not first.refused
    assert all(set(w.annotations) == set(LIME_EMOTIONS) for w in first.families)
    paid = len(endpoint.requests)
    assert paid == 6 * (1 + 1 + 7)
    assert await write_part(asked, 0, tmp_path) == first
    assert len(endpoint.requests) == paid


async def test_trouble_loses_nothing_and_lets_nothing_wrong_in(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    model = Model(endpoint)
    endpoint.script = model
    model.spoil = {
        1: (500, {}, b"{}"),
        3: (429, {"retry-after": "0"}, b"{}"),
        5: completion("not json"),
        8: completion('{"sentence": 3}'),
        11: (200, {}, b"<html>"),
    }
    found = await write_part(by_llm(endpoint), 0, tmp_path)
    calm = await write_part(by_llm(endpoint), 0, tmp_path)
    assert found == calm
    assert len(found.families) == 6
    assert all(len(w.annotations) == 7 for w in found.families)


async def test_a_sentence_whose_words_tell_is_refused(endpoint: Endpoint, tmp_path: Path) -> None:
    model = Model(endpoint)
    endpoint.script = model
    model.sure = {author.sentences("zh")[0].text}
    found = await write_part(by_llm(endpoint, max_rejections=2), 0, tmp_path)
    assert [w.family.index for w in found.families] == [1, 2, 3, 4, 5]
    assert len(found.refused) == 2
    assert "the words alone say 'neutral' (0.90 > 0.6)" in found.refused[0].reasons


async def test_an_endpoint_that_is_gone_refuses_nothing(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.script = lambda _: (401, {}, b"{}")
    with pytest.raises(
        RunError, match=r"sentence of family \d: no answer: HTTP 401.*mend the endp"
    ):
        await write_part(by_llm(endpoint, max_attempts=1), 0, tmp_path)
    endpoint.script = Model(endpoint)
    found = await write_part(by_llm(endpoint), 0, tmp_path)
    assert len(found.families) == 6


async def test_what_no_try_answers_is_refused_with_its_reason(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    endpoint.script = lambda _: (400, {}, b"{}")
    found = await write_part(by_llm(endpoint, max_attempts=1), 0, tmp_path)
    assert not found.families
    assert len(found.refused) == 6
    assert all("no answer: HTTP 400" in r.reasons[0] for r in found.refused)
    assert not any(r.outage for r in found.refused)


@pytest.mark.parametrize("body", [b"\xff\xfe{", b"<html>", b""])
async def test_bytes_that_are_no_answer_are_asked_for_again(
    endpoint: Endpoint, tmp_path: Path, body: bytes
) -> None:
    model = Model(endpoint)
    endpoint.script = model
    model.spoil = {0: (200, {}, body)}
    found = await write_part(by_llm(endpoint), 0, tmp_path)
    assert len(found.families) == 6


@pytest.mark.parametrize("left", [b"", b'{"sent', b"\xff"])
async def test_a_damaged_answer_on_disk_is_asked_for_again(
    endpoint: Endpoint, tmp_path: Path, left: bytes
) -> None:
    endpoint.script = Model(endpoint)
    first = await write_part(by_llm(endpoint), 0, tmp_path)
    paid = len(endpoint.requests)
    kept = sorted(tmp_path.glob("*/*.json"))
    kept[0].write_bytes(left)
    assert await write_part(by_llm(endpoint), 0, tmp_path) == first
    assert len(endpoint.requests) == paid + 1


@pytest.mark.parametrize(
    "shares",
    [
        {},
        {"neutral": 1.0},
        dict.fromkeys(LIME_EMOTIONS, 0.5),
        dict.fromkeys(("calm", *LIME_EMOTIONS[1:]), 1 / 7),
    ],
)
async def test_a_guess_that_evades_the_question_is_asked_again(
    endpoint: Endpoint, tmp_path: Path, shares: dict[str, float]
) -> None:
    model = Model(endpoint)
    evaded = json.dumps({"shares": [{"emotion": e, "probability": p} for e, p in shares.items()]})

    def script(number: int) -> Reply:
        form = endpoint.requests[number]["response_format"]["json_schema"]["name"]
        return completion(evaded) if form == "_guess" else model(number)

    endpoint.script = script
    found = await write_part(by_llm(endpoint, max_attempts=2), 0, tmp_path)
    assert not found.families
    assert all("no answer: malformed answer" in r.reasons[0] for r in found.refused)


@pytest.mark.parametrize("share", [0.5, 0.7])
def test_every_language_and_split_has_all_scenarios(share: float) -> None:
    asked = recipe(utterances=21 * 4_000, chinese_share=share)
    found: dict[tuple[str, str], set[str]] = {}
    for one in (family(asked, i) for i in range(asked.families)):
        found.setdefault((one.language, one.split), set()).add(scenario_of(one))
    assert len(found) == 4
    assert all(len(scenarios) == len(SCENARIOS) == 20 for scenarios in found.values())
