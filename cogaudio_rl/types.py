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
    """Which prompt asks: A wants the EIPS chain and the reply, B the reply alone; the third asks how
    ambiguous the voice is, and for no reply; the fourth for the thought about emotion and cause, and
    the reply; the last for the reply and how it should sound."""

    EXPLICIT = "explicit"
    DIRECT = "direct"
    AMBIGUITY = "ambiguity"
    ATTRIBUTION = "attribution"
    SPOKEN = "spoken"


REPLY_ROUTES: tuple[Route, ...] = (Route.EXPLICIT, Route.DIRECT)
"""Those of CogAudio-LLM, which end in a reply to the speaker."""


class StopReason(StrEnum):
    """Why a rollout ended."""

    EOS = "eos"
    LENGTH = "length"
    ABORTED = "aborted"
    WRITTEN = "written"
    """It was never sampled: an annotator's answer, as if the policy had given it."""


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
class AmbiguityResponse:
    """One chain about a voice in which listeners heard several emotions (arXiv 2603.08230)."""

    words: str
    """How far the words alone tell an emotion."""
    voice: str
    """What in volume, speed, pitch and tone speaks for the majority, and what for the minority."""
    synthesis: str
    emotion: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """One thought about what a speaker feels and why (IEAT, arXiv 2601.04960)."""

    words: str
    """Observed: what was said."""
    pitch: str
    pace: str
    """Observed: how, as levels of :data:`cogaudio_rl.spoken.LEVELS`."""
    emotion: str
    intensity: str
    """Inferred."""
    cause: str
    """What the emotion is put down to, in the speaker's own words."""
    plan: str
    """How to respond to that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributionResponse:
    """A thought about emotion and cause, and the reply it leads to."""

    thought: Attribution
    response: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceStyle:
    """How a reply should sound; each a level of :data:`cogaudio_rl.spoken.LEVELS`."""

    pitch: str
    pace: str
    loudness: str
    movement: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpokenReply:
    """A reply and the voice it asks for."""

    response: str
    voice: VoiceStyle


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
    """Shares of listeners who heard each emotion, summing to 1, where a corpus has them."""
    listeners: int | None = None
    """How many listeners the shares are of, where the corpus says."""
    ambiguity: AmbiguityResponse | None = None
    """What was written about how ambiguous it is; SFT on vote shares imitates it."""
    attribution: Attribution | None = None
    """What a listener would think: the emotion, its cause and what to do about it."""
    dictated: str | None = None
    """What a teacher replied that was told all of this; it goes before the annotator's reply."""
    acoustics: Acoustics | None = None
    """What was done to the sound, where it was made here."""

    @property
    def reply_language(self) -> str:
        """Chinese is answered in Chinese, all else in English."""
        return "zh" if self.language == "zh" else "en"

    @property
    def clip(self) -> AudioRef:
        """Its sound. Raises ValueError where there are only words."""
        if self.audio is None:
            raise ValueError(f"utterance {self.id!r} has no sound")
        return self.audio


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What a user said earlier in a dialogue, and what was answered."""

    utterance: Utterance
    reply: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """An utterance asked through one route, after what was said before it."""

    utterance: Utterance
    route: Route
    question: str = ""
    """Stands in the place of the route's own text; empty: the route asks as it always does."""
    history: tuple[Turn, ...] = ()
    """Earlier turns, oldest first. What is asked for stands behind the last utterance alone."""

    @property
    def utterances(self) -> tuple[Utterance, ...]:
        """All that the user says in it, in order."""
        return (*(turn.utterance for turn in self.history), self.utterance)

    @property
    def id(self) -> str:
        """Differs by question and by history: engines cache and seed by it."""
        parts = [f"{self.utterance.id}/{self.route}"]
        if self.question:
            parts.append(_digest(self.question))
        if self.history:
            parts.append(_digest(repr([(t.utterance.id, t.reply) for t in self.history])))
        return "/".join(parts)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """How an answer begins, for whoever asks what comes next."""

    text: str
    token_ids: tuple[int, ...] = ()
    """Where a policy said it: the tokens of its rollout, which may go on behind the text. Encoding the
    text again could give others."""


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
