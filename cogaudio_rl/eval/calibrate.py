"""Does a judge of replies earn trust? It is held against replies whose depth is known on purpose.

    test sentences × emotions × depths × wordings of the annotator it never saw ─► agreement, means

The scorer of the test is tried on the first annotator's wording, the judge of the reward on the
second's; either must also see through replies to another emotion, another sentence or no one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sklearn.metrics import accuracy_score, cohen_kappa_score

from cogaudio_rl.data.lime import author
from cogaudio_rl.data.lime.author import Sentence
from cogaudio_rl.eval.scorer import TestScorer
from cogaudio_rl.models.lessons import bland_reply
from cogaudio_rl.rewards.embedded import ContrastGrader
from cogaudio_rl.rewards.route import Verdict
from cogaudio_rl.types import LIME_EMOTIONS, AudioRef, Utterance

Score = Callable[[Utterance, str], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Agreement with the intended depth where the emotion is right, and means of each sort."""

    n: int
    accuracy: float
    kappa: float
    """Quadratically weighted, over replies to the right emotion."""
    mean: dict[str, float]
    """Mean score of deep, superficial, coarse, wrong_emotion, other_sentence and bland replies."""


@dataclass(slots=True)
class _Tally:
    intended: list[int] = field(default_factory=list)
    given: list[int] = field(default_factory=list)
    by_sort: dict[str, list[int]] = field(default_factory=dict)

    def add(self, sort: str, scores: Sequence[int]) -> None:
        self.by_sort.setdefault(sort, []).extend(scores)


_SORTS = {2: "coarse", 3: "superficial", 4: "deep"}


def validate_scorer(families: int = 20) -> Calibration:
    """The scorer of the test on the first annotator's replies to test sentences."""
    return calibrate(TestScorer().score, "first", author.split_sentences("en")["test"][:families])


def validate_judge(families: int = 20) -> Calibration:
    """The judge of the reward on the second annotator's replies, which it never saw."""
    grader = ContrastGrader()

    def score(utterance: Utterance, reply: str) -> int:
        verdict = grader.grade(utterance, [reply])[0]
        assert isinstance(verdict, Verdict)
        return verdict.empathy

    return calibrate(score, "second", author.split_sentences("en")["test"][:families])


def calibrate(
    score: Score,
    annotator: str,
    sentences: Sequence[Sentence],
    emotions: Sequence[str] = LIME_EMOTIONS,
) -> Calibration:
    """Score every reply of ``annotator`` to these sentences, to the right and to the wrong ones."""
    tally = _Tally()
    for i, sentence in enumerate(sentences):
        other = sentences[(i + 1) % len(sentences)]
        for emotion in emotions:
            utterance = utterance_of(sentence, emotion)

            def scores(replies: Sequence[str], to: Utterance = utterance) -> list[int]:
                return [score(to, reply) for reply in replies]

            for depth, sort in _SORTS.items():
                given = scores(author.replies(sentence, emotion, depth, annotator))
                tally.add(sort, given)
                tally.given += given
                tally.intended += [depth] * len(given)
            for wrong in emotions:
                if wrong != emotion:
                    tally.add(
                        "wrong_emotion", scores(author.replies(sentence, wrong, 4, annotator))
                    )
            tally.add("other_sentence", scores(author.replies(other, emotion, 4, annotator)))
            tally.add("bland", scores([bland_reply(sentence)]))
    return Calibration(
        n=len(tally.given),
        accuracy=float(accuracy_score(tally.intended, tally.given)),
        kappa=float(cohen_kappa_score(tally.intended, tally.given, weights="quadratic")),
        mean={sort: sum(found) / len(found) for sort, found in tally.by_sort.items()},
    )


def utterance_of(sentence: Sentence, emotion: str) -> Utterance:
    """The sentence as if said in this emotion; there is no sound, since judges hear none."""
    return Utterance(
        id=f"{sentence.text_id}_{emotion}",
        text_id=sentence.text_id,
        audio=AudioRef(path="", sample_rate_hz=1, num_samples=0),
        transcript=sentence.text,
        emotion=emotion,
        intensity="mid",
        speaker="",
        language=sentence.language,
    )
