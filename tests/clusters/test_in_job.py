"""What the driver of a Ray job does otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clusters.in_job import check_kept, in_a_job, job_address
from cogaudio_rl.errors import ConfigError

JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"


def test_outside_a_job_an_address_in_the_environment_is_not_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(JOB, raising=False)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert not in_a_job()
    assert job_address() is None
    check_kept(Path("runs/a"))


@pytest.mark.parametrize("runtime_env", [{"working_dir": "gcs://x.zip"}, {}, None])
def test_a_job_joins_its_cluster_and_writes_where_it_stays(
    runtime_env: dict[str, str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(JOB, json.dumps({"runtime_env": runtime_env}))
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert job_address() == "10.0.0.1:6379"
    check_kept(Path("/shared/runs/a"))
    if runtime_env:
        with pytest.raises(ConfigError, match="out_dir 'runs/a' is relative"):
            check_kept(Path("runs/a"))
    else:
        check_kept(Path("runs/a"))


def test_ray_still_calls_it_so() -> None:
    from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR

    assert RAY_JOB_CONFIG_JSON_ENV_VAR == JOB
