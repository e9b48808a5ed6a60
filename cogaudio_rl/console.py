"""What a person sees while a run goes on: one line per stage, a bar for what takes time."""

from __future__ import annotations

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
        with self._bar() as bar:
            task = bar.add_task(what, total=None, facts="")
            yield lambda done, total: bar.update(task, completed=done, total=total)

    @contextmanager
    def steps(self, what: str) -> Iterator[Callable[[int, int, Mapping[str, float]], None]]:
        """A bar over training steps with the figures that matter beside it."""
        with self._bar() as bar:
            task = bar.add_task(what, total=None, facts="")

            def show(step: int, total: int, values: Mapping[str, float]) -> None:
                facts = " ".join(
                    f"{name} {values[k]:.3g}" for k, name in _SHOWN.items() if k in values
                )
                bar.update(task, completed=step, total=total, facts=facts)

            yield show

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
            # Without a terminal rich would print nothing until the end.
            refresh_per_second=4 if self.rich.is_terminal else 0.2,
        )
