"""Several judges as one: what their scores come to, who is missing, and the recipe for them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from chat_server import Endpoint
from judging import SAD, llm, trouble, verdict
from replies import direct

from cogaudio_rl.config import JudgeConfig, RewardConfig, load_config
from cogaudio_rl.errors import ConfigError, JudgeUnreachable
from cogaudio_rl.rewards.ensemble import EnsembleJudge, combine_scores
from cogaudio_rl.rewards.judge import make_judge, probe_judge
from cogaudio_rl.types import Group, Score, Unscored

WEIGHTS = RewardConfig()
SILENT = Unscored(reason="judge: HTTP 500")


def empathy(value: float) -> Score:
    return Score(reward=0.3 * value, terms={"empathy": value})


def explicit(intent: float, value: float) -> Score:
    """By the paper's weights: 0.1 format + 0.3 emotion + 0.1 intent + 0.3 empathy."""
    terms = {
        "format": 1.0,
        "emotion": 1.0,
        "intent": intent,
        "psychology": 0.0,
        "strategy": 0.0,
        "empathy": value,
    }
    return Score(reward=0.4 + 0.1 * intent + 0.3 * value, terms=terms)


@pytest.mark.parametrize(("combine", "value"), [("mean", 0.6), ("median", 0.8), ("worst", 0.0)])
def test_scores_by_hand(combine: str, value: float) -> None:
    scores = [empathy(0.8), empathy(0.0), empathy(1.0)]
    found = combine_scores(scores, combine=combine, quorum=3, weights=WEIGHTS)
    assert isinstance(found, Score)
    assert found.terms["empathy"] == pytest.approx(value)
    assert found.reward == pytest.approx(0.3 * value)


def test_each_term_is_combined_by_itself() -> None:
    scores = [explicit(1.0, 0.0), explicit(0.0, 1.0)]
    worst = combine_scores(scores, combine="worst", quorum=2, weights=WEIGHTS)
    assert isinstance(worst, Score)
    assert (worst.terms["intent"], worst.terms["empathy"]) == (0.0, 0.0)
    assert worst.reward == pytest.approx(0.4)
    mean = combine_scores(scores, combine="mean", quorum=2, weights=WEIGHTS)
    assert isinstance(mean, Score)
    assert mean.reward == pytest.approx(0.6)


def test_too_few_scores_are_none() -> None:
    scores = [empathy(1.0), SILENT, Unscored(reason="judge: HTTP 429")]
    found = combine_scores(scores, combine="mean", quorum=2, weights=WEIGHTS)
    assert found == Unscored(
        reason="1 of 3 judges gave a score, 2 must: judge: HTTP 500; judge: HTTP 429"
    )
    kept = combine_scores(scores, combine="mean", quorum=1, weights=WEIGHTS)
    assert kept == empathy(1.0)


def test_what_is_unscored_for_all_keeps_its_reason() -> None:
    aborted = [Unscored(reason="aborted")] * 2
    assert combine_scores(aborted, combine="worst", quorum=2, weights=WEIGHTS) == aborted[0]


class Says:
    """Gives every rollout the same."""

    def __init__(self, score: Score | Unscored) -> None:
        self._score = score

    async def score(self, groups_P: Sequence[Group]) -> list[list[Score | Unscored]]:
        return [[self._score] * len(group.rollouts) for group in groups_P]

    async def spent(self) -> dict[str, float]:
        return {"judge/requests": 2.0}

    async def close(self) -> None:
        pass


async def test_places_are_kept_and_counts_added_up() -> None:
    judge = EnsembleJudge([Says(empathy(0.0)), Says(empathy(1.0))], WEIGHTS)
    groups = [direct(SAD, "a", "b"), direct(SAD, "c")]
    assert await judge.score(groups) == [[empathy(0.5)] * 2, [empathy(0.5)]]
    assert await judge.spent() == {"judge/requests": 4.0}
    silent = EnsembleJudge([Says(SILENT), Says(empathy(1.0))], WEIGHTS)
    [[score]] = await silent.score([direct(SAD, "a")])
    assert isinstance(score, Unscored), "a quorum that is not given is all of them"


async def test_a_recipe_joins_an_llm_and_the_embedded_judge(endpoint: Endpoint) -> None:
    endpoint.script = lambda _: verdict(4)
    members = (llm(endpoint.url), JudgeConfig())
    config = JudgeConfig(kind="ensemble", members=members, combine="worst")
    judge = make_judge(config, WEIGHTS)
    replies = ("Cry as long as you need.", "Thank you for the message.")
    [[good, bad]] = await judge.score([direct(SAD, *replies)])
    await judge.close()
    assert isinstance(good, Score)
    assert isinstance(bad, Score)
    assert bad.terms["empathy"] == 0.0, "the LLM's 4 does not help it"


async def test_every_member_is_probed(endpoint: Endpoint) -> None:
    config = JudgeConfig(kind="ensemble", members=(JudgeConfig(), llm(endpoint.url)))
    await probe_judge(config)
    endpoint.script = lambda _: trouble(404)
    with pytest.raises(JudgeUnreachable, match="HTTP 404"):
        await probe_judge(config)


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("judge.kind=ensemble", "with 0 members"),
        ("judge.members=[{kind: embedded}]", "kind=embedded with 1 members"),
        ("judge={kind: ensemble, members: [{kind: llm}]}", "needs base_url and model"),
        ("judge={kind: ensemble, members: [{kind: embedded}], quorum: 2}", "quorum=2 of 1 members"),
        ("judge.quorum=1", "quorum=1 of 0 members"),
        ("judge={kind: ensemble, members: [{kind: ensemble}]}", "with 0 members"),
        (
            "judge={kind: ensemble, members: [{kind: ensemble, members: [{kind: embedded}]}]}",
            "cannot be an ensemble",
        ),
        ("judge={kind: ensemble, members: [{kind: embedded}], combine: best}", "judge.combine"),
        ("judge.hears=true", "needs kind=llm"),
        ("judge.requests_per_minute=0", "judge.requests_per_minute"),
    ],
)
def test_a_recipe_that_cannot_be_is_named(override: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        load_config("quickstart", [override])


def test_workers_share_the_rates() -> None:
    member = llm("http://x/v1", requests_per_minute=90, tokens_per_minute=None)
    config = JudgeConfig(kind="ensemble", members=(member, JudgeConfig()), tokens_per_minute=600)
    share = config.among(3)
    assert share.members[0].requests_per_minute == 30
    assert share.members[0].tokens_per_minute is None
    assert share.tokens_per_minute == 200
    assert config.among(1) == config
