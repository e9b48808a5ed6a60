"""``--dry-run``: what a run would do, where, with how much memory, and what is missing here."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from clusters.in_job import in_a_job
from clusters.layout import Role, assign, layout, spelled, total
from clusters.memory import RoleMemory, estimate
from cogaudio_rl.config import ClusterConfig, Config, dump_config
from cogaudio_rl.errors import CheckpointError
from cogaudio_rl.models.architecture import resolve_checkpoint
from cogaudio_rl.rewards.judge_checkpoint import check_judge_checkpoint

_LOWER = {
    Role.LEARNER: "micro_batch_tokens or cluster.max_model_len",
    Role.ROLLOUT: "cluster.max_num_seqs or cluster.max_model_len",
    Role.JUDGE: "judge.concurrency or judge.max_model_len",
}
"""What a role on a GPU can be asked to keep less of."""


def dry_run(config: Config) -> None:
    """Print it all. Raises InputError for a recipe that could run nowhere."""
    console = Console(highlight=False, soft_wrap=True)
    console.rule("resolved config", align="left")
    console.print(dump_config(config), markup=False)
    console.rule("placement", align="left")
    console.print(placement_table(config.cluster))
    memory = estimate(config)
    console.rule("memory per process (estimate)", align="left")
    console.print(
        memory_table(memory) if memory else "unknown: the backbone's config.json is not here"
    )
    console.rule("missing on this machine", align="left")
    lines = [*missing(config), *too_big(memory)]
    for line in lines or ["nothing"]:
        console.print(f"  {line}", markup=False)


def placement_table(cluster: ClusterConfig) -> Table:
    """One row per role and node. Raises ConfigError when the stated cluster is too small."""
    bundles = layout(cluster)
    rows: dict[tuple[str, int], list[int]] = {}
    for i, node in enumerate(assign(bundles, cluster)):
        rows.setdefault((bundles[i].role, node), []).append(i)
    labelled = bool(cluster.node_labels)
    table = _table(
        *("role", "node", "processes", "CPUs each", "GPUs each"), *(["only with"] * labelled)
    )
    for (role, node), members in rows.items():
        one = bundles[members[0]]
        row = (role, str(node), str(len(members)), f"{one.cpus:g}", f"{one.gpus:g}")
        table.add_row(*row, *([spelled(one.labels)] * labelled))
    sums = total(bundles)
    stated = f"{cluster.nodes} node(s) x {cluster.gpus_per_node} GPUs"
    where = "in this process" if cluster.backend == "local" else f"on {stated}"
    table.caption = f"{sums['CPU']:g} CPUs and {sums['GPU']:g} GPUs in all, {where}"
    return table


def memory_table(memory: Sequence[RoleMemory]) -> Table:
    """One row per role, one line per part."""
    table = _table("role", "where", "parts (GiB)", "total GiB", "limit GiB")
    for role in memory:
        parts = ", ".join(f"{name} {gib:.2f}" for name, gib in role.parts.items())
        limit = f"{role.limit_gib:.0f}" if role.limit_gib else "-"
        table.add_row(
            role.role, "GPU" if role.on_gpu else "host", parts, f"{role.total_gib:.1f}", limit
        )
    return table


def missing(config: Config) -> list[str]:
    """What this machine lacks, one line each. Raises CheckpointError for another model."""
    return [
        *_missing_gpus(config),
        *_missing_weights(config),
        *_missing_data(config),
        *_missing_judge(config),
    ]


def too_big(memory: Sequence[RoleMemory]) -> list[str]:
    """Roles whose estimate is above what their share of a GPU holds."""
    return [
        f"memory: {role.role} needs about {role.total_gib:.0f} GiB of {role.limit_gib:.0f}; "
        f"lower {_LOWER[role.role]}"
        for role in memory
        if not role.fits
    ]


def _missing_gpus(config: Config) -> Iterable[str]:
    import torch

    cluster = config.cluster
    needed, have = total(layout(cluster))["GPU"], torch.cuda.device_count()
    if cluster.address is None and not in_a_job() and needed > have:
        yield f"GPUs: {needed:g} needed, {have} here (or name a cluster: cluster.address=...)"
    if cluster.backend == "ray" and importlib.util.find_spec("vllm") is None:
        yield "vLLM: not installed; pip install 'cogaudio-rl[cpu]' or 'cogaudio-rl[gpu]'"


def _missing_weights(config: Config) -> Iterable[str]:
    try:
        resolve_checkpoint(config.model.path)
    except CheckpointError as error:
        if Path(config.model.path, "config.json").is_file():
            raise  # something is there, and it is the wrong thing
        yield f"weights: {error}"


def _missing_data(config: Config) -> Iterable[str]:
    data = config.data
    if not data.is_spoken_here and data.root is None:
        yield f"data: data.root is not set, and data.kind {data.kind!r} needs it"
    for name, folder in (("root", data.root), ("test_root", data.test_root)):
        if folder is not None and not folder.is_dir():
            yield f"data: data.{name} {str(folder)!r} is not here"


def _missing_judge(config: Config) -> Iterable[str]:
    held_out = config.rl.held_out_judge
    for judge in (*config.judge.voices, *(held_out.voices if held_out else ())):
        if judge.kind == "llm" and not os.environ.get(judge.api_key_env):
            yield (
                f"judge: environment variable {judge.api_key_env} holds no key for {judge.base_url}"
            )
        if judge.kind == "vllm":
            try:
                check_judge_checkpoint(judge)
            except CheckpointError as error:
                yield f"judge: {error}"


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, caption_justify="left", pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=column != "parts (GiB)", overflow="fold")
    return table
