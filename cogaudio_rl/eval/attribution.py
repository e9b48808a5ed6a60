"""How near direct replies come to a teacher that is told what students have to hear; IEAT's measures.

    utterance ─► direct, greedy and drawn ─► empathy; distance to the teacher's reply, beside the
              │                              distance between two replies of the teacher
              ├► thought, when asked for ──► emotion, intensity, pitch, pace, cause
              └► spoken reply ─► synthesiser ─► listener: does the voice suit?

The distance is 1 - cosine of TF-IDF vectors over character 3- to 5-grams, fitted on the teacher's own
replies. What does not parse counts as wrong.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from cogaudio_rl import attribution, spoken
from cogaudio_rl.config import EvalConfig
from cogaudio_rl.data.splits import in_order
from cogaudio_rl.dictation import Dictated
from cogaudio_rl.eval.metrics import Estimate, mean_estimate, paired_difference
from cogaudio_rl.eval.reply_voices import Listener, speak_into
from cogaudio_rl.eval.result import ModelResult
from cogaudio_rl.eval.run import PROMPTS_AT_ONCE, reply_of, select_utterances
from cogaudio_rl.eval.scoring import Scorer
from cogaudio_rl.ports import Sampler
from cogaudio_rl.run_folder import read_lines, write_whole
from cogaudio_rl.seeding import seed_for
from cogaudio_rl.types import AttributionResponse, Prompt, Rollout, Route, SpokenReply, Utterance
from cogaudio_rl.voices import suiting

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyRow:
    """One utterance, what a model said of it through each route, and what came of that."""

    utterance_id: str
    emotion: str
    direct: str
    """As generated, tags and all; greedy, as all but ``drawn``."""
    drawn: str
    empathy: float | None
    empathy_drawn: float | None
    distance: float
    """Of the drawn reply to one that the teacher drew."""
    resampling: float
    """Of another that the teacher drew to that one."""
    thought: str
    told: Mapping[str, bool]
    """By ``PARTS``, what the thought is right about; empty where it does not parse."""
    spoken: str
    reply_emotion: str | None
    """Which emotion the spoken reply fits best."""
    heard: str | None
    """The voice it was heard in; None where it did not parse."""
    audible: bool = True
    """Whether the listener knows the language of its replies."""


@dataclass(frozen=True, slots=True)
class Teaching:
    """What replies are held against."""

    replies: Mapping[str, Dictated]
    """By utterance's id: greedy, and two that were drawn."""
    listener: Listener
    sounds: Path
    """Where spoken replies are written."""


async def evaluate_attribution(
    sampler: Sampler,
    utterances: Sequence[Utterance],
    teaching: Teaching,
    scorer: Scorer,
    config: EvalConfig,
    *,
    seed: int,
    progress: Progress,
) -> tuple[ModelResult, tuple[ReplyRow, ...]]:
    """Evaluate whatever policy the sampler holds, over at most ``config.max_utterances``.

    Utterances without a thought, or that the teacher had not three replies to, are left out. Raises
    DataError when none is left.
    """
    usable = [u for u in utterances if _is_taught(u, teaching.replies)]
    asked = select_utterances(usable, config.max_utterances, seed=seed)
    asking = _Asking(sampler, asked, seed, progress)
    direct = await asking.ask(Route.DIRECT, 0.0)
    drawn = await asking.ask(Route.DIRECT, config.temperature)
    thoughts = await asking.ask(Route.ATTRIBUTION, 0.0)
    said = await asking.ask(Route.SPOKEN, 0.0)
    empathy = await scorer.score(_replies(asked, direct))
    empathy_drawn = await scorer.score(_replies(asked, drawn))
    distances, resampling = _distances(asked, drawn, teaching.replies)
    heard = _heard(asked, said, teaching, seed=seed)
    rows = tuple(
        ReplyRow(
            utterance_id=u.id,
            emotion=u.emotion,
            direct=direct[i].text,
            drawn=drawn[i].text,
            empathy=empathy[i],
            empathy_drawn=empathy_drawn[i],
            distance=distances[i],
            resampling=resampling[i],
            thought=thoughts[i].text,
            told=_told(u, thoughts[i].text),
            spoken=said[i].text,
            reply_emotion=scorer.emotion_of(u, reply_of(said[i].text)),
            heard=heard[i],
            audible=u.reply_language in SPOKEN_LANGUAGES,
        )
        for i, u in enumerate(asked)
    )
    result = ModelResult(
        labels=in_order({u.emotion for u in asked}),
        rows=(),
        estimates=attribution_estimates(rows, samples=config.bootstrap_samples, seed=seed),
        bootstrap_samples=config.bootstrap_samples,
    )
    return result, rows


def attribution_estimates(
    rows: Sequence[ReplyRow], *, samples: int, seed: int
) -> dict[str, Estimate]:
    """By their keys in ``report.json``."""

    def mean(values: Sequence[float]) -> Estimate:
        return mean_estimate(values, samples=samples, seed=seed)

    audible = [row for row in rows if row.audible]
    spoken_of = [row for row in audible if row.reply_emotion is not None]
    heard = [row.heard for row in audible]
    fits_user = [suiting(row.emotion) for row in audible]
    fits_reply = [suiting(str(row.reply_emotion)) for row in spoken_of]
    return {
        "empathy_direct": mean([r.empathy for r in rows if r.empathy is not None]),
        "empathy_direct_t1": mean([r.empathy_drawn for r in rows if r.empathy_drawn is not None]),
        "teacher_distance": mean([row.distance for row in rows]),
        "teacher_resampling": mean([row.resampling for row in rows]),
        "teacher_excess": paired_difference(
            [row.distance for row in rows],
            [row.resampling for row in rows],
            samples=samples,
            seed=seed,
        ),
        "unasked_thoughts": mean([float("<thought>" in r.direct + r.drawn) for r in rows]),
        "format_thought": mean([float(bool(row.told)) for row in rows]),
        **{
            f"thought_{part}": mean([float(row.told.get(part, False)) for row in rows])
            for part in PARTS
        },
        "format_spoken": mean([float(_parsed(row.spoken) is not None) for row in rows]),
        "voice_suits_reply": mean(
            [float(r.heard == fit) for r, fit in zip(spoken_of, fits_reply, strict=True)]
        ),
        "voice_suits_reply_shuffled": mean(_shuffled([r.heard for r in spoken_of], fits_reply)),
        "voice_suits_user": mean(
            [float(h == fit) for h, fit in zip(heard, fits_user, strict=True)]
        ),
        "voice_suits_user_shuffled": mean(_shuffled(heard, fits_user)),
    }


def empathy_gain(
    ours: Sequence[ReplyRow], theirs: Sequence[ReplyRow], *, samples: int, seed: int
) -> Estimate:
    """How much more empathy the greedy direct replies of one model have than another's, over the same
    utterances."""
    other = {row.utterance_id: row.empathy for row in theirs}
    pairs = [(row.empathy, other.get(row.utterance_id)) for row in ours]
    whole = [(a, b) for a, b in pairs if a is not None and b is not None]
    return paired_difference(
        [a for a, _ in whole], [b for _, b in whole], samples=samples, seed=seed
    )


def with_gains(
    results: Mapping[str, ModelResult],
    rows_of: Callable[[str], Path],
    *,
    samples: int,
    seed: int,
) -> dict[str, ModelResult]:
    """The same with :func:`empathy_gain` over ``RIVAL``, where that was measured; ``rows_of`` says
    where a model's rows were saved."""
    found = dict(results)
    for name, result in results.items():
        rival = next((r for r in (_rival_of(name), RIVAL) if r in results), name)
        if rival != name:
            ours, theirs = (load_rows(rows_of(one)) for one in (name, rival))
            gain = empathy_gain(ours, theirs, samples=samples, seed=seed)
            found[name] = replace(result, estimates={**result.estimates, "empathy_gain": gain})
    return found


def _rival_of(name: str) -> str:
    """Of the same run and seed: ``ieat/A#1`` of ``ieat/I2#1``."""
    system, mark, seed = name.partition("#")
    run, slash, _ = system.rpartition("/")
    return f"{run}{slash}{RIVAL}{mark}{seed}"


RIVAL = "A"
"""SFT on the same utterances and what annotators wrote: what students are held against."""

PARTS: tuple[str, ...] = ("emotion", "intensity", "pitch", "pace", "grounded")
"""What a thought is right about, or not; grounded: its cause is in the words."""


def save_rows(rows: Sequence[ReplyRow], path: Path) -> None:
    """One JSON object a line, for whoever wants to see what was said."""
    write_whole(path, "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows))


def load_rows(path: Path) -> tuple[ReplyRow, ...]:
    """What :func:`save_rows` wrote."""
    return tuple(ReplyRow(**line) for line in read_lines(path))


def _is_taught(utterance: Utterance, replies: Mapping[str, Dictated]) -> bool:
    said = replies.get(utterance.id)
    return said is not None and len(said.replies) >= 3 and None not in said.replies


@dataclass(frozen=True, slots=True)
class _Asking:
    """One evaluation's fixed parts, so that its questions read short."""

    sampler: Sampler
    utterances: tuple[Utterance, ...]
    seed: int
    progress: Progress
    done: list[int] = field(default_factory=list[int])

    async def ask(self, route: Route, temperature: float) -> list[Rollout]:
        """One answer each; every utterance is asked four times."""
        found: list[Rollout] = []
        for start in range(0, len(self.utterances), PROMPTS_AT_ONCE):
            part = self.utterances[start : start + PROMPTS_AT_ONCE]
            groups = await self.sampler.sample(
                [Prompt(utterance=u, route=route) for u in part],
                n=1,
                temperature=temperature,
                seed=seed_for(self.seed, "eval", route, temperature),
            )
            found += [group.rollouts[0] for group in groups]
            self.done.append(len(part))
            self.progress(sum(self.done), 4 * len(self.utterances))
        return found


def _replies(
    utterances: Sequence[Utterance], said: Sequence[Rollout]
) -> list[tuple[Utterance, str]]:
    return [(u, reply_of(one.text)) for u, one in zip(utterances, said, strict=True)]


def _distances(
    utterances: Sequence[Utterance], said: Sequence[Rollout], teacher: Mapping[str, Dictated]
) -> tuple[list[float], list[float]]:
    """Of each drawn reply to the teacher's first drawn one, and of its second to its first.

    All of them are drawn: a greedy reply, the middle of many, is nearer to any than they are to one
    another.
    """
    drawn = [[reply or "" for reply in teacher[u.id].replies[1:3]] for u in utterances]
    vectors: Any = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
    vectors.fit([reply for pair in drawn for reply in pair])
    first, again = (vectors.transform([pair[i] for pair in drawn]) for i in (0, 1))
    ours = vectors.transform([reply_of(one.text) for one in said])
    return _apart(ours, first), _apart(again, first)


def _apart(one: Any, other: Any) -> list[float]:
    """1 - cosine, row by row, of vectors of length 1; of 0 where nothing was known in them."""
    cosines = np.asarray(one.multiply(other).sum(axis=1)).ravel()
    return [float(min(max(1 - cosine, 0.0), 1.0)) for cosine in cosines]


def _told(utterance: Utterance, text: str) -> dict[str, bool]:
    """What a thought is right about; nothing where it does not parse."""
    answer = attribution.parse(text)
    if not isinstance(answer, AttributionResponse):
        return {}
    right, told = utterance.attribution, answer.thought
    assert right is not None
    named = {name: getattr(told, name) == getattr(right, name) for name in PARTS[:-1]}
    share = attribution.grounding(told.cause, utterance.transcript)
    return named | {"grounded": share >= attribution.GROUNDED}


def _parsed(text: str) -> SpokenReply | None:
    answer = spoken.parse(text)
    return answer if isinstance(answer, SpokenReply) else None


def _heard(
    utterances: Sequence[Utterance], said: Sequence[Rollout], teaching: Teaching, *, seed: int
) -> list[str | None]:
    """The voice that each spoken reply is heard in."""
    found: list[str | None] = [None] * len(utterances)
    replies = [
        (i, u, reply)
        for i, (u, one) in enumerate(zip(utterances, said, strict=True))
        if (reply := _parsed(one.text)) is not None and u.reply_language in SPOKEN_LANGUAGES
    ]
    sounds = [
        speak_into(teaching.sounds, [(u.id, reply)], language=u.reply_language, seed=seed)[0]
        for _, u, reply in replies
    ]
    for (i, _, _), voice in zip(replies, teaching.listener.hears(sounds), strict=True):
        found[i] = voice
    return found


SPOKEN_LANGUAGES: tuple[str, ...] = ("en",)
"""The listener learnt from English alone."""


def _shuffled(heard: Sequence[str | None], fits: Sequence[str]) -> list[float]:
    """For each, how often it would suit had it been said for any of them: what chance reaches."""
    counts = Counter(fits)
    return [counts[voice or ""] / len(fits) for voice in heard]
