"""How much memory a run takes: this process and all it starts, together."""

from __future__ import annotations

import threading
from contextlib import suppress

import psutil

_SAMPLE_SECONDS = 2.0


class MemoryWatch:
    """The largest resident memory of this process and all its descendants together, in GiB.

    Shared pages count once for each process that maps them, so this errs high.
    """

    def __init__(self) -> None:
        self._peak = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def peak_gib(self) -> float:
        return self._peak

    def _watch(self) -> None:
        while not self._stop.is_set():
            self._peak = max(self._peak, family_rss_gib(psutil.Process()))
            self._stop.wait(_SAMPLE_SECONDS)


def family_rss_gib(process: psutil.Process) -> float:
    """Resident memory of a process and all its descendants, GiB."""
    total = 0
    # A process may end between the listing and the reading.
    with suppress(psutil.Error):
        for one in [process, *process.children(recursive=True)]:
            with suppress(psutil.Error):
                total += one.memory_info().rss
    return total / 2**30
