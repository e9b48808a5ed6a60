"""A recipe → manifests: who runs where, on what, with which rights, and what is refused."""

from __future__ import annotations

import importlib.metadata
import json
import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from kuberay_world import (
    cluster_of,
    container_of,
    gpus_of,
    groups_of,
    paper,
    pod_specs,
    ray_document,
)

from clusters.kuberay.options import Kind, ManifestOptions, Redis, Storage
from clusters.kuberay.pods import GPU, Document
from clusters.kuberay.storage import on_storage
from clusters.kuberay.text import to_yaml
from clusters.layout import layout, total
from clusters.manifests import render
from cogaudio_rl.config import ClusterConfig, Config, load_config, parse_config
from cogaudio_rl.errors import ConfigError

KINDS = list(Kind)
MEMORY = {"learner": 10.0, "rollout": 10.0, "judge": 1.0, "responder": 10.0}


# The paper's run: 8 x A100.


def test_the_papers_run_asks_for_eight_gpus() -> None:
    groups = groups_of(Kind.RAYJOB, ray_document(Kind.RAYJOB, paper()))
    pods = {role: (g["maxReplicas"], gpus_of(g)) for role, g in groups.items()}
    assert pods == {"learner": (1, 4), "rollout": (4, 4), "judge": (1, 0)}


def test_ranks_of_one_node_share_a_pod_and_engines_do_not() -> None:
    """NCCL has NVLink inside a pod only; and a lost engine should not take its like along."""
    groups = groups_of(Kind.RAYJOB, ray_document(Kind.RAYJOB, paper()))
    asked = {role: container_of(g)["resources"]["requests"]["cpu"] for role, g in groups.items()}
    assert asked == {"learner": 16, "rollout": 4, "judge": 2}
    assert groups["learner"]["rayStartParams"]["num-gpus"] == "4"


def test_on_two_nodes_the_ranks_fill_whole_nodes() -> None:
    config = paper("cluster.nodes=2", "cluster.learner_workers=12", "cluster.rollout_workers=4")
    learner = groups_of(Kind.RAYJOB, ray_document(Kind.RAYJOB, config))["learner"]
    assert (learner["maxReplicas"], gpus_of(learner)) == (2, 12)


def test_a_pods_host_memory_holds_the_weights_it_loads() -> None:
    """Four ranks read 8.9 G parameters' worth of bfloat16 each, and /dev/shm counts, too."""
    groups = groups_of(Kind.RAYJOB, ray_document(Kind.RAYJOB, paper()))
    gib = int(container_of(groups["learner"])["resources"]["limits"]["memory"].removesuffix("Gi"))
    weights = 4 * 2 * 8.2e9 / 2**30
    assert weights < gib < weights + 4 * 6 + 8


# What holds for all of them.


@pytest.mark.parametrize("kind", KINDS)
def test_the_head_has_no_cpus_for_workers(kind: Kind) -> None:
    head = cluster_of(kind, ray_document(kind, paper()))["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"


@pytest.mark.parametrize("kind", KINDS)
def test_each_group_carries_its_role_as_a_label_of_the_ray_node(kind: Kind) -> None:
    groups = groups_of(kind, ray_document(kind, paper()))
    for role, group in groups.items():
        assert group["labels"] == {"cogaudio-role": role}
        # KubeRay refuses labels among the start parameters.
        assert "labels" not in group["rayStartParams"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_pod_meets_the_restricted_standard(kind: Kind) -> None:
    """Kubernetes' Pod Security Standard "restricted", and a root that cannot be written."""
    specs = list(pod_specs(ray_document(kind, paper())))
    assert specs
    for spec in specs:
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert all(
            {"emptyDir", "persistentVolumeClaim", "configMap"} & v.keys() for v in spec["volumes"]
        )
        for container in spec["containers"]:
            rights = container["securityContext"]
            assert rights["allowPrivilegeEscalation"] is False
            assert rights["capabilities"] == {"drop": ["ALL"]}
            assert rights["readOnlyRootFilesystem"] is True
            assert "privileged" not in rights


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_head_may_talk_to_kubernetes_and_only_to_scale(kind: Kind) -> None:
    for autoscale in (True, False):
        document = ray_document(kind, paper(), ManifestOptions(autoscale=autoscale))
        may = [
            s["containers"][0]["name"]
            for s in pod_specs(document)
            if s["automountServiceAccountToken"]
        ]
        assert may == (["ray-head"] if autoscale else [])


@pytest.mark.parametrize("kind", KINDS)
def test_every_mount_has_its_volume_and_the_inputs_are_read_only(kind: Kind) -> None:
    for spec in pod_specs(ray_document(kind, paper())):
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        (container,) = spec["containers"]
        mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
        assert mounts.keys() == volumes.keys()
        assert {"scratch", "home"} <= mounts.keys()
        if container["name"] == "submitter":
            continue
        assert volumes["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "8Gi"}
        assert mounts["shm"]["mountPath"] == "/dev/shm"
        assert mounts["inputs"]["readOnly"] is True
        assert "readOnly" not in mounts["runs"]


@pytest.mark.parametrize("kind", KINDS)
def test_rays_object_store_fits_into_dev_shm(kind: Kind) -> None:
    spec = cluster_of(kind, ray_document(kind, paper(), ManifestOptions(shm_gib=2)))
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert int(group["rayStartParams"]["object-store-memory"]) < 2 * 2**30


@pytest.mark.parametrize("kind", KINDS)
def test_ray_asks_for_its_token_and_runs_the_version_that_is_installed(kind: Kind) -> None:
    spec = cluster_of(kind, ray_document(kind, paper()))
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["rayVersion"] == importlib.metadata.version("ray")
    named = cluster_of(kind, ray_document(kind, paper(), ManifestOptions(auth_secret="mine")))
    assert named["authOptions"]["secretName"] == "mine"


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_is_named_and_never_written(kind: Kind) -> None:
    document = ray_document(kind, paper())
    for spec in pod_specs(document):
        for variable in spec["containers"][0]["env"]:
            if variable["name"].endswith(("KEY", "KEYS")):
                assert variable["valueFrom"]["secretKeyRef"]["name"] == "cogaudio-keys"
                assert "value" not in variable


def test_only_who_asks_the_judge_has_its_key() -> None:
    job = ray_document(Kind.RAYJOB, paper("judge.api_key_env=MY_KEY"))
    spec = cluster_of(Kind.RAYJOB, job)
    have = {
        role: {e["name"] for e in container_of(group)["env"] if "valueFrom" in e}
        for role, group in {"head": spec["headGroupSpec"], **groups_of(Kind.RAYJOB, job)}.items()
    }
    assert have == {
        "head": {"MY_KEY", "WANDB_API_KEY"},
        "learner": set(),
        "rollout": set(),
        "judge": {"MY_KEY"},
    }


def test_keys_of_other_judges_and_baselines_are_asked_for_as_well() -> None:
    config = paper(
        "rl.held_out_judge={kind: llm, base_url: 'http://h', model: h, api_key_env: HELD_KEY}",
        "eval.baselines=[{name: other, base_url: 'http://o', model: o, api_key_env: OTHER_KEY}]",
    )
    head = cluster_of(Kind.RAYJOB, ray_document(Kind.RAYJOB, config))["headGroupSpec"]
    names = {e["name"] for e in container_of(head)["env"] if "valueFrom" in e}
    assert names >= {"COGAUDIO_JUDGE_API_KEY", "HELD_KEY", "OTHER_KEY"}


# The job.


def test_a_retried_job_goes_on() -> None:
    spec = ray_document(Kind.RAYJOB, paper())["spec"]
    assert spec["entrypoint"].endswith("--recipe /etc/cogaudio/recipe.yaml --resume")
    assert spec["backoffLimit"] == 3
    assert spec["shutdownAfterJobFinishes"] is True
    assert "activeDeadlineSeconds" not in spec


def test_a_jobs_workers_come_when_a_stage_asks_for_them() -> None:
    document = ray_document(Kind.RAYJOB, paper())
    assert cluster_of(Kind.RAYJOB, document)["autoscalerOptions"]["version"] == "v2"
    replicas = {
        role: (g["minReplicas"], g["replicas"], g["maxReplicas"])
        for role, g in groups_of(Kind.RAYJOB, document).items()
    }
    assert replicas == {"learner": (0, 0, 1), "rollout": (0, 0, 4), "judge": (0, 0, 1)}


def test_for_kueue_a_job_waits_suspended_with_all_its_pods() -> None:
    options = ManifestOptions(queue="gpus", autoscale=False)
    document = ray_document(Kind.RAYJOB, paper(), options)
    assert document["spec"]["suspend"] is True
    assert document["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    spec = cluster_of(Kind.RAYJOB, document)
    assert spec["enableInTreeAutoscaling"] is False
    assert "autoscalerOptions" not in spec
    groups = groups_of(Kind.RAYJOB, document).values()
    assert {(g["minReplicas"], g["replicas"]) == (g["maxReplicas"],) * 2 for g in groups} == {True}


def test_the_recipe_in_the_pods_is_this_recipe_on_the_storage() -> None:
    config = paper("sft.start=runs/before/checkpoints/stage1")
    (recipe,) = (
        d for d in render(Kind.RAYJOB, config, ManifestOptions()) if d["kind"] == "ConfigMap"
    )
    inside = parse_config(yaml.safe_load(recipe["data"]["recipe.yaml"]))
    assert inside == on_storage(config, Storage())
    assert inside.out_dir == Path("/storage/runs/qwen2_5_omni_7b")
    assert inside.model.path == "/storage/inputs/checkpoints/Qwen2.5-Omni-7B"
    assert inside.data.root == Path("/storage/inputs/data/lime-440k")
    assert inside.sft.start == Path("/storage/runs/before/checkpoints/stage1")
    assert inside.cluster.address == "auto"
    assert inside.rl == config.rl


def test_a_claim_is_made_only_when_its_size_is_said() -> None:
    storage = Storage(claim="mine", size="2Ti", storage_class="nfs")
    first = render(Kind.RAYJOB, paper(), ManifestOptions(storage=storage))[0]
    assert first["kind"] == "PersistentVolumeClaim"
    assert first["spec"]["accessModes"] == ["ReadWriteMany"]
    kinds = [d["kind"] for d in render(Kind.RAYJOB, paper(), ManifestOptions())]
    assert kinds == ["ConfigMap", "PodDisruptionBudget", "RayJob"]


def test_a_service_and_a_cluster_stand_beside_the_job_of_their_recipe() -> None:
    names = [
        (document["kind"], document["metadata"]["name"])
        for kind in KINDS
        for document in render(kind, paper(), ManifestOptions())
    ]
    assert len(set(names)) == len(names) == 9


# The service.


def test_the_service_serves_what_it_was_given() -> None:
    config = paper("serve.checkpoints={D: runs/a/checkpoints/stage3}", "serve.replicas=2")
    document = ray_document(Kind.RAYSERVICE, config)
    told = yaml.safe_load(document["spec"]["serveConfigV2"])
    (application,) = told["applications"]
    (deployment,) = application["deployments"]
    assert application["import_path"] == "actors.responder:app"
    assert deployment["user_config"]["checkpoints"] == {"D": "/storage/runs/a/checkpoints/stage3"}
    assert deployment["autoscaling_config"]["max_replicas"] == 4
    (group,) = groups_of(Kind.RAYSERVICE, document).values()
    assert (group["minReplicas"], group["maxReplicas"]) == (2, 4)
    assert container_of(group)["resources"]["limits"][GPU] == 1
    names = {e["name"] for e in container_of(group)["env"]}
    assert "COGAUDIO_API_KEYS" in names


@pytest.mark.slow  # Ray Serve takes seconds to import
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of its own models
def test_the_service_is_called_as_the_application_is() -> None:
    """Settings for a deployment of another name would be refused when they are applied."""
    from actors import responder
    from clusters import serving
    from clusters.kuberay.serving import APPLICATION, DEPLOYMENT, IMPORT_PATH

    assert APPLICATION == serving.APPLICATION
    assert DEPLOYMENT == responder.DEPLOYMENT
    assert f"{responder.__name__}:{responder.app.__name__}" == IMPORT_PATH


@pytest.mark.slow  # Ray Serve takes seconds to import
def test_ray_serve_understands_the_service() -> None:
    schema = pytest.importorskip("ray.serve.schema")
    document = ray_document(Kind.RAYSERVICE, paper())
    told = schema.ServeDeploySchema.model_validate(
        yaml.safe_load(document["spec"]["serveConfigV2"])
    )
    assert told.applications[0].deployments[0].name == "responder"


def test_without_autoscaling_no_replica_waits_for_a_pod_that_never_comes() -> None:
    document = ray_document(Kind.RAYSERVICE, paper(), ManifestOptions(autoscale=False))
    told = yaml.safe_load(document["spec"]["serveConfigV2"])
    (deployment,) = told["applications"][0]["deployments"]
    (group,) = groups_of(Kind.RAYSERVICE, document).values()
    assert deployment["autoscaling_config"] is None
    assert deployment["num_replicas"] == group["maxReplicas"] == 1


@pytest.mark.slow  # Ray Serve takes seconds to import
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of its own models
def test_without_autoscaling_ray_serve_forgets_that_of_the_recipe() -> None:
    """What a service's file leaves out, Ray Serve takes from the application as it was built."""
    from ray.serve._private.application_state import override_deployment_info
    from ray.serve._private.config import DeploymentConfig, ReplicaConfig
    from ray.serve._private.deployment_info import DeploymentInfo
    from ray.serve.config import AutoscalingConfig
    from ray.serve.schema import ServeApplicationSchema

    document = ray_document(Kind.RAYSERVICE, paper(), ManifestOptions(autoscale=False))
    told = yaml.safe_load(document["spec"]["serveConfigV2"])
    built = DeploymentInfo(
        deployment_config=DeploymentConfig(
            num_replicas=None, autoscaling_config=AutoscalingConfig(min_replicas=1, max_replicas=4)
        ),
        replica_config=ReplicaConfig.create(object),
        start_time_ms=0,
        deployer_job_id="",
    )
    application = ServeApplicationSchema.model_validate(told["applications"][0])
    info = override_deployment_info({"responder": built}, application)["responder"]
    assert info.deployment_config.autoscaling_config is None
    assert info.deployment_config.num_replicas == 1


@pytest.mark.parametrize(
    "changed",
    [
        "model.path=checkpoints/Qwen2.5-Omni-7B-other",
        "serve.max_queued_requests=7",
        "serve.max_replicas=6",
        "cluster.gpu_memory_utilization=0.7",
        "model.max_new_tokens_direct=64",
    ],
)
def test_a_service_that_is_opened_otherwise_is_another_cluster(changed: str) -> None:
    """KubeRay begins one for a pod's template alone: a recipe that changes in its ConfigMap, it does
    not see, and the pods would go on with the old one."""
    options = ManifestOptions(memory_gib={"responder": 21})
    before, after = (
        cluster_of(Kind.RAYSERVICE, ray_document(Kind.RAYSERVICE, paper(*more), options))
        for more in ((), (changed,))
    )
    assert _without_sizes(before) != _without_sizes(after)


@pytest.mark.parametrize(
    "changed", ["serve.checkpoints={D: runs/b/checkpoints/stage3}", "seeds=[]"]
)
def test_other_checkpoints_are_the_same_cluster(changed: str) -> None:
    before, after = (
        cluster_of(Kind.RAYSERVICE, ray_document(Kind.RAYSERVICE, paper(*more)))
        for more in ((), (changed,))
    )
    assert before == after


def _without_sizes(cluster: Document) -> Document:
    """As KubeRay compares it: how many pods there may be is no difference."""
    for group in cluster["workerGroupSpecs"]:
        for field in ("replicas", "minReplicas", "maxReplicas"):
            del group[field]
    return cluster


def test_a_service_needs_no_key_but_those_of_its_users() -> None:
    """Its head would not start without a judge's key that nobody there uses."""
    document = ray_document(Kind.RAYSERVICE, paper())
    cluster = cluster_of(Kind.RAYSERVICE, document)
    named = {
        entry["valueFrom"]["secretKeyRef"]["key"]
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])
        for entry in container_of(group)["env"]
        if "valueFrom" in entry
    }
    assert named == {"COGAUDIO_API_KEYS"}


def test_redis_keeps_the_heads_state_by_a_password_that_is_named() -> None:
    options = ManifestOptions(redis=Redis(address="redis:6379", secret="redis-password"))
    spec = cluster_of(Kind.RAYSERVICE, ray_document(Kind.RAYSERVICE, paper(), options))
    assert spec["gcsFaultToleranceOptions"] == {
        "redisAddress": "redis:6379",
        "redisPassword": {
            "valueFrom": {"secretKeyRef": {"name": "redis-password", "key": "password"}}
        },
    }


# What is refused.


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["model.path=/home/me/weights"],
            "model.path '/home/me/weights' is not on the shared storage",
        ),
        (
            ["out_dir=/tmp/run"],
            "out_dir '/tmp/run' is not on the shared storage, and no pod could write",
        ),
        (["out_dir=elsewhere/run"], "out_dir 'elsewhere/run' is not on the shared storage"),
        (["data.root=../data"], "data.root '../data' leaves the storage"),
        (["data.mixture=[{path: /mnt/a.jsonl}]"], "data.mixture.0.path '/mnt/a.jsonl' is not on"),
        (["judge.cache=/var/cache"], "judge.cache '/var/cache' is not on the shared storage"),
        (["judge.kind=vllm", "judge.model=/opt/judge"], "judge.model '/opt/judge' is not on"),
        (["cluster.backend=local"], "cluster.backend=local has no pods"),
        (["name=9b"], "name '9b' must be at most 47 lower-case letters"),
        (["model.path=checkpoints/unheard-of"], "give it: --memory learner=GIB"),
        (["judge.kind=vllm", "judge.model=checkpoints/j"], "give it: --memory judge=GIB"),
    ],
)
def test_a_recipe_that_no_pod_could_run_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        render(Kind.RAYJOB, paper(*overrides), ManifestOptions())
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_on_the_storage_already_stays_where_it_is() -> None:
    config = paper("model.path=/storage/runs/base/Qwen2.5-Omni-7B", "out_dir=/storage/runs/a")
    moved = on_storage(config, Storage())
    assert moved.model.path == config.model.path
    assert on_storage(moved, Storage()) == moved


def test_an_unknown_backbone_runs_where_its_memory_is_said() -> None:
    config = paper("model.path=checkpoints/unheard-of")
    groups = groups_of(
        Kind.RAYJOB, ray_document(Kind.RAYJOB, config, ManifestOptions(memory_gib=MEMORY))
    )
    assert container_of(groups["learner"])["resources"]["limits"]["memory"] == "48Gi"  # 4 x 10 + 8


def test_a_job_has_no_use_for_redis() -> None:
    options = ManifestOptions(redis=Redis(address="redis:6379", secret="s"))
    with pytest.raises(ConfigError, match="driver dies with the head"):
        render(Kind.RAYJOB, paper(), options)


def test_options_that_kubernetes_would_refuse() -> None:
    with pytest.raises(ConfigError, match="--no-autoscale"):
        ManifestOptions(queue="gpus")
    with pytest.raises(ConfigError, match="looks like a secret"):
        ManifestOptions(env={"HF_TOKEN": "x"})
    with pytest.raises(ConfigError, match="roles are learner"):
        ManifestOptions(memory_gib={"learners": 3})
    with pytest.raises(ConfigError, match="absolute path"):
        ManifestOptions(storage=Storage(mount="storage"))


# Over many clusters.


@st.composite
def clusters(draw: st.DrawFn) -> Config:
    """Recipes of any size, with and without GPUs, whole and shared ones."""
    on_gpus = draw(st.booleans())
    share = draw(st.sampled_from([0.25, 0.5, 1.0])) if on_gpus else 0.0
    tensor_parallel = draw(st.sampled_from([1, 2, 4])) if on_gpus else 1
    cluster = ClusterConfig(
        nodes=draw(st.integers(1, 4)),
        gpus_per_node=8 if on_gpus else 0,
        learner_workers=draw(st.integers(1, 12)),
        gpus_per_learner=1.0 if on_gpus else 0.0,
        cpus_per_learner=draw(st.sampled_from([0.5, 1.0, 4.0])),
        rollout_workers=draw(st.integers(1, 8)),
        gpus_per_rollout=float(tensor_parallel) if tensor_parallel > 1 else share,
        tensor_parallel=tensor_parallel,
        judge_workers=draw(st.integers(1, 5)),
        cpus_per_judge=draw(st.sampled_from([0.25, 1.0])),
    )
    return load_config("quickstart").model_copy(update={"cluster": cluster})


@given(config=clusters())
def test_the_groups_hold_the_layout(config: Config) -> None:
    """No bundle is left without its share, and no GPU is asked for that nobody uses."""
    groups = groups_of(
        Kind.RAYJOB, ray_document(Kind.RAYJOB, config, ManifestOptions(memory_gib=MEMORY))
    )
    needed = total(layout(config.cluster))
    gpus = sum(gpus_of(group) for group in groups.values())
    cpus = sum(
        group["maxReplicas"] * container_of(group)["resources"]["requests"]["cpu"]
        for group in groups.values()
    )
    assert needed["GPU"] <= gpus < needed["GPU"] + 1
    assert gpus == math.ceil(needed["GPU"])
    assert cpus >= needed["CPU"]
    if config.cluster.nodes == 1:
        assert groups["learner"]["maxReplicas"] == 1
    for group in groups.values():
        resources = container_of(group)["resources"]
        assert resources["requests"].get(GPU) == resources["limits"].get(GPU)
        assert resources["requests"]["memory"] == resources["limits"]["memory"]


@given(config=clusters(), kind=st.sampled_from(KINDS))
@settings(max_examples=20)
def test_what_is_rendered_is_what_is_written(config: Config, kind: Kind) -> None:
    documents = render(kind, config, ManifestOptions(memory_gib=MEMORY))
    text = to_yaml(documents)
    assert list(yaml.safe_load_all(text)) == json.loads(json.dumps(documents))
    assert "&id" not in text
