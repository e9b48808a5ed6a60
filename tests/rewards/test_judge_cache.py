"""A verdict that was paid for is not asked again: not in this run, not in the next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chat_server import Endpoint
from judging import SAD, SENTENCE, judging, llm, one, trouble, verdict
from replies import chain, direct, group_of, said

from clusters.backend import make_backend
from cogaudio_rl import eips
from cogaudio_rl.config import Config, JudgeConfig, RewardConfig
from cogaudio_rl.rewards import rubric
from cogaudio_rl.rewards.judge import make_judge
from cogaudio_rl.rewards.llm import LlmJudge
from cogaudio_rl.types import Route, Score, Unscored

GROUPS = [
    direct(SAD, "Cry.", "Sit down.", "Cry."),
    direct(said(SENTENCE, "happy"), "Cry."),
    group_of(SAD, Route.EXPLICIT, eips.render(chain(SENTENCE, "sad")), "does not parse"),
]
DIFFERENT = 4


def judge_both(endpoint: Endpoint) -> None:
    """A verdict in the form that was asked for."""

    def script(i: int) -> Any:
        schema = endpoint.requests[i]["response_format"]["json_schema"]["schema"]
        steps = {k: 3 for k in ("intent", "psychology", "strategy") if k in schema["properties"]}
        return verdict(3, **steps)

    endpoint.script = script


async def test_a_second_run_makes_no_request(endpoint: Endpoint, tmp_path: Path) -> None:
    judge_both(endpoint)
    async with judging(endpoint.url, cache=tmp_path) as judge:
        first = await judge.score(GROUPS)
        assert (await judge.spent())["judge/requests"] == DIFFERENT
    assert len(endpoint.requests) == DIFFERENT
    async with judging(endpoint.url, cache=tmp_path) as judge:
        assert await judge.score(GROUPS) == first
        assert (await judge.spent())["judge/requests"] == 0
    assert len(endpoint.requests) == DIFFERENT
    assert all(isinstance(score, Score) for row in first for score in row)


async def test_an_interrupted_run_asks_for_the_rest_alone(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    judge_both(endpoint)
    async with judging(endpoint.url, cache=tmp_path) as judge:
        await judge.score(GROUPS[:1])
    async with judging(endpoint.url, cache=tmp_path) as judge:
        await judge.score(GROUPS)
    assert len(endpoint.requests) == DIFFERENT


@pytest.mark.parametrize(
    "changed",
    [{"model": "another"}, {"revision": "2026-10-01"}, {"max_tokens": 50}, {"max_reply_chars": 3}],
)
async def test_another_judge_or_other_sampling_is_asked_anew(
    endpoint: Endpoint, tmp_path: Path, changed: dict[str, Any]
) -> None:
    for settings in ({}, changed):
        async with judging(endpoint.url, cache=tmp_path, **settings) as judge:
            assert isinstance(await one(judge), Score)
    assert len(endpoint.requests) == 2


async def test_another_rubric_is_asked_anew(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with judging(endpoint.url, cache=tmp_path) as judge:
        await one(judge)
    monkeypatch.setattr(rubric, "rubric_digest", lambda: "another")
    async with judging(endpoint.url, cache=tmp_path) as judge:
        await one(judge)
    assert len(endpoint.requests) == 2


async def test_a_moved_endpoint_keeps_its_verdicts(endpoint: Endpoint, tmp_path: Path) -> None:
    async with judging(endpoint.url, cache=tmp_path) as judge:
        await one(judge)
    async with judging("http://127.0.0.1:9/v1", cache=tmp_path) as judge:
        assert isinstance(await one(judge), Score)


async def test_no_score_is_not_kept(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.script = lambda i: trouble(401) if i == 0 else verdict()
    for expected in (Unscored, Score):
        async with judging(endpoint.url, cache=tmp_path) as judge:
            assert isinstance(await one(judge), expected)


async def test_a_damaged_verdict_is_asked_for_again(endpoint: Endpoint, tmp_path: Path) -> None:
    async with judging(endpoint.url, cache=tmp_path) as judge:
        await one(judge)
    [path] = [p for p in tmp_path.rglob("*") if p.is_file()]
    kept = json.loads(path.read_text("utf-8"))
    assert kept == {"reasoning": "because", "score": 4}
    path.write_text('{"reasoning": "beca', "utf-8")
    async with judging(endpoint.url, cache=tmp_path) as judge:
        assert isinstance(await one(judge), Score)
    assert len(endpoint.requests) == 2
    assert json.loads(path.read_text("utf-8")) == kept


async def test_without_a_folder_nothing_is_written(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with judging(endpoint.url) as judge:
        await one(judge)
    assert not list(tmp_path.iterdir())


async def test_counts_are_those_since_the_last_time(endpoint: Endpoint) -> None:
    async with judging(endpoint.url) as judge:
        await one(judge, "a")
        await one(judge, "b")
        assert (await judge.spent())["judge/requests"] == 2
        await one(judge, "c")
        assert (await judge.spent())["judge/requests"] == 1
        assert set((await judge.spent()).values()) == {0.0}


async def test_a_run_keeps_its_verdicts_in_its_folder(endpoint: Endpoint, tmp_path: Path) -> None:
    whole = Config.model_validate({"cluster": {"backend": "local"}, "judge": llm(endpoint.url)})
    backend = make_backend(whole, tmp_path / "run")
    judge = backend.rollout_ports().judge
    assert isinstance(judge, LlmJudge)
    await one(judge)
    await judge.close()
    backend.close()
    async with judging(endpoint.url, cache=tmp_path / "run" / "judge_cache") as later:
        assert isinstance(await one(later), Score)
    assert len(endpoint.requests) == 1


async def test_members_of_an_ensemble_share_its_folder(endpoint: Endpoint, tmp_path: Path) -> None:
    members = (llm(endpoint.url), llm(endpoint.url, model="another"))
    config = JudgeConfig(kind="ensemble", members=members).kept_in(tmp_path)
    for _ in range(2):
        judge = make_judge(config, RewardConfig())
        await judge.score([direct(SAD, "Cry.")])
        await judge.close()
    assert len(endpoint.requests) == 2
