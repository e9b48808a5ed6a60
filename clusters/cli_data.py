"""``cogaudio-rl data``: make corpora, and read those there are."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from clusters.cli_options import Overrides, Recipe
from clusters.exits import reports
from cogaudio_rl.config import load_config
from cogaudio_rl.errors import ConfigError

data_app = typer.Typer(help="Make corpora, and prepare those there are.", no_args_is_help=True)
lime_app = typer.Typer(help="LIME: the same words spoken in seven emotions.", no_args_is_help=True)
data_app.add_typer(lime_app, name="lime")


class Corpus(StrEnum):
    """What ``prepare`` can read."""

    CREMA_D = "crema_d"
    ECD_TSE = "ecd_tse"
    EMODB = "emodb"
    ESD = "esd"
    HUMDIAL = "humdial"
    IEMOCAP = "iemocap"
    LIME440K = "lime440k"


@data_app.command()
@reports
def prepare(
    corpus: Annotated[Corpus, typer.Argument(help="Which corpus it is.")],
    root: Annotated[Path, typer.Option("--root", help="Its folder, as it was published.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for manifest and card.")],
    options: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="What this corpus' reader takes, see below."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Anything rejected or mended is an error.")
    ] = False,
) -> None:
    """Read a published corpus into a manifest; its sound stays where it is.

    What cannot be used goes to `rejected.jsonl`, each with its reason; counts are compared with the
    corpus' known totals.

    - `cogaudio-rl data prepare crema_d --root CREMA-D --out corpora/crema_d`

    - humdial: `columns.audio=wav columns.answer=label` names the fields of multiple-choice files

    - crema_d: `votes=PATH` of the vote table; iemocap: `classes=[angry, happy, neutral, sad]`

    - lime440k: `texts=PATH` of a JSON file with words by text id, `audio.PartB_json_EN=FOLDER`
    """
    from clusters.corpora import prepare_corpus
    from cogaudio_rl.config import override

    prepare_corpus(corpus.value, root, out, override({}, options or ()), strict=strict)


@data_app.command()
@reports
def annotate(
    manifest: Annotated[Path, typer.Argument(help="What `data prepare` wrote: manifest.jsonl.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for train and test.jsonl.")],
    overrides: Overrides = None,
) -> None:
    """Have an LLM write the four steps and a reply for every utterance, so that SFT can learn from it.

    The same words in the same emotion are asked about once; answers are kept, so that the command can
    be stopped and given again. What no check would pass goes to `rejected.jsonl`. The test split has
    other texts, or with `split=by_speaker` other speakers.

    - `... data annotate esd/manifest.jsonl -o esd-eips author.base_url=URL author.model=NAME`

    - then train on it: `cogaudio-rl run -r RECIPE data.kind=manifest data.root=esd-eips`
    """
    from clusters.corpora import annotate_corpus
    from cogaudio_rl.config import override, parse
    from cogaudio_rl.data.reannotate import AnnotateRecipe

    wanted = override({"author": {"kind": "llm"}}, overrides or ())
    annotate_corpus(manifest, out, parse(AnnotateRecipe, wanted))


@data_app.command()
@reports
def shards(
    manifest: Annotated[Path, typer.Argument(help="A manifest, e.g. `lime/train.jsonl`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the Parquet files.")],
    rows: Annotated[int, typer.Option(min=1, help="Utterances in each file.")] = 2_000,
    strict: Annotated[bool, typer.Option("--strict", help="A bad record is an error.")] = False,
) -> None:
    """Pack a manifest and its sounds into Parquet files, as Hugging Face `datasets` reads them.

    Records that cannot be used are listed in `rejected.jsonl`, each with its reason.

    - `datasets.load_dataset("parquet", data_files="shards/*.parquet")` gives the sound as Audio.
    """
    from clusters.corpora import pack

    pack(manifest, out, rows, strict=strict)


@lime_app.command("build")
@reports
def build(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder to write, or to go on in after a stop.")
    ],
    overrides: Overrides = None,
    recipe: Annotated[
        str, typer.Option("--recipe", "-r", help="lime_20k, lime_440k, or a YAML file.")
    ] = "lime_20k",
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that speak; one a core.", show_default=False),
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="A running Ray cluster; none starts one here.")
    ] = None,
) -> None:
    """Make a corpus of any size: the same words in every emotion, so that only the voice tells.

    Sentences, annotations, speech, rooms and noise, checks, splits by text and by voice. Stopped at any
    moment, the same command goes on where it was.

    - Small: `cogaudio-rl data lime build -o lime utterances=2100`

    - With an LLM: `... author.kind=llm author.base_url=http://127.0.0.1:8000/v1 author.model=NAME`
    """
    from clusters.lime import build_corpus
    from cogaudio_rl.config import parse, read_recipe
    from cogaudio_rl.data.lime.recipe import LimeRecipe

    wanted = parse(LimeRecipe, read_recipe(recipe, overrides or (), kind="lime"))
    build_corpus(wanted, out, workers=workers, address=address)


class Language(StrEnum):
    """What conflict sentences are written in."""

    EN = "en"
    ZH = "zh"


@lime_app.command("conflict")
@reports
def conflict(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")],
    language: Annotated[Language, typer.Option(help="Of the sentences.")] = Language.EN,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """A test set where words and voice disagree: sentences that name a feeling, said in every other.

    Each is also said in its own: `text_id` tells what the words name, `emotion` what the voice says. In
    voices of the test split; for tests alone, nothing should be trained on it.
    """
    from clusters.lime import build_conflict_set

    build_conflict_set(out, language=language.value, seed=seed)


@lime_app.command("mini")
@reports
def mini(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder to write; must not be there yet.")
    ],
    overrides: Overrides = None,
    recipe: Recipe = "quickstart",
) -> None:
    """The quickstart's own corpus: clean speech, with a split for RL; the shipped base knows its texts.

    - Small: `cogaudio-rl data lime mini -o lime data.train_utterances=490 data.test_families=5`
    """
    config = load_config(recipe, overrides or ())
    if out.exists():
        raise ConfigError(f"--out {str(out)!r} is already there; name another folder")
    from clusters.launch import build_lime

    build_lime(config, out)
