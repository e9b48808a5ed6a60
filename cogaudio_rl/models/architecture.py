"""Which backbones a policy can stand on, told by a checkpoint's config.json alone."""

from __future__ import annotations

import json
from enum import StrEnum
from importlib import resources
from pathlib import Path

from cogaudio_rl.errors import CheckpointError

BUILTIN = "builtin:tiny-omni"


class Architecture(StrEnum):
    """A family of checkpoints, by what transformers calls it."""

    OMNI = "Qwen2_5Omni"
    QWEN2 = "Qwen2ForCausalLM"
    QWEN3 = "Qwen3ForCausalLM"

    @property
    def hears(self) -> bool:
        """Whether it has ears; one without reads the words instead."""
        return self is Architecture.OMNI

    @property
    def stored_prefix(self) -> str:
        """What stands before the policy's own names in a stored checkpoint, and in vLLM."""
        return "thinker." if self.hears else ""

    @classmethod
    def of(cls, folder: Path, *, name: str) -> Architecture:
        """Read it from a checkpoint's folder, called ``name`` in errors.

        Raises CheckpointError when there is no checkpoint or one of another family.
        """
        config = folder / "config.json"
        try:
            declared = (json.loads(config.read_text("utf-8")).get("architectures") or ["none"])[0]
        except (FileNotFoundError, NotADirectoryError):
            raise CheckpointError(
                f"model.path {name!r} holds no config.json; give a folder with a Qwen2.5-Omni "
                "checkpoint, or with a Qwen2 or Qwen3 one that reads"
            ) from None
        except (ValueError, AttributeError):
            raise CheckpointError(f"{str(config)!r} is not valid JSON") from None
        for family in cls:
            if str(declared).startswith(family):
                return family
        known = ", ".join(cls)
        raise CheckpointError(
            f"model.path {name!r} is a {declared} checkpoint; this policy needs one of: {known}"
        )


def resolve_checkpoint(path: str) -> Path:
    """The folder of a backbone. Raises CheckpointError when there is none or it is another model."""
    if path == BUILTIN:
        folder = Path(str(resources.files("cogaudio_rl.assets").joinpath("tiny_omni")))
    else:
        folder = Path(path)
    Architecture.of(folder, name=path)
    return folder
