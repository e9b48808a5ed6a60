"""Evaluation of one model: ask every test utterance both ways, keep every answer, then count.

    utterances ─► greedy and temperature 1, both routes ─► test scorer ─► rows ─► estimates
               └► constrained choice, heard and silenced ──────────────────┘

Rows are kept so that two models can be compared on the same utterances. The emotion is read twice:
as written (what does not parse is wrong) and by constrained choice among the labels (so that a
model is not at 0 merely for want of format).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from cogaudio_rl import eips
from cogaudio_rl.config import EvalConfig
from cogaudio_rl.errors import DataError
from cogaudio_rl.eval.metrics import Estimate, mean_estimate, response_divergence
from cogaudio_rl.eval.result import Answer, ModelResult, Row
from cogaudio_rl.ports import Sampler
from cogaudio_rl.seeding import rng_for, seed_for
from cogaudio_rl.types import AudioRef, Prompt, Route, Utterance

PROMPTS_AT_ONCE = 128
"""Prompts handed to the sampler between two reports of progress."""

Progress = Callable[[int, int], None]
"""Called with prompts done so far and prompts in all, over the whole evaluation."""


class Scorer(Protocol):
    """The scorer of the test: other references and features than the scorer of the reward."""

    def score(self, utterance: Utterance, reply: str) -> int:
        """Empathy of the reply to this utterance, 1–4 by the rubric."""
        ...

    def emotion_of(self, utterance: Utterance, reply: str) -> str:
        """The emotion of this sentence that the reply fits best."""
        ...


def modes(temperature: float) -> tuple[tuple[str, Route, float], ...]:
    """Each way of asking: its key, its route and its temperature."""
    return tuple(
        (f"{route}{suffix}", route, t)
        for route in Route
        for suffix, t in (("", 0.0), ("_t1", temperature))
    )


def reply_of(text: str) -> str:
    """What the user would hear: the response if there is one, else the whole text without tags.

    Lenient on purpose and the same for every model: a base that was never taught the tags is judged
    on what it says, not on how it wraps it.
    """
    inside = re.search(r"<response>(.*?)(?:</response>|$)", text, re.DOTALL)
    spoken = inside[1] if inside else text
    return re.sub(r"</?(?:thought|response)>", " ", spoken).strip()


def select_utterances(
    utterances: Sequence[Utterance], limit: int, *, seed: int
) -> tuple[Utterance, ...]:
    """At most ``limit`` utterances, whole lexical families first; all models of a run get the same.

    Raises DataError when there is nothing to evaluate.
    """
    if not utterances:
        raise DataError("the test split holds 0 utterances; there is nothing to evaluate")
    families = sorted({u.text_id for u in utterances})
    order = rng_for(seed, "eval", "families").permutation(len(families))
    rank = {families[int(i)]: place for place, i in enumerate(order)}
    ordered = sorted(utterances, key=lambda u: (rank[u.text_id], u.id))
    return tuple(ordered[:limit])


async def evaluate(
    sampler: Sampler,
    utterances: Sequence[Utterance],
    scorer: Scorer,
    config: EvalConfig,
    *,
    labels: Sequence[str],
    silence: AudioRef,
    seed: int,
    progress: Progress,
) -> ModelResult:
    """Evaluate whatever policy the sampler holds. ``silence`` is one clip of fixed length.

    Raises DataError when there are no utterances or one carries an emotion outside ``labels``.
    """
    chosen_ones = select_utterances(utterances, config.max_utterances, seed=seed)
    for u in chosen_ones:
        if u.emotion not in labels:
            known = ", ".join(labels)
            raise DataError(f"utterance {u.id!r} has emotion {u.emotion!r}; labels are {known}")
    asking = _Asking(sampler, scorer, chosen_ones, tuple(labels), seed, progress)
    heard = await asking.choose(chosen_ones)
    # Another id as well as other sound: an engine may cache what it encoded under the prompt's id.
    silenced = [replace(u, id=f"{u.id}#silenced", audio=silence) for u in chosen_ones]
    unheard = await asking.choose(silenced)
    answers = {
        key: await asking.answers(key, route, temperature)
        for key, route, temperature in modes(config.temperature)
    }
    rows = tuple(
        _row(u, heard[i], unheard[i], {key: column[i] for key, column in answers.items()})
        for i, u in enumerate(chosen_ones)
    )
    return ModelResult(
        labels=tuple(labels),
        rows=rows,
        estimates=estimate_rows(rows, samples=config.bootstrap_samples, seed=seed),
        bootstrap_samples=config.bootstrap_samples,
    )


def estimate_rows(rows: Sequence[Row], *, samples: int, seed: int) -> dict[str, Estimate]:
    """Every metric of one model with its interval."""

    def divergence(mode: str) -> Estimate:
        return response_divergence(
            [r.text_id for r in rows],
            [r.emotion for r in rows],
            [r.answers[mode].reply for r in rows],
            samples=samples,
            seed=seed,
        )

    mean = partial(mean_estimate, samples=samples, seed=seed)
    written = [r.answers["explicit"] for r in rows if r.answers["explicit"].emotion is not None]
    return {metric: mean(row_values(rows, metric)) for metric in ROW_METRICS} | {
        "thought_reply_agreement": mean([a.emotion == a.reply_emotion for a in written]),
        "response_divergence": divergence("direct"),
        "response_divergence_explicit": divergence("explicit"),
    }


ROW_METRICS: Mapping[str, Callable[[Row], float]] = {
    "emotion_accuracy": lambda r: r.chosen == r.emotion,
    "emotion_accuracy_as_written": lambda r: r.answers["explicit"].emotion == r.emotion,
    "emotion_accuracy_as_written_t1": lambda r: r.answers["explicit_t1"].emotion == r.emotion,
    "emotion_accuracy_silenced": lambda r: r.chosen_silenced == r.emotion,
    "format_validity": lambda r: r.answers["explicit"].failure is None,
    "format_validity_t1": lambda r: r.answers["explicit_t1"].failure is None,
    "empathy_direct": lambda r: r.answers["direct"].empathy,
    "empathy_explicit": lambda r: r.answers["explicit"].empathy,
    "empathy_direct_t1": lambda r: r.answers["direct_t1"].empathy,
    "empathy_explicit_t1": lambda r: r.answers["explicit_t1"].empathy,
}
"""Metrics that are one number per utterance, so that models can be compared pair by pair."""


def row_values(rows: Sequence[Row], metric: str) -> list[float]:
    """One number per row for a metric of :data:`ROW_METRICS`."""
    return [float(ROW_METRICS[metric](row)) for row in rows]


@dataclass(frozen=True, slots=True)
class _Asking:
    """One evaluation's fixed parts, so that its questions read short."""

    sampler: Sampler
    scorer: Scorer
    utterances: tuple[Utterance, ...]
    labels: tuple[str, ...]
    seed: int
    progress: Progress
    parts_done: list[int] = field(default_factory=list[int])

    def _advance(self, prompts: int) -> None:
        """Every utterance is asked six times: chosen twice, answered twice through each route."""
        self.parts_done.append(prompts)
        self.progress(sum(self.parts_done), 6 * len(self.utterances))

    async def choose(self, utterances: Sequence[Utterance]) -> list[str]:
        """The label each utterance's emotion is most probably named by."""
        options = [f" {label}" for label in self.labels]
        prompts = [Prompt(utterance=u, route=Route.EXPLICIT) for u in utterances]
        found: list[str] = []
        for start in range(0, len(prompts), PROMPTS_AT_ONCE):
            part = prompts[start : start + PROMPTS_AT_ONCE]
            found += await self.sampler.choose(part, prefix=eips.EMOTION_PREFIX, options=options)
            self._advance(len(part))
        return [option.strip() for option in found]

    async def answers(self, key: str, route: Route, temperature: float) -> list[Answer]:
        """One scored answer per utterance."""
        prompts = [Prompt(utterance=u, route=route) for u in self.utterances]
        found: list[Answer] = []
        for start in range(0, len(prompts), PROMPTS_AT_ONCE):
            groups = await self.sampler.sample(
                prompts[start : start + PROMPTS_AT_ONCE],
                n=1,
                temperature=temperature,
                seed=seed_for(self.seed, "eval", key),
            )
            found += [self._answer(g.prompt.utterance, route, g.rollouts[0].text) for g in groups]
            self._advance(len(groups))
        return found

    def _answer(self, utterance: Utterance, route: Route, text: str) -> Answer:
        parsed = eips.parse(text) if route is Route.EXPLICIT else eips.parse_direct(text)
        reply = reply_of(text)
        return Answer(
            text=text,
            reply=reply,
            emotion=None if isinstance(parsed, str) else parsed.emotion,
            failure=str(parsed) if isinstance(parsed, eips.ParseFailure) else None,
            empathy=self.scorer.score(utterance, reply),
            reply_emotion=self.scorer.emotion_of(utterance, reply),
        )


def _row(
    utterance: Utterance, chosen: str, chosen_silenced: str, answers: Mapping[str, Answer]
) -> Row:
    return Row(
        utterance_id=utterance.id,
        text_id=utterance.text_id,
        transcript=utterance.transcript,
        emotion=utterance.emotion,
        intensity=utterance.intensity,
        speaker=utterance.speaker,
        audio_path=utterance.audio.path if utterance.audio else "",
        chosen=chosen,
        chosen_silenced=chosen_silenced,
        answers=answers,
    )
