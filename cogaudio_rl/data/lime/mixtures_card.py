"""What a corpus of mixtures says of itself: that its votes are SIMULATED, how, and how divided."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cogaudio_rl.data.lime.crowd import FEWEST, LISTENERS, MOST, model_card
from cogaudio_rl.data.lime.making import CARD
from cogaudio_rl.types import LIME_EMOTIONS, Utterance


def card_of(
    splits: Mapping[str, Sequence[Utterance]], weight_of: Mapping[str, float]
) -> dict[str, Any]:
    """The model of the listeners and each split in numbers; ``weight_of`` is each mixture's, by id."""
    told = {split: _describe(utterances, weight_of) for split, utterances in splits.items()}
    return {"listeners": model_card(), "splits": told}


def entropy_bits(votes: Mapping[str, float]) -> float:
    """How divided listeners are: 0 where all agree."""
    return -sum(share * float(np.log2(share)) for share in votes.values() if share > 0)


def readme_of(card: Mapping[str, Any], *, mixtures: str) -> str:
    """The card for people; ``mixtures`` is the file that says what each clip is made of."""
    rows = [
        f"| {split} | {told['utterances']} | {told['hours']:.2f} | {told['families']} |"
        f" {len(told['voices'])} | {told['votes']} |"
        for split, told in card["splits"].items()
    ]
    pairs = ", ".join(f"{first}-{second}" for first, second in card["pairs"])
    weights = ", ".join(map(str, card["weights"]))
    return f"""# {card["name"]}

**{card["simulated"]}.** No human spoke and no human listened: the voices are espeak-ng's, and the votes
are drawn from a model of listeners. Results here say whether a training works, nothing about people.

Each sentence is said with a prosody between two emotions ({pairs}),
at weights {weights} of the second. Of {LISTENERS} simulated listeners {FEWEST} to
{MOST} hear a clip. Each votes once, for an emotion with a probability proportional to
exp(-distance / temperature) between what this listener hears and the emotion's prototype in a space of
pitch, pace, loudness and movement. `{CARD}` has the model's numbers, `{mixtures}` what each clip is
made of and the shares that infinitely many votes would have.

| split | utterances | hours | sentences | voices | simulated votes |
|---|---|---|---|---|---|
{chr(10).join(rows)}

Sentences and voices of the test, and of `dev` where there is one, are in no other split.
Seed {card["seed"]}, {card["synthesiser"]}.
"""


def _describe(utterances: Sequence[Utterance], weight_of: Mapping[str, float]) -> dict[str, Any]:
    entropies: dict[float, list[float]] = defaultdict(list)
    for utterance in utterances:
        entropies[weight_of[utterance.id]].append(entropy_bits(utterance.votes or {}))
    return {
        "utterances": len(utterances),
        "hours": round(sum(u.clip.seconds for u in utterances) / 3600, 4),
        "families": len({u.text_id for u in utterances}),
        "voices": sorted({u.speaker for u in utterances}),
        "votes": sum(u.listeners or 0 for u in utterances),
        "mean_shares": {
            emotion: round(float(np.mean([(u.votes or {})[emotion] for u in utterances])), 4)
            for emotion in LIME_EMOTIONS
        },
        "vote_entropy_bits_by_weight": {
            str(weight): round(float(np.mean(entropies[weight])), 4) for weight in sorted(entropies)
        },
    }
