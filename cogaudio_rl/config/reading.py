"""YAML recipes, dotted overrides, and one resolved config on disk.

A misspelt key, a wrong type or a value out of range is a ConfigError that names it.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from cogaudio_rl.config.recipe import Config
from cogaudio_rl.errors import ConfigError

M = TypeVar("M", bound=BaseModel)


def recipe_names(kind: str = "") -> list[str]:
    """The recipes that ship with the package."""
    folder = resources.files("cogaudio_rl.recipes").joinpath(kind)
    return sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith(".yaml"))


def load_config(recipe: str, overrides: Sequence[str] = ()) -> Config:
    """A shipped recipe or a YAML file, with ``a.b=value`` overrides applied.

    Raises ConfigError naming the recipe, key or value that is wrong.
    """
    return parse(Config, read_recipe(recipe, overrides))


def read_recipe(recipe: str, overrides: Sequence[str] = (), *, kind: str = "") -> dict[str, Any]:
    """A recipe as a mapping; ``kind`` names the folder of shipped recipes of another kind of job."""
    return override(_read_recipe(recipe, kind), overrides)


def override(raw: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Set ``key.path=value`` in ``raw``, and return it."""
    for item in overrides:
        key, equals, value = item.partition("=")
        if not equals:
            raise ConfigError(f"override {item!r} is not of the form key.path=value")
        _assign(raw, key, yaml.safe_load(value))
    return raw


def parse_config(raw: dict[str, Any]) -> Config:
    """As :func:`parse`, for a whole run."""
    return parse(Config, raw)


def parse(model: type[M], raw: dict[str, Any]) -> M:
    """Validate a mapping; ConfigError names the first thing wrong and, for a typo, the likely key."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(_first_problem(error, model)) from None


def dump_config(config: Config) -> str:
    """The resolved config as YAML; ``load_config`` of it gives the same config."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read_recipe(recipe: str, kind: str) -> dict[str, Any]:
    if recipe in recipe_names(kind):
        folder = resources.files("cogaudio_rl.recipes").joinpath(kind)
        text = folder.joinpath(f"{recipe}.yaml").read_text("utf-8")
    elif Path(recipe).is_file():
        text = Path(recipe).read_text("utf-8")
    else:
        known = ", ".join(recipe_names(kind))
        raise ConfigError(f"recipe {recipe!r} is neither a file nor one of: {known}")
    try:
        raw = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(
            f"recipe {recipe!r} is not valid YAML: {str(error).splitlines()[0]}"
        ) from None
    if not isinstance(raw, dict):
        raise ConfigError(f"recipe {recipe!r} must hold a mapping, got {type(raw).__name__}")
    base = raw.pop("base", None)
    return _merge(_read_recipe(base, kind), raw) if base else raw


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = _merge(old, value)
        else:
            merged[key] = value
    return merged


def _assign(raw: dict[str, Any], dotted: str, value: Any) -> None:
    *path, last = dotted.split(".")
    node = raw
    for part in path:
        child = node.setdefault(part, {})
        if not isinstance(child, dict):
            raise ConfigError(f"override {dotted!r}: {part!r} is not a section")
        node = child
    node[last] = value


def _first_problem(error: ValidationError, model: type[BaseModel]) -> str:
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"]) or "recipe"
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(
            str(problem["loc"][-1]), _siblings(problem["loc"], model), n=1
        )
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"unknown key {where!r}{hint}"
    message = problem["msg"].removeprefix("Value error, ")
    # What is wrong with a whole section says itself which of its values it means.
    got = "" if isinstance(problem["input"], dict) else f" (got {problem['input']!r})"
    return f"{where}: {message}{got}" if problem["loc"] else message


def _siblings(loc: tuple[int | str, ...], model: type[BaseModel]) -> list[str]:
    for part in loc[:-1]:
        annotation = model.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)
