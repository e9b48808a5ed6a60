"""``cogaudio-rl serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clusters.cli_options import Overrides, Recipe
from clusters.exits import reports
from cogaudio_rl.config import load_config
from cogaudio_rl.errors import ConfigError


@reports
def serve(
    overrides: Overrides = None,
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(
            "--checkpoint",
            "-c",
            metavar="NAME=FOLDER",
            help="An adapter, and the name it is asked by. Give it once for each.",
            show_default=False,
        ),
    ] = None,
    recipe: Recipe = "quickstart",
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    reload: Annotated[
        bool,
        typer.Option(
            "--reload",
            help="Have the server that is running serve these adapters instead, without a pause.",
        ),
    ] = False,
) -> None:
    """Talk to what was trained: an OpenAI-compatible server, and a page in the browser.

    `NAME` replies directly, `NAME-think` reasons first; the bare `base` is there too.

    - `cogaudio-rl serve --checkpoint D=runs/quickstart/checkpoints/stage3`

    - A new checkpoint, no request lost: the same with `--reload`

    - More of it: `… serve.replicas=2 serve.max_replicas=8`
    """
    given = [*(overrides or ()), *_options(host, port), *map(_checkpoint, checkpoint or ())]
    config = load_config(recipe, given)
    from clusters.serving import reload_models, serve_models

    if reload:
        reload_models(config)
    else:
        serve_models(config)


def _options(host: str | None, port: int | None) -> list[str]:
    found = {"host": host, "port": port}
    return [f"serve.{key}={value}" for key, value in found.items() if value is not None]


def _checkpoint(given: str) -> str:
    name, equals, folder = given.partition("=")
    if not equals or not name or not folder:
        raise ConfigError(f"--checkpoint {given!r} is not of the form NAME=FOLDER")
    if "." in name:
        raise ConfigError(f"--checkpoint {given!r}: a name on the command line may hold no dot")
    return f"serve.checkpoints.{name}={Path(folder)}"
