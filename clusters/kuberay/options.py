"""What a manifest needs to know beside the recipe: the Kubernetes cluster, and no secret's value."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import cogaudio_rl
from cogaudio_rl.errors import ConfigError

_DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LONGEST_NAME = 47
"""KubeRay appends to the name of a RayJob or RayService, and the sum must be the name of a service."""
_SECRET_NAME = re.compile(r"(KEYS?|TOKENS?|PASSWORD|PASSWD|SECRET|CREDENTIALS?)$", re.IGNORECASE)


class Kind(StrEnum):
    """What to render."""

    RAYJOB = "rayjob"
    RAYSERVICE = "rayservice"
    RAYCLUSTER = "raycluster"


_ROLES = ("learner", "rollout", "judge", "responder")
_SUFFIX = {Kind.RAYJOB: "", Kind.RAYSERVICE: "-api", Kind.RAYCLUSTER: "-cluster"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Where runs are written and models and data are read: volumes that all pods see."""

    claim: str = "cogaudio-storage"
    """A PersistentVolumeClaim with ReadWriteMany; its folder ``runs`` is mounted for writing."""
    inputs_claim: str | None = None
    """Another claim with models and data; None: the folder ``inputs`` of ``claim``."""
    mount: str = "/storage"
    size: str | None = None
    """Such as ``2Ti``: the claim is made too; None: it is there."""
    storage_class: str | None = None

    @property
    def runs(self) -> str:
        return f"{self.mount}/runs"

    @property
    def inputs(self) -> str:
        return f"{self.mount}/inputs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Redis:
    """Where Ray's head keeps its state, so that a lost head comes back to a living cluster."""

    address: str
    """``host:port``."""
    secret: str
    """Name of the Secret whose key ``password`` holds the password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """A RayJob's end."""

    retries: int = 3
    """Further attempts, each on a new Ray cluster; a run goes on where the last one left it."""
    deadline_s: int | None = None
    """Longest time of all attempts together; None: as long as it takes."""
    ttl_s: int = 600
    """How long the pods of a finished job stay, to read their logs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestOptions:
    """All of it. Raises ConfigError for what Kubernetes or KubeRay would refuse."""

    name: str | None = None
    """None: the recipe's name, with ``-api`` for a service and ``-cluster`` for a cluster, so that they
    stand beside a job of the same recipe."""
    namespace: str | None = None
    """None: the one ``kubectl`` is set to."""
    image: str | None = None
    """None: ``cogaudio-rl:<version>-gpu`` or ``-cpu``, as the recipe needs."""
    pull_secret: str | None = None
    ray_version: str = field(default_factory=lambda: importlib.metadata.version("ray"))
    storage: Storage = Storage()
    secret: str = "cogaudio-keys"
    """The Secret with a key for each environment variable that holds a key."""
    auth_secret: str | None = None
    """The Secret whose ``auth_token`` is Ray's token; None: KubeRay makes one for each cluster."""
    env: Mapping[str, str] = field(default_factory=dict)
    gpu_class: str | None = None
    """Value of the node label ``nvidia.com/gpu.product``, for pods with GPUs."""
    node_selector: Mapping[str, str] = field(default_factory=dict)
    """Further labels of their nodes."""
    tolerations: tuple[str, ...] = ()
    """Taints of their nodes, by key, beside ``nvidia.com/gpu``."""
    memory_gib: Mapping[str, float] = field(default_factory=dict)
    """Host memory of one process of a role, where the estimate is wrong or unknown."""
    shm_gib: int = 8
    """``/dev/shm`` of each pod: Ray's object store, NCCL, vLLM. It counts as memory of the pod."""
    scratch_gib: int = 50
    """``/tmp`` of each pod: Ray's logs, and objects that do not fit its store."""
    head_cpus: int = 4
    head_memory_gib: int = 16
    autoscale: bool = True
    """Worker pods come when a stage asks for them and go when idle; False: all, all the time."""
    idle_s: int = 300
    queue: str | None = None
    """Kueue's LocalQueue: it starts the cluster as a whole, when there is room for it."""
    redis: Redis | None = None
    job: JobOptions = JobOptions()

    def __post_init__(self) -> None:
        if self.queue and self.autoscale:
            raise ConfigError(
                f"queue {self.queue!r} admits a cluster of fixed size; give --no-autoscale with it"
            )
        unknown = sorted(set(self.memory_gib) - set(_ROLES))
        if unknown:
            raise ConfigError(f"memory of {unknown[0]!r}: the roles are {', '.join(_ROLES)}")
        for name in self.env:
            if _SECRET_NAME.search(name):
                raise ConfigError(
                    f"environment variable {name} looks like a secret; put it into the Secret "
                    f"{self.secret!r} instead of the manifest"
                )
        if not self.storage.mount.startswith("/") or self.storage.mount.rstrip("/") == "":
            raise ConfigError(
                f"the storage's mount must be an absolute path, got {self.storage.mount!r}"
            )

    def named(self, recipe: str, kind: Kind) -> str:
        """The name of everything. Raises ConfigError when Kubernetes would refuse it."""
        name = self.name or re.sub(r"[^a-z0-9]+", "-", recipe.lower()).strip("-") + _SUFFIX[kind]
        if not _DNS_LABEL.fullmatch(name) or len(name) > LONGEST_NAME:
            raise ConfigError(
                f"name {name!r} must be at most {LONGEST_NAME} lower-case letters, digits and "
                "hyphens and begin with a letter; give --name"
            )
        return name

    def image_for(self, gpus: float) -> str:
        device = "gpu" if gpus else "cpu"
        return self.image or f"cogaudio-rl:{cogaudio_rl.__version__}-{device}"
