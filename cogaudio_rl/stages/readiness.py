"""Is the policy ready for RL? On a weak policy RL drifts to what is safe, not to what is good."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cogaudio_rl import ambiguity, eips
from cogaudio_rl.config import ReadinessConfig
from cogaudio_rl.objectives.advantage import is_zero_spread
from cogaudio_rl.types import Group, Route, Score, Unscored

_BEST: Mapping[str, float] = {"empathy": 0.99, "match": 0.75}
"""Where a term's top quarter begins: empathy has four steps, the match of votes has none."""
_PARSERS: Mapping[Route, Callable[[str], object]] = {
    Route.EXPLICIT: eips.parse,
    Route.DIRECT: eips.parse_direct,
    Route.AMBIGUITY: ambiguity.parse,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """What one batch of groups at temperature 1 shows; shares are in [0, 1]."""

    parse_share: float
    best_share: float
    zero_spread_share: float
    spread: float
    problems: tuple[str, ...]

    @property
    def ready(self) -> bool:
        return not self.problems

    def line(self) -> str:
        """One line for the terminal."""
        facts = (
            f"parses {self.parse_share:.2f}, best answers {self.best_share:.2f}, "
            f"reward spread {self.spread:.3f}, zero-spread groups {self.zero_spread_share:.2f}"
        )
        return (
            f"ready for RL: {facts}"
            if self.ready
            else f"NOT ready for RL: {facts}. " + "; ".join(self.problems)
        )


def measure_readiness(
    groups: Sequence[Group],
    scores: Sequence[Sequence[Score | Unscored]],
    config: ReadinessConfig,
) -> Readiness:
    """Judge a batch sampled at temperature 1 against the recipe's thresholds."""
    parses = [
        not isinstance(_PARSERS[g.prompt.route](r.text), eips.ParseFailure | ambiguity.ChainFailure)
        for g in groups
        for r in g.rollouts
    ]
    scored = [[s for s in row if isinstance(s, Score)] for row in scores]
    best = [
        s.terms[term] >= least
        for row in scored
        for s in row
        for term, least in _BEST.items()
        if term in s.terms
    ]
    rewards = [[s.reward for s in row] for row in scored if len(row) > 1]
    flat = [is_zero_spread(row) for row in rewards]
    spreads = [max(row) - min(row) for row in rewards]
    parse_share = _mean(parses)
    best_share = _mean(best)
    zero_share = _mean(flat) if flat else 1.0
    problems: list[str] = []
    if parse_share < config.min_parse_share:
        problems.append(
            f"only {parse_share:.2f} parse (rl.readiness.min_parse_share={config.min_parse_share}): "
            "train stage II longer"
        )
    if best_share < config.min_best_share:
        problems.append(
            f"only {best_share:.2f} reach the top of the reward "
            f"(rl.readiness.min_best_share={config.min_best_share}): there is nothing to prefer yet"
        )
    if zero_share > config.max_zero_spread:
        problems.append(
            f"{zero_share:.2f} of groups have one reward throughout "
            f"(rl.readiness.max_zero_spread={config.max_zero_spread}): no advantage to learn from"
        )
    return Readiness(
        parse_share=parse_share,
        best_share=best_share,
        zero_spread_share=zero_share,
        spread=_mean(spreads),
        problems=tuple(problems),
    )


def _mean(values: Sequence[float | bool]) -> float:
    return sum(values) / len(values) if values else 0.0
