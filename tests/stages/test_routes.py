"""How the prompts of a step are shared between the two routes."""

from __future__ import annotations

import pytest
from rl_world import UTTERANCES

from cogaudio_rl.config import RlConfig
from cogaudio_rl.stages.routes import RouteMix, route_prompts
from cogaudio_rl.types import REPLY_ROUTES, Route


@pytest.mark.parametrize(("mix", "explicit", "direct"), [("both", 4, 4), ("alternate", 2, 2)])
def test_both_routes_are_asked_in_equal_measure(mix: str, explicit: int, direct: int) -> None:
    routes = [p.route for p in route_prompts(UTTERANCES[:4], mix)]
    assert routes.count(Route.EXPLICIT) == explicit
    assert routes.count(Route.DIRECT) == direct


def test_routes_are_asked_alike_until_one_lags() -> None:
    config = RlConfig(route_mix="adaptive")
    mix = RouteMix(config, 0)
    assert mix.prompts(UTTERANCES, 1) == route_prompts(UTTERANCES, "both")
    # R_F1 can reach 1.0, R_F2 only 0.3: 0.75 and 0.225 are three quarters of each.
    mix.observe({"reward/explicit/mean": 0.75, "reward/direct/mean": 0.225})
    assert mix.need(Route.EXPLICIT) == pytest.approx(0.5)
    ahead = RouteMix(config, 0)
    ahead.observe({"reward/explicit/mean": 0.8, "reward/direct/mean": 0.12})
    # Lags 0.2 and 0.6: the explicit route has a quarter of the need, so half the utterances.
    assert ahead.need(Route.EXPLICIT) == pytest.approx(0.25)
    routes = [p.route for p in ahead.prompts(UTTERANCES[:6], 2)]
    assert routes.count(Route.DIRECT) == 6
    assert routes.count(Route.EXPLICIT) == 3
    assert ahead.prompts(UTTERANCES, 2) == ahead.prompts(UTTERANCES, 2)


def test_no_route_is_ever_left_out() -> None:
    mix = RouteMix(RlConfig(route_mix="adaptive"), 0)
    mix.observe({"reward/explicit/mean": 1.0, "reward/direct/mean": 0.0})
    assert mix.need(Route.EXPLICIT) == 0.25
    assert {p.route for p in mix.prompts(UTTERANCES[:1], 1)} == set(REPLY_ROUTES)


def test_a_route_that_can_earn_nothing_does_not_lag() -> None:
    config = RlConfig.model_validate({"route_mix": "adaptive", "reward": {"response": 0.0}})
    mix = RouteMix(config, 0)
    mix.observe({"reward/explicit/mean": 0.4, "reward/direct/mean": 0.0})
    assert mix.need(Route.DIRECT) == 0.25
