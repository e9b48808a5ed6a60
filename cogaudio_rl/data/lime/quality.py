"""Is this recording fit to be in the corpus, and is the corpus still one?

``problems`` looks at one recording before any acoustics are put over it: noise and silence that were
asked for are none. ``CorpusCheck`` sees utterances stream by and remembers hashes, never sounds.
"""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from cogaudio_rl.data.audio import SAMPLE_RATE_HZ
from cogaudio_rl.data.lime.levels import Sound, frame_powers
from cogaudio_rl.errors import DataError

SYLLABIC: frozenset[str] = frozenset({"zh", "yue", "ja", "ko"})
"""Languages whose letters are syllables, or nearly."""

_READ = "%&@#‰§"  # punctuation to Unicode, words to who reads them
_FULL_SCALE = 0.999
_SPOKEN_BELOW_LOUD = 10 ** (-30 / 10)
_NO_NOISE_DB = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityLimits:
    """What a recording has to keep to.

    Paces reach from drawling to a frightened synthesiser; a cut-off or garbled recording lies outside.
    """

    seconds: tuple[float, float] = (0.4, 30.0)
    """Whisper's encoder, which hears for most audio language models, takes 30 s."""
    letters_per_s: tuple[float, float] = (4.0, 36.0)
    syllables_per_s: tuple[float, float] = (1.5, 13.0)
    """Of the languages in ``SYLLABIC``."""
    pace: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Language → its own bounds, in the place of the two above."""
    clipped_share: float = 0.03
    """Of the samples. The loudest touch full scale, as shouts into a microphone do."""
    silent_share: float = 0.5
    """Of the 20 ms frames, those 30 dB under the loud ones."""
    snr_db: float = 12.0
    offset: float = 0.02
    """Distance of the mean from 0, in parts of full scale."""

    def pace_of(self, language: str) -> tuple[float, float]:
        usual = self.syllables_per_s if language in SYLLABIC else self.letters_per_s
        return self.pace.get(language, usual)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A recording in numbers; units as in :class:`QualityLimits`."""

    seconds: float
    spoken_s: float
    """From the first frame that is not silent to the last."""
    clipped_share: float
    silent_share: float
    snr_db: float
    """Loud frames over the quietest tenth: an estimate from below where nothing pauses."""
    dc: float


DEFAULT_LIMITS = QualityLimits()


def problems(
    sound: Sound,
    text: str,
    language: str,
    limits: QualityLimits = DEFAULT_LIMITS,
    *,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
) -> tuple[str, ...]:
    """Everything wrong with a recording [T] of ``text``, as "kind: figures"; empty where it is fine.

    Kinds: sample rate, not finite, no sound (each alone: nothing else can be told then), too short,
    too long, too slow, too fast, clipped, silent, noisy, offset.
    """
    if sample_rate_hz != SAMPLE_RATE_HZ:
        return (f"sample rate: {sample_rate_hz} Hz, must be {SAMPLE_RATE_HZ}",)
    if not np.isfinite(sound).all():
        return ("not finite: holds NaN or infinite samples",)
    if not sound.any():
        return (f"no sound: {sound.size} samples, all 0",)
    found = measured(sound)
    pace, bounds = units(text, language) / found.spoken_s, limits.pace_of(language)
    unit = "syllables/s" if language in SYLLABIC else "letters/s"
    checks = (
        ("too short", found.seconds, "s", limits.seconds[0], math.inf),
        ("too long", found.seconds, "s", 0.0, limits.seconds[1]),
        ("too slow", pace, unit, bounds[0], math.inf),
        ("too fast", pace, unit, 0.0, bounds[1]),
        ("clipped", found.clipped_share, "of samples", 0.0, limits.clipped_share),
        ("silent", found.silent_share, "of frames", 0.0, limits.silent_share),
        ("noisy", found.snr_db, "dB SNR", limits.snr_db, math.inf),
        ("offset", abs(found.dc), "of full scale", 0.0, limits.offset),
    )
    return tuple(
        f"{kind}: {value:.3g} {unit}, "
        + (f"at least {low:g}" if value < low else f"at most {high:g}")
        for kind, value, unit, low, high in checks
        if not low <= value <= high
    )


def measured(sound: Sound) -> Measured:
    """The numbers of a sound [T] at 16 kHz, T >= 1, not all 0."""
    dc = float(sound.mean(dtype=np.float64))
    # Around its mean: an offset is no loudness, and would hide every pause.
    powers = frame_powers(sound - np.float32(dc))
    loud = float(np.quantile(powers, 0.95))
    spoken = np.flatnonzero(powers > loud * _SPOKEN_BELOW_LOUD)
    first, last = (spoken[0], spoken[-1] + 1) if spoken.size else (0, powers.size)
    quiet = np.partition(powers, k := max(1, powers.size // 10) - 1)[: k + 1].mean()
    return Measured(
        seconds=sound.size / SAMPLE_RATE_HZ,
        spoken_s=float(last - first) * sound.size / powers.size / SAMPLE_RATE_HZ,
        clipped_share=float(np.mean(np.abs(sound) >= _FULL_SCALE)),
        silent_share=1 - spoken.size / powers.size,
        snr_db=10 * float(np.log10(loud / quiet)) if loud > 0 and quiet > 0 else _NO_NOISE_DB,
        dc=dc,
    )


def units(text: str, language: str) -> float:
    """Letters of a text, or syllables of a language that writes them; marks and spaces are none.

    A digit counts as one syllable or four letters, since it is read as a word.
    """
    digit = 1 if language in SYLLABIC else 4
    kinds = Counter(unicodedata.category(c)[0] for c in unicodedata.normalize("NFC", text))
    return float(kinds["L"] + digit * kinds["N"])


def normalise_text(text: str) -> str:
    """The words alone: NFKC, case folded, no punctuation, single spaces.

    Two texts with the same words are the same to a listener, however they are written. Symbols stay:
    some are read out (5 %, 5 €), and an emoji would tell a reader what the voice should.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    kept = (
        c for c in folded if unicodedata.category(c)[0] not in "PC" or c.isspace() or c in _READ
    )
    return " ".join("".join(kept).split())


def audio_hash(sound: Sound) -> str:
    """64 bits, in hex, of a sound as a 16-bit file keeps it: the same when it is read back."""
    samples = np.clip(np.rint(sound * 32768.0), -32768, 32767).astype("<i2")
    return f"{_hash(samples.tobytes()):016x}"


def _hash(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")


@dataclass(slots=True, kw_only=True)
class CorpusCheck:
    """What only the whole corpus shows, one utterance at a time.

    Keeps one number for each utterance and three for each family: about 130 bytes an utterance.
    Two sounds of a million share 64 bits by accident once in thirty million corpora.
    """

    emotions: tuple[str, ...]
    """What each family should be said in."""
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(emotion, intensity) → utterances."""
    found: Counter[str] = field(default_factory=Counter)
    """Kind of reason → how often :meth:`add` gave it."""
    _families: dict[str, tuple[int, int]] = field(default_factory=dict)
    _texts: dict[int, str] = field(default_factory=dict)
    _sounds: set[int] = field(default_factory=set)

    def add(
        self, *, text_id: str, text: str, emotion: str, intensity: str, audio_hash: str
    ) -> tuple[str, ...]:
        """What is wrong with one more utterance, beside all before it; counts it if nothing is.

        Kinds: not identical, duplicate text, duplicate audio. Raises DataError for an emotion that
        is not of this corpus.
        """
        if emotion not in self.emotions:
            known = ", ".join(self.emotions)
            raise DataError(f"unknown emotion {emotion!r} in family {text_id!r}; known: {known}")
        words = _hash(normalise_text(text).encode())
        said, mask = self._families.get(text_id, (words, 0))
        sound, family = int(audio_hash, 16), self._texts.get(words, text_id)
        wrong = {
            f"not identical: its family {text_id} says other words": said != words,
            f"duplicate text: {family} says the same words": family != text_id,
            f"duplicate audio: {audio_hash}": sound in self._sounds,
        }
        reasons = tuple(reason for reason, is_so in wrong.items() if is_so)
        self.found.update(reason.partition(":")[0] for reason in reasons)
        if not reasons:
            self._families[text_id] = (words, mask | 1 << self.emotions.index(emotion))
            self._texts[words] = text_id
            self._sounds.add(sound)
            self.counts[emotion, intensity] += 1
        return reasons

    @property
    def utterances(self) -> int:
        return self.counts.total()

    @property
    def families(self) -> int:
        return len(self._families)

    @property
    def incomplete_families(self) -> int:
        """Families that are not said in every emotion: their words tell something."""
        whole = (1 << len(self.emotions)) - 1
        return sum(mask != whole for _, mask in self._families.values())

    @property
    def imbalance(self) -> float:
        """How much rarer the rarest emotion is than the most frequent: 0 for even, 1 for missing."""
        by_emotion = Counter[str]()
        for (emotion, _), count in self.counts.items():
            by_emotion[emotion] += count
        most = max(by_emotion.values(), default=0)
        return 1 - min(by_emotion[e] for e in self.emotions) / most if most else 0.0
