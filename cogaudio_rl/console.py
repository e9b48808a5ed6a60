"""What a person sees while a run goes on: one line per stage, a bar for what takes time.

Without a terminal, as in the log of a job, a bar is a line now and then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import rich.console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_SHOWN: dict[str, str] = {
    "sft/loss": "loss",
    "reward/explicit/mean": "reward A",
    "reward/direct/mean": "reward B",
    "reward/explicit/emotion": "emotion",
    "policy/ratio_max_dev": "|r−1|",
    "policy/canary_gap": "canary",
}


class Console:
    """Stages, notes and bars on one rich console."""

    def __init__(self, console: rich.console.Console | None = None) -> None:
        self.rich = console or rich.console.Console(stderr=True)

    def stage(self, text: str) -> None:
        """One line: what starts now, and why."""
        self.rich.print(f"[bold cyan]▶[/] {text}", highlight=False)

    def note(self, text: str, *, warn: bool = False) -> None:
        """One line of fact, or of warning."""
        mark = "[bold yellow]![/]" if warn else "[dim]·[/]"
        self.rich.print(f"  {mark} ", end="")
        self.rich.print(text, markup=False, highlight=False)

    @contextmanager
    def progress(self, what: str) -> Iterator[Callable[[int, int], None]]:
        """A bar; call the result with (done, total)."""
        with self._shown(what) as show:
            yield lambda done, total: show(done, total, "")

    @contextmanager
    def steps(self, what: str) -> Iterator[Callable[[int, int, Mapping[str, float]], None]]:
        """A bar over training steps with the figures that matter beside it."""
        with self._shown(what) as show:

            def step(done: int, total: int, values: Mapping[str, float]) -> None:
                facts = (f"{name} {values[k]:.3g}" for k, name in _SHOWN.items() if k in values)
                show(done, total, " ".join(facts))

            yield step

    @contextmanager
    def _shown(self, what: str) -> Iterator[Callable[[int, int, str], None]]:
        if not self.rich.is_terminal:
            # Into a file or a job's log rich would print nothing until the end.
            yield Lines(self.rich, what).show
            return
        with self._bar() as bar:
            task = bar.add_task(what, total=None, facts="")
            yield lambda done, total, facts: bar.update(
                task, completed=done, total=total, facts=facts
            )

    def _bar(self) -> Progress:
        return Progress(
            SpinnerColumn(),
            TextColumn("  {task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[facts]}"),
            console=self.rich,
            refresh_per_second=4,
        )


class Lines:
    """A bar's facts as lines: the first, the last, and one every ``every_s`` seconds between."""

    def __init__(
        self,
        console: rich.console.Console,
        what: str,
        *,
        every_s: float = 20.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console, self._what, self._every_s, self._clock = console, what, every_s, clock
        self._began_s = clock()
        self._last_s: float | None = None

    def show(self, done: int, total: int, facts: str) -> None:
        """Print where it stands, if it is time to."""
        now = self._clock()
        recent = self._last_s is not None and now - self._last_s < self._every_s
        if recent and done < total:
            return
        self._last_s = now
        spent = now - self._began_s
        left = (
            f", about {_duration(spent * (total - done) / done)} left" if 0 < done < total else ""
        )
        line = f"    {self._what} {done}/{total}, {_duration(spent)}{left}  {facts}".rstrip()
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
