"""The card as people read it, with the front matter that Hugging Face reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import yaml

from cogaudio_rl.data.lime.leak import CLUES
from cogaudio_rl.data.lime.plots import Plot, emotions_in
from cogaudio_rl.types import INTENSITIES

if TYPE_CHECKING:
    from cogaudio_rl.data.lime.card import Card

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_CLUE_NAMES = {
    "text": "words (character n-grams)",
    "duration": "duration",
    "loudness": "level",
    "acoustic": "voice (F0, spectrum, pace, energy)",
}
_ACOUSTIC_NAMES = {
    "speed": "playing speed",
    "lead_s": "silence before, s",
    "tail_s": "silence behind, s",
    "rt60_s": "room, RT60 in s",
    "noise_snr_db": "noise, SNR in dB",
    "gain_db": "level over the usual, dB",
    "telephone": "telephone",
}


def readme(card: Card, plots: Sequence[Plot], folder: str) -> str:
    """The whole README; ``folder`` is where the plots lie, relative to it."""
    sections = [
        f"---\n{_front_matter(card)}---",
        f"# {card.name}",
        card.about,
        "Every sentence is said in every emotion with the very same words, so that only the voice "
        "tells which it is.",
        _statistics(card),
        _leaks(card),
        _acoustics(card),
        _acceptance(card),
        *(f"![{plot.caption}]({folder}/{plot.file})" for plot in plots),
        _facts(card),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(card: Card) -> str:
    languages = list(dict.fromkeys(part.language for part in card.parts))
    total = sum(part.utterances for part in card.parts)
    matter = {
        "pretty_name": card.name,
        "license": card.licence,
        "language": languages,
        "size_categories": [next((name for top, name in _SIZES if total < top), "n>1M")],
        "task_categories": ["audio-classification", "audio-text-to-text"],
        "tags": ["audio", "speech", "speech-emotion-recognition", "empathetic-dialogue"],
    }
    if card.manifests:
        files = [{"split": part, "path": path} for part, path in card.manifests.items()]
        matter["configs"] = [{"config_name": "default", "data_files": files}]
    return yaml.safe_dump(matter, sort_keys=False, allow_unicode=True)


def _statistics(card: Card) -> str:
    rows = [
        (
            p.language,
            p.part,
            f"{p.hours:,.2f}",
            f"{p.utterances:,}",
            f"{p.speakers:,}",
            f"{p.families:,}",
            f"{p.mean_seconds:.2f}",
        )
        for p in card.parts
    ]
    head = ("language", "part", "hours", "utterances", "speakers", "texts", "mean s")
    return f"## What it holds\n\n{_table(head, rows, text=2)}\n\n{_cells(card)}"


def _cells(card: Card) -> str:
    names = emotions_in({e for part in card.parts for e in part.by_emotion_and_intensity})
    rows = [
        (
            name,
            *(
                f"{sum(p.by_emotion_and_intensity.get(name, {}).get(i, 0) for p in card.parts):,}"
                for i in INTENSITIES
            ),
        )
        for name in names
    ]
    return _table(("emotion", *INTENSITIES), rows, text=1)


def _leaks(card: Card) -> str:
    leaks = card.leaks
    if leaks is None:
        return ""
    rows = [
        (
            _CLUE_NAMES[clue],
            f"{getattr(leaks, f'{clue}_accuracy'):.3f}",
            "{:.3f}–{:.3f}".format(*leaks.intervals[clue]),
        )
        for clue in CLUES
    ]
    return (
        "## What tells the emotion\n\n"
        f"Classifiers that see one thing each guess the emotion of {leaks.utterances:,} utterances "
        f"of {leaks.families:,} texts, five folds, no text in two. Chance is {leaks.chance:.3f}. "
        "The first three should be there, the last should not.\n\n"
        + _table(("it sees", "accuracy", "95 % interval"), rows, text=1)
    )


def _acoustics(card: Card) -> str:
    if not card.acoustics:
        return ""
    rows = [
        (
            _ACOUSTIC_NAMES.get(name, name),
            f"{s.share:.1%}",
            *(() if name == "telephone" else (f"{s.p5:g}", f"{s.p50:g}", f"{s.p95:g}")),
        )
        for name, s in card.acoustics.items()
    ]
    head = ("", "of utterances", "5 %", "median", "95 %")
    return f"## Where it was recorded\n\n{_table(head, rows, text=1)}"


def _acceptance(card: Card) -> str:
    a = card.acceptance
    text = f"## What was left out\n\n{a.accepted:,} of {a.offered:,} went in ({a.rate:.1%})."
    if not a.reasons:
        return text
    rows = [(kind, f"{share:.2%}") for kind, share in a.reasons.items()]
    return f"{text}\n\n{_table(('rejected for', 'of all made'), rows, text=1)}"


def _facts(card: Card) -> str:
    if not card.facts:
        return ""
    rows = [(name, f"`{value}`") for name, value in card.facts.items()]
    return f"## How it was made\n\n{_table(('', ''), rows, text=2)}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, text: int) -> str:
    """Markdown; all but the first ``text`` columns are numbers, set to the right."""
    rule = ["---"] * text + ["---:"] * (len(head) - text)
    filled = [[*row, *[""] * (len(head) - len(row))] for row in rows]
    cells = [[cell.replace("|", "\\|") for cell in row] for row in filled]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *cells))
