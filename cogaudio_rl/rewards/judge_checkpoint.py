"""Whether a folder holds a model that can judge, told before anything loads its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cogaudio_rl.config import JudgeConfig
from cogaudio_rl.errors import CheckpointError

_WEIGHTS = ("*.safetensors", "*.bin")
_TEMPLATES = ("chat_template.jinja", "chat_template.json")
_GENERATES = ("ForCausalLM", "ForConditionalGeneration")


def check_judge_checkpoint(config: JudgeConfig) -> None:
    """Raises CheckpointError in one line unless ``config.model`` is a folder with a chat model, and,
    for a judge that hears, one with ears. Whether vLLM serves its architecture vLLM alone can tell.
    """
    folder, name = Path(config.model), f"judge.model {config.model!r}"
    found = read_judge_config(folder)
    architecture = str((found.get("architectures") or [""])[0])
    if "For" in architecture and not architecture.endswith(_GENERATES):
        raise CheckpointError(
            f"{name} is a {architecture} checkpoint, which writes no text; take a chat model"
        )
    if not architecture:
        raise CheckpointError(f"{name} names no architecture in its config.json; is it whole?")
    if not any(any(folder.glob(pattern)) for pattern in _WEIGHTS):
        raise CheckpointError(f"{name} holds no weights ({' or '.join(_WEIGHTS)})")
    if not _has_chat_template(folder):
        raise CheckpointError(
            f"{name} has no chat template; take a checkpoint tuned to instructions"
        )
    if config.hears and not has_ears(found):
        raise CheckpointError(
            f"{name} is a {architecture} checkpoint without ears; set judge.hears=false or take an "
            "audio model"
        )


def read_judge_config(folder: Path) -> Mapping[str, Any]:
    """A checkpoint's config.json. Raises CheckpointError where there is none or it is damaged."""
    path = folder / "config.json"
    try:
        found = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(
            f"judge.model {str(folder)!r} holds no config.json; give a folder with a Hugging Face "
            "checkpoint of a chat model"
        ) from None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise CheckpointError(f"{str(path)!r} is not a JSON object")
    return found


def has_ears(config: Mapping[str, Any]) -> bool:
    """Whether a parsed config.json speaks of an audio encoder, at its top or inside a part."""
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    return any("audio_config" in part for part in parts)


def _has_chat_template(folder: Path) -> bool:
    if any((folder / name).is_file() for name in _TEMPLATES):
        return True
    try:
        tokenizer = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(tokenizer, dict) and bool(tokenizer.get("chat_template"))
