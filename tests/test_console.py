"""Without a terminal a bar is a line now and then."""

from __future__ import annotations

import io

import rich.console

from cogaudio_rl.console import Console, Lines


def test_the_first_the_last_and_one_now_and_then() -> None:
    file, now = io.StringIO(), [0.0]
    lines = Lines(rich.console.Console(file=file), "stage3", every_s=20, clock=lambda: now[0])
    for step in range(1, 101):
        now[0] = step * 5.0
        lines.show(step, 100, f"loss {step}")
    said = file.getvalue().splitlines()
    assert said[0] == "    stage3 1/100, 0:00:05, about 0:08:15 left  loss 1"
    assert said[1].startswith("    stage3 5/100, 0:00:25, about 0:07:55 left")
    assert said[-1] == "    stage3 100/100, 0:08:20  loss 100"
    assert len(said) == 26


def test_a_log_has_no_control_characters_and_shows_the_figures() -> None:
    file = io.StringIO()
    console = Console(rich.console.Console(file=file))
    with console.steps("stage1") as step:
        step(1, 2, {"sft/loss": 0.123456, "hidden": 1.0})
    with console.progress("[bold]") as advance:
        advance(0, 3)
    assert file.getvalue().splitlines()[0].endswith("left  loss 0.123")
    assert "    [bold] 0/3, 0:00:00" in file.getvalue()
    assert "\x1b" not in file.getvalue()
