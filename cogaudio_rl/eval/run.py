"""Evaluation of one model: ask every test utterance both ways, keep every answer, then count.

    utterances ─► greedy and temperature 1, both routes ─► scorer ─► rows ─► estimates
               └► choice: heard, silenced, read, exchanged ─────────┘

Rows are kept so that two models can be compared on the same utterances. The emotion is read twice:
as written (what does not parse is wrong) and by constrained choice among the labels, in the form that
the model was taught (so that it is not at 0 merely for want of format).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from cogaudio_rl import attribution, eips
from cogaudio_rl.config import EvalConfig
from cogaudio_rl.errors import DataError
from cogaudio_rl.eval.estimates import (
    estimate_rows,
    estimate_swap,
    estimate_timings,
    whole_families,
)
from cogaudio_rl.eval.naming import name_emotions
from cogaudio_rl.eval.result import Answer, ModelResult, Row, Swap, Timing
from cogaudio_rl.eval.scoring import Scorer
from cogaudio_rl.ports import Sampler
from cogaudio_rl.seeding import rng_for, seed_for
from cogaudio_rl.types import (
    REPLY_ROUTES,
    AttributionResponse,
    AudioRef,
    Prompt,
    Rollout,
    Route,
    Utterance,
)

PROMPTS_AT_ONCE = 128
"""Prompts handed to the sampler between two reports of progress."""

Progress = Callable[[int, int], None]
"""Called with prompts done so far and prompts in all, over the whole evaluation."""


def modes(temperature: float) -> tuple[tuple[str, Route, float], ...]:
    """Each way of asking: its key, its route and its temperature."""
    return tuple(
        (f"{route}{suffix}", route, t)
        for route in REPLY_ROUTES
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
    lexical: Mapping[str, str] = MappingProxyType({}),
    clock: Sampler | None = None,
    timings: Sequence[Timing] = (),
    thinks: Route = Route.EXPLICIT,
) -> ModelResult:
    """Evaluate whatever policy the sampler holds. ``silence`` is one clip of fixed length.

    ``thinks`` is the route whose chain the policy was taught: there it names the emotion, and where a
    reply follows that chain, it is the reply that ``explicit`` stands for.

    ``lexical`` says which emotion the words of an utterance (by id) name. ``clock`` is the sampler that
    times are taken with, where ``sampler`` may answer from memory; ``timings`` were taken before.
    Raises DataError when there are no utterances or one carries an emotion outside ``labels``.
    """
    chosen_ones = select_utterances(utterances, config.max_utterances, seed=seed)
    for u in chosen_ones:
        if u.emotion not in labels:
            known = ", ".join(labels)
            raise DataError(f"utterance {u.id!r} has emotion {u.emotion!r}; labels are {known}")
    asking = _Asking(sampler, scorer, chosen_ones, tuple(labels), seed, progress, thinks)
    # First: an engine that has heard a clip before answers sooner.
    timed = chosen_ones[: config.timed_utterances]
    taken = tuple(timings) or await _timed(clock or sampler, timed, seed, asking.chain)
    heard = await asking.choose(chosen_ones)
    # Another id as well as other sound: an engine may cache what it encoded under the prompt's id.
    silenced = [replace(u, id=f"{u.id}#silenced", audio=silence) for u in chosen_ones]
    unheard = await asking.choose(silenced)
    read = await asking.choose([replace(u, id=f"{u.id}#read", audio=None) for u in chosen_ones])
    donors = other_sounds(chosen_ones, seed)
    exchanged = [
        replace(u, id=f"{u.id}#other", audio=donors[u.id]) for u in chosen_ones if u.id in donors
    ]
    mismatched = dict(zip(donors, await asking.choose(exchanged), strict=True))
    answers = {
        key: await asking.answers(key, route, temperature)
        for key, route, temperature in modes(config.temperature)
    }
    rows = tuple(
        Row(
            utterance_id=u.id,
            text_id=u.text_id,
            transcript=u.transcript,
            emotion=u.emotion,
            intensity=u.intensity,
            speaker=u.speaker,
            language=u.language,
            audio_path=u.audio.path if u.audio else "",
            lexical=lexical.get(u.id),
            chosen=heard[i],
            chosen_silenced=unheard[i],
            chosen_read=read[i],
            chosen_mismatched=mismatched.get(u.id),
            answers={key: column[i][0] for key, column in answers.items()},
            again=answers["direct_t1"][i][1].reply,
        )
        for i, u in enumerate(chosen_ones)
    )
    swap = await _swap(scorer, chosen_ones, rows, config.swap_families)
    samples = config.bootstrap_samples
    return ModelResult(
        labels=tuple(labels),
        rows=rows,
        estimates=estimate_rows(rows, labels, samples=samples, seed=seed)
        | estimate_timings(taken, samples=samples, seed=seed)
        | estimate_swap(swap, samples=samples, seed=seed),
        bootstrap_samples=samples,
        timings=taken,
        swap=swap,
    )


def other_sounds(utterances: Sequence[Utterance], seed: int) -> dict[str, AudioRef]:
    """By id, in order: the recording of another sentence, for each utterance that has sound itself."""
    rng = rng_for(seed, "eval", "mismatched")
    heard = [u for u in utterances if u.audio is not None]
    found: dict[str, AudioRef] = {}
    for utterance in heard:
        others = [u for u in heard if u.text_id != utterance.text_id]
        if others:
            found[utterance.id] = others[int(rng.integers(len(others)))].clip
    return found


@dataclass(frozen=True, slots=True)
class _Asking:
    """One evaluation's fixed parts, so that its questions read short."""

    sampler: Sampler
    scorer: Scorer
    utterances: tuple[Utterance, ...]
    labels: tuple[str, ...]
    seed: int
    progress: Progress
    thinks: Route
    parts_done: list[int] = field(default_factory=list[int])

    @property
    def chain(self) -> Route:
        """Whose chain ends in a reply; a chain about votes does not."""
        return Route.ATTRIBUTION if self.thinks is Route.ATTRIBUTION else Route.EXPLICIT

    def _advance(self, prompts: int) -> None:
        """Every utterance is asked eight times: four choices, and both routes at two temperatures."""
        self.parts_done.append(prompts)
        self.progress(sum(self.parts_done), 8 * len(self.utterances))

    async def choose(self, utterances: Sequence[Utterance]) -> list[str]:
        """The label each utterance's emotion is most probably named by."""
        found: list[str] = []
        for start in range(0, len(utterances), PROMPTS_AT_ONCE):
            part = utterances[start : start + PROMPTS_AT_ONCE]
            found += await name_emotions(
                self.sampler, part, self.labels, thinks=self.thinks, seed=self.seed
            )
            self._advance(len(part))
        if left_out := len(self.utterances) - len(utterances):
            self._advance(left_out)
        return found

    async def answers(self, key: str, route: Route, temperature: float) -> list[list[Answer]]:
        """Scored answers for each utterance: two where they are drawn on the direct route."""
        asked_by = self.chain if route is Route.EXPLICIT else route
        prompts = [Prompt(utterance=u, route=asked_by) for u in self.utterances]
        drawn_twice = temperature > 0 and route is Route.DIRECT
        found: list[list[Answer]] = []
        for start in range(0, len(prompts), PROMPTS_AT_ONCE):
            groups = await self.sampler.sample(
                prompts[start : start + PROMPTS_AT_ONCE],
                n=2 if drawn_twice else 1,
                temperature=temperature,
                seed=seed_for(self.seed, "eval", key),
            )
            asked = [
                (g.prompt.utterance, reply_of(rollout.text))
                for g in groups
                for rollout in g.rollouts
            ]
            scores = iter(await self.scorer.score(asked))
            found += [[self._answer(g.prompt, r, next(scores)) for r in g.rollouts] for g in groups]
            self._advance(len(groups))
        return found

    def _answer(self, prompt: Prompt, rollout: Rollout, empathy: float | None) -> Answer:
        text = rollout.text
        reply = reply_of(text)
        emotion, failure = _read(prompt.route, text)
        return Answer(
            text=text,
            reply=reply,
            emotion=emotion,
            failure=failure,
            empathy=empathy,
            reply_emotion=self.scorer.emotion_of(prompt.utterance, reply),
            tokens=len(rollout.token_ids),
        )


def _read(route: Route, text: str) -> tuple[str | None, str | None]:
    """The emotion that a chain names, and why an answer does not parse."""
    if route is Route.DIRECT:
        direct = eips.parse_direct(text)
        return None, str(direct) if isinstance(direct, eips.ParseFailure) else None
    if route is Route.ATTRIBUTION:
        answer = attribution.parse(text)
        if isinstance(answer, AttributionResponse):
            return answer.thought.emotion, None
        return None, str(answer)
    parsed = eips.parse(text)
    return (None, str(parsed)) if isinstance(parsed, eips.ParseFailure) else (parsed.emotion, None)


async def _timed(
    sampler: Sampler, utterances: Sequence[Utterance], seed: int, chain: Route
) -> tuple[Timing, ...]:
    """Both routes; the one with the chain is called ``explicit``, whichever it is."""
    taken = await take_timings(sampler, utterances, seed, routes=(chain, Route.DIRECT))
    return tuple(replace(one, route=Route.EXPLICIT) if one.route == chain else one for one in taken)


async def take_timings(
    sampler: Sampler,
    utterances: Sequence[Utterance],
    seed: int,
    *,
    routes: Sequence[Route] = REPLY_ROUTES,
) -> tuple[Timing, ...]:
    """Greedy answers one at a time, as one user would wait for them; a first one warms up."""
    if utterances:
        warming = Prompt(utterance=utterances[-1], route=routes[-1])
        await sampler.sample([warming], n=1, temperature=0.0, seed=seed)
    found: list[Timing] = []
    for utterance in utterances:
        for route in routes:
            started = time.perf_counter()
            prompt = Prompt(utterance=utterance, route=route)
            (group,) = await sampler.sample([prompt], n=1, temperature=0.0, seed=seed)
            seconds = time.perf_counter() - started
            tokens = len(group.rollouts[0].token_ids)
            found.append(Timing(route=route, tokens=tokens, seconds=seconds))
    return tuple(found)


async def _swap(
    scorer: Scorer, utterances: Sequence[Utterance], rows: Sequence[Row], families: int
) -> Swap:
    """Every direct reply of a family before every emotion of it; see :func:`response_swap`."""
    by_id = {u.id: u for u in utterances}
    chosen = whole_families(rows)[:families]
    asked = [
        (by_id[suits.utterance_id], made.answers["direct"].reply)
        for family in chosen
        for suits in family
        for made in family
    ]
    scores = iter(await scorer.score(asked))
    return tuple(tuple(tuple(next(scores) for _ in f) for _ in f) for f in chosen)
