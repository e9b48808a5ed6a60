"""A second opinion on a few rollouts: which ones, what is made of it, and what cannot stop a run."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from judging import SAD, SENTENCE
from replies import chain, direct, group_of, said

from cogaudio_rl import eips
from cogaudio_rl.rewards.held_out import SAMPLED, HeldOut, sample
from cogaudio_rl.types import Group, Route, Score, Unscored

Scores = list[list[Score | Unscored]]


class Stern:
    """Gives each reply the same, or nothing at all."""

    def __init__(self, empathy: float | None = 0.25, fails: Exception | None = None) -> None:
        self.empathy, self.fails = empathy, fails
        self.asked: list[Group] = []

    async def score(self, groups_P: Sequence[Group]) -> Scores:
        if self.fails is not None:
            raise self.fails
        self.asked += groups_P
        return [[self._one() for _ in group.rollouts] for group in groups_P]

    async def spent(self) -> dict[str, float]:
        return {"judge/requests": 3.0, "judge/usd": 0.5}

    def _one(self) -> Score | Unscored:
        if self.empathy is None:
            return Unscored(reason="judge: HTTP 500")
        return Score(reward=0.3 * self.empathy, terms={"empathy": self.empathy})


def all_given(groups_P: Sequence[Group], empathy: float) -> Scores:
    return [[Score(reward=0.0, terms={"empathy": empathy}) for _ in g.rollouts] for g in groups_P]


def held_out(judge: Stern, notes: list[str], *, every: int = 1) -> HeldOut:
    return HeldOut(judge, every=every, seed=0, note=notes.append)


MANY = [
    direct(said(SENTENCE, e), *(f"Reply {i}." for i in range(12))) for e in ("sad", "happy")
] + [group_of(SAD, Route.EXPLICIT, *[eips.render(chain(SENTENCE, "sad"))] * 30)]


def texts(groups_P: Sequence[Group]) -> list[tuple[str, str]]:
    return [(g.prompt.id, r.text) for g in groups_P for r in g.rollouts]


def test_the_direct_route_goes_first_and_there_are_never_more() -> None:
    asked, own = sample(MANY, all_given(MANY, 1.0), seed=0, step=1)
    assert sum(len(g.rollouts) for g in asked) == SAMPLED == 32
    routes = [g.prompt.route for g in asked for _ in g.rollouts]
    assert routes.count(Route.DIRECT) == 24
    assert [len(g.rollouts) for g in asked] == [len(row) for row in own]


def test_a_sample_is_the_same_for_the_same_seed_and_step_and_another_for_others() -> None:
    wide = [direct(SAD, *(f"Reply {i}." for i in range(200)))]
    drawn = {
        (seed, step): tuple(texts(sample(wide, all_given(wide, 1.0), seed=seed, step=step)[0]))
        for seed in (0, 1)
        for step in (1, 2)
    }
    assert len(set(drawn.values())) == 4
    again, _ = sample(wide, all_given(wide, 1.0), seed=0, step=1)
    assert tuple(texts(again)) == drawn[0, 1]


def test_scores_stay_with_their_rollouts() -> None:
    wide = [direct(SAD, *(f"Reply {i}." for i in range(60)))]
    scores: Scores = [[Score(reward=i, terms={"empathy": i}) for i in range(60)]]
    asked, own = sample(wide, scores, seed=3, step=7)
    for rollout, score in zip(asked[0].rollouts, own[0], strict=True):
        assert isinstance(score, Score)
        assert rollout.text == eips.render_direct(f"Reply {score.reward:g}.")


def test_what_has_no_score_or_does_not_parse_is_not_asked_about() -> None:
    groups = [
        group_of(SAD, Route.DIRECT, "no tags", eips.render_direct("Yes.")),
        direct(SAD, "No."),
    ]
    scores = all_given(groups, 0.0)
    scores[1] = [Unscored(reason="?")]
    asked, own = sample(groups, scores, seed=0, step=1)
    assert texts(asked) == [(groups[0].prompt.id, eips.render_direct("Yes."))]
    assert len(own) == 1


async def test_a_generous_judge_shows_as_a_gap_and_its_cost_is_counted() -> None:
    notes: list[str] = []
    found = await held_out(Stern(0.25), notes).opinion(1, MANY, all_given(MANY, 1.0))
    assert found.pop("time/held_out") >= 0
    assert found == {
        "alarm/held_out_gap": pytest.approx(0.75),
        "held_out/scored": 32.0,
        "held_out/requests": 3.0,
        "held_out/usd": 0.5,
    }
    assert notes == []


async def test_it_is_asked_at_every_so_many_steps_alone() -> None:
    judge, notes = Stern(), list[str]()
    asked = held_out(judge, notes, every=5)
    due = [s for s in range(1, 12) if await asked.opinion(s, MANY, all_given(MANY, 1.0))]
    assert due == [5, 10]


async def test_an_outage_is_a_note(caplog: pytest.LogCaptureFixture) -> None:
    notes: list[str] = []
    found = await held_out(Stern(None), notes).opinion(10, MANY, all_given(MANY, 1.0))
    assert "alarm/held_out_gap" not in found
    assert found["held_out/scored"] == 0.0
    assert found["held_out/requests"] == 3.0, "it was paid for all the same"
    assert notes == ["step 10: no second opinion: judge: HTTP 500"]


@pytest.mark.parametrize(
    ("error", "said"), [(OSError("disk full"), "disk full"), (KeyError(), "KeyError")]
)
async def test_whatever_fails_is_a_note(error: Exception, said: str) -> None:
    notes: list[str] = []
    found = await held_out(Stern(fails=error), notes).opinion(1, MANY, all_given(MANY, 1.0))
    assert found == {}
    assert notes == [f"step 1: no second opinion: {said}"]


async def test_where_no_reply_was_scored_there_is_nothing_to_ask() -> None:
    notes: list[str] = []
    nothing = [group_of(SAD, Route.DIRECT, "no tags")]
    found = await held_out(Stern(), notes).opinion(1, nothing, all_given(nothing, 0.0))
    assert "alarm/held_out_gap" not in found
    assert notes == ["step 1: no second opinion: there was no reply to judge"]
