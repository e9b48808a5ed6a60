"""What SFT imitates: annotations as tokens, what each token weighs in the loss, and, where more than
one answer is right, how right each is: by listeners' votes, by the voice that suits, by a teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from cogaudio_rl import ambiguity, attribution, eips, spoken
from cogaudio_rl.errors import CheckpointError, InputError
from cogaudio_rl.models.options import Options
from cogaudio_rl.models.policy import PackedBatch, Policy, Sequenced
from cogaudio_rl.spoken import LEVELS
from cogaudio_rl.types import Prompt, Route, SpokenReply
from cogaudio_rl.voices import VOICES, level_shares, suiting, voice_for
from cogaudio_rl.written import answer_to, reply_to


@dataclass(frozen=True, slots=True)
class Vote:
    """What can be chosen at one place of an answer, where that is, and the shares of what is right."""

    place: int
    """Of the name's first token in the answer."""
    options: Options
    shares: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a teacher would have said at each token of an answer: K tokens, that token the first, and
    how probable each was to it."""

    ids_TK: tuple[tuple[int, ...], ...]
    logprobs_TK: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Target:
    """A prompt, the tokens of its answer and what each weighs in the loss."""

    prompt: Prompt
    token_ids: tuple[int, ...]
    weights: tuple[float, ...]
    votes: tuple[Vote, ...] = ()
    """Of a chain about ambiguity, how listeners voted; of a spoken reply, one for each attribute."""
    lesson: Lesson | None = None
    """What its tokens are compared with in the place of being imitated."""


class TargetMaker:
    """Writes annotations as tokens; the emotion label of an answer with a chain can weigh more."""

    def __init__(self, policy: Policy, *, emotion_token_weight: float) -> None:
        self._policy = policy
        self._emotion_weight = emotion_token_weight
        self._options: dict[tuple[str, ...], Options] = {}

    def make(self, prompt: Prompt) -> Target:
        """Raises DataError for an utterance without an annotation, or without votes or a thought where
        the route asks for those."""
        text, utterance = answer_to(prompt), prompt.utterance
        ids = self._policy.response_ids(text)
        plain = Target(prompt, ids, (1.0,) * len(ids))
        if prompt.route is Route.DIRECT:
            return plain
        if prompt.route is Route.SPOKEN:
            return replace(plain, votes=self._voice(prompt, ids))
        if prompt.route is Route.AMBIGUITY:
            assert utterance.ambiguity is not None
            assert utterance.votes is not None
            before, emotion = (
                ambiguity.render_chain(utterance.ambiguity),
                utterance.ambiguity.emotion,
            )
            vote = self._vote(ids, before, utterance.votes)
            return replace(plain, weights=self._weights(text, before, emotion), votes=(vote,))
        if prompt.route is Route.ATTRIBUTION:
            assert utterance.attribution is not None
            before = attribution.before_emotion(utterance.attribution)
            emotion = utterance.attribution.emotion
        else:
            assert utterance.annotation is not None
            before, emotion = eips.EMOTION_PREFIX, utterance.annotation.eips.emotion
        return replace(plain, weights=self._weights(text, before, emotion))

    def _voice(self, prompt: Prompt, ids: tuple[int, ...]) -> tuple[Vote, ...]:
        """Where each attribute is named behind this very reply, and where a suiting voice would lie."""
        emotion = prompt.utterance.emotion
        reply = SpokenReply(response=reply_to(prompt.utterance), voice=voice_for(emotion))
        shares = level_shares(VOICES[suiting(emotion)])
        return tuple(
            self._vote(
                ids,
                spoken.before_level(reply, nth),
                dict(zip(LEVELS[name], shares[name], strict=True)),
                after=spoken.after_level(nth),
            )
            for nth, name in enumerate(LEVELS)
        )

    def _vote(
        self, ids: tuple[int, ...], before: str, shares: Mapping[str, float], *, after: str = ""
    ) -> Vote:
        """``after`` is what stands behind a name: it ends one that another begins with."""
        begun = self._policy.chat.encode(before)
        if ids[: len(begun)] != begun:
            raise CheckpointError(
                f"the tokenizer of {self._policy.name!r} runs a name together with what "
                f"stands before it ({before[-20:]!r}); names could not be weighed there"
            )
        labels = tuple(shares)
        if labels not in self._options:
            self._options[labels] = self._told_apart([f" {label}" for label in labels], after)
        return Vote(len(begun), self._options[labels], tuple(shares.values()))

    def _told_apart(self, names: Sequence[str], after: str) -> Options:
        """``low`` may be the first token of ``lowest``."""
        try:
            return Options.of(self._policy.chat, names)
        except InputError:
            if not after:
                raise
            return Options.of(self._policy.chat, [f"{name}{after}" for name in names])

    def _weights(self, text: str, before: str, emotion: str) -> tuple[float, ...]:
        """1 for each token and for the end, more for those of the emotion's name."""
        first = len(before) + 1  # after the space
        last = first + len(emotion)
        spans = self._policy.tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True
        ).offset_mapping
        weights = [
            self._emotion_weight if start < last and end > first else 1.0 for start, end in spans
        ]
        # The end token has no place in the text.
        return (*weights, 1.0)


def target_length(policy: Policy, target: Target) -> int:
    """Tokens of prompt, sound and answer, and of the rows beside it, without hearing it."""
    rows = 1 + sum(vote.options.rows - 1 for vote in target.votes)
    return rows * policy.length(target.prompt, len(target.token_ids))


@dataclass(frozen=True, slots=True)
class PlacedVote:
    """A vote and where a batch holds what it takes to count it."""

    vote: Vote
    row: int
    skip: int
    own: int
    """See :meth:`Options.logprobs`."""

    def logprobs(self, logprobs_BT: torch.Tensor, batch: PackedBatch) -> torch.Tensor:
        """Of each option [K]."""
        return self.vote.options.logprobs(
            logprobs_BT, batch, self.row, skip=self.skip, own=self.own
        )


@dataclass(frozen=True, slots=True)
class PlacedLesson:
    """A lesson and the row of the batch that learns it."""

    lesson: Lesson
    row: int

    def logprobs(self, logprobs_BT: torch.Tensor, batch: PackedBatch) -> torch.Tensor:
        """The student's, of the tokens that the lesson names [T, K]."""
        length, width = len(self.lesson.ids_TK), len(self.lesson.ids_TK[0])
        start = batch.alternatives_from
        others = logprobs_BT[self.row, start : start + length * (width - 1)]
        said = logprobs_BT[self.row, :length, None]
        return torch.cat([said, others.reshape(length, width - 1)], 1)


@dataclass(frozen=True, slots=True)
class PackedTargets:
    """Targets as one batch: theirs are the rows that ``weights_BT`` says something of, and rows for
    names of several tokens may stand between them."""

    batch: PackedBatch
    weights_BT: torch.Tensor
    """0 where padded, and where a token is an alternative."""
    votes: tuple[PlacedVote, ...]
    lessons: tuple[PlacedLesson, ...]


def pack(policy: Policy, targets: Sequence[Target], *, votes: bool = False) -> PackedTargets:
    """One batch; with ``votes``, with what it takes to weigh the labels."""
    rows: list[Sequenced] = []
    first: list[int] = []
    placed: list[PlacedVote] = []
    lessons: list[PlacedLesson] = []
    for target in targets:
        at = len(rows)
        first.append(at)
        rows.append(policy.sequence(target.prompt, target.token_ids))
        if target.lesson is not None:
            rows[at] = replace(rows[at], alternatives=_others(target.lesson))
            lessons.append(PlacedLesson(target.lesson, at))
        for vote in target.votes if votes else ():
            skip = len(rows[at].alternatives)
            placed.append(PlacedVote(vote, at, skip=skip, own=len(rows) - at))
            rows[at], *own = vote.options.sequences(rows[at], vote.place)
            rows += own
    batch = policy.pack(rows)
    weights_BT = torch.zeros_like(batch.response_mask_BT)
    for row, target in zip(first, targets, strict=True):
        weights_BT[row, : len(target.weights)] = torch.tensor(target.weights)
    return PackedTargets(batch, weights_BT, tuple(placed), tuple(lessons))


def _others(lesson: Lesson) -> tuple[tuple[int, int], ...]:
    """All tokens but those that are said, place by place."""
    return tuple((place, token) for place, ids in enumerate(lesson.ids_TK) for token in ids[1:])
