from __future__ import annotations

import dataclasses
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from loader_world import (
    FakeSource,
    batches,
    num_samples,
)
from sounds import an_utterance, sine, write_sine

from cogaudio_rl.data.audio import probe_audio, write_audio
from cogaudio_rl.data.loader import Loader, LoaderConfig
from cogaudio_rl.data.manifest import write_manifest
from cogaudio_rl.data.sources import ManifestSource, Sound
from cogaudio_rl.data.windows import Weighted
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import Utterance


def a_corpus(folder: Path, count: int = 12) -> Path:
    """FLAC files of different lengths, one of them a WAV at 8 kHz, and their manifest."""
    made = []
    for i in range(count):
        ref = write_audio(folder / "audio" / f"u{i}.flac", sine(seconds=0.1 + 0.05 * i))
        made.append(an_utterance(f"u{i}", path=ref.path, num_samples=ref.num_samples))
    slow, _ = probe_audio(write_sine(folder / "audio" / "slow.wav", rate_hz=8_000))
    made.append(dataclasses.replace(an_utterance("slow"), audio=slow))
    write_manifest(folder / "train.jsonl", made)
    return folder / "train.jsonl"


def mean_square(utterance: Utterance, sound: Sound) -> float:
    del utterance
    return float(np.mean(sound**2))


def loads(path: Path, *, skip_bad: bool = False, prefetch: int = 4) -> Loader[float]:
    config = LoaderConfig(seed=0, budget=2, window=13, skip_bad=skip_bad, prefetch=prefetch)
    return Loader([Weighted(source=ManifestSource(path))], mean_square, config)


def test_files_are_decoded(tmp_path: Path) -> None:
    with loads(a_corpus(tmp_path)) as loader:
        items = [item for batch in islice(loader, 4) for item in batch]
    assert len(items) > 4
    for item in items:
        # A sine of amplitude 0.3.
        assert item.features == pytest.approx(0.045, rel=0.05)
        assert Path(item.utterance.clip.path).is_file()


def test_a_broken_file_is_named_with_its_utterance(tmp_path: Path) -> None:
    path = a_corpus(tmp_path)
    (tmp_path / "audio" / "u3.flac").write_bytes(b"this is no sound")
    with loads(path) as loader:
        with pytest.raises(DataError, match=r"utterance 'u3': audio file .*u3\.flac' cannot be"):
            list(loader)
        state = loader.state()
        with pytest.raises(DataError, match="or set skip_bad to go on without it"):
            next(loader)
        assert loader.state() == state
        assert not loader.rejected


@pytest.mark.parametrize("prefetch", [0, 4])
def test_broken_files_are_left_out_and_listed_where_asked(tmp_path: Path, prefetch: int) -> None:
    path = a_corpus(tmp_path)
    (tmp_path / "audio" / "u3.flac").write_bytes(b"this is no sound")
    (tmp_path / "audio" / "u5.flac").unlink()
    found: list[str] = []
    with loads(path, skip_bad=True, prefetch=prefetch) as loader:
        while len(found) + len(loader.rejected) < 13:
            found += [item.utterance.id for item in next(loader)]
        reasons = {bad.id: bad.reason for bad in loader.rejected}
    assert sorted(reasons) == ["u3", "u5"]
    assert "u5.flac' does not exist" in reasons["u5"]
    assert sorted(found) == sorted({f"u{i}" for i in range(12)} - set(reasons) | {"slow"})


def test_ranks_stay_in_step_over_what_is_left_out() -> None:
    mixture = [Weighted(source=FakeSource("s", 10, bad=range(10)))]
    config = LoaderConfig(seed=0, budget=3, skip_bad=True)
    with Loader(mixture, num_samples, config) as loader:
        assert batches(loader, 3) == [[], [], []]
        assert loader.rejected


def test_a_sound_that_is_not_as_long_as_stated_is_named(tmp_path: Path) -> None:
    path = a_corpus(tmp_path)
    write_audio(tmp_path / "audio" / "u3.flac", sine(seconds=3))
    with (
        loads(path) as loader,
        pytest.raises(DataError, match="has 48000 samples at 16 kHz, but 4000 are stated"),
    ):
        list(loader)


def test_a_line_that_is_no_utterance_is_named(tmp_path: Path) -> None:
    path = a_corpus(tmp_path)
    with path.open("a") as lines:
        lines.write("\n \n{not json}\n")
    size = path.stat().st_size
    with (
        loads(path) as loader,
        pytest.raises(DataError, match=rf"train\.jsonl at byte {size - 11}: not a JSON object"),
    ):
        list(loader)


def test_blank_lines_and_a_missing_last_newline_are_read_as_ever(tmp_path: Path) -> None:
    path = a_corpus(tmp_path)
    lines = path.read_text().splitlines()
    path.write_text("\n" + "\n\n".join(lines))
    source = ManifestSource(path)
    assert [source.utterance(i).id for i in range(len(source))][-2:] == ["u11", "slow"]
    source.close()


def test_manifests_without_utterances_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.jsonl' does not exist"):
        ManifestSource(tmp_path / "absent.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(DataError, match=r"empty\.jsonl' holds no utterance"):
        ManifestSource(tmp_path / "empty.jsonl")


def test_a_corpus_may_move_between_runs(tmp_path: Path) -> None:
    with loads(a_corpus(tmp_path / "here")) as loader:
        next(loader)
        state = loader.state()
        expected = [item.utterance.id for item in next(loader)]
    there = (tmp_path / "here").rename(tmp_path / "there")
    config = LoaderConfig(seed=0, budget=2, window=13)
    mixture = [Weighted(source=ManifestSource(there / "train.jsonl"))]
    with Loader.restore(mixture, mean_square, config, state) as loader:
        assert [item.utterance.id for item in next(loader)] == expected
