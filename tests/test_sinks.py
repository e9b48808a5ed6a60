"""Metrics go where the environment says, and no service can end a run."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cogaudio_rl.metrics import MetricsLog
from cogaudio_rl.sinks import sinks_from_environment


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("WANDB_PROJECT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)


class FakeWandb(SimpleNamespace):
    """The part of wandb's interface that is used."""

    __spec__ = SimpleNamespace(name="wandb")

    def __init__(self, *, fails: bool = False) -> None:
        super().__init__()
        self.began: dict[str, Any] = {}
        self.logged: list[dict[str, float]] = []
        self.fails, self.finished = fails, False

    def init(self, **settings: Any) -> FakeWandb:
        self.began = settings
        return self

    def define_metric(self, *_: Any, **__: Any) -> None: ...

    def log(self, values: dict[str, float]) -> None:
        if self.fails:
            raise ConnectionError("the service is away")
        self.logged.append(values)

    def finish(self) -> None:
        self.finished = True


def test_nothing_is_set_nothing_is_started(tmp_path: Path) -> None:
    assert sinks_from_environment(tmp_path, {}, warn=pytest.fail) == []


def test_what_is_asked_for_and_missing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "p")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said: list[str] = []
    assert sinks_from_environment(tmp_path, {}, warn=said.append) == []
    assert said == ["WANDB_PROJECT is set but wandb is not installed; pip install wandb"]


def start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wandb: FakeWandb, said: list[str]
) -> Any:
    monkeypatch.setenv("WANDB_PROJECT", "p")
    monkeypatch.setitem(sys.modules, "wandb", wandb)  # type: ignore[arg-type]
    return sinks_from_environment(tmp_path, {"seed": 3}, warn=said.append)


def test_every_step_arrives_under_its_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = FakeWandb()
    sinks = start(tmp_path, monkeypatch, wandb, [])
    with MetricsLog(tmp_path, sinks) as log:
        log.log("stage3", 4, {"reward": 0.5, "gap": float("nan")})
    assert wandb.logged == [{"stage3/reward": 0.5, "stage3/step": 4}]
    assert wandb.began["config"] == {"seed": 3}
    assert wandb.finished


def test_a_service_that_fails_is_named_once_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    sinks = start(tmp_path, monkeypatch, FakeWandb(fails=True), said)
    with MetricsLog(tmp_path, sinks) as log:
        for step in (1, 2, 3):
            log.log("stage3", step, {"reward": 0.5})
    assert said == ["wandb is left out from here on: the service is away"]


# MLflow's own imports and its database library warn.
@pytest.mark.filterwarnings("default")
def test_mlflow_keeps_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracking = pytest.importorskip("mlflow.tracking")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    for first in (1, 3):  # the second time it is resumed
        sinks = sinks_from_environment(tmp_path, {"rl": {"steps": 4}}, warn=pytest.fail)
        with MetricsLog(tmp_path, sinks) as log:
            for step in (first, first + 1):
                log.log("stage3", step, {"reward/mean": step / 10})
    client: Any = tracking.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("cogaudio-rl").experiment_id])
    history = client.get_metric_history(run.info.run_id, "stage3/reward/mean")
    assert [(m.step, m.value) for m in history] == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4)]
    assert run.data.params == {"rl.steps": "4"}
