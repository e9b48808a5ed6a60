"""How deep the annotated replies to one sentence in one emotion go."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cogaudio_rl.data.lime import author
from cogaudio_rl.data.lime.author import Sentence
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import Annotation

_GOLDEN = (math.sqrt(5) - 1) / 2


def annotate_nth(
    sentence: Sentence, emotion: str, *, nth: int, mix: Sequence[float], seed: int
) -> Annotation:
    """The annotation of the ``nth`` utterance of this sentence in this emotion.

    Every depth follows the shares of ``mix`` (coarse, superficial, deep). The draws for one
    (sentence, emotion) walk the unit interval in golden-ratio steps from a random start, so that
    neighbours differ in depth; where two are equally deep, they take the next wording.
    """
    rng = rng_for(seed, "annotation", sentence.text_id, emotion)
    places = (rng.random() + np.arange(nth + 1) * _GOLDEN) % 1.0
    edges = np.cumsum(mix) / np.sum(mix)
    drawn = np.searchsorted(edges[:-1], places, side="right")
    variant = int(rng.integers(1 << 16)) + int(np.sum(drawn[:-1] == drawn[-1]))
    return author.annotate(sentence, emotion, depth=author.DEPTHS[drawn[-1]], variant=variant)
