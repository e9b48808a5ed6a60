"""Which families a corpus has: by recipe and number alone, so that any part can be made alone.

family 0, 1, 2, …  ─►  language, split, how many of its kind came before
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from cogaudio_rl.data.lime.recipe import LimeRecipe

Language = Literal["en", "zh"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One sentence to be, in all its styles."""

    index: int
    language: Language
    split: str
    nth: int
    """How many families of this language and split come before it."""


def family(recipe: LimeRecipe, index: int) -> Family:
    """Languages and splits are spread evenly: any stretch of families has nearly their shares."""
    chinese, before = _share(index, recipe.chinese_share)
    of_language = before if chinese else index - before
    test, before = _share(of_language, recipe.test_share)
    return Family(
        index=index,
        language="zh" if chinese else "en",
        split="test" if test else "train",
        nth=before if test else of_language - before,
    )


def part(recipe: LimeRecipe, number: int) -> Iterator[Family]:
    """The families of one part."""
    first = number * recipe.families_per_part
    for index in range(first, min(recipe.families, first + recipe.families_per_part)):
        yield family(recipe, index)


def _share(index: int, share: float) -> tuple[bool, int]:
    """Whether this one belongs to the share, and how many before it did (Bresenham's line)."""
    before = math.floor(index * share + 0.5)
    return math.floor((index + 1) * share + 0.5) > before, before
