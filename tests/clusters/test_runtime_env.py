"""What each role's process finds in its environment before torch is imported."""

from __future__ import annotations

from clusters.runtime_env import judge_env, learner_env, rollout_env
from cogaudio_rl.config import ClusterConfig, JudgeConfig

CPU = ClusterConfig(threads_per_rollout=3, threads_per_learner=2)
GPU = ClusterConfig(gpus_per_rollout=1, gpus_per_learner=1, nodes=2)


def test_threads_are_given_out_per_role() -> None:
    envs = (rollout_env(CPU), learner_env(CPU), judge_env(CPU, JudgeConfig()))
    assert [env["OMP_NUM_THREADS"] for env in envs] == ["3", "2", "1"]


def test_cpu_settings_appear_only_without_gpus() -> None:
    assert learner_env(CPU)["DS_ACCELERATOR"] == "cpu"
    assert "DS_ACCELERATOR" not in learner_env(GPU)
    assert any(name.startswith("VLLM_CPU_") for name in rollout_env(CPU))
    assert not any(name.startswith("VLLM_CPU_") for name in rollout_env(GPU))
    assert "TORCHDYNAMO_DISABLE" not in rollout_env(GPU)


def test_a_judge_that_is_an_engine_has_an_engines_environment() -> None:
    engine = JudgeConfig(kind="vllm", model="m")
    threads = CPU.model_copy(update={"threads_per_judge": 4})
    found = judge_env(threads, JudgeConfig(kind="ensemble", members=(JudgeConfig(), engine)))
    assert found == rollout_env(threads) | {"OMP_NUM_THREADS": "4"}
    on_gpu = judge_env(CPU.model_copy(update={"gpus_per_judge": 0.5}), engine)
    assert "VLLM_HOST_IP" in on_gpu
    assert not any(name.startswith("VLLM_CPU_") for name in on_gpu)
    assert not any("VLLM" in name for name in judge_env(CPU, JudgeConfig()))


def test_nothing_calls_home_and_no_allocator_breaks_sleep_mode() -> None:
    for env in (rollout_env(CPU), learner_env(GPU), judge_env(CPU, JudgeConfig())):
        assert env["HF_HUB_OFFLINE"] == env["DO_NOT_TRACK"] == "1"
        assert not any("ALLOC" in name for name in env)


def test_only_one_machine_talks_over_loopback() -> None:
    assert learner_env(CPU)["GLOO_SOCKET_IFNAME"] == "lo"
    assert "GLOO_SOCKET_IFNAME" not in learner_env(GPU)
