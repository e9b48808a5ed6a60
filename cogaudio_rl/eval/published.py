"""The published figures as data, and where ours for the same columns would come from.

CogAudio-LLM (arXiv 2606.06940) has them as Tables 2–4; the challenge's board is from the HumDial
challenge (arXiv 2601.05564). They are other people's measurements of other models, with other judges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

COGAUDIO_LLM = "CogAudio-LLM, arXiv 2606.06940, as Tables 2–4"
HUMDIAL_CHALLENGE = "HumDial challenge, arXiv 2601.05564"


Figures = tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """Where figures of ours come from."""

    suite: str
    metric: str
    called: str
    """The test set, as tables call it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a published table, and where ours would come from."""

    key: str
    group: str
    title: str
    ours: tuple[Source, ...] = ()
    """The first that was run counts."""
    scale: float = 1.0
    """Ours times this is in the paper's unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A table as it was published."""

    key: str
    title: str
    about: str
    source: str
    columns: tuple[Column, ...]
    rows: Mapping[str, tuple[float | None, ...]]
    """One figure for each column; None where the table has a dash."""
    ours: Mapping[str, str]
    """Row → the model of ours that stands for it."""
    takes_others: bool = True
    """Whether our models that stand for no row are added at the bottom."""


def _either(of_humdial: str, of_made: str) -> tuple[Source, ...]:
    """HumDial's Task 4, else the set made here, which is not the paper's and says so."""
    return (
        Source("humdial", of_humdial, "HumDial Task 4"),
        Source("conflict", of_made, "made set"),
    )


def _empathy(route: str, group: str) -> tuple[Column, ...]:
    metric = f"empathy_{route}"
    return (
        Column(key=f"{route}/esd", group=group, title="ESD", ours=(Source("esd", metric, "ESD"),)),
        *(
            Column(
                key=f"{route}/{part}",
                group=group,
                title=part,
                ours=_either(f"{metric}_{part}", f"{metric}_{part}"),
            )
            for part in ("conflict", "consistent")
        ),
    )


_ACCURACY: tuple[Column, ...] = (
    Column(
        key="accuracy/esd",
        group="Emotion accuracy, %",
        title="ESD",
        ours=(Source("esd", "emotion_accuracy", "ESD"),),
        scale=100,
    ),
    *(
        Column(
            key=f"accuracy/{part}",
            group="Emotion accuracy, %",
            title=part,
            ours=_either(f"t4_{part}_accuracy", f"{part}_accuracy"),
            scale=100,
        )
        for part in ("conflict", "consistent")
    ),
)

EMPATHY = Published(
    key="empathy",
    title="Empathy by LLM judge",
    about="1–4, direct route. The paper’s judge is not our test scorer.",
    source=COGAUDIO_LLM,
    columns=_empathy("direct", "Empathy 1–4, direct route"),
    rows={
        "Freeze-Omni": (1.34, 1.34, 2.12),
        "GLM-4-Voice": (1.42, 1.79, 2.09),
        "Kimi-Audio": (1.54, 1.53, 2.16),
        "Step-Audio-2-mini": (1.22, 1.58, 1.95),
        "Qwen2.5-Omni-7B": (1.64, 1.75, 2.40),
        "Qwen3-Omni-30B": (1.52, 1.86, 2.38),
        "GPT-4o-Audio": (1.59, 1.82, 2.58),
        "CogAudio-LLM": (2.90, 2.91, 3.24),
    },
    ours={"Qwen2.5-Omni-7B": "base", "CogAudio-LLM": "D"},
)

HUMAN = Published(
    key="human",
    title="Empathy by human raters",
    about="1–4, five experts, ICC 0.78. No human rated ours.",
    source=COGAUDIO_LLM,
    columns=tuple(
        Column(key=f"human/{part}", group="Empathy 1–4, human raters", title=part)
        for part in ("conflict", "consistent")
    ),
    rows={
        "Freeze-Omni": (1.56, 1.90),
        "GLM-4-Voice": (1.67, 2.21),
        "Kimi-Audio": (1.90, 2.29),
        "Step-Audio-2-mini": (1.89, 2.11),
        "Qwen2.5-Omni-7B": (2.14, 2.51),
        "Qwen3-Omni-30B": (1.78, 2.01),
        "GPT-4o-Audio": (1.68, 2.05),
        "CogAudio-LLM": (3.16, 3.17),
    },
    ours={},
    takes_others=False,
)

ABLATION = Published(
    key="ablation",
    title="Ablation",
    about="Qwen2.5-Omni-7B in the paper. Ours reads the emotion by constrained choice, so that a "
    "model without a chain has one too.",
    source=COGAUDIO_LLM,
    columns=(
        *_ACCURACY,
        *_empathy("direct", "Empathy 1–4, direct route"),
        *_empathy("explicit", "Empathy 1–4, explicit route"),
    ),
    rows={
        "base": (26.5, 24.0, 68.0, 1.64, 1.75, 2.40, 1.54, 1.64, 2.64),
        "A direct SFT only": (None, None, None, 2.10, 2.62, 3.11, None, None, None),
        "B explicit SFT only": (47.5, 42.0, 73.0, None, None, None, 2.39, 2.35, 3.16),
        "C stages I+II": (47.0, 44.0, 73.0, 2.26, 2.61, 3.09, 2.43, 2.71, 3.24),
        "D stages I+II+III": (49.5, 46.0, 71.0, 2.90, 2.91, 3.24, 2.92, 2.89, 3.39),
    },
    ours={
        "base": "base",
        "A direct SFT only": "A",
        "B explicit SFT only": "B",
        "C stages I+II": "C",
        "D stages I+II+III": "D",
    },
)

BOARD = Published(
    key="board",
    title="HumDial challenge, track 1",
    about="final score: .2·T1 + .2·T2 + .1·T3D1 + .25·T3D2 + .25·T3D3, mean of Chinese and English. "
    "On the board people scored T3’s D2 and D3, and Qwen3-Omni-30B-A3B-Instruct the rest; of ours "
    "one judge scored all of it, by rubrics in our own words.",
    source=HUMDIAL_CHALLENGE,
    columns=(
        Column(
            key="board/final",
            group="Final score",
            title="all",
            ours=(Source("humdial", "challenge_final", "HumDial"),),
        ),
    ),
    rows={
        "TeleAI": (4.27,),
        "Tencent AI Lab-NJU": (4.24,),
        "BJTU_Unisound": (4.21,),
        "baseline": (2.45,),
    },
    ours={},
)

AMBIGUITY_PAPER = "Ambiguous emotion reasoning, arXiv 2603.08230"


def _ambiguity(
    key: str, corpus: str, best: str, ours: str, rows: Mapping[str, Figures]
) -> Published:
    """JS, BC, R² and Brier of one corpus; ours are of the suite that was run, whatever its corpus."""
    columns = (
        ("js", "JS ↓", "js"),
        ("bc", "BC", "bhattacharyya"),
        # Theirs can only be a squared correlation: see eval/distribution.py.
        ("r2", "R²", "correlation2"),
        ("brier", "Brier ↓", "brier"),
    )
    return Published(
        key=key,
        title=f"How votes are shared: {corpus}",
        about="Qwen2-Audio-7B-Instruct in the paper, which gives its base and its best. Ours is of the "
        "test set named in the column, and R² a squared correlation.",
        source=AMBIGUITY_PAPER,
        columns=tuple(
            Column(
                key=f"{key}/{name}",
                group="Predicted shares beside listeners' votes",
                title=title,
                ours=(Source("ambiguity", f"votes_{metric}", "ambiguity suite"),),
            )
            for name, title, metric in columns
        ),
        rows=rows,
        ours={"base": "base", best: ours},
    )


AMBIGUITY_IEMOCAP = _ambiguity(
    "ambiguity_iemocap",
    "IEMOCAP",
    "GRPO_z",
    "D",
    {"base": (0.40, 0.64, 0.51, 0.15), "GRPO_z": (0.20, 0.82, 0.67, 0.07)},
)
AMBIGUITY_CREMA_D = _ambiguity(
    "ambiguity_crema_d",
    "CREMA-D",
    "DPO",
    "D/dpo",
    {"base": (0.25, 0.78, 0.54, 0.05), "DPO": (0.17, 0.86, 0.67, 0.03)},
)

CONFLICT_ACCURACY, CONSISTENT_ACCURACY = _ACCURACY[1:]
CONFLICT_EMPATHY, CONSISTENT_EMPATHY = EMPATHY.columns[1:]

TABLES: tuple[Published, ...] = (
    EMPATHY,
    HUMAN,
    ABLATION,
    BOARD,
    AMBIGUITY_IEMOCAP,
    AMBIGUITY_CREMA_D,
)
