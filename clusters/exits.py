"""How a command ends: one line and a code for what went wrong, and nothing left running.

0 done · 1 the run failed · 2 what the user gave is wrong · 130 Ctrl-C
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn, ParamSpec

import psutil

from cogaudio_rl.errors import CogAudioError, InputError

P = ParamSpec("P")

# Together below the ten seconds within which Ctrl-C has to have ended everything.
_PATIENCE_SECONDS = 5.0
_SHUTDOWN_SECONDS = 2.5
_KILL_SECONDS = 1.0


def reports(command: Callable[P, None]) -> Callable[P, None]:
    """Run a command; what it raises on purpose becomes one line on stderr and an exit code.

    Anything else is a defect in this program and keeps its traceback.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        before = signal.signal(signal.SIGINT, _on_ctrl_c)
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt:
            print("\ninterrupted; the same command with --resume goes on", file=sys.stderr)
            _leave()
        except Exception as error:
            cause = cause_of(error)
            if cause is None:
                raise
            print(f"error: {' '.join(str(cause).split())}", file=sys.stderr)
            raise SystemExit(2 if isinstance(cause, InputError) else 1) from None
        finally:
            signal.signal(signal.SIGINT, before)

    return wrapped


def _on_ctrl_c(_number: int, _frame: object) -> None:
    """Unwind in order, but not for ever: a worker that does not answer must not keep us."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    last_resort = threading.Timer(_PATIENCE_SECONDS, _leave)
    last_resort.daemon = True
    last_resort.start()
    raise KeyboardInterrupt


def _leave() -> NoReturn:
    end_everything()
    sys.stderr.flush()
    os._exit(130)


def cause_of(error: BaseException) -> CogAudioError | None:
    """The error raised on purpose that is behind this one, whatever Ray wrapped around it."""
    for link in _chain(error):
        # Ray's own class for a worker's error inherits from the cause and prints its traceback.
        if isinstance(link, CogAudioError) and not hasattr(link, "cause"):
            return link
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        link = waiting.pop(0)
        if not isinstance(link, BaseException) or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        failures = getattr(link, "worker_failures", {})  # Ray Train: rank → error
        waiting += [getattr(link, "cause", None), link.__cause__, *failures.values()]


def end_everything() -> None:
    """End Ray and every process this one started, within a few seconds."""
    started = psutil.Process().children(recursive=True)
    if "ray" in sys.modules:
        # A shutdown that waits for a busy worker must not hold up the exit.
        thread = threading.Thread(target=sys.modules["ray"].shutdown, daemon=True)
        thread.start()
        thread.join(_SHUTDOWN_SECONDS)
    left = [process for process in started if process.is_running()]
    for process in left:
        _quietly(process.terminate)
    _gone, stubborn = psutil.wait_procs(left, timeout=_KILL_SECONDS)
    for process in stubborn:
        _quietly(process.kill)


def _quietly(end: Callable[[], None]) -> None:
    try:
        end()
    except psutil.NoSuchProcess:
        return
