"""Environment variables of each role, set by Ray before the process imports torch."""

from __future__ import annotations

from cogaudio_rl.config import ClusterConfig, JudgeConfig


def rollout_env(config: ClusterConfig) -> dict[str, str]:
    """A vLLM engine's process.

    No allocator settings here: ``expandable_segments`` breaks vLLM's sleep mode.
    """
    return _common(config.threads_per_rollout) | _engine(config.gpus_per_rollout)


def learner_env(config: ClusterConfig) -> dict[str, str]:
    """A DeepSpeed rank's process."""
    env = _common(config.threads_per_learner)
    if config.gpus_per_learner == 0:
        env["DS_ACCELERATOR"] = "cpu"
    if config.nodes == 1:
        env["GLOO_SOCKET_IFNAME"] = "lo"
    return env


def judge_env(config: ClusterConfig, judge: JudgeConfig) -> dict[str, str]:
    """A judge's process: it waits for answers and counts words, or is a vLLM engine."""
    if judge.engine is None:
        return _common(1)
    return _common(config.threads_per_judge) | _engine(config.gpus_per_judge)


def _engine(gpus: float) -> dict[str, str]:
    env = {
        # One process per engine: Ray already isolates it, and a call to it stays local.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_NO_USAGE_STATS": "1",
    }
    if gpus == 0:
        env |= {
            "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
            # vLLM would pin its threads to the first cores, where others are pinned too.
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            # The sampler's small compiled kernels would need a C++ compiler at run time.
            "TORCHDYNAMO_DISABLE": "1",
        }
    return env


def _common(threads: int) -> dict[str, str]:
    return {
        "OMP_NUM_THREADS": str(threads),
        # Idle OpenMP threads sleep: spinning ones slow a neighbour down tenfold.
        "OMP_WAIT_POLICY": "PASSIVE",
        "KMP_BLOCKTIME": "0",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
