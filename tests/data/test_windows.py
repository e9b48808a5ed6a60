from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loader_world import (
    batches,
    configs,
    fakes,
    num_samples,
    sizes,
    weights,
)
from sounds import an_utterance

from cogaudio_rl.data.loader import Loader, LoaderConfig
from cogaudio_rl.data.manifest import write_manifest
from cogaudio_rl.data.sources import ManifestSource
from cogaudio_rl.data.windows import Planner, Weighted, next_source, seconds_of, shares
from cogaudio_rl.errors import DataError


@given(weights=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=6), steps=st.integers(1, 200))
def test_at_every_step_every_source_is_within_one_item_of_its_share(
    weights: list[float], steps: int
) -> None:
    drawn, parts = [0] * len(weights), shares(weights)
    for step in range(1, steps + 1):
        drawn[next_source(parts, drawn)] += 1
        assert all(abs(n - part * step) < 1 for n, part in zip(drawn, parts, strict=True))


def test_a_long_mixture_stays_within_one_item() -> None:
    drawn, parts = [333_333_333, 666_666_667], shares([1, 2])
    for step in range(10**9 + 1, 10**9 + 1_000):
        drawn[next_source(parts, drawn)] += 1
        assert all(abs(n - part * step) < 1 for n, part in zip(drawn, parts, strict=True))


@given(sizes=sizes, weights=weights, config=configs())
def test_a_batch_stays_within_its_budget_and_holds_like_lengths(
    sizes: list[int], weights: list[float], config: LoaderConfig
) -> None:
    planner = Planner(
        fakes(sizes, weights),
        seed=config.seed,
        size=config.window,
        budget=config.budget,
        max_items=config.max_items,
        length=seconds_of,
    )
    planned = planner.window(planner.start()).batches
    lengths = [[draw.utterance.clip.seconds for draw in batch] for batch in planned]
    for batch in lengths:
        assert len(batch) == 1 or len(batch) * max(batch) <= config.budget
        assert config.max_items is None or len(batch) <= config.max_items
    by_length = sorted(lengths, key=lambda batch: (max(batch), min(batch)))
    for shorter, longer in pairwise(by_length):
        assert max(shorter) <= min(longer)


def test_tokens_can_be_counted_in_the_place_of_seconds() -> None:
    config = LoaderConfig(seed=0, budget=40, window=30)
    mixture = fakes([30], [1])
    with Loader(mixture, num_samples, config, length=lambda u: len(u.transcript)) as loader:
        assert {len(batch) for batch in batches(loader, 30)} == {1}  # 22 letters each
    config = LoaderConfig(seed=0, budget=44, window=30)
    with Loader(mixture, num_samples, config, length=lambda u: len(u.transcript)) as loader:
        assert {len(batch) for batch in batches(loader, 15)} == {2}


def test_lengths_that_say_nothing_are_named() -> None:
    config = LoaderConfig(seed=0, budget=1)
    with (
        Loader(fakes([1], [1]), num_samples, config, length=lambda _: 0.0) as loader,
        pytest.raises(DataError, match=r"utterance 's0-0' has length 0\.0; it must be > 0"),
    ):
        next(loader)


def test_words_alone_have_no_seconds_and_an_empty_sound(tmp_path: Path) -> None:
    words = dataclasses.replace(an_utterance("words"), audio=None)
    write_manifest(tmp_path / "m.jsonl", [words])
    config = LoaderConfig(seed=0, budget=100, window=1)

    def mixture() -> list[Weighted]:
        return [Weighted(source=ManifestSource(tmp_path / "m.jsonl"))]

    with (
        Loader(mixture(), num_samples, config) as loader,
        pytest.raises(DataError, match="'words' has no sound; give the loader a length"),
    ):
        next(loader)
    with Loader(mixture(), num_samples, config, length=lambda u: len(u.transcript)) as loader:
        assert [item.features for item in next(loader)] == [0]
