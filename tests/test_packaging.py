"""One distribution, three packages, and all of them ours."""

from __future__ import annotations

import importlib.metadata
import tomllib
from importlib import resources
from pathlib import Path

import pytest

import actors
import clusters
import cogaudio_rl

ROOT = Path(__file__).resolve().parent.parent


def test_the_packages_are_ours() -> None:
    """Another distribution's `actors` would be imported without a word."""
    home = Path(cogaudio_rl.__file__).parent.parent
    assert Path(str(actors.__file__)) == home / "actors" / "__init__.py"
    assert Path(str(clusters.__file__)) == home / "clusters" / "__init__.py"


def test_the_command_is_installed() -> None:
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="cogaudio-rl")
    assert script.load().info.name == "cogaudio-rl"


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("cogaudio_rl.recipes", "quickstart.yaml"),
        ("cogaudio_rl.recipes", "qwen2_5_omni_7b.yaml"),
        ("cogaudio_rl.prompts", "prompt_a.md"),
        ("cogaudio_rl.data.lime", "bank_en.yaml"),
        ("cogaudio_rl.serve", "web/index.html"),
        ("cogaudio_rl.serve", "web/app.js"),
    ],
)
def test_package_data_is_where_the_code_looks(package: str, name: str) -> None:
    assert resources.files(package).joinpath(name).is_file()


def test_every_dependency_is_pinned_for_development() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {_name(line) for line in wanted}
    pinned = {_name(line) for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()}
    assert names <= pinned, sorted(names - pinned)


def _name(requirement: str) -> str:
    stop = next((i for i, c in enumerate(requirement) if c in "[<>=;@ "), len(requirement))
    return requirement[:stop].lower().replace("_", "-")
