"""Environment variables of a worker's process; they must be set before it imports torch."""

from __future__ import annotations

from actors.describe import SOURCE
from cogaudio_rl.revision import REVISION, git_revision, source_digest


def engine_env(*, threads: int, gpus: float) -> dict[str, str]:
    """A process with a vLLM engine.

    No allocator settings here: ``expandable_segments`` breaks vLLM's sleep mode.
    """
    env = common_env(threads) | {
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


def common_env(threads: int) -> dict[str, str]:
    """Every worker's process."""
    return {
        "OMP_NUM_THREADS": str(threads),
        # Idle OpenMP threads sleep: spinning ones slow a neighbour down tenfold.
        "OMP_WAIT_POLICY": "PASSIVE",
        "KMP_BLOCKTIME": "0",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        SOURCE: source_digest(),  # a worker of other code refuses to start
        REVISION: git_revision(),
    }
