"""Run folders as training leaves them, with adapters that hold nothing."""

from __future__ import annotations

from pathlib import Path

from cogaudio_rl.config import Config, dump_config, load_config
from cogaudio_rl.models.checkpoint import save_adapter
from cogaudio_rl.types import Adapter


def a_run(folder: Path, *overrides: str) -> Path:
    """A run's folder with its recipe and a finished stage II."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(dump_config(load_config("quickstart", overrides)))
    an_adapter(folder / "checkpoints" / "stage2")
    return folder


def an_adapter(folder: Path) -> Path:
    config = Config()
    save_adapter(
        Adapter(version=0, tensors={}), folder, lora=config.model.lora, base=config.model.path
    )
    return folder
