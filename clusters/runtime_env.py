"""Environment variables of each role, set by Ray before the process imports torch."""

from __future__ import annotations

from actors.environment import common_env, engine_env
from cogaudio_rl.config import ClusterConfig, JudgeConfig
from cogaudio_rl.revision import REVISION, git_revision


def driver_env() -> dict[str, str]:
    """A job's driver: it is stopped as by Ctrl-C, and may take its time over it; logs are wide."""
    return {
        "RAY_JOB_STOP_SIGNAL": "SIGINT",
        "RAY_JOB_STOP_WAIT_TIME_S": "15",
        "RAY_USAGE_STATS_ENABLED": "0",
        "COLUMNS": "120",
        REVISION: git_revision(),
    }


def rollout_env(config: ClusterConfig) -> dict[str, str]:
    """A vLLM engine's process."""
    return engine_env(threads=config.threads_per_rollout, gpus=config.gpus_per_rollout)


def learner_env(config: ClusterConfig) -> dict[str, str]:
    """A DeepSpeed rank's process."""
    env = common_env(config.threads_per_learner)
    if config.gpus_per_learner == 0:
        env["DS_ACCELERATOR"] = "cpu"
    if config.nodes == 1:
        env["GLOO_SOCKET_IFNAME"] = "lo"
    return env


def judge_env(config: ClusterConfig, judge: JudgeConfig) -> dict[str, str]:
    """A judge's process: it waits for answers and counts words, or is a vLLM engine."""
    if judge.engine is None:
        return common_env(1)
    return engine_env(threads=config.threads_per_judge, gpus=config.gpus_per_judge)
