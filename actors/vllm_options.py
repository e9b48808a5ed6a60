"""What the engines here are opened with, rollouts' and servers' alike."""

from __future__ import annotations

from typing import Any

from cogaudio_rl.models.chat import Chat

_BAN = -100.0


def hearing(cache_gib: float, clips: int = 1) -> dict[str, Any]:
    """At most so many clips a prompt; ``cache_gib`` keeps the log-mel frames of clips heard before."""
    return {
        "limit_mm_per_prompt": {"audio": clips, "image": 0, "video": 0},
        "mm_processor_cache_gb": cache_gib,
    }


def on_cpu(*, max_num_seqs: int, max_model_len: int) -> dict[str, Any]:
    """An engine without a GPU."""
    return {
        "enforce_eager": True,
        # A prompt computed in two steps makes vLLM rewind its seeded generator, which those of
        # the CPU cannot do: give every step room for every prompt, sound and all.
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max_num_seqs * max_model_len,
        "skip_mm_profiling": True,
        # A block is 128 tokens here, longer than what two prompts share.
        "enable_prefix_caching": False,
    }


def on_gpu(*, tensor_parallel: int, memory_share: float) -> dict[str, Any]:
    """An engine on one GPU, or split over several of one node."""
    return {
        "tensor_parallel_size": tensor_parallel,
        # An actor has all its GPUs in one bundle; vLLM's own Ray executor wants one bundle for each.
        "distributed_executor_backend": "mp" if tensor_parallel > 1 else "uni",
        "gpu_memory_utilization": memory_share,
    }


def bans(chat: Chat) -> dict[int, float]:
    """Logit biases of the tokens that no answer may hold."""
    return dict.fromkeys(chat.banned_ids, _BAN)
