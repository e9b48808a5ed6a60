"""MADE dialogues in synthetic voices, in HumDial's layout: the words stay level, the voice changes.

    test sentences ─► turns of one voice, emotion by emotion ─► speech ─► files of T1, T2, T3

Every sentence would fit every emotion, so that how the feelings moved (T1), and which of the things
told brought the feeling on (T2), is in the voice and nowhere else. The folder holds dialogues twice:
``HD-Track1-Test`` as the challenge has them, to be answered, and ``EIBench`` with a question and
options. Every dialogue's id begins with ``made``. For trying what evaluates HumDial, where HumDial is
not at hand: its figures say nothing about HumDial.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cogaudio_rl.data.audio import write_audio
from cogaudio_rl.data.lime import author, synthesise
from cogaudio_rl.data.lime.making import CARD, SYNTHESISER, Progress, digest_of, make_once
from cogaudio_rl.errors import DataError
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import LIME_EMOTIONS

NAME = "Dialogues-mini"
CHALLENGE, EIBENCH = "HD-Track1-Test", "EIBench"
TASKS = ("T1", "T2", "T3")
LANGUAGES = ("en", "zh")
COLUMNS: Mapping[str, str] = {
    name: name for name in ("id", "audio", "text", "options", "answer", "question")
}
"""What the fields of EIBench's lines are called here, as its reader wants to be told."""

_FELT = tuple(emotion for emotion in LIME_EMOTIONS if emotion != "neutral")
_ASKS: Mapping[str, Mapping[str, str]] = {
    "T1": {"en": "How did my feelings change while we talked?", "zh": "刚才我的心情是怎么变化的？"},
    "T2": {"en": "Why do you think I feel like this?", "zh": "你觉得我为什么会有这样的感受？"},
}
"""What the user says in the last turn."""
_QUESTIONS: Mapping[str, Mapping[str, str]] = {
    "T1": {
        "en": "How did the speaker's emotion change before the last turn?",
        "zh": "在最后一句话之前，说话人的情绪是如何变化的？",
    },
    "T2": {
        "en": "What brought the speaker's feeling on? It is what they said when the feeling began.",
        "zh": "说话人的情绪是由什么引起的？答案是这种情绪开始时说的那句话。",
    },
}
_ZH = dict(
    zip(LIME_EMOTIONS, ("平静", "高兴", "悲伤", "愤怒", "恐惧", "厌恶", "惊讶"), strict=True)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """One dialogue before it is spoken."""

    task: str
    language: str
    name: str
    texts: tuple[str, ...]
    emotions: tuple[str, ...]
    options: tuple[str, ...]
    answer: int
    """Place in options; T3 has none of either."""


def build_dialogues(
    folder: Path,
    *,
    dialogues: int,
    seed: int,
    progress: Progress = lambda done, total: None,
) -> int:
    """``dialogues`` of each task in each language, or what of the same settings is there already.

    ``folder`` appears only when it is complete; gives how many dialogues it holds. Raises DataError for
    no dialogues, and a ``folder`` of something else.
    """
    if dialogues < 1:
        raise DataError(f"dialogues must be at least 1, got {dialogues}")
    digest = digest_of(json.dumps([NAME, dialogues]), seed)
    plans = [
        _plan(task, language, number, seed)
        for language in LANGUAGES
        for task in TASKS
        for number in range(dialogues)
    ]

    def make(partial: Path) -> None:
        lines: dict[Path, list[dict[str, Any]]] = {}
        for done, plan in enumerate(plans, start=1):
            file = partial / CHALLENGE / plan.language / f"HD-Track1-{plan.task}.jsonl"
            record = {"dialogue_id": plan.name, "turns": _speak(plan, file, seed)}
            lines.setdefault(file, []).append(record)
            if plan.options:
                asked = partial / EIBENCH / plan.language / f"{plan.task}.jsonl"
                shutil.copytree(
                    file.with_suffix(""), asked.with_suffix(""), dirs_exist_ok=True,
                    ignore=_all_but(plan.name),
                )  # fmt: skip
                question = {
                    "question": _QUESTIONS[plan.task][plan.language],
                    "options": list(plan.options),
                    "answer": plan.options[plan.answer],
                }
                lines.setdefault(asked, []).append({**record, **question})
            progress(done, len(plans))
        for file, records in lines.items():
            text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
            file.write_text(text, encoding="utf-8", newline="\n")
        card = {
            "name": NAME,
            "made": "MADE dialogues, SYNTHETIC voices: nobody said or felt any of this",
            "digest": digest,
            "seed": seed,
            "synthesiser": SYNTHESISER,
            "dialogues": {f"{plan.language} {plan.task}": dialogues for plan in plans},
            "columns": dict(COLUMNS),
        }
        (partial / CARD).write_text(json.dumps(card, indent=2) + "\n", "utf-8")
        (partial / "README.md").write_text(_README, "utf-8")

    make_once(folder, name=NAME, digest=digest, make=make)
    return len(plans)


def _plan(task: str, language: str, number: int, seed: int) -> _Plan:
    rng = rng_for(seed, "dialogues", task, language, number)
    pool = author.split_sentences(language)["test"]
    told = 2 + number % 2 + (task == "T3" and number % 3 == 2)
    picked = rng.permutation(len(pool))[: told + 1]
    texts, never = [pool[int(i)].text for i in picked[:-1]], pool[int(picked[-1])].text
    emotions, options = _FEELINGS[task](told, rng), list[str]()
    if task == "T1":
        options = [_path(path, language) for path in _paths(emotions, rng)]
    elif task == "T2":
        turned = next(i for i, emotion in enumerate(emotions) if emotion != "neutral")
        others = [text for i, text in enumerate(texts) if i != turned]
        options = [texts[turned], *others, never]
    order = [int(i) for i in rng.permutation(len(options))]
    asks = task in _ASKS
    return _Plan(
        task=task,
        language=language,
        name=f"made_{language}_{task}_{number:04d}",
        texts=(*texts, *([_ASKS[task][language]] if asks else [])),
        emotions=(*emotions, *(["neutral"] if asks else [])),
        options=tuple(options[i] for i in order),
        answer=order.index(0) if order else 0,
    )


def _moving(told: int, rng: np.random.Generator) -> list[str]:
    """From turn to turn another emotion."""
    path = [str(rng.choice(LIME_EMOTIONS))]
    while len(path) < told:
        path.append(str(rng.choice([e for e in LIME_EMOTIONS if e != path[-1]])))
    return path


def _turning(told: int, rng: np.random.Generator) -> list[str]:
    """Calm, then at some turn a feeling that stays."""
    turned, felt = int(rng.integers(told)), str(rng.choice(_FELT))
    return ["neutral" if i < turned else felt for i in range(told)]


def _felt_twice(told: int, rng: np.random.Generator) -> list[str]:
    """Two turns that are not neutral, and calm ones around them."""
    first, second = sorted(int(i) for i in rng.permutation(told)[:2])
    felt = [str(e) for e in rng.choice(_FELT, 2, replace=False)]
    return [felt[0] if i == first else felt[1] if i == second else "neutral" for i in range(told)]


_FEELINGS: Mapping[str, Callable[[int, np.random.Generator], list[str]]] = {
    "T1": _moving,
    "T2": _turning,
    "T3": _felt_twice,
}


def _paths(emotions: Sequence[str], rng: np.random.Generator) -> list[tuple[str, ...]]:
    """The right path first, then three that differ from it: turned round, and in one place."""
    found = [tuple(emotions)]
    if tuple(reversed(emotions)) not in found:
        found.append(tuple(reversed(emotions)))
    while len(found) < 4:
        other = list(emotions)
        other[int(rng.integers(len(other)))] = str(rng.choice(LIME_EMOTIONS))
        moved = all(a != b for a, b in itertools.pairwise(other))
        if moved and tuple(other) not in found:
            found.append(tuple(other))
    return found


def _path(emotions: Sequence[str], language: str) -> str:
    return " → ".join(_ZH[e] if language == "zh" else e for e in emotions)


def _speak(plan: _Plan, file: Path, seed: int) -> list[dict[str, Any]]:
    """The turns of one voice, each with its sound in the folder of the file's name."""
    rng = rng_for(seed, "dialogues", plan.name, "voice")
    voice = synthesise.draw_voice("test", rng, plan.language)
    synthesise.begin([voice], plan.language)
    turns: list[dict[str, Any]] = []
    for number, (text, emotion) in enumerate(zip(plan.texts, plan.emotions, strict=True), start=1):
        prosody = synthesise.prosody_for(emotion, "high", rng)
        sound = synthesise.speak(
            text, voice=voice, language=plan.language, prosody=prosody, rng=rng, longest_s=8.0
        )
        name = f"{plan.name}_{number}.wav"
        write_audio(file.with_suffix("") / name, sound)
        turns.append(
            {"turn_id": number, "text": text, "emotion": emotion, "split_audio_file": name}
        )
    return turns


def _all_but(name: str) -> Callable[[str, list[str]], list[str]]:
    """What :func:`shutil.copytree` leaves out, so that the sounds of one dialogue are copied."""
    return lambda _folder, names: [n for n in names if not n.startswith(f"{name}_")]


_COLUMNS = ", ".join(f"{ours}: {theirs}" for ours, theirs in COLUMNS.items())
_README = f"""# {NAME}: made dialogues in synthetic voices

Nobody said or felt any of this: sentences of LIME-mini's test split, spoken by espeak-ng in one voice
a dialogue, in a layout that HumDial's readers take. For trying an evaluation; its figures say nothing
about HumDial.

- `{CHALLENGE}/`: as the challenge has them. T1 and T2 end with the user's own question; T3 has two
  turns that are not neutral. Emotions are given, which the challenge's test set hides.
- `{EIBENCH}/`: T1 and T2 with a question and options. In T2 the right answer is the sentence with
  which the voice begins to feel; words alone do not tell which.

    cogaudio-rl eval -s humdial -c CHECKPOINT eval.suites.humdial.root=FOLDER/{EIBENCH} \\
      'eval.suites.humdial.options={{columns: {{{_COLUMNS}}}}}'
"""
