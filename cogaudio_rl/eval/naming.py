"""Which emotion a model names: by constrained choice, in the form that it was taught.

    EIPS       prompt A ─► "<thought>\\nEmotion:" ─► the likeliest label
    IEAT       thought asked for ─► its observation ─► "\\nInference:" ─► the likeliest label
    ambiguity  chain asked for ─► all of it ─► "<emotion>" ─► the likeliest label

In another's form a model is measured by how it copes with a strange question, not by what it hears.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cogaudio_rl import ambiguity, attribution, eips
from cogaudio_rl.ports import Sampler
from cogaudio_rl.seeding import seed_for
from cogaudio_rl.types import Prefix, Prompt, Rollout, Route, Utterance


async def name_emotions(
    sampler: Sampler,
    utterances: Sequence[Utterance],
    labels: Sequence[str],
    *,
    thinks: Route,
    seed: int,
) -> list[str]:
    """The label each utterance's emotion is most probably named by.

    ``thinks`` is the route whose chain names it; what it writes before that place is greedy. Raises
    ValueError for a route that names none.
    """
    options = [f" {label}" for label in labels]
    prompts = [Prompt(utterance=u, route=thinks) for u in utterances]
    if thinks is Route.EXPLICIT:
        chosen = await sampler.choose(prompts, prefix=eips.EMOTION_PREFIX, options=options)
        return [option.strip() for option in chosen]
    groups = await sampler.sample(
        prompts, n=1, temperature=0.0, seed=seed_for(seed, "eval", str(thinks))
    )
    places = [place_in(group.rollouts[0], thinks) for group in groups]
    shares_NK = await sampler.weigh(prompts, places, options)
    return [labels[int(np.argmax(shares_K))] for shares_K in shares_NK]


def place_in(rollout: Rollout, thinks: Route) -> Prefix:
    """Up to the emotion's name; where there is no place for one, all that was said and the place.

    Raises ValueError for a route whose answers have no such place.
    """
    if thinks is Route.AMBIGUITY:
        at, place = ambiguity.answer_at(rollout.text), ambiguity.ANSWER_PREFIX
    elif thinks is Route.ATTRIBUTION:
        at, place = attribution.emotion_at(rollout.text), attribution.EMOTION_PREFIX
    else:
        raise ValueError(f"answers by the route {thinks} name no emotion behind a chain")
    if at is None:
        return Prefix(text=f"{rollout.text.rstrip()}\n{place}")
    return Prefix(text=rollout.text[:at], token_ids=rollout.token_ids)
