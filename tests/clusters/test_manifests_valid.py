"""Every document against the schemas: KubeRay's own, and Kubernetes'; and that they catch a typo."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kuberay_world import SCHEMAS, paper, pod_specs, ray_document

from clusters.kuberay.options import (
    JobOptions,
    Kind,
    ManifestOptions,
    Redis,
    Storage,
)
from clusters.kuberay.pods import Document
from clusters.kuberay.schemas import Schemas, check, closed, problems, read_schemas
from clusters.manifests import render
from cogaudio_rl.config import Config, load_config
from cogaudio_rl.errors import ConfigError, DataError

KUBERNETES = "1.33"
KINDS = list(Kind)
MEMORY = {"learner": 10.0, "rollout": 10.0, "judge": 1.0, "responder": 10.0}
FREE = ("labels", "annotations", "rayStartParams", "requests", "limits", "nodeSelector")
"""Fields that hold a map of anybody's words, where a typo cannot be told."""

needs_schemas = pytest.mark.skipif(not SCHEMAS.is_dir(), reason=f"{SCHEMAS} is not here")
EVERYTHING = ManifestOptions(
    name="everything",
    namespace="speech",
    image="cogaudio-rl:test",
    pull_secret="pull",
    storage=Storage(claim="a", inputs_claim="b", mount="/mnt/all", size="1Ti", storage_class="nfs"),
    auth_secret="auth",
    env={"WANDB_PROJECT": "speech"},
    gpu_class="NVIDIA-A100-SXM4-80GB",
    node_selector={"pool": "gpus"},
    tolerations=("dedicated",),
    job=JobOptions(retries=1, deadline_s=3600, ttl_s=60),
)


@pytest.fixture(scope="module")
def schemas() -> Schemas:
    return read_schemas(SCHEMAS)


def native(document: Document) -> None:
    """Strictly, as Kubernetes itself would with ``--validate=strict``. Raises its own error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, about how it finds its files
        kubernetes_validate = pytest.importorskip("kubernetes_validate")
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


@needs_schemas
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [ManifestOptions(), EVERYTHING], ids=["default", "everything"])
def test_kuberay_knows_every_field(kind: Kind, options: ManifestOptions, schemas: Schemas) -> None:
    check(ray_document(kind, paper(), options), schemas)


@needs_schemas
def test_kuberay_knows_what_only_some_ask_for(schemas: Schemas) -> None:
    redis = ManifestOptions(redis=Redis(address="redis:6379", secret="s"))
    check(ray_document(Kind.RAYSERVICE, paper(), redis), schemas)
    check(ray_document(Kind.RAYCLUSTER, paper(), redis), schemas)
    queued = ManifestOptions(queue="gpus", autoscale=False)
    for kind in KINDS:
        check(ray_document(kind, paper(), queued), schemas)


@pytest.mark.parametrize("kind", KINDS)
def test_kubernetes_knows_every_field_of_its_own_kinds(kind: Kind) -> None:
    documents = render(kind, paper(), EVERYTHING)
    own = [d for d in documents if not d["apiVersion"].startswith("ray.io/")]
    assert [d["kind"] for d in own] == ["PersistentVolumeClaim", "ConfigMap", "PodDisruptionBudget"]
    for document in own:
        native(document)


@pytest.mark.parametrize("kind", KINDS)
def test_kubernetes_knows_every_field_of_the_pods(kind: Kind) -> None:
    """The CRDs copy the pod's schema from one version of Kubernetes; this is another's."""
    for spec in pod_specs(ray_document(kind, paper(), EVERYTHING)):
        native({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": spec})


def test_kubernetes_refuses_a_typo() -> None:
    for document in render(Kind.RAYJOB, paper(), EVERYTHING)[:3]:
        spoilt = copy.deepcopy(document)
        spoilt["metadata"]["lables"] = spoilt["metadata"].pop("name")
        with pytest.raises(Exception, match="lables"):
            native(spoilt)


@needs_schemas
@pytest.mark.parametrize("kind", KINDS)
def test_a_typo_in_any_field_is_caught(kind: Kind, schemas: Schemas) -> None:
    document = ray_document(kind, paper(), EVERYTHING)
    tried = 0
    for path, spoilt in typos(document):
        found = list(problems(spoilt, schemas[document["kind"]]))
        assert found, f"{path} may be misspelt"
        tried += 1
    assert tried > 100


@needs_schemas
@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("spec", "backoffLimit"), "three", "spec.backoffLimit: 'three' is not of type 'integer'"),
        (("spec", "backoffLimit"), 2**31, "spec.backoffLimit"),
        (("spec", "rayClusterSpec", "authOptions", "mode"), "tokens", "is not one of"),
        (("spec", "rayClusterSpec", "headGroupSpec"), {}, "'template' is a required property"),
        (
            ("spec", "rayClusterSpec", "workerGroupSpecs", 0, "rayStartParams", "num-cpus"),
            4,
            "is not",
        ),
        (("spec", "suspended"), True, "'suspended' was unexpected"),
        (("metadata", "name"), "Upper", "does not match"),
        (("apiVersion",), "ray.io/v1alpha1", "'ray.io/v1' was expected"),
    ],
)
def test_what_is_wrong_is_named(
    path: tuple[Any, ...], value: Any, message: str, schemas: Schemas
) -> None:
    document = copy.deepcopy(ray_document(Kind.RAYJOB, paper()))
    node: Any = document
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    with pytest.raises(ConfigError) as error:
        check(document, schemas)
    assert message in str(error.value)


@needs_schemas
def test_a_variable_listed_twice_is_caught(schemas: Schemas) -> None:
    document = copy.deepcopy(ray_document(Kind.RAYJOB, paper()))
    (container,) = next(pod_specs(document))["containers"]
    container["env"].append(dict(container["env"][0]))
    with pytest.raises(ConfigError, match="listed twice"):
        check(document, schemas)


def test_a_folder_without_schemas_is_refused(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text("replicas: 1\n")
    with pytest.raises(DataError, match="CustomResourceDefinition"):
        read_schemas(tmp_path)


@needs_schemas
def test_another_kind_has_no_schema(schemas: Schemas) -> None:
    with pytest.raises(ConfigError, match="RayCronJob"):
        check({"apiVersion": "ray.io/v1", "kind": "RayCronJob"}, schemas)


def test_closing_a_schema_leaves_open_what_kubernetes_leaves_open() -> None:
    quantity = {
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "x-kubernetes-int-or-string": True,
    }
    schema = {
        "type": "object",
        "properties": {
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            "texts": {"type": "object", "additionalProperties": {"type": "string"}},
            "size": quantity,
            "gone": {"type": "string", "nullable": True},
            "list": {"type": "array", "items": {"type": "object", "properties": {"a": {}}}},
        },
    }
    strict = closed(schema)
    good = {
        "free": {"x": {"y": 1}},
        "texts": {"k": "v"},
        "size": "4Gi",
        "gone": None,
        "list": [{"a": 1}],
    }
    assert not list(problems(good, strict))
    for bad in (
        {"freee": {}},
        {"texts": {"k": 1}},
        {"size": 1.5},
        {"size": {"a": 1}},
        {"list": [{"b": 1}]},
    ):
        assert list(problems(bad, strict)), bad


@st.composite
def asked(draw: st.DrawFn) -> tuple[Kind, Config, ManifestOptions]:
    """Any kind, of recipes with and without GPUs, with any of the options."""
    kind = draw(st.sampled_from(KINDS))
    gpus = draw(st.sampled_from([0, 1]))
    config = load_config(
        "quickstart",
        [
            f"cluster.learner_workers={draw(st.integers(1, 8))}",
            f"cluster.rollout_workers={draw(st.integers(1, 8))}",
            f"cluster.judge_workers={draw(st.integers(1, 3))}",
            f"cluster.gpus_per_learner={gpus}",
            f"cluster.gpus_per_rollout={gpus}",
            f"cluster.gpus_per_node={8 * gpus}",
            f"cluster.nodes={draw(st.integers(1, 3))}",
        ],
    )
    queue = draw(st.sampled_from([None, "gpus"]))
    redis = draw(st.sampled_from([None, Redis(address="redis:6379", secret="s")]))
    options = ManifestOptions(
        memory_gib=MEMORY,
        queue=queue,
        autoscale=queue is None and draw(st.booleans()),
        redis=None if kind is Kind.RAYJOB else redis,
        gpu_class=draw(st.sampled_from([None, "NVIDIA-H100-80GB-HBM3"])),
        tolerations=draw(st.sampled_from([(), ("dedicated", "spot")])),
        namespace=draw(st.sampled_from([None, "speech"])),
        shm_gib=draw(st.integers(1, 64)),
    )
    return kind, config, options


@needs_schemas
@given(asked=asked())
@settings(max_examples=30)
def test_whatever_is_asked_for_is_valid(
    asked: tuple[Kind, Config, ManifestOptions], schemas: Schemas
) -> None:
    for document in render(*asked):
        check(document, schemas)
        if not document["apiVersion"].startswith("ray.io/"):
            native(document)


def typos(document: Document) -> Iterator[tuple[str, Document]]:
    """The document with one field misspelt, for each field whose name the schema knows."""
    for path in list(_fields(document, ())):
        spoilt = copy.deepcopy(document)
        node: Any = spoilt
        for key in path[:-1]:
            node = node[key]
        node[f"{path[-1]}x"] = node.pop(path[-1])
        yield ".".join(map(str, path)), spoilt


def _fields(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield (*path, key)
            if key not in FREE:
                yield from _fields(one, (*path, key))
    elif isinstance(value, list) and value:
        # Items of one list share a schema; groups differ, so the first and the last are enough.
        for i in {0, len(value) - 1}:
            yield from _fields(value[i], (*path, i))
