"""The corpus' card: for programs (``card.json``), for people and Hugging Face (``README.md``).

utterances ─► Tally ─┐
rejections ──────────┼─► Card ─► write_card: card.json, README.md, plots/*.png
leak.measure ────────┘
"""

from __future__ import annotations

import json
from array import array
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from cogaudio_rl.data.lime import plots
from cogaudio_rl.data.lime.leak import Features, Leaks
from cogaudio_rl.data.lime.readme import readme
from cogaudio_rl.errors import DataError
from cogaudio_rl.types import Utterance

CARD, README, PLOTS = "card.json", "README.md", "plots"

_NUMBERS = ("speed", "lead_s", "tail_s", "rt60_s", "noise_snr_db", "gain_db")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartStats:
    """One language of one part (``train``, ``test``): a row of the table."""

    language: str
    part: str
    hours: float
    utterances: int
    speakers: int
    families: int
    mean_seconds: float
    by_emotion_and_intensity: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """How much of what was made went in. Something may be rejected for several reasons."""

    offered: int
    accepted: int
    rate: float
    reasons: Mapping[str, float]
    """Kind of reason → share of what was offered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A number over the corpus: 5th, 50th and 95th percentile of those that have it."""

    share: float
    p5: float
    p50: float
    p95: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Everything the card says."""

    name: str
    licence: str
    about: str
    parts: tuple[PartStats, ...]
    acceptance: Acceptance
    acoustics: Mapping[str, Spread]
    """Field of :class:`cogaudio_rl.types.Acoustics` → its spread; ``telephone`` has a share only."""
    leaks: Leaks | None = None
    """None where there were too few families to measure."""
    manifests: Mapping[str, str] = field(default_factory=dict)
    """Part → its manifest, relative to the card."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Whatever else makes it reproducible: seed, digest, synthesiser, recipe."""


class Tally:
    """Counts utterances as they stream by; 24 bytes each, and its families' and speakers' names."""

    def __init__(self) -> None:
        self._cells: dict[tuple[str, str], Counter[tuple[str, str]]] = defaultdict(Counter)
        self._seconds: Counter[tuple[str, str]] = Counter()
        self._speakers: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._families: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._acoustics = {name: array("f") for name in _NUMBERS}
        self._telephone = self._recorded = 0

    def add(self, utterance: Utterance, part: str) -> None:
        key = (utterance.language, part)
        self._cells[key][utterance.emotion, utterance.intensity] += 1
        self._seconds[key] += utterance.audio.seconds if utterance.audio else 0.0  # pyright: ignore[reportArgumentType]
        self._speakers[key].add(utterance.speaker)
        self._families[key].add(utterance.text_id)
        if utterance.acoustics is None:
            return
        self._recorded += 1
        self._telephone += utterance.acoustics.band == "telephone"
        for name, values in self._acoustics.items():
            if (value := getattr(utterance.acoustics, name)) is not None:
                values.append(value)

    def parts(self) -> tuple[PartStats, ...]:
        """A row for each language and part, in the order they first came."""
        return tuple(self._part(language, part) for language, part in self._cells)

    def acoustics(self) -> dict[str, Spread]:
        """The distribution of what was done to the sound; empty for a corpus that says nothing."""
        if not self._recorded:
            return {}
        spreads = {name: self._spread(values) for name, values in self._acoustics.items()}
        share = self._telephone / self._recorded
        return {**spreads, "telephone": Spread(share=share, p5=0.0, p50=0.0, p95=0.0)}

    def _part(self, language: str, part: str) -> PartStats:
        key = (language, part)
        cells: dict[str, dict[str, int]] = defaultdict(dict)
        for (emotion, intensity), count in self._cells[key].items():
            cells[emotion][intensity] = count
        count, seconds = self._cells[key].total(), self._seconds[key]
        return PartStats(
            language=language,
            part=part,
            hours=round(seconds / 3600, 4),
            utterances=count,
            speakers=len(self._speakers[key]),
            families=len(self._families[key]),
            mean_seconds=round(seconds / count, 3),
            by_emotion_and_intensity=dict(cells),
        )

    def _spread(self, values: array[float]) -> Spread:
        low, middle, high = np.percentile(values, [5, 50, 95]) if values else (0.0, 0.0, 0.0)
        return Spread(
            share=len(values) / self._recorded,
            p5=round(float(low), 3),
            p50=round(float(middle), 3),
            p95=round(float(high), 3),
        )


def acceptance(accepted: int, rejected: int, reasons: Mapping[str, int]) -> Acceptance:
    """Rates from counts: ``reasons`` by kind, which may sum to more than ``rejected``."""
    offered = accepted + rejected
    most = Counter(reasons).most_common()
    return Acceptance(
        offered=offered,
        accepted=accepted,
        rate=accepted / max(offered, 1),
        reasons={kind: count / max(offered, 1) for kind, count in most},
    )


def write_card(folder: Path, card: Card, sample: Sequence[Features] = ()) -> None:
    """Write ``card.json``, ``README.md`` and ``plots/``; ``sample`` is what the leaks were measured on.

    The same card and sample give the same files to the byte.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = plots.draw_all(card.parts, sample)
    (folder / PLOTS).mkdir(exist_ok=True)
    for plot in drawn:
        (folder / PLOTS / plot.file).write_bytes(plot.png)
    (folder / README).write_text(readme(card, drawn, PLOTS), "utf-8")
    text = json.dumps(to_json(card), indent=2, ensure_ascii=False)
    (folder / CARD).write_text(text + "\n", "utf-8")


def to_json(card: Card) -> dict[str, Any]:
    """The card as JSON; the leak figures under ``leak``, the two that are none also at the top."""
    record = asdict(card)
    leak = record.pop("leaks")
    if leak is not None:
        record |= {"leak": leak} | {name: leak[name] for name in ("acoustic_accuracy", "chance")}
    return record


def read_card(folder: Path) -> Card:
    """The card that :func:`write_card` wrote. Raises DataError naming file and field."""
    path = folder / CARD
    try:
        record = json.loads(path.read_text("utf-8"))
        for name in ("acoustic_accuracy", "chance"):
            record.pop(name, None)
        record["leaks"] = record.pop("leak", None)
        return TypeAdapter(Card).validate_python(record)
    except OSError:
        raise DataError(f"{str(path)!r} does not exist; name a corpus with a card") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"{path}: field {where!r}: {first['msg']}; write the card again") from None
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{path} is no card ({error}); write the card again") from None
