"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Change single values of the recipe, e.g. `seed=1 rl.steps=50 data.root=PATH`.",
        show_default=False,
    ),
]
Recipe = Annotated[
    str,
    typer.Option("--recipe", "-r", help="A shipped recipe by name, or a YAML file of your own."),
]
