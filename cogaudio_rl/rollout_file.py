"""Rollouts on disk: one JSON object per line, complete enough to train on again.

    {"prompt": "u3/direct", "utterance": "u3", "route": "direct", "token_ids": […], "logprobs": […],
     "text": "…", "stop": "eos", "policy_version": 4, "last_version": 5, "later_versions": [[5, 17]],
     "reward": 0.7, "terms": {…}}

``unscored`` with its reason stands in the place of reward and terms where there is no score.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cogaudio_rl.errors import DataError
from cogaudio_rl.run_folder import read_lines, write_whole
from cogaudio_rl.types import (
    Group,
    Prompt,
    Rollout,
    Route,
    Score,
    StopReason,
    Unscored,
    Utterance,
)

Scores = Sequence[Sequence[Score | Unscored]]


def write_rollouts(path: Path, groups_P: Sequence[Group], scores_PG: Scores) -> None:
    """Every rollout of a step with its score."""
    lines = [
        json.dumps(_record(group.prompt, rollout, score), ensure_ascii=False)
        for group, scores in zip(groups_P, scores_PG, strict=True)
        for rollout, score in zip(group.rollouts, scores, strict=True)
    ]
    write_whole(path, "\n".join(lines) + "\n")


def read_rollouts(
    path: Path, utterances: Iterable[Utterance]
) -> tuple[list[Group], list[list[Score | Unscored]]]:
    """The groups of a step and their scores, over the utterances they were made from.

    Raises DataError for a missing or damaged file, for an utterance that is not there, and for a prompt
    with a question of its own or a history.
    """
    by_id = {u.id: u for u in utterances}
    asked: dict[str, Prompt] = {}
    groups: dict[str, list[Rollout]] = {}
    scores: dict[str, list[Score | Unscored]] = {}
    lines = read_lines(path)
    if not lines:
        raise DataError(f"{str(path)!r} holds no rollouts")
    for number, line in enumerate(lines, start=1):
        try:
            if line["utterance"] not in by_id:
                raise DataError(
                    f"{path} line {number}: utterance {line['utterance']!r} is not in this recipe's "
                    "data; train with the data the rollouts were made from"
                )
            prompt = Prompt(utterance=by_id[line["utterance"]], route=Route(line["route"]))
            if prompt.id != line["prompt"]:
                raise DataError(
                    f"{path} line {number}: {line['prompt']!r} was asked with a question of its own or "
                    "after earlier turns, which this file does not hold; sample it again"
                )
            asked[prompt.id] = prompt
            groups.setdefault(prompt.id, []).append(read_rollout(line))
            scores.setdefault(prompt.id, []).append(
                Unscored(reason=line["unscored"])
                if "unscored" in line
                else Score(reward=line["reward"], terms=line["terms"])
            )
        except (KeyError, ValueError, TypeError) as error:
            raise DataError(f"{path} line {number}: not a rollout ({error})") from None
    return [Group(prompt=asked[i], rollouts=tuple(r)) for i, r in groups.items()], list(
        scores.values()
    )


def _record(prompt: Prompt, rollout: Rollout, score: Score | Unscored) -> dict[str, Any]:
    verdict: dict[str, Any] = (
        {"reward": score.reward, "terms": dict(score.terms)}
        if isinstance(score, Score)
        else {"unscored": score.reason}
    )
    return {
        "prompt": prompt.id,
        "utterance": prompt.utterance.id,
        "route": prompt.route,
        "transcript": prompt.utterance.transcript,
        "emotion": prompt.utterance.emotion,
        **rollout_record(rollout),
        **verdict,
    }


def rollout_record(rollout: Rollout) -> dict[str, Any]:
    """All of a rollout in what JSON knows; :func:`read_rollout` gives it back."""
    return {
        "policy_version": rollout.policy_version,
        "last_version": rollout.last_version,
        "later_versions": rollout.later_versions,
        "stop": rollout.stop,
        "text": rollout.text,
        "token_ids": rollout.token_ids,
        "logprobs": rollout.logprobs,
    }


def read_rollout(line: Mapping[str, Any]) -> Rollout:
    """Raises KeyError, TypeError or ValueError for what is no rollout."""
    ids, logprobs = tuple(line["token_ids"]), tuple(line["logprobs"])
    if len(ids) != len(logprobs):
        raise ValueError(f"{len(ids)} token_ids and {len(logprobs)} logprobs")
    return Rollout(
        token_ids=ids,
        logprobs=logprobs,
        text=line["text"],
        stop=StopReason(line["stop"]),
        policy_version=line["policy_version"],
        later_versions=tuple((version, token) for version, token in line["later_versions"]),
    )
