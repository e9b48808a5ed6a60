"""Results of made-up models, plausible enough to look at: what the report's tests render."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from cogaudio_rl import eips
from cogaudio_rl.data.audio import SAMPLE_RATE_HZ, write_audio
from cogaudio_rl.data.lime import author
from cogaudio_rl.eval.estimates import estimate_rows
from cogaudio_rl.eval.result import Answer, ModelResult, Row
from cogaudio_rl.eval.run import modes, reply_of
from cogaudio_rl.eval.summary import RunFacts
from cogaudio_rl.metrics import MetricsLog
from cogaudio_rl.seeding import rng_for
from cogaudio_rl.types import LIME_EMOTIONS

SKILLS: dict[str, tuple[float, float, tuple[float, float, float]]] = {
    "base": (0.16, 0.0, (1.0, 0.0, 0.0)),
    "A": (0.50, 0.1, (0.45, 0.35, 0.20)),
    "B": (0.58, 0.97, (0.42, 0.35, 0.23)),
    "C": (0.62, 0.97, (0.40, 0.36, 0.24)),
    "D": (0.65, 0.99, (0.08, 0.17, 0.75)),
}
"""model → chance to hear right, to keep the format, and its mix of depths 2, 3, 4."""


def make_facts(**changes: Any) -> RunFacts:
    given: dict[str, Any] = {
        "name": "quickstart",
        "seed": 0,
        "wall_s": 843.0,
        "peak_rss_gib": 9.6,
        "versions": {"cogaudio_rl": "0.1.0", "torch": "2.13.0", "ray": "2.60.0"},
        "seconds": {"data": 41.0, "stage1": 170.0, "stage2": 120.0, "stage3": 260.0},
        "ready_for_rl": True,
        "git_revision": "0" * 40,
    }
    return RunFacts(**given | changes)


def make_results(
    folder: Path, models: tuple[str, ...] = ("base", "B", "C", "D"), families: int = 12
) -> dict[str, ModelResult]:
    """Every model on the same utterances; clips are short tones in ``folder``."""
    clips = {emotion: _tone(folder, i, emotion) for i, emotion in enumerate(LIME_EMOTIONS)}
    return {name: _result(name, clips, families) for name in models}


def write_metrics(folder: Path, steps: int = 80) -> None:
    """Curves of a run that went well."""
    rng = rng_for(0, "curves")
    with MetricsLog(folder) as log:
        for stage, start in (("stage1", 4.2), ("stage2", 1.4)):
            for step in range(1, steps + 1):
                loss = 0.6 + start * math.exp(-step / 15) + 0.05 * rng.standard_normal()
                log.log(stage, step, {"sft/loss": loss, "lr": 1e-3})
        for step in range(1, steps + 1):
            noise, done = 0.03 * rng.standard_normal(8), 1 - math.exp(-step / 30)
            log.log(
                "stage3",
                step,
                {
                    "reward/explicit/mean": 0.55 + 0.2 * done + noise[0],
                    "reward/direct/mean": 0.45 + 0.4 * done + noise[1],
                    "reward/explicit/empathy": 0.42 + 0.4 * done + noise[2],
                    "reward/direct/empathy": 0.45 + 0.4 * done + noise[1],
                    "reward/explicit/format": min(1.0, 0.96 + 0.03 * done),
                    "reward/explicit/emotion": 0.55 + 0.05 * done + noise[3],
                    "reward/explicit/intent": 0.9 + 0.05 * done,
                    "reward/explicit/psychology": 0.85 + 0.08 * done,
                    "reward/explicit/strategy": 0.5 + 0.3 * done + noise[4],
                    "policy/kl": 0.002 * done + 0.0005 * abs(noise[5]),
                    "policy/ratio_mean": 1 + 0.1 * noise[6],
                    "policy/ratio_max_dev": 0.05 * done + abs(noise[6]),
                    "policy/canary_gap": 5e-7,
                    "policy/entropy": 0.7 - 0.3 * done,
                    "policy/grad_norm": 0.8 + noise[7],
                    "policy/attenuated": 0.02 * done,
                    "drop/zero_spread": float(int(16 * done)),
                    "drop/unscored": 0.0,
                    "time/generate": 2.1 + noise[0],
                    "time/judge": 0.2,
                    "time/update": 1.3 + noise[1],
                    "time/publish": 0.3,
                },
            )


def _tone(folder: Path, index: int, emotion: str) -> str:
    t = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    sound = (0.2 * np.sin(2 * math.pi * (160 + 40 * index) * t)).astype(np.float32)
    return write_audio(folder / "clips" / f"{emotion}.flac", sound).path


def _result(name: str, clips: dict[str, str], families: int) -> ModelResult:
    rng = rng_for(0, "synthetic", name)
    sentences = author.split_sentences("en")["test"][:families]
    rows = tuple(
        _row(name, s, emotion, f"voice{(i + j) % 6}", clips[emotion], rng)
        for i, s in enumerate(sentences)
        for j, emotion in enumerate(LIME_EMOTIONS)
    )
    return ModelResult(
        labels=LIME_EMOTIONS,
        rows=rows,
        estimates=estimate_rows(rows, LIME_EMOTIONS, samples=500, seed=0),
        bootstrap_samples=500,
    )


def _row(
    name: str,
    sentence: author.Sentence,
    emotion: str,
    speaker: str,
    clip: str,
    rng: np.random.Generator,
) -> Row:
    hear, _, _ = SKILLS[name]
    # How clear a voice is belongs to the recording: a better model hears what a worse one heard.
    unclear = rng_for(0, "unclear", sentence.text_id, emotion).random()
    missed = "happy" if name == "base" else str(rng.choice(LIME_EMOTIONS))
    chosen = emotion if unclear < hear else missed
    return Row(
        utterance_id=f"{sentence.text_id}_{emotion}",
        text_id=sentence.text_id,
        transcript=sentence.text,
        emotion=emotion,
        intensity="mid",
        speaker=speaker,
        language="en",
        lexical=None,
        audio_path=clip,
        chosen=chosen,
        chosen_silenced="neutral",
        chosen_read="neutral",
        chosen_mismatched="neutral",
        again=_answer(name, sentence, emotion, chosen, False, rng).reply,
        answers={
            key: _answer(name, sentence, emotion, chosen, key.startswith("explicit"), rng)
            for key, _, _ in modes(1.0)
        },
    )


def _answer(
    name: str,
    sentence: author.Sentence,
    emotion: str,
    heard: str,
    explicit: bool,
    rng: np.random.Generator,
) -> Answer:
    _, keeps_format, mix = SKILLS[name]
    depth = int(rng.choice(author.DEPTHS, p=mix))
    chain = author.annotate(sentence, heard, depth=depth, variant=int(rng.integers(9))).eips
    if name == "base":
        text = f"You told me about {sentence.topic}. Thank you for sharing."
    elif explicit and rng.random() < keeps_format:
        text = eips.render(chain)
    else:
        text = eips.render_direct(chain.response)
    parsed = eips.parse(text) if explicit else eips.parse_direct(text)
    right = heard == emotion
    return Answer(
        text=text,
        reply=reply_of(text),
        emotion=None if isinstance(parsed, str) else parsed.emotion,
        failure=str(parsed) if isinstance(parsed, eips.ParseFailure) else None,
        empathy=1 if name == "base" else depth if right else 1 + (depth == 2),
        reply_emotion=heard,
        tokens=len(text.split()),
    )
