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
AllowMissing = Annotated[
    bool,
    typer.Option(
        "--allow-missing",
        help="A suite whose corpus is not there is listed as not run, instead of an error.",
    ),
]
