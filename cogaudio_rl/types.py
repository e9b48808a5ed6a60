"""The values that flow, in flow order. Standard library only.

    Utterance ─► Prompt ─► Rollout ─► Group ─► Score | Unscored ─► Sample ─► Update

Everything is frozen: a stage that wants something else makes a new value.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

LIME_EMOTIONS: tuple[str, ...] = (
    "neutral",
    "happy",
    "sad",
    "angry",
    "fear",
    "disgust",
    "surprise",
)
"""The seven classes of LIME-440K, in the paper's order."""

KNOWN_EMOTIONS: frozenset[str] = frozenset({*LIME_EMOTIONS, "boredom"})
"""Every label that a supported corpus may carry (EmoDB has boredom in the place of surprise)."""

INTENSITIES: tuple[str, ...] = ("low", "mid", "high")


class Route(StrEnum):
    """Which prompt asks: A wants the EIPS chain and the reply, B the reply alone."""

    EXPLICIT = "explicit"
    DIRECT = "direct"


class StopReason(StrEnum):
    """Why a rollout ended."""

    EOS = "eos"
    LENGTH = "length"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioRef:
    """Where an utterance's sound lies. A manifest never holds samples."""

    path: str
    sample_rate_hz: int
    num_samples: int

    @property
    def seconds(self) -> float:
        return self.num_samples / self.sample_rate_hz


@dataclass(frozen=True, slots=True, kw_only=True)
class EipsResponse:
    """One four-step chain and the reply it leads to (CogAudio-LLM, arXiv 2606.06940)."""

    emotion: str
    intent: str
    psychology: str
    strategy: str
    response: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """What an annotator wrote for one utterance, and how deep the reply goes on the rubric.

    ``depth`` is 2 (only valence or arousal caught), 3 (right category, superficial) or
    4 (meets the deep need of this emotion in this sentence).
    """

    eips: EipsResponse
    depth: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Acoustics:
    """What was done to a clean recording, in this order; the defaults are nothing."""

    speed: float = 1.0
    """Playing speed; pitch moves with it."""
    lead_s: float = 0.0
    tail_s: float = 0.0
    """Silence put before and behind."""
    rt60_s: float | None = None
    """Reverberation time of the room."""
    noise_snr_db: float | None = None
    gain_db: float = 0.0
    """Level of the result over the corpus' speaking level."""
    band: str = "full"
    """``full`` or ``telephone`` (300 to 3,400 Hz, 8-bit mu-law)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """One spoken sentence. ``text_id`` names its lexical family: same words, other emotions."""

    id: str
    text_id: str
    audio: AudioRef | None
    """None: known by its words alone; a policy then reads them."""
    transcript: str
    emotion: str
    intensity: str
    speaker: str
    language: str
    scenario: str = ""
    annotation: Annotation | None = None
    votes: Mapping[str, float] | None = None
    """Shares of human listeners who heard each emotion, summing to 1, where a corpus has them."""
    acoustics: Acoustics | None = None
    """What was done to the sound, where it was made here."""

    @property
    def clip(self) -> AudioRef:
        """Its sound. Raises ValueError where there are only words."""
        if self.audio is None:
            raise ValueError(f"utterance {self.id!r} has no sound")
        return self.audio


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """An utterance asked through one route."""

    utterance: Utterance
    route: Route
    question: str = ""
    """Stands in the place of the route's own text; empty: the route asks as it always does."""

    @property
    def id(self) -> str:
        """Differs by question: engines cache and seed by it."""
        asked = f"{self.utterance.id}/{self.route}"
        if not self.question:
            return asked
        question = hashlib.blake2b(self.question.encode("utf-8", "surrogatepass"), digest_size=6)
        return f"{asked}/{question.hexdigest()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One sampled continuation. Token ids are never re-encoded from ``text``.

    ``logprobs[t]`` is the sampler's own log-probability of ``token_ids[t]`` at temperature 1.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    stop: StopReason
    policy_version: int
    """The policy that began it: the oldest that has a part in it."""
    later_versions: tuple[tuple[int, int], ...] = ()
    """(version, its first token) of each policy that was published while this was generated."""

    @property
    def last_version(self) -> int:
        return self.later_versions[-1][0] if self.later_versions else self.policy_version


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A prompt and its G rollouts; advantages are normalised inside it and nowhere else."""

    prompt: Prompt
    rollouts: tuple[Rollout, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A reward and the terms it is made of, each before its weight and in [0, 1]."""

    reward: float
    terms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unscored:
    """There is no score, and why. It drops out and is counted; it is never a reward of 0."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One rollout ready to train on."""

    prompt: Prompt
    rollout: Rollout
    advantage: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """What training changes, as it travels: float32 arrays by name, and their version.

    LoRA's weights under PEFT's names; without LoRA the language model's own, under its own names.
    """

    version: int
    tensors: Mapping[str, object]
    """name → numpy.ndarray; typed as object because this module knows the standard library only."""

    @property
    def is_lora(self) -> bool:
        return any(".lora_A." in name for name in self.tensors)

    @property
    def num_bytes(self) -> int:
        """Size of the weights as they travel."""
        return sum(memoryview(tensor).nbytes for tensor in self.tensors.values())  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """What one learner step did: the new version of the policy and its metrics."""

    policy_version: int
    metrics: Mapping[str, float]
