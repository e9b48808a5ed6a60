"""The reward for how votes are shared: no opinion, but a distance (arXiv 2603.08230).

    rollout ─► chain ─► p^ behind this very chain ─► 1 - JS(votes, p^) ─► reward
                └► does not parse: format 0, match 0

It asks the policy itself how probable each emotion's name is, so it lives beside the sampler.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from cogaudio_rl import ambiguity
from cogaudio_rl.config import VotesRewardConfig
from cogaudio_rl.eval.distribution import jensen_shannon
from cogaudio_rl.ports import Sampler
from cogaudio_rl.types import (
    Group,
    Prefix,
    Prompt,
    Rollout,
    Route,
    Score,
    StopReason,
    Unscored,
    Utterance,
)

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A well-formed rollout: where its score belongs, and behind what its labels are weighed."""

    group: int
    place: int
    prompt: Prompt
    prefix: Prefix


class VotesJudge:
    """Implements the Judge port around the sampler of the policy that is judged.

    A policy that is published while a rollout is judged answers for the older one: of a loop that rolls
    out ahead, p^ may be a version younger than the chain.
    """

    def __init__(self, sampler: Sampler, weights: VotesRewardConfig) -> None:
        self._sampler, self._weights = sampler, weights

    async def score(self, groups_P: Sequence[Group]) -> list[list[Score | Unscored]]:
        """See :class:`cogaudio_rl.ports.Judge`; terms ``format`` and ``match``."""
        scores: list[list[Score | Unscored]] = []
        asked: dict[Labels, list[_Asked]] = defaultdict(list)
        for i, group in enumerate(groups_P):
            votes = group.prompt.utterance.votes
            scores.append([])
            for place, rollout in enumerate(group.rollouts):
                read = _read(group.prompt, rollout)
                if isinstance(read, Prefix):
                    assert votes is not None
                    asked[tuple(votes)].append(_Asked(i, place, group.prompt, read))
                    scores[i].append(self._failed())  # until it is weighed
                else:
                    scores[i].append(read or self._failed())
        for labels, of_labels in asked.items():
            for one, match in zip(of_labels, await self._matches(labels, of_labels), strict=True):
                scores[one.group][one.place] = self._settle(match)
        return scores

    async def spent(self) -> dict[str, float]:
        """Nothing beyond the sampler's time."""
        return {}

    async def close(self) -> None:
        """There is nothing to close."""

    async def _matches(self, labels: Labels, asked: Sequence[_Asked]) -> list[float]:
        """1 - JS of each, in [0, 1]."""
        predicted = await self._sampler.weigh(
            [one.prompt for one in asked],
            [one.prefix for one in asked],
            [f" {label}" for label in labels],
        )
        cast = [list((one.prompt.utterance.votes or {}).values()) for one in asked]
        return [1.0 - float(js) for js in jensen_shannon(cast, predicted)]

    def _settle(self, match: float) -> Score:
        reward = self._weights.format + self._weights.match * match
        return Score(reward=reward, terms={"format": 1.0, "match": match})

    def _failed(self) -> Score:
        return Score(reward=0.0, terms={"format": 0.0, "match": 0.0})


def chain_of(utterance: Utterance, rollout: Rollout) -> Prefix | None:
    """A well-formed answer up to the emotion's name; None for any other.

    Well-formed means all of it: an emotion that listeners could not choose is none.
    """
    answer = ambiguity.parse(rollout.text)
    at = ambiguity.answer_at(rollout.text)
    if isinstance(answer, ambiguity.ChainFailure) or at is None:
        return None
    if answer.emotion not in (utterance.votes or {}):
        return None
    return Prefix(text=rollout.text[:at], token_ids=rollout.token_ids)


def _read(prompt: Prompt, rollout: Rollout) -> Prefix | Unscored | None:
    """What to weigh behind, why there is no score, or None for what does not parse."""
    if prompt.route is not Route.AMBIGUITY:
        return Unscored(reason="judge.kind=votes scores the ambiguity route alone")
    if not prompt.utterance.votes:
        return Unscored(reason="the utterance has no votes")
    if rollout.stop is StopReason.ABORTED:
        return Unscored(reason="aborted")
    return chain_of(prompt.utterance, rollout)
