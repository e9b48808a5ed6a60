from __future__ import annotations

import dataclasses
import shutil
import threading
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loader_world import num_samples
from sounds import an_utterance, sine, write_sine

from cogaudio_rl.data.audio import probe_audio, read_audio, write_audio
from cogaudio_rl.data.loader import Loader, LoaderConfig
from cogaudio_rl.data.manifest import write_manifest
from cogaudio_rl.data.shards import ROWS_READ_TOGETHER, ShardSource, iter_shards, write_shards
from cogaudio_rl.data.sources import ManifestSource
from cogaudio_rl.data.windows import Weighted
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import AmbiguityResponse, Utterance


def a_corpus(folder: Path, count: int = 3) -> list[Utterance]:
    """Utterances that are all heard in one FLAC file."""
    ref = write_audio(folder / "tone.flac", sine(seconds=0.1))
    return [dataclasses.replace(an_utterance(f"u{i}"), audio=ref) for i in range(count)]


def varied(folder: Path) -> list[Utterance]:
    """One utterance for each thing that may be there or not."""
    heard, words, bare = a_corpus(folder)
    slow, _ = probe_audio(write_sine(folder / "slow.wav", rate_hz=8_000, channels=2))
    chain = AmbiguityResponse(words="w", voice="v", synthesis="s", emotion="happy")
    votes = {"happy": 0.75, "sad": 0.25}
    extras: dict[str, Any] = {"votes": votes, "listeners": 8, "ambiguity": chain}
    return [
        dataclasses.replace(heard, transcript="你好，「世界」\n", scenario="a\u2028b", **extras),
        dataclasses.replace(words, audio=None),
        dataclasses.replace(bare, annotation=None, audio=slow),
    ]


def unplaced(utterance: Utterance) -> Utterance:
    """As it is wherever its sound lies."""
    if utterance.audio is None:
        return utterance
    clip = dataclasses.replace(utterance.audio, path="")
    return dataclasses.replace(utterance, audio=clip)


def sound_of(utterance: Utterance) -> bytes:
    return Path(utterance.audio.path).read_bytes() if utterance.audio else b""


# -- there and back -----------------------------------------------------------------------------


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    corpus = varied(tmp_path / "sounds")
    assert write_shards(corpus, tmp_path / "shards", 2) == 3
    read = list(iter_shards(tmp_path / "shards"))
    assert [unplaced(u) for u, _ in read] == [unplaced(u) for u in corpus]
    assert [encoded for _, encoded in read] == [sound_of(u) for u in corpus]
    paths = [u.audio.path for u, _ in read if u.audio]
    assert len(set(paths)) == 2
    assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == [
        "shard-00000.parquet",
        "shard-00001.parquet",
    ]


@settings(max_examples=20)
@given(count=st.integers(1, 80), rows_per_shard=st.integers(1, 90))
def test_shards_are_as_long_as_asked_and_keep_the_order(
    count: int, rows_per_shard: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("order")
    rows_per_shard = max(rows_per_shard, count // 4)  # not too many files
    assert write_shards(a_corpus(folder, count), folder / "s", rows_per_shard) == count
    rows = [pq.read_metadata(path).num_rows for path in sorted((folder / "s").iterdir())]
    full, rest = divmod(count, rows_per_shard)
    assert rows == [rows_per_shard] * full + [rest] * (rest > 0)
    assert [u.id for u, _ in iter_shards(folder / "s")] == [f"u{i}" for i in range(count)]
    shutil.rmtree(folder)


def test_sounds_are_the_same_as_from_files(tmp_path: Path) -> None:
    corpus = varied(tmp_path / "sounds")
    write_shards(corpus, tmp_path / "shards", 5)
    source = ShardSource(tmp_path / "shards")
    for number, utterance in enumerate(corpus):
        sound = source.sound(number, source.utterance(number))
        expected = read_audio(utterance.audio.path)[0] if utterance.audio else np.zeros(0)
        np.testing.assert_array_equal(sound, expected)


# -- as `datasets` sees them --------------------------------------------------------------------


@pytest.fixture
def datasets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    return pytest.importorskip("datasets")


def opened(datasets: Any, folder: Path, cache: Path) -> Any:
    files = [str(path) for path in sorted(folder.glob("*.parquet"))]
    return datasets.load_dataset(
        "parquet",
        data_files=files,
        split="train",
        cache_dir=str(cache),
        verification_mode="no_checks",
    )


def test_datasets_opens_them_and_finds_sound(datasets: Any, tmp_path: Path) -> None:
    corpus = varied(tmp_path / "sounds")
    write_shards(corpus, tmp_path / "shards", 2)
    table = opened(datasets, tmp_path / "shards", tmp_path / "cache")
    assert table.features["audio"] == datasets.Audio()
    assert table["transcript"][:] == [u.transcript for u in corpus]
    # Without decoding, for which it needs a package of its own.
    rows = list(table.cast_column("audio", datasets.Audio(decode=False)))
    assert rows[0]["audio"] == {"bytes": sound_of(corpus[0]), "path": "u0.flac"}
    assert rows[1]["audio"] is None
    assert rows[2]["audio"]["path"] == "u2.wav"
    assert rows[0]["annotation"]["eips"]["response"] == "What a day."


def test_what_datasets_writes_again_is_read_as_before(datasets: Any, tmp_path: Path) -> None:
    corpus = varied(tmp_path / "sounds")
    write_shards(corpus, tmp_path / "shards", 2)
    table = opened(datasets, tmp_path / "shards", tmp_path / "cache")
    (tmp_path / "again").mkdir()
    table.to_parquet(str(tmp_path / "again" / "all.parquet"))
    read = list(iter_shards(tmp_path / "again"))
    assert [unplaced(u) for u, _ in read] == [unplaced(u) for u in corpus]
    assert [encoded for _, encoded in read] == [sound_of(u) for u in corpus]


# -- as a source --------------------------------------------------------------------------------


@pytest.mark.parametrize("rows_per_shard", [7, 100, 400])
def test_an_order_has_each_row_once(rows_per_shard: int, tmp_path: Path) -> None:
    count = 9 * ROWS_READ_TOGETHER + 3 if rows_per_shard > 50 else 120
    write_shards(a_corpus(tmp_path, count), tmp_path / "shards", rows_per_shard)
    source = ShardSource(tmp_path / "shards")
    for seed in range(3):
        order = list(source.order(np.random.default_rng(seed)))
        assert order != sorted(order)
        assert sorted(order) == list(range(count))


def test_a_loader_gives_every_row_once_a_pass_however_little_is_kept(tmp_path: Path) -> None:
    corpus = a_corpus(tmp_path, 3 * ROWS_READ_TOGETHER + 5)
    write_shards(corpus, tmp_path / "shards", 50)
    orders = []
    for cache_bytes in (1, 256 << 20):
        source = ShardSource(tmp_path / "shards", cache_bytes=cache_bytes)
        config = LoaderConfig(seed=0, budget=1, window=len(corpus), threads=3)
        found: list[str] = []
        with Loader([Weighted(source=source)], num_samples, config) as loader:
            while len(found) < len(corpus):
                batch = next(loader)
                assert {item.features for item in batch} == {1_600}
                found += [item.utterance.id for item in batch]
        assert sorted(found) == sorted(u.id for u in corpus)
        orders.append(found)
    assert orders[0] == orders[1]


def test_manifests_and_shards_can_be_mixed_and_resumed(tmp_path: Path) -> None:
    corpus = a_corpus(tmp_path, 8)
    write_shards(corpus[:4], tmp_path / "shards", 3)
    write_manifest(tmp_path / "m.jsonl", corpus[4:])
    config = LoaderConfig(seed=0, budget=0.25, window=6)

    def mixture() -> list[Weighted]:
        return [
            Weighted(source=ManifestSource(tmp_path / "m.jsonl"), weight=2),
            Weighted(source=ShardSource(tmp_path / "shards")),
        ]

    with Loader(mixture(), num_samples, config) as loader:
        steady = [[item.utterance.id for item in batch] for batch in islice(loader, 12)]
    with Loader(mixture(), num_samples, config) as loader:
        first = [[item.utterance.id for item in batch] for batch in islice(loader, 5)]
        state = loader.state()
    with Loader.restore(mixture(), num_samples, config, state) as loader:
        rest = [[item.utterance.id for item in batch] for batch in islice(loader, 7)]
    assert first + rest == steady
    ids = [name for batch in steady for name in batch]
    assert sum(name in ("u0", "u1", "u2", "u3") for name in ids) == len(ids) / 3


def test_rows_are_read_by_several_threads_at_once(tmp_path: Path) -> None:
    corpus = a_corpus(tmp_path, 100)
    write_shards(corpus, tmp_path / "shards", 40)
    source = ShardSource(tmp_path / "shards", cache_bytes=1)
    wrong: list[int] = []

    def read(offset: int) -> None:
        for i in range(100):
            number = (i * 37 + offset) % 100
            if source.utterance(number).id != f"u{number}" or not source.encoded(number):
                wrong.append(number)

    threads = [threading.Thread(target=read, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# -- what is wrong ------------------------------------------------------------------------------


def test_a_broken_sound_is_named_or_left_out(tmp_path: Path) -> None:
    corpus = a_corpus(tmp_path)
    bad = dataclasses.replace(corpus[1].clip, path=str(tmp_path / "bad.flac"))
    Path(bad.path).write_bytes(b"this is no sound")
    write_shards(
        [corpus[0], dataclasses.replace(corpus[1], audio=bad), corpus[2]], tmp_path / "shards", 5
    )
    mixture = [Weighted(source=ShardSource(tmp_path / "shards"))]
    config = LoaderConfig(seed=0, budget=9, window=3)
    with (
        Loader(mixture, num_samples, config) as loader,
        pytest.raises(
            DataError, match=r"'u1': audio file '.*shard-00000\.parquet#0\.1' cannot be read"
        ),
    ):
        next(loader)
    config = dataclasses.replace(config, skip_bad=True)
    with Loader(mixture, num_samples, config) as loader:
        assert sorted(item.utterance.id for item in next(loader)) == ["u0", "u2"]
        assert [bad.id for bad in loader.rejected] == ["u1"]


def test_folders_and_shards_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no \*\.parquet"):
        ShardSource(tmp_path)
    write_shards(a_corpus(tmp_path), tmp_path / "shards", 5)
    path = tmp_path / "shards" / "shard-00000.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(DataError, match=r"shard-00000\.parquet' cannot be read") as caught:
        ShardSource(tmp_path / "shards")
    assert "\n" not in str(caught.value)
    path.write_bytes(b"\0" * (len(whole) // 2) + whole[len(whole) // 2 :])
    with pytest.raises(DataError, match=r"shard-00000\.parquet' cannot be read"):
        list(iter_shards(tmp_path / "shards"))
    pq.write_table(pa.table({"audio": [b""], "text": ["a"]}), path)
    with pytest.raises(DataError, match="has no column 'sample_rate_hz'"):
        ShardSource(tmp_path / "shards")


def test_a_row_that_a_manifest_may_not_hold_is_named(tmp_path: Path) -> None:
    write_shards(a_corpus(tmp_path), tmp_path / "shards", 5)
    path = tmp_path / "shards" / "shard-00000.parquet"
    table = pq.read_table(path)
    at = table.schema.get_field_index("emotion")
    for column, message in (
        (pa.array(["joyful"] * 3), r"shard-00000\.parquet#0\.0: unknown emotion 'joyful'"),
        (pa.array([None] * 3, pa.string()), r"parquet#0\.0: field 'emotion': Input should be"),
    ):
        pq.write_table(table.set_column(at, "emotion", column), path)
        with pytest.raises(DataError, match=message):
            list(iter_shards(tmp_path / "shards"))


def test_writing_refuses_what_it_should_and_leaves_nothing_behind(tmp_path: Path) -> None:
    corpus = a_corpus(tmp_path / "sounds")
    target = tmp_path / "shards"
    with pytest.raises(ValueError, match="rows_per_shard must be >= 1, got 0"):
        write_shards(corpus, target, 0)
    gone = dataclasses.replace(corpus[2].clip, path="gone.flac")
    for last, message in (
        (corpus[0], "'u0' comes twice"),
        (dataclasses.replace(corpus[2], emotion="joyful"), "unknown emotion 'joyful'"),
        (dataclasses.replace(corpus[2], audio=gone), r"'u2': audio file 'gone\.flac' does not"),
    ):
        with pytest.raises(DataError, match=message):
            write_shards([corpus[0], corpus[1], last], target, 2)
        assert [path.name for path in tmp_path.iterdir()] == ["sounds"]
    write_shards(corpus, target, 2)
    with pytest.raises(DataError, match="is not empty; write the shards to a new one"):
        write_shards(corpus, target, 2)
