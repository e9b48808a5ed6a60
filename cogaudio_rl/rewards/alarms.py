"""Signs that a policy pleases its judge in a way that nobody meant, from one step's rollouts.

Length that pays, replies that are all alike, the same reply whatever the voice, and a judge that sees
more in the replies than another one does. Figures go to the log; what passes its threshold in
``rl.alarms`` is a sentence for whoever watches.
"""

from __future__ import annotations

import itertools
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from scipy.stats import spearmanr

from cogaudio_rl.config import AlarmConfig
from cogaudio_rl.eips import ParseFailure
from cogaudio_rl.rewards.references import words_of
from cogaudio_rl.rewards.route import read_answer
from cogaudio_rl.types import EipsResponse, Group, Prompt, Rollout, Route, Score, Unscored

Scores = Sequence[Sequence[Score | Unscored]]
Words = tuple[str, ...]

FEWEST_PAIRS = 8
"""Rollouts below which a rank correlation says nothing."""


def alarm_metrics(groups_P: Sequence[Group], scores_PG: Scores) -> dict[str, float]:
    """The ``alarm/`` figures that a step's own rollouts tell; one that cannot be told is left out."""
    said = [
        (group.prompt, words_of(reply))
        for group in groups_P
        for rollout in group.rollouts
        if (reply := _reply(group.prompt, rollout)) is not None
    ]
    found = {
        f"length_correlation_{route}": _length_correlation(groups_P, scores_PG, route)
        for route in Route
    } | {
        "distinct_2": distinct_n([words for _, words in said], 2),
        "self_similarity": _self_similarity(said),
    }
    return {f"alarm/{name}": value for name, value in found.items() if value is not None}


def alarms(metrics: Mapping[str, float], limits: AlarmConfig) -> dict[str, str]:
    """A sentence for each figure that passes its threshold, by the figure's name."""
    found = {
        f"alarm/length_correlation_{route}": _over(
            abs(metrics.get(f"alarm/length_correlation_{route}", 0.0)),
            limits.max_length_correlation,
            f"reward follows length on the {route} route: their rank correlation is",
            "max_length_correlation",
        )
        for route in Route
    }
    found["alarm/distinct_2"] = _over(
        -metrics.get("alarm/distinct_2", 1.0),
        None if limits.min_distinct_2 is None else -limits.min_distinct_2,
        "replies are becoming one template: their share of distinct word pairs is",
        "min_distinct_2",
    )
    found["alarm/self_similarity"] = _over(
        metrics.get("alarm/self_similarity", 0.0),
        limits.max_self_similarity,
        "replies hardly depend on the voice: across emotions of one text their likeness is",
        "max_self_similarity",
    )
    found["alarm/held_out_gap"] = _over(
        metrics.get("alarm/held_out_gap", 0.0),
        limits.max_held_out_gap,
        "the reward's judge sees more than a held-out one: by this much empathy, on [0, 1],",
        "max_held_out_gap",
    )
    return {name: sentence for name, sentence in found.items() if sentence}


def distinct_n(replies: Sequence[Words], n: int) -> float | None:
    """Share of distinct n-grams among all n-grams of the replies (Li et al. 2016, 1510.03055)."""
    grams = [words[i : i + n] for words in replies for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else None


def _over(value: float, limit: float | None, what: str, name: str) -> str:
    if limit is None or value <= limit:
        return ""
    return f"{what} {abs(value):.2f} (rl.alarms.{name}={abs(limit):g})"


def _reply(prompt: Prompt, rollout: Rollout) -> str | None:
    if prompt.route is Route.AMBIGUITY:
        return None
    answer = read_answer(prompt, rollout)
    if isinstance(answer, ParseFailure | Unscored):
        return None
    return answer.response if isinstance(answer, EipsResponse) else answer


def _length_correlation(groups_P: Sequence[Group], scores_PG: Scores, route: Route) -> float | None:
    """Spearman's, over one route: another has another length and another scale of reward."""
    pairs = [
        (score.reward, len(rollout.token_ids))
        for group, scores in zip(groups_P, scores_PG, strict=True)
        if group.prompt.route is route
        for rollout, score in zip(group.rollouts, scores, strict=True)
        if isinstance(score, Score)
    ]
    rewards, lengths = [reward for reward, _ in pairs], [length for _, length in pairs]
    if len(pairs) < FEWEST_PAIRS or len(set(rewards)) == 1 or len(set(lengths)) == 1:
        return None
    found: Any = spearmanr(rewards, lengths)
    return float(found.statistic)


def _self_similarity(said: Sequence[tuple[Prompt, Words]]) -> float | None:
    """Mean likeness (shared over all words) of replies to one text, one route, two emotions."""
    by_text: defaultdict[tuple[str, Route], list[tuple[str, frozenset[str]]]] = defaultdict(list)
    for prompt, words in said:
        by_text[prompt.utterance.text_id, prompt.route].append(
            (prompt.utterance.emotion, frozenset(words))
        )
    likeness = [
        len(one & other) / max(1, len(one | other))
        for replies in by_text.values()
        for (emotion, one), (another, other) in itertools.combinations(replies, 2)
        if emotion != another
    ]
    return statistics.fmean(likeness) if likeness else None


def held_out_gap(scores_PG: Scores, held_out_PG: Scores) -> float | None:
    """Mean empathy by the reward's judge less that by another, where both gave a score."""
    gaps = [
        score.terms["empathy"] - other.terms["empathy"]
        for scores, others in zip(scores_PG, held_out_PG, strict=True)
        for score, other in zip(scores, others, strict=True)
        if isinstance(score, Score) and isinstance(other, Score)
    ]
    return statistics.fmean(gaps) if gaps else None
