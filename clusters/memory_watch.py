"""How much memory a run takes: this process and all it starts, together."""

from __future__ import annotations

import threading

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
            self._peak = max(self._peak, _family_rss_gib())
            self._stop.wait(_SAMPLE_SECONDS)


def _family_rss_gib() -> float:
    total = 0
    own = psutil.Process()
    for process in [own, *own.children(recursive=True)]:
        # A process may end between the listing and the reading.
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total / 2**30
