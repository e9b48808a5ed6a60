"""The written answer beside a group's rollouts, and what can be made of the two.

GRPO_z (arXiv 2603.08230) lets it compete with its group; DPO prefers it to the group's worst.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from cogaudio_rl.config import RlConfig
from cogaudio_rl.ports import Ports
from cogaudio_rl.rollout_file import Scores
from cogaudio_rl.types import Group, Rollout, Sample, Score, StopReason, Unscored

Usable = tuple[Rollout, Score]
PAIR_REASONS = ("unpaired", "near")
"""Why a group makes no pair; see :func:`to_pairs`."""


async def with_references(
    ports: Ports, groups_P: Sequence[Group], scores_PG: Scores
) -> tuple[list[Group], list[list[Score | Unscored]]]:
    """The groups with the written answer as one more rollout, scored by the same judge.

    Its log-probs are the learner's, who has just become what the sampler answers with, so that its
    ratio begins at 1. Raises DataError for an utterance for which nothing was written.
    """
    references_P = await ports.learner.references([g.prompt for g in groups_P])
    written = [
        Group(prompt=g.prompt, rollouts=(reference,))
        for g, reference in zip(groups_P, references_P, strict=True)
    ]
    scores = await ports.judge.score(written)
    return (
        [
            Group(prompt=g.prompt, rollouts=(*g.rollouts, reference))
            for g, reference in zip(groups_P, references_P, strict=True)
        ],
        [[*of_group, *own] for of_group, own in zip(scores_PG, scores, strict=True)],
    )


def to_pairs(
    group: Group, kept: Sequence[Usable], config: RlConfig
) -> tuple[list[Sample], Counter[str]]:
    """The written answer and the group's rollout that is farthest from the votes: [chosen, rejected].

    Dropped is a group without a written answer (``unpaired``), and one whose farthest rollout is nearer
    than ``config.min_divergence`` (``near``). What does not parse is as far as can be.
    """
    chosen = next((r for r in group.rollouts if r.stop is StopReason.WRITTEN), None)
    said = [(r, 1.0 - s.terms["match"]) for r, s in kept if r.stop is not StopReason.WRITTEN]
    if chosen is None or not said:
        return [], Counter(unpaired=len(said))
    rejected, divergence = max(said, key=lambda pair: pair[1])
    if divergence < config.min_divergence:
        return [], Counter(near=len(said))
    scale = getattr(config.route_scale, group.prompt.route)
    return [
        Sample(prompt=group.prompt, rollout=chosen, advantage=scale),
        Sample(prompt=group.prompt, rollout=rejected, advantage=-scale),
    ], Counter()
