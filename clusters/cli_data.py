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


class VotedCorpus(StrEnum):
    """Whose votes `voted` knows how to tell."""

    CREMA_D = "crema_d"
    IEMOCAP = "iemocap"


@data_app.command()
@reports
def voted(
    manifest: Annotated[Path, typer.Argument(help="What `data prepare` wrote: manifest.jsonl.")],
    corpus: Annotated[VotedCorpus, typer.Option(help="Which corpus it is.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for a folder of each fold.")],
    overrides: Overrides = None,
) -> None:
    """Votes, chains and folds of a corpus that listeners voted on, ready for the recipes `ambiguity_*`.

    Votes are told in the task's labels; an utterance where somebody heard another emotion is set aside
    in `rejected.jsonl`, unless `renormalise=true`. Chains are written from what the sound measures.
    Folds hold speakers apart (CREMA-D) or leave one session out (IEMOCAP); with `dev=true` each holds
    out some to choose settings on, so that its test is for the end.

    - `cogaudio-rl data voted corpora/crema_d/manifest.jsonl --corpus crema_d -o data/crema_d_voted`

    - then all folds: `cogaudio-rl run -r ambiguity_crema_d --folds data/crema_d_voted`
    """
    from clusters.corpora import prepare_votes

    prepare_votes(corpus.value, manifest, out, overrides or ())


@data_app.command()
@reports
def attribute(
    manifest: Annotated[Path, typer.Argument(help="A manifest, e.g. `esd-eips/train.jsonl`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the manifest of that name.")],
    overrides: Overrides = None,
) -> None:
    """Have an LLM say what each speaker's emotion is due to and what to do, for the recipe `ieat`.

    Pitch and pace are measured in the sound, among each speaker's own clips. A cause that is not in the
    words is asked for again, and then set aside: `quarantined.jsonl` lists those, each with its reason.
    Answers are kept, so that the command can be stopped and given again.

    - `... data attribute esd-eips/train.jsonl -o esd-ieat author.base_url=URL author.model=NAME`
    """
    from clusters.corpora import attribute_corpus
    from cogaudio_rl.config import override, parse
    from cogaudio_rl.data.attribute import AttributeRecipe

    wanted = override({"author": {"kind": "llm"}}, overrides or ())
    attribute_corpus(manifest, out, parse(AttributeRecipe, wanted))


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


@lime_app.command("mixtures")
@reports
def mixtures(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")],
    utterances: Annotated[
        int, typer.Option(min=7, help="To train on; a multiple of seven.")
    ] = 2_100,
    rl_utterances: Annotated[
        int, typer.Option(min=7, help="Further ones for RL; a multiple of seven.")
    ] = 700,
    test_families: Annotated[
        int, typer.Option(min=1, help="Test sentences, seven utterances each.")
    ] = 50,
    dev_families: Annotated[
        int, typer.Option(min=0, help="Sentences to choose settings on, in voices of their own.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Voices between two emotions, and how SIMULATED listeners' votes are shared between them.

    For training and tests where no corpus with human votes is at hand: the voices are synthetic, and
    votes are drawn from a model of listeners, which card and README state. Test sentences and voices
    are in no other split.

    - then train on it: `cogaudio-rl run -r RECIPE data.kind=ambiguity_mini data.root=FOLDER`
    """
    from clusters.lime import build_mixture_set

    build_mixture_set(
        out,
        utterances=utterances,
        rl_utterances=rl_utterances,
        test_families=test_families,
        dev_families=dev_families,
        seed=seed,
    )


@lime_app.command("dialogues")
@reports
def dialogues(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")],
    each: Annotated[
        int, typer.Option("--dialogues", min=1, help="Of each task in each language.")
    ] = 20,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """MADE dialogues of 2 to 4 turns in HumDial's layout, in synthetic voices whose emotion changes.

    T1 asks how it changed, T2 what brought it on, T3 wants an answer. For trying what evaluates and
    submits HumDial where HumDial is not at hand; README and every id say that they are made.

    - then `cogaudio-rl humdial submit --root FOLDER/HD-Track1-Test …`
    """
    from clusters.lime import build_dialogue_set

    build_dialogue_set(out, dialogues=each, seed=seed)


@lime_app.command("attributed")
@reports
def attributed(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder to write; must not be there yet.")
    ],
    overrides: Overrides = None,
    recipe: Recipe = "ieat",
) -> None:
    """The quickstart's corpus with a thought for every utterance: what was observed and inferred, what
    it is due to, what to do. For the recipe `ieat`.

    - Small: `cogaudio-rl data lime attributed -o ieat data.train_utterances=490 data.test_families=5`
    """
    config = load_config(recipe, overrides or ())
    if out.exists():
        raise ConfigError(f"--out {str(out)!r} is already there; name another folder")
    from clusters.lime import build_attributed_set

    build_attributed_set(config, out)


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
