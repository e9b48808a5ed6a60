"""One test set as the evaluation sees it, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cogaudio_rl.data.corpora.humdial import HumDialReading
from cogaudio_rl.data.mixture import Mixture
from cogaudio_rl.dictation import Dictated
from cogaudio_rl.eval.metrics import Estimate
from cogaudio_rl.eval.result import ModelResult
from cogaudio_rl.types import Utterance


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A test set of single utterances, each with one emotion."""

    name: str
    """As ``--suite`` calls it."""
    about: str
    """One sentence for whoever reads the report: what it is, and who was held out."""
    utterances: tuple[Utterance, ...]
    labels: tuple[str, ...]
    """What the model chooses among."""
    lexical: Mapping[str, str] = field(default_factory=dict[str, str])
    """Utterance id → the emotion that the *words* name, where that is known; ``""`` where they are only
    known to name another than the voice's."""
    train: Sequence[Utterance] | Mixture = ()
    """Of the same kind by other speakers: what a classical classifier learns from."""
    dialogues: HumDialReading | None = None
    """HumDial's tasks, which are more than single utterances."""
    voted: bool = False
    """What is measured is how listeners' votes are shared, and nothing else."""
    dictation: Mapping[str, Dictated] = field(default_factory=dict[str, Dictated])
    """By utterance's id what a teacher replied: replies are held against it, and heard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Classical:
    """Acoustic statistics and a support vector machine on the same test set."""

    trained_on: int
    """Utterances it learnt from."""
    answers: tuple[str, ...]
    """One label per utterance."""
    estimates: Mapping[str, Estimate]
    """``emotion_accuracy``, ``emotion_uar``, ``emotion_macro_f1`` and, where the words are known to
    tell something, ``conflict_accuracy`` and ``consistent_accuracy``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteResult:
    """What one test set showed of every model; ``models`` is empty where it was not run."""

    name: str
    about: str
    models: Mapping[str, ModelResult] = field(default_factory=dict[str, ModelResult])
    classical: Classical | None = None
    notes: tuple[str, ...] = ()
    """What whoever reads the figures has to know: what was not scored, cut or not run."""
    not_run: str | None = None
    """Why it was not run."""
