"""How many clips a second the loader decodes and turns into log-mel frames.

    .venv/bin/python scripts/bench/loader.py FOLDER --threads 1 2 --seconds 10

FOLDER holds manifests, as ``runs/quickstart/data`` does. Files that were read before come from memory,
not from the disk: on a corpus that fits there, this measures the processor.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from cogaudio_rl.data.audio import SAMPLE_RATE_HZ
from cogaudio_rl.data.loader import Loader, LoaderConfig
from cogaudio_rl.data.sources import ManifestSource, Sound
from cogaudio_rl.data.windows import Weighted
from cogaudio_rl.errors import DataError
from cogaudio_rl.models.architecture import BUILTIN, resolve_checkpoint
from cogaudio_rl.models.chat import open_processor
from cogaudio_rl.models.policy import quiet_transformers
from cogaudio_rl.types import Utterance

BATCH_SECONDS = 32.0


class LogMel:
    """Log-mel frames as the shipped base hears them, each clip as long as it is."""

    def __init__(self) -> None:
        self._extractor: Any = open_processor(
            resolve_checkpoint(BUILTIN), name=BUILTIN
        ).feature_extractor

    def __call__(self, utterance: Utterance, sound: Sound) -> Any:
        del utterance
        return self._extractor(
            sound, sampling_rate=SAMPLE_RATE_HZ, return_tensors="np", padding="do_not_pad"
        ).input_features[0]


def samples_per_s(manifest: Path, threads: int, seconds: float) -> float:
    """Clips a second of one manifest, over at least so many seconds, after the first batch."""
    config = LoaderConfig(seed=0, budget=BATCH_SECONDS, threads=threads, prefetch=4)
    with Loader([Weighted(source=ManifestSource(manifest))], LogMel(), config) as loader:
        next(loader)
        clips, started = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - started) < seconds or clips == 0:
            clips += len(next(loader))
    return clips / elapsed


def main() -> None:
    quiet_transformers()
    told = argparse.ArgumentParser(description="Clips a second of the loader.")
    told.add_argument("folder", type=Path, help="where *.jsonl manifests lie")
    told.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    told.add_argument("--seconds", type=float, default=5.0, help="for each line that is printed")
    args = told.parse_args()
    manifests = sorted(args.folder.glob("*.jsonl"))
    if not manifests:
        raise DataError(
            f"folder {str(args.folder)!r} holds no *.jsonl manifest; name one that does"
        )
    for manifest in manifests:
        for threads in args.threads:
            rate = samples_per_s(manifest, threads, args.seconds)
            print(f"{manifest.name}: {rate:.0f} samples/s on {threads} threads", flush=True)


if __name__ == "__main__":
    main()
