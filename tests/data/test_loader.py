from __future__ import annotations

import gc
import json
import threading
import time
import tracemalloc
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loader_world import (
    batches,
    configs,
    fakes,
    num_samples,
    on_rank,
    sizes,
    weights,
    whole,
)
from sounds import an_utterance

from cogaudio_rl.data.loader import Loader, LoaderConfig
from cogaudio_rl.data.manifest import write_manifest
from cogaudio_rl.data.sources import ManifestSource, Sound
from cogaudio_rl.data.windows import Weighted
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import Utterance

# -- which utterances, in which order -----------------------------------------------------------


@given(sizes=sizes, weights=weights, config=configs(), windows=st.integers(1, 4))
def test_every_pass_of_every_source_gives_each_utterance_once(
    sizes: list[int], weights: list[float], config: LoaderConfig, windows: int
) -> None:
    mixture = fakes(sizes, weights)
    found = Counter(whole(mixture, config, windows * config.window))
    for k, size in enumerate(sizes):
        times = [found[f"s{k}-{i}"] for i in range(size)]
        passes, begun = divmod(sum(times), size)
        assert sorted(times) == [passes] * (size - begun) + [passes + 1] * begun
        share = weights[k] / sum(weights[: len(sizes)])
        assert abs(sum(times) - share * windows * config.window) < 1


def test_each_pass_has_its_own_order_and_each_seed_its_own() -> None:
    mixture = fakes([60], [1])
    # Windows of one: no other shuffle hides the order of a pass.
    config = LoaderConfig(seed=0, budget=1, window=1)
    both = whole(mixture, config, 120)
    assert both[:60] != both[60:]
    assert whole(mixture, config, 60) == both[:60]
    other = LoaderConfig(seed=1, budget=1, window=1)
    assert whole(mixture, other, 60) != both[:60]


@given(sizes=sizes, weights=weights, config=configs(), world=st.integers(2, 5))
def test_ranks_share_the_batches_one_rank_would_get(
    sizes: list[int], weights: list[float], config: LoaderConfig, world: int
) -> None:
    mixture = fakes(sizes, weights)
    with Loader(mixture, num_samples, config) as loader:
        alone = batches(loader, 6)
    for rank in range(world):
        with Loader(mixture, num_samples, on_rank(config, rank, world)) as loader:
            assert batches(loader, 6) == [batch[rank::world] for batch in alone]


# -- stopping and resuming ----------------------------------------------------------------------


@given(
    sizes=sizes,
    weights=weights,
    config=configs(),
    before=st.integers(0, 12),
    rank=st.integers(0, 2),
)
def test_stopping_and_resuming_equals_never_stopping(
    sizes: list[int], weights: list[float], config: LoaderConfig, before: int, rank: int
) -> None:
    mixture = fakes(sizes, weights)
    with Loader(mixture, num_samples, config) as loader:
        steady = batches(loader, before + 6)
    with Loader(mixture, num_samples, config) as loader:
        first = batches(loader, before)
        state = json.loads(json.dumps(loader.state()))
    with Loader.restore(mixture, num_samples, config, state) as loader:
        assert loader.state() == state
        assert first + batches(loader, 6) == steady
    # On three ranks, with another number of threads, from the state that one rank saved.
    spread = on_rank(config, rank, 3)
    with Loader.restore(mixture, num_samples, spread, state) as loader:
        assert batches(loader, 6) == [batch[rank::3] for batch in steady[before:]]


def test_it_does_not_go_on_over_other_data_or_with_another_plan() -> None:
    mixture, config = fakes([4, 5], [1, 1]), LoaderConfig(seed=0, budget=2)
    state = Loader(mixture, num_samples, config).state()
    for other, plan in (
        (fakes([4, 6], [1, 1]), config),
        (fakes([4, 5], [1, 2]), config),
        (mixture, LoaderConfig(seed=1, budget=2)),
        (mixture, LoaderConfig(seed=0, budget=3)),
        (mixture, LoaderConfig(seed=0, budget=2, window=8)),
    ):
        with pytest.raises(DataError, match="resume with what it began with"):
            Loader.restore(other, num_samples, plan, state)


# -- threads and memory -------------------------------------------------------------------------


def loader_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


def test_no_thread_outlives_the_block() -> None:
    mixture, config = fakes([9], [1]), LoaderConfig(seed=0, budget=3, threads=3, prefetch=20)
    with Loader(mixture, num_samples, config) as loader:
        assert not loader_threads()
        next(loader)
        assert 1 <= len(loader_threads()) <= 3
    assert not loader_threads()
    loader.close()
    with pytest.raises(ValueError, match="the loader is closed"):
        next(loader)


def test_no_thread_outlives_a_failure_of_the_training() -> None:
    def train() -> None:
        with Loader(fakes([9], [1]), num_samples, LoaderConfig(seed=0, budget=3)) as loader:
            next(loader)
            raise KeyError("of the training")

    with pytest.raises(KeyError, match="of the training"):
        train()
    assert not loader_threads()


def test_it_works_ahead_by_as_much_as_was_asked_and_drops_the_rest_on_close() -> None:
    begun: list[str] = []

    def slow(utterance: Utterance, sound: Sound) -> int:
        begun.append(utterance.id)
        time.sleep(0.01)
        return len(sound)

    mixture = fakes([100], [1])
    config = LoaderConfig(seed=0, budget=1, max_items=1, prefetch=3)
    with Loader(mixture, slow, config) as loader:
        next(loader)
        time.sleep(0.1)
        assert len(begun) == 4
    config = LoaderConfig(seed=0, budget=1, max_items=1, prefetch=90, threads=1)
    begun.clear()
    with Loader(mixture, slow, config) as loader:
        next(loader)
    assert len(begun) < 10


def test_sound_is_decoded_off_the_training_thread_by_several() -> None:
    meeting = threading.Barrier(2, timeout=10)

    def meet(utterance: Utterance, sound: Sound) -> str:
        del utterance, sound
        meeting.wait()  # passes only if two are here at once
        return threading.current_thread().name

    config = LoaderConfig(seed=0, budget=1, max_items=1, threads=2, prefetch=4)
    with Loader(fakes([50], [1]), meet, config) as loader:
        names = {item.features for batch in islice(loader, 4) for item in batch}
        meeting.abort()
    assert threading.current_thread().name not in names


def test_what_the_features_raise_stays_what_it_is_and_names_the_utterance() -> None:
    def faulty(utterance: Utterance, sound: Sound) -> int:
        raise ZeroDivisionError(f"{len(sound)} by nothing, {utterance.emotion}")

    config = LoaderConfig(seed=0, budget=3, skip_bad=True)
    with (
        Loader(fakes([1], [1]), faulty, config) as loader,
        pytest.raises(ZeroDivisionError) as caught,
    ):
        next(loader)
    assert "while loading utterance 's0-0'" in caught.value.__notes__


def test_memory_holds_offsets_and_a_few_windows_of_utterances(tmp_path: Path) -> None:
    count = 3_000
    path = tmp_path / "train.jsonl"
    write_manifest(path, (an_utterance(f"u{i}") for i in range(count)))
    tracemalloc.start()
    source = ManifestSource(path)
    held, _peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 8 * count + 200_000 < path.stat().st_size
    gc.collect()
    others = sum(type(found) is Utterance for found in gc.get_objects())
    config = LoaderConfig(seed=0, budget=4, window=16, skip_bad=True)
    # No file is there: every one is rejected, and by its id alone.
    with Loader([Weighted(source=source)], num_samples, config) as loader:
        for _ in islice(loader, 200):
            pass
        found = sum(type(found) is Utterance for found in gc.get_objects())
        assert 0 < found - others < 6 * 16


# -- what it is given ---------------------------------------------------------------------------


def test_a_mixture_that_cannot_be_mixed_is_named() -> None:
    config = LoaderConfig(seed=0, budget=1)
    with pytest.raises(DataError, match="the mixture is empty"):
        Loader([], num_samples, config)
    for weight in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(DataError, match=f"source 1 of the mixture has weight {weight}"):
            Loader(fakes([1, 1], [1, weight]), num_samples, config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": 0}, "budget must be > 0, got 0"),
        ({"window": 0}, "window must be >= 1, got 0"),
        ({"max_items": 0}, "max_items must be >= 1 or None, got 0"),
        ({"threads": 0}, "threads must be >= 1, got 0"),
        ({"prefetch": -1}, "prefetch must be >= 0, got -1"),
        ({"rank": 2, "world_size": 2}, r"rank must be in \[0, 2\), got 2"),
    ],
)
def test_a_config_out_of_range_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LoaderConfig(**{"seed": 0, "budget": 1, **changes})
