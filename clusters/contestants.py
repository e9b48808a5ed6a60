"""Which models are evaluated: those of a run, adapters, whole checkpoints; and what taught them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cogaudio_rl.config import Config, ModelConfig, load_config
from cogaudio_rl.errors import ConfigError
from cogaudio_rl.models.architecture import Architecture, resolve_checkpoint
from cogaudio_rl.models.checkpoint import is_whole, load_adapter, lora_of
from cogaudio_rl.stages.budget import RL
from cogaudio_rl.stages.pipeline import MODEL_FOLDERS
from cogaudio_rl.stages.variants import trained
from cogaudio_rl.types import Route

BASE = "base"

_THINKS: Mapping[str, Route] = {
    "chain": Route.AMBIGUITY,
    "votes": Route.AMBIGUITY,
    "distil": Route.ATTRIBUTION,
    "speak": Route.ATTRIBUTION,
}
"""Stage → the chain that it teaches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What is evaluated: a backbone, and what was trained on it."""

    name: str
    built: ModelConfig
    """What an engine is made for: backbone, precision, what of it trains, how long answers may be."""
    adapter: Path | None = None

    @property
    def backbone(self) -> str:
        return self.built.path

    @property
    def thinks(self) -> Route:
        """The route whose chain it was taught, by its stage and its run; EIPS where nobody tells."""
        if self.adapter is None:
            return Route.EXPLICIT
        stage, run = self.adapter.name, self.adapter.absolute().parents[1]
        if stage == RL and (run / "config.yaml").is_file():
            about_votes = recipe_of(run, ()).is_about_votes
            return Route.AMBIGUITY if about_votes else Route.EXPLICIT
        return _THINKS.get(stage, Route.EXPLICIT)

    @property
    def file(self) -> str:
        """Its name as that of a file: variants are called D/NAME."""
        return file_of(self.name)


def file_of(name: str) -> str:
    """A model's name as that of a file."""
    return name.replace("/", ".")


def run_of(folder: Path, overrides: Sequence[str]) -> tuple[Config, list[Model]]:
    """The recipe that a run folder was made by, and the models that it holds, in the paper's order.

    Raises ConfigError for a folder that is no run's.
    """
    config = recipe_of(folder, overrides).model_copy(update={"out_dir": folder})
    data = folder / "data"
    if config.data.is_spoken_here and config.data.root is None and data.is_dir():
        config = config.model_copy(
            update={"data": config.data.model_copy(update={"root": data.absolute()})}
        )
    found = [Model(name=BASE, built=config.model)]
    for name, stage in MODEL_FOLDERS.items():
        adapter = folder / "checkpoints" / stage
        if adapter.is_dir():
            found.append(Model(name=name, built=config.model, adapter=adapter))
    for name, adapter in trained(folder).items():
        found.append(Model(name=f"D/{name}", built=config.model, adapter=adapter))
    return config, found


def recipe_of(folder: Path, overrides: Sequence[str]) -> Config:
    """What a run folder was made by, to the letter. Raises ConfigError where there is none."""
    written = folder / "config.yaml"
    if not written.is_file():
        raise ConfigError(f"--run {str(folder)!r} is not a run folder: it holds no config.yaml")
    return load_config(str(written), overrides)


def model_of(given: str, config: Config) -> Model:
    """``base``, ``[NAME=]FOLDER`` of an adapter, or ``[NAME=]FOLDER`` of a whole checkpoint.

    Raises CheckpointError for a folder that is neither, ConfigError for one without a name.
    """
    if given == BASE:
        return Model(name=BASE, built=config.model)
    # A folder whose own name has an equals sign is a folder first.
    name, equals, path = ("", "", given) if Path(given).is_dir() else given.partition("=")
    folder = Path(path if equals or not name else given)
    name = name if equals else folder.name
    if not name:
        raise ConfigError(f"-c {given!r} has no name; give it one: -c NAME={given}")
    if (folder / "config.json").is_file():
        Architecture.of(resolve_checkpoint(str(folder)), name=str(folder))
        return Model(name=name, built=config.model.model_copy(update={"path": str(folder)}))
    load_adapter(folder)
    # What trains is what its folder says, whatever the recipe at hand does.
    lora = None if is_whole(folder) else lora_of(folder)
    built = config.model.model_copy(update={"lora": lora})
    return Model(name=name, built=built, adapter=folder)


def refuse_twins(names: Sequence[str]) -> None:
    """Raise ConfigError where two models have one name, or would share a file."""
    files = Counter(file_of(name).lower() for name in names)
    for name in names:
        if files[file_of(name).lower()] > 1:
            raise ConfigError(f"two models are called {name!r}; give one another: -c NAME=FOLDER")


def recipes_behind(adapter: Path) -> tuple[list[Config], bool]:
    """The recipes that an adapter was trained by, its own run's first, and whether that is all.

    Known where it lies in the folder of its run; ``sft.start`` leads to those before it.
    """
    found: list[Config] = []
    seen: set[Path] = set()
    next_one: Path | None = adapter
    while next_one is not None and next_one not in seen:
        seen.add(next_one)
        run = next_one.absolute().parents[1]
        if not (run / "config.yaml").is_file():
            return found, False
        found.append(recipe_of(run, ()))
        next_one = found[-1].sft.start
    return found, True
