"""Adapters come and go in an engine of paper; what cannot be served is refused, and no more."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_backbone import make_backbone, shaken_adapter

from actors.adapters import Adapters, check_servable
from cogaudio_rl.config import LoraConfig, ModelConfig
from cogaudio_rl.errors import CheckpointError, CogAudioError
from cogaudio_rl.models.checkpoint import save_adapter
from cogaudio_rl.models.policy import Policy

pytestmark = pytest.mark.slow  # vLLM's LoRARequest takes seconds to import


class Engine:
    """What vLLM holds; ``refuses`` is the next name that it does not take."""

    def __init__(self) -> None:
        self.holds: dict[int, str] = {}
        self.refuses = ""

    async def add_lora(self, lora: Any) -> bool:
        if self.refuses and lora.lora_name.startswith(self.refuses):
            raise RuntimeError("no room for it")
        self.holds[lora.lora_int_id] = lora.lora_name.partition("@")[0]
        return True

    async def remove_lora(self, number: int) -> bool:
        return self.holds.pop(number, None) is not None


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def trained(backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two that fit, and one of a rank that the engine was not opened for."""
    folder, found = tmp_path_factory.mktemp("adapters"), {}
    for version, (name, rank) in enumerate({"one": 8, "two": 8, "wide": 32}.items(), start=1):
        model = ModelConfig(path=str(backbone), lora=LoraConfig(r=rank))
        with torch.no_grad():
            adapter = shaken_adapter(Policy.load(model), version)
        save_adapter(adapter, folder / name, lora=model.lora, base=str(backbone))
        found[name] = folder / name
    return found


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def adapters(engine: Engine, backbone: Path) -> Iterator[Adapters]:
    opened = Adapters(engine, backbone, max_rank=8, room=2)
    yield opened
    opened.close()


async def test_what_cannot_be_served_does_not_end_what_is(
    adapters: Adapters,
    engine: Engine,
    trained: dict[str, Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Raised on, Ray Serve would end the replica: a mistyped folder would be the end of the service."""
    assert await adapters.renew({"D": trained["one"]})
    for wrong in (
        {"D": tmp_path / "gone"},
        {"D": trained["wide"]},
        {"D": trained["two"], "E": tmp_path / "gone"},
        {"base": trained["two"]},
        dict.fromkeys("DEF", trained["two"]),
    ):
        with caplog.at_level(logging.ERROR):
            caplog.clear()
            assert not await adapters.renew(wrong)
        assert "D stay" in caplog.text
        assert list(adapters.created) == ["D"]
        with adapters.use("D") as lora:
            assert engine.holds[lora.lora_int_id] == "D"
    engine.refuses = "E"
    assert not await adapters.renew({"D": trained["two"], "E": trained["two"]})
    engine.refuses = ""
    assert await adapters.renew({"D": trained["two"], "E": trained["two"]})
    assert list(adapters.created) == ["D", "E"]


@pytest.mark.parametrize("wrong", ["gone", "wide"])
async def test_a_server_does_not_begin_with_what_it_cannot_serve(
    adapters: Adapters, trained: dict[str, Path], tmp_path: Path, wrong: str
) -> None:
    with pytest.raises(CogAudioError):
        await adapters.renew({"D": trained.get(wrong, tmp_path / wrong)})


async def test_the_base_alone_is_something_served(adapters: Adapters, tmp_path: Path) -> None:
    assert await adapters.renew({})
    assert not await adapters.renew({"D": tmp_path / "gone"})


def test_what_fits_is_known_before_anything_is_deployed(
    backbone: Path, trained: dict[str, Path]
) -> None:
    assert check_servable(trained["one"], backbone, max_rank=8).r == 8
    with pytest.raises(CheckpointError, match="has rank 32; the engine was opened for 8"):
        check_servable(trained["wide"], backbone, max_rank=8)
