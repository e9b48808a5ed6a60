"""``cogaudio-rl manifest``: a recipe as Kubernetes documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from clusters.cli_options import Overrides, Recipe
from clusters.exits import reports
from clusters.kuberay.options import (
    JobOptions,
    Kind,
    ManifestOptions,
    Redis,
    Storage,
)
from cogaudio_rl.config import Config, parse_config, read_recipe
from cogaudio_rl.errors import ConfigError

Pairs = list[str] | None
_JOB, _SERVICE = "A RayJob", "A RayService"


@reports
def manifest(
    kind: Annotated[Kind, typer.Argument(help="What to render.")],
    overrides: Overrides = None,
    recipe: Recipe = "qwen2_5_omni_7b",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File to write.", show_default="standard output"),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Default: the recipe's name; `-api` or `-cluster` after it.")
    ] = None,
    namespace: Annotated[str | None, typer.Option(help="Default: kubectl's own.")] = None,
    image: Annotated[
        str | None, typer.Option(help="Default: `cogaudio-rl:VERSION-gpu` or `-cpu`.")
    ] = None,
    pull_secret: Annotated[
        str | None, typer.Option(help="Secret with which the image is pulled.")
    ] = None,
    gpu_class: Annotated[
        str | None,
        typer.Option(help="Node label `nvidia.com/gpu.product`, e.g. `NVIDIA-A100-SXM4-80GB`."),
    ] = None,
    node_selector: Annotated[
        Pairs, typer.Option(metavar="KEY=VALUE", help="Another label of nodes with GPUs.")
    ] = None,
    toleration: Annotated[
        Pairs, typer.Option(metavar="KEY", help="A taint of theirs beside `nvidia.com/gpu`.")
    ] = None,
    storage_claim: Annotated[
        str, typer.Option(help="ReadWriteMany claim: `runs` for writing, `inputs` for reading.")
    ] = "cogaudio-storage",
    inputs_claim: Annotated[
        str | None, typer.Option(help="Another claim with models and data, read-only.")
    ] = None,
    storage_mount: Annotated[str, typer.Option(help="Where pods see it.")] = "/storage",
    storage_size: Annotated[
        str | None, typer.Option(help="Make the claim too, this large, e.g. `2Ti`.")
    ] = None,
    storage_class: Annotated[str | None, typer.Option(help="Class of a claim made so.")] = None,
    secret: Annotated[
        str, typer.Option(help="Secret with a key for each variable that holds a key.")
    ] = "cogaudio-keys",
    auth_secret: Annotated[
        str | None,
        typer.Option(help="Secret with Ray's token as `auth_token`; else KubeRay makes one."),
    ] = None,
    env: Annotated[
        Pairs, typer.Option(metavar="NAME=VALUE", help="Environment of all pods; no secrets.")
    ] = None,
    memory: Annotated[
        Pairs,
        typer.Option(
            metavar="ROLE=GIB", help="Host memory of one learner, rollout, judge, responder."
        ),
    ] = None,
    shm_gib: Annotated[int, typer.Option(min=1, help="`/dev/shm` of a pod.")] = 8,
    autoscale: Annotated[
        bool, typer.Option(help="Worker pods come and go with what a stage needs.")
    ] = True,
    queue: Annotated[
        str | None, typer.Option(help="Kueue's LocalQueue; needs --no-autoscale.")
    ] = None,
    redis: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Keeps the head's state; not for a RayJob."),
    ] = None,
    redis_secret: Annotated[
        str, typer.Option(help="Secret with its password as `password`.")
    ] = "cogaudio-redis",
    retries: Annotated[
        int | None, typer.Option(min=0, help=f"{_JOB}'s further attempts; 3 by default.")
    ] = None,
    deadline_s: Annotated[
        int | None, typer.Option(min=1, help=f"{_JOB} ends after so many seconds.")
    ] = None,
    ttl_s: Annotated[
        int | None, typer.Option(min=0, help=f"{_JOB}'s pods stay so long; 600 by default.")
    ] = None,
    checkpoint: Annotated[
        Pairs,
        typer.Option(
            "--checkpoint",
            "-c",
            metavar="NAME=FOLDER",
            help=f"{_SERVICE}'s adapter, in the place of the recipe's.",
        ),
    ] = None,
    replicas: Annotated[
        str | None,
        typer.Option(metavar="MIN:MAX", help=f"{_SERVICE}'s replicas; the recipe's by default."),
    ] = None,
    schemas: Annotated[
        Path | None,
        typer.Option(
            envvar="COGAUDIO_CRD_SCHEMAS",
            help="Folder with KubeRay's CRDs (`ray.io_rayjobs.yaml` …): check strictly against them.",
        ),
    ] = None,
) -> None:
    """A recipe as Kubernetes documents for KubeRay: `kubectl apply -f` them.

    Worker groups are rendered from the recipe's `cluster` section. A relative path of the recipe is
    taken to lie on the storage: `runs/…` in its runs, all else in its inputs. Keys are named, never
    written. What to install first, and what to do when a node is lost, stands in
    `clusters/kuberay/README.md`.

    - A run: `cogaudio-rl manifest rayjob --recipe qwen2_5_omni_7b -o job.yaml`

    - Its adapter for users: `cogaudio-rl manifest rayservice --recipe qwen2_5_omni_7b -c
      D=runs/qwen2_5_omni_7b/checkpoints/stage3 -o service.yaml`
    """
    from clusters.kuberay.text import to_yaml
    from clusters.manifests import render

    _belongs(kind, Kind.RAYJOB, retries=retries, deadline_s=deadline_s, ttl_s=ttl_s)
    _belongs(kind, Kind.RAYSERVICE, checkpoint=checkpoint, replicas=replicas)
    options = ManifestOptions(
        name=name,
        namespace=namespace,
        image=image,
        pull_secret=pull_secret,
        gpu_class=gpu_class,
        node_selector=_pairs("--node-selector", node_selector),
        tolerations=tuple(toleration or ()),
        storage=Storage(
            claim=storage_claim,
            inputs_claim=inputs_claim,
            mount=storage_mount,
            size=storage_size,
            storage_class=storage_class,
        ),
        secret=secret,
        auth_secret=auth_secret,
        env=_pairs("--env", env),
        memory_gib=_gib(memory),
        shm_gib=shm_gib,
        autoscale=autoscale,
        queue=queue,
        redis=Redis(address=redis, secret=redis_secret) if redis else None,
        job=_job(retries, deadline_s, ttl_s),
    )
    documents = render(kind, _config(recipe, overrides or (), checkpoint, replicas), options)
    if schemas is not None:
        from clusters.kuberay.schemas import check, read_schemas

        for document in documents:
            check(document, read_schemas(schemas))
    text = to_yaml(documents)
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")


def _job(retries: int | None, deadline_s: int | None, ttl_s: int | None) -> JobOptions:
    job = JobOptions(deadline_s=deadline_s)
    job = job if retries is None else replace(job, retries=retries)
    return job if ttl_s is None else replace(job, ttl_s=ttl_s)


def _config(
    recipe: str, overrides: Sequence[str], checkpoints: Pairs, replicas: str | None
) -> Config:
    raw = read_recipe(recipe, overrides)
    serve = raw.setdefault("serve", {})
    if checkpoints:
        serve["checkpoints"] = _pairs("--checkpoint", checkpoints)
    if replicas is not None:
        least, _, most = replicas.partition(":")
        if not (least.isdigit() and most.isdigit()):
            raise ConfigError(f"--replicas must be MIN:MAX, such as 1:4, got {replicas!r}")
        serve |= {"replicas": int(least), "max_replicas": int(most)}
    return parse_config(raw)


def _gib(given: Sequence[str] | None) -> dict[str, float]:
    gib: dict[str, float] = {}
    for role, size in _pairs("--memory", given).items():
        try:
            gib[role] = float(size)
        except ValueError:
            raise ConfigError(f"--memory {role}={size}: give GiB as a number") from None
        if not 0 < gib[role] < float("inf"):
            raise ConfigError(f"--memory {role}={size}: give GiB above 0")
    return gib


def _pairs(option: str, given: Sequence[str] | None) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for item in given or ():
        key, equals, value = item.partition("=")
        if not (key and equals and value):
            raise ConfigError(f"{option} {item!r} is not of the form KEY=VALUE")
        pairs[key] = value
    return pairs


def _belongs(kind: Kind, owner: Kind, **options: object) -> None:
    for option, value in options.items():
        if value is not None and kind is not owner:
            raise ConfigError(f"--{option.replace('_', '-')} belongs to {owner}, not to {kind}")
