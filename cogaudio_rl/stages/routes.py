"""How many prompts each route gets: the "dynamic balance" of DR-SAPO (arXiv 2606.06940).

The paper names the balance and gives no rule. ``adaptive`` here gives more prompts to the route whose
reward lags behind what it could be:

    lag_r   = 1 - EMA(mean reward of r) / (largest reward of r)
    need_r = lag_r / (lag_explicit + lag_direct), at least 1/4
    utterances asked through r = all of them x min(1, 2 need_r)

At equal needs each utterance is asked through both routes, as in ``both``; otherwise the route that is
ahead leaves some utterances out, at most half of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cogaudio_rl.config import RewardConfig, RlConfig
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import REPLY_ROUTES, Prompt, Route, Utterance

_MEMORY = 0.8
"""Weight of the past in the moving mean of rewards: about five steps."""
_LEAST = 0.25


class RouteMix:
    """Turns utterances into prompts; with ``adaptive``, by the rewards it has seen."""

    def __init__(self, config: RlConfig, seed: int) -> None:
        self._mix, self._seed = config.route_mix, seed
        self._largest = largest_rewards(config.reward)
        self._reward: dict[Route, float] = {}

    def prompts(self, utterances: Sequence[Utterance], step: int) -> list[Prompt]:
        """The prompts of a step, utterance by utterance."""
        if self._mix != "adaptive":
            return route_prompts(utterances, self._mix)
        asked: dict[Route, set[int]] = {}
        for route in REPLY_ROUTES:
            count = max(1, round(len(utterances) * min(1.0, 2 * self.need(route))))
            order = rng_for(self._seed, "route", route, step).permutation(len(utterances))
            asked[route] = set(order[:count].tolist())
        return [
            Prompt(utterance=u, route=route)
            for i, u in enumerate(utterances)
            for route in REPLY_ROUTES
            if i in asked[route]
        ]

    def need(self, route: Route) -> float:
        """How far this route lags, as a share of both lags; 1/2 until both have been seen."""
        if len(self._reward) < len(REPLY_ROUTES):
            return 0.5
        lags = {r: _lag(self._reward[r], self._largest[r]) for r in REPLY_ROUTES}
        total = sum(lags.values())
        need = lags[route] / total if total > 0 else 0.5
        return min(1 - _LEAST, max(_LEAST, need))

    def observe(self, metrics: Mapping[str, float]) -> None:
        """Take in a step's mean rewards."""
        for route in REPLY_ROUTES:
            value = metrics.get(f"reward/{route}/mean")
            if value is not None:
                before = self._reward.get(route, value)
                self._reward[route] = _MEMORY * before + (1 - _MEMORY) * value

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` needs, ready for JSON."""
        return {str(route): value for route, value in self._reward.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` gave."""
        self._reward = {Route(name): float(value) for name, value in state.items()}


def _lag(reward: float, largest: float) -> float:
    """How far a mean reward is from the largest; a route that can earn nothing does not lag."""
    return max(0.0, 1 - reward / largest) if largest > 0 else 0.0


def route_prompts(utterances: Sequence[Utterance], mix: str) -> list[Prompt]:
    """Ask each utterance through both routes or one, or alternate the routes over utterances."""
    if mix in tuple(Route):
        return [Prompt(utterance=u, route=Route(mix)) for u in utterances]
    if mix == "alternate":
        return alternated(utterances, REPLY_ROUTES)
    return [Prompt(utterance=u, route=route) for u in utterances for route in REPLY_ROUTES]


def alternated(utterances: Sequence[Utterance], routes: Sequence[Route]) -> list[Prompt]:
    """Each utterance through one of the routes, which take turns."""
    return [Prompt(utterance=u, route=routes[i % len(routes)]) for i, u in enumerate(utterances)]


def largest_rewards(weights: RewardConfig) -> dict[Route, float]:
    """R_F1 and R_F2 when every term is 1."""
    explicit = sum(weights.model_dump().values())
    return {Route.EXPLICIT: explicit, Route.DIRECT: weights.response}
