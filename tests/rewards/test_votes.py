"""The reward for how votes are shared: by hand, and what earns nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from fakes import FakeSampler
from rl_world import utterance

from cogaudio_rl import ambiguity
from cogaudio_rl.config import JudgeConfig, RewardConfig, VotesRewardConfig, load_config
from cogaudio_rl.errors import ConfigError
from cogaudio_rl.rewards.judge import make_judge
from cogaudio_rl.rewards.votes import VotesJudge
from cogaudio_rl.types import (
    AmbiguityResponse,
    Group,
    Prefix,
    Prompt,
    Rollout,
    Route,
    Score,
    StopReason,
    Unscored,
)

VOTED = replace(utterance(0), votes={"happy": 0.5, "sad": 0.5, "angry": 0.0}, listeners=4)
PROMPT = Prompt(utterance=VOTED, route=Route.AMBIGUITY)
WEIGHTS = VotesRewardConfig(format=0.25, match=0.75)


class KnownSampler(FakeSampler):
    """Believes what the voice's line of the chain says: ``"1 0 0"``."""

    def __init__(self) -> None:
        super().__init__(lambda prompt, temperature, i: "")
        self.asked: list[Prefix] = []

    async def weigh(
        self, prompts_P: Sequence[Prompt], prefixes_P: Sequence[Prefix], options: Sequence[str]
    ) -> list[tuple[float, ...]]:
        assert list(options) == [" happy", " sad", " angry"]
        self.asked += prefixes_P
        lines = [p.text.split("Voice: ")[1].splitlines()[0] for p in prefixes_P]
        return [tuple(map(float, line.split())) for line in lines]


def said(voice: str, emotion: str = "sad", *, stop: StopReason = StopReason.EOS) -> Rollout:
    chain = AmbiguityResponse(words="w", voice=voice, synthesis="s", emotion=emotion)
    return spoken(ambiguity.render(chain), stop=stop)


def spoken(text: str, *, stop: StopReason = StopReason.EOS) -> Rollout:
    return Rollout(token_ids=(1, 2), logprobs=(-1.0, -1.0), text=text, stop=stop, policy_version=0)


async def score(*rollouts: Rollout, prompt: Prompt = PROMPT) -> list[Score | Unscored]:
    judge = VotesJudge(KnownSampler(), WEIGHTS)
    (scores,) = await judge.score([Group(prompt=prompt, rollouts=rollouts)])
    return scores


async def test_a_match_is_one_less_the_divergence_by_hand() -> None:
    right, wrong, half = await score(said("0.5 0.5 0"), said("0 0 1"), said("1 0 0"))
    # All on one of two equal halves: the middle is (3/4, 1/4), and JS = H(m) - (H(p) + H(q)) / 2
    # = 2 - 3/4 log2(3) - 1/2 = 0.311278...
    js = 2 - 0.75 * math.log2(3) - 0.5
    assert [s.terms["match"] for s in (right, wrong, half) if isinstance(s, Score)] == (
        pytest.approx([1.0, 0.0, 1 - js])
    )
    assert [s.reward for s in (right, wrong, half) if isinstance(s, Score)] == (
        pytest.approx([1.0, 0.25, 0.25 + 0.75 * (1 - js)])
    )


async def test_what_does_not_parse_is_scored_and_earns_nothing() -> None:
    whole = said("0.5 0.5 0").text
    broken = (
        spoken(whole.replace("<thought>", "")),
        spoken(whole + " and more"),
        spoken(whole.replace("Voice:", "Sound:")),
        spoken(""),
        said("0.5 0.5 0", "surprise"),  # nobody could choose it
        spoken(whole[:-4], stop=StopReason.LENGTH),
    )
    nothing = Score(reward=0.0, terms={"format": 0.0, "match": 0.0})
    assert await score(*broken) == [nothing] * len(broken)


async def test_what_cannot_be_scored_says_why() -> None:
    (aborted,) = await score(said("1 0 0", stop=StopReason.ABORTED))
    assert aborted == Unscored(reason="aborted")
    bare = replace(PROMPT, utterance=utterance(1))
    assert await score(said("1 0 0"), prompt=bare) == [
        Unscored(reason="the utterance has no votes")
    ]
    reply = replace(PROMPT, route=Route.DIRECT)
    (other,) = await score(said("1 0 0"), prompt=reply)
    assert isinstance(other, Unscored)


async def test_each_is_weighed_behind_its_own_chain_and_tokens() -> None:
    sampler = KnownSampler()
    rollouts = (said("1 0 0"), spoken("no"), said("0 1 0"))
    groups = [Group(prompt=PROMPT, rollouts=rollouts), Group(prompt=PROMPT, rollouts=rollouts[:1])]
    scores = await VotesJudge(sampler, WEIGHTS).score(groups)
    assert [len(row) for row in scores] == [3, 1]
    assert scores[0][0] == scores[1][0]
    assert [p.text for p in sampler.asked] == [
        r.text.removesuffix(" sad</emotion>") for r in (rollouts[0], rollouts[2], rollouts[0])
    ]
    assert {p.token_ids for p in sampler.asked} == {(1, 2)}


def test_votes_and_their_route_need_each_other() -> None:
    for wrong in (["judge.kind=votes"], ["models=[base]", "rl.route_mix=ambiguity"]):
        with pytest.raises(ConfigError, match="need each other"):
            load_config("quickstart", wrong)
    both = ["models=[base]", "judge.kind=votes", "rl.route_mix=ambiguity"]
    with pytest.raises(ConfigError, match=r"rl\.held_out_judge\.kind=votes scores no reply"):
        load_config("quickstart", [*both, "rl.held_out_judge={kind: votes}"])
    with pytest.raises(ConfigError, match=r"rl\.held_out_judge scores replies, and"):
        load_config("quickstart", [*both, "rl.held_out_judge={kind: embedded}"])
    rl = load_config("quickstart", both).rl
    assert rl.routes == (Route.AMBIGUITY,)
    assert rl.start == "votes"
    with pytest.raises(ConfigError, match="beside the policy's sampler"):
        make_judge(JudgeConfig(kind="votes"), RewardConfig())
