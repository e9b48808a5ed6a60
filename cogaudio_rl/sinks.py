"""Where else metrics go when the environment asks for it: Weights & Biases, MLflow.

    WANDB_PROJECT        and wandb is installed  (its key in WANDB_API_KEY, or WANDB_MODE=offline)
    MLFLOW_TRACKING_URI  and mlflow is installed

Both are switched on by their own usual variables, so that no recipe holds an account's name. Nothing
that goes wrong there ends a run: a sink that fails is named once and left out from then on.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

Warn = Callable[[str], None]


class Sink(Protocol):
    """Takes every step's metrics."""

    def log(self, stage: str, step: int, metrics: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


def sinks_from_environment(run_dir: Path, settings: Mapping[str, Any], *, warn: Warn) -> list[Sink]:
    """The sinks that are asked for and installed; what is asked for and missing is said."""
    found: list[Sink] = []
    for variable, package, make in (
        ("WANDB_PROJECT", "wandb", _WandbSink),
        ("MLFLOW_TRACKING_URI", "mlflow", _MlflowSink),
    ):
        if not os.environ.get(variable):
            continue
        if importlib.util.find_spec(package) is None:
            warn(f"{variable} is set but {package} is not installed; pip install {package}")
            continue
        try:
            found.append(_Careful(make(run_dir, settings), package, warn))
        except Exception as error:  # a foreign service: anything may be raised
            warn(f"{package} is left out: {_first_line(error)}")
    return found


class _Careful:
    """A sink that may fail: the first time it is named, then it is silent."""

    def __init__(self, sink: Sink, name: str, warn: Warn) -> None:
        self._sink: Sink | None = sink
        self._name, self._warn = name, warn

    def log(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        self._try(lambda sink: sink.log(stage, step, metrics))

    def close(self) -> None:
        self._try(lambda sink: sink.close())

    def _try(self, call: Callable[[Sink], None]) -> None:
        if self._sink is None:
            return
        try:
            call(self._sink)
        except Exception as error:  # as above
            self._warn(f"{self._name} is left out from here on: {_first_line(error)}")
            self._sink = None


class _WandbSink:
    def __init__(self, run_dir: Path, settings: Mapping[str, Any]) -> None:
        import wandb  # pyright: ignore[reportMissingImports]

        library: Any = wandb
        self._run = library.init(
            project=os.environ["WANDB_PROJECT"],
            name=run_dir.name,
            # The same folder is the same run, also when it is resumed.
            id=hashlib.blake2b(str(run_dir.absolute()).encode(), digest_size=8).hexdigest(),
            resume="allow",
            dir=str(run_dir),
            config=dict(settings),
        )

    def log(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        # Stages count their steps anew, so each has its own axis.
        self._run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
        values = {f"{stage}/{name}": value for name, value in metrics.items()}
        self._run.log(values | {f"{stage}/step": step})

    def close(self) -> None:
        self._run.finish()


class _MlflowSink:
    def __init__(self, run_dir: Path, settings: Mapping[str, Any]) -> None:
        from mlflow.entities import Metric  # pyright: ignore[reportMissingImports]
        from mlflow.tracking import MlflowClient  # pyright: ignore[reportMissingImports]

        library: Any = MlflowClient
        self._metric: Any = Metric
        self._client = library(os.environ["MLFLOW_TRACKING_URI"])
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "cogaudio-rl")
        experiment = self._client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else self._client.create_experiment(name)
        folder = str(run_dir.absolute())
        known = self._client.search_runs([number], f"tags.run_dir = '{folder}'", max_results=1)
        run = (
            known[0]
            if known
            else self._client.create_run(number, tags={"run_dir": folder}, run_name=run_dir.name)
        )
        self._id = run.info.run_id
        if not known:
            for key, value in _flat(settings).items():
                self._client.log_param(self._id, key, str(value)[:500])

    def log(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        self._client.log_batch(
            self._id,
            metrics=[self._metric(f"{stage}/{n}", v, now, step) for n, v in metrics.items()],
        )

    def close(self) -> None:
        self._client.set_terminated(self._id)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
