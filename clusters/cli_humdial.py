"""``cogaudio-rl humdial``: the HumDial challenge, track 1, from end to end."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from clusters.cli_options import Overrides, Recipe
from clusters.exits import reports
from cogaudio_rl.config import load_config
from cogaudio_rl.types import Route

humdial_app = typer.Typer(
    help="The HumDial challenge: answer its dialogues, score what was answered.",
    no_args_is_help=True,
)
Root = Annotated[
    Path, typer.Option("--root", help="Its dialogues, such as the folder HD-Track1-Test.")
]


class Voice(StrEnum):
    """Who speaks replies."""

    ESPEAK = "espeak"
    INDEXTTS2 = "indextts2"


class Asking(StrEnum):
    """How a turn is answered."""

    DIRECT = Route.DIRECT
    EXPLICIT = Route.EXPLICIT
    SPOKEN = Route.SPOKEN


@humdial_app.command()
@reports
def submit(
    root: Root,
    checkpoint: Annotated[
        str,
        typer.Option(
            "--checkpoint",
            "-c",
            metavar="[NAME=]FOLDER",
            help="An adapter, or a whole Hugging Face checkpoint; `base` is the bare backbone.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for HD-Track1.")],
    overrides: Overrides = None,
    route: Annotated[
        Asking,
        typer.Option(
            help="explicit: it thinks first; the reply alone is handed in. spoken: it also says how "
            "its reply should sound, as I2 of `ieat` does, and T3 is spoken so."
        ),
    ] = Asking.DIRECT,
    voice: Annotated[Voice, typer.Option(help="Who speaks the replies of T3.")] = Voice.ESPEAK,
    voice_model: Annotated[
        Path | None, typer.Option(help="indextts2: folder of its checkpoints.", show_default=False)
    ] = None,
    voices: Annotated[
        Path | None,
        typer.Option(
            help="indextts2: reference recordings, `train/<language>/<speaker>.wav`.",
            show_default=False,
        ),
    ] = None,
    recipe: Recipe = "quickstart",
) -> None:
    """Answer every turn of the challenge's dialogues, and write the folder that it takes.

    `HD-Track1/{zh,en}/HD-Track1-T1.jsonl`, `-T2`, `-T3`, with T3's replies spoken. A dialogue that
    lacks a turn or a sound is quarantined and listed. What was written is read back and checked.

    - `cogaudio-rl humdial submit --root HD-Track1-Test -c runs/quickstart/checkpoints/stage3 -o out`
    """
    from clusters.contestants import model_of
    from clusters.humdial import submit_humdial
    from cogaudio_rl.data.lime.recipe import SpeakerConfig

    config = load_config(recipe, overrides or ())
    speaker = SpeakerConfig(kind=voice.value, model_dir=voice_model, voices_dir=voices)
    submit_humdial(
        config, model_of(checkpoint, config), root, out, route=Route(route), speaker=speaker
    )


@humdial_app.command()
@reports
def score(
    submission: Annotated[Path, typer.Argument(help="HD-Track1, or the folder that holds it.")],
    root: Root,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for scores.json.")],
    overrides: Overrides = None,
    recipe: Recipe = "quickstart",
) -> None:
    """Score a submission by the challenge's rubrics and weights, with an LLM judge of your own.

    `--root` has to tell words and emotions. A submission that does not answer all of it is refused.
    T3 D2 and D3, and so the Final, need a judge that hears.

    - `... score out/HD-Track1 --root DIALOGUES -o scores 'eval.judge={kind: llm, base_url: URL,
      model: NAME, hears: true}'`
    """
    from clusters.humdial import score_humdial

    score_humdial(load_config(recipe, overrides or ()), submission, root, out)
