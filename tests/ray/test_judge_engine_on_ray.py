"""A judge that is a vLLM engine in a Ray actor, through the pool and from the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from judging import SENTENCE
from replies import direct, said
from tiny_judge import make_judge_model, vllm_judge

from clusters.backend import RayBackend
from cogaudio_rl.config import Config, JudgeConfig
from cogaudio_rl.types import LIME_EMOTIONS, Score

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    # Ray leaves sockets and files to the garbage collector.
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> JudgeConfig:
    return vllm_judge(make_judge_model(tmp_path_factory.mktemp("judge"), "qwen3"))


async def test_verdicts_through_the_pool(judge: JudgeConfig, tmp_path: Path) -> None:
    groups = [
        direct(said(SENTENCE, emotion), f"Reply {i}.", f"Another {i}.")
        for i, emotion in enumerate((*LIME_EMOTIONS, "sad"))
    ]
    backend = RayBackend(Config(judge=judge.kept_in(tmp_path)), tmp_path)
    try:
        pool = backend.judge()
        found = await pool.score(groups)
        assert (await pool.spent())["judge/requests"] == 16
        assert await pool.score(groups) == found
        assert (await pool.spent())["judge/requests"] == 0
    finally:
        backend.close()
    assert all(isinstance(score, Score) for row in found for score in row)


def canaries(folder: Path, *judge: str) -> subprocess.CompletedProcess[str]:
    command = [
        str(Path(sys.executable).with_name("cogaudio-rl")),
        "judge",
        "canaries",
        "-o",
        "trial",
    ]
    return subprocess.run(
        [*command, *judge], cwd=folder, capture_output=True, text=True, timeout=540
    )


def test_canaries_from_the_command_line(judge: JudgeConfig, tmp_path: Path) -> None:
    """Its random weights like what they like: the command ends with 0 or with 1 and a reason."""
    given = {"kind": "vllm", "model": judge.model, "max_model_len": 2048, "max_tokens": 30}
    done = canaries(tmp_path, f"judge={json.dumps(given)}")
    assert done.returncode in (0, 1), done.stderr
    if done.returncode:
        assert "a canary got" in done.stderr
    found = json.loads((tmp_path / "trial" / "canaries.json").read_text("utf-8"))
    # Empty replies cost no question.
    assert all(one["unscored"] == 0 for one in found.values())
    assert list((tmp_path / "trial" / "judge_cache").rglob("*.json"))


def test_a_model_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = canaries(tmp_path, "judge={kind: vllm, model: gone}")
    assert done.returncode == 2
    assert "judge.model 'gone' holds no config.json" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
