"""A teacher replies to utterances that it is told everything about; students learn its replies.

words + emotion, cause and plan ─► teacher ─► RUN/dictation/train-0.jsonl, …  what it replied
                                          └─► RUN/dictation/test.jsonl        for the evaluation
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

from cogaudio_rl.config import Config
from cogaudio_rl.console import Console
from cogaudio_rl.data.manifest import write_manifest
from cogaudio_rl.data.mixture import Mixture
from cogaudio_rl.data.shards import in_shards
from cogaudio_rl.dictation import (
    Dictated,
    add,
    dictated,
    failures_in,
    read_dictation,
    reopen,
    with_dictation,
)
from cogaudio_rl.errors import DataError
from cogaudio_rl.eval.suites import DICTATED
from cogaudio_rl.models.checkpoint import load_adapter
from cogaudio_rl.ports import Sampler
from cogaudio_rl.run_folder import RunFolder
from cogaudio_rl.seeding import seed_for
from cogaudio_rl.stages.backend import Backend
from cogaudio_rl.stages.teaching import stated_best
from cogaudio_rl.types import Utterance

_PROMPTS_AT_ONCE = 256
_MOST_FAILURES = 0.2
"""Share of utterances without a reply, above which the teacher is none."""


class Dictation:
    """One run's teacher."""

    def __init__(self, config: Config, run: RunFolder, backend: Backend, console: Console) -> None:
        self._config, self._run, self._backend, self._console = config, run, backend, console
        self._folder = (run.path / DICTATED).parent

    def train(self, train: Sequence[Utterance] | Mixture) -> tuple[Utterance, ...] | Mixture:
        """The same with the teacher's replies, without those that it had none for.

        Raises DataError where it had none for too many, for an utterance without a thought, and for
        one whose sound lies in shards.
        """
        if not isinstance(train, Mixture):
            said = self._said(self._folder / "train-0.jsonl", train, drawn=0)
            return tuple(with_dictation(train, said))
        weights: dict[Path, float] = {}
        for number, (path, weight) in enumerate(train.weights.items()):
            part = list(Mixture({path: weight}).read())
            if shards := [u for u in part if in_shards(u)]:
                raise DataError(
                    f"{str(path)!r}: the sound of {shards[0].id!r} lies in shards; replies are "
                    "dictated for manifests, name one in data.mixture"
                )
            said = self._said(self._folder / f"train-{number}.jsonl", part, drawn=0)
            manifest = (self._folder / f"manifest-{number}.jsonl").absolute()
            write_manifest(manifest, with_dictation(part, said))
            weights[manifest] = weight
        return Mixture(weights)

    def test(self, test: Sequence[Utterance]) -> dict[str, Dictated]:
        """By id: the greedy reply, then two that were drawn."""
        attributed = [u for u in test if u.attribution is not None]
        return self._said(self._run.path / DICTATED, attributed, drawn=2)

    def _said(
        self, path: Path, utterances: Sequence[Utterance], *, drawn: int
    ) -> dict[str, Dictated]:
        """Asks for what is not there yet."""
        done = read_dictation(path)
        if any(u.id not in done for u in utterances):
            self._console.stage(f"dictation: the teacher's replies, {path.name}")
            with self._console.progress("utterances") as advance:
                asyncio.run(self._ask(path, utterances, drawn, advance))
            done = read_dictation(path)
        self._report(done, utterances)
        return done

    def _report(self, said: dict[str, Dictated], utterances: Sequence[Utterance]) -> None:
        failures = failures_in(said.values())
        for reason, count in failures.most_common():
            self._console.note(f"{count} x no reply: {reason}", warn=True)
        none = sum(said[u.id].replies[0] is None for u in utterances)
        if none > _MOST_FAILURES * len(utterances):
            raise DataError(
                f"the teacher replied to {len(utterances) - none} of {len(utterances)} utterances; "
                "train it longer (sft.teacher.epochs), or give it more tokens "
                "(model.max_new_tokens_direct)"
            )

    async def _ask(
        self,
        path: Path,
        utterances: Sequence[Utterance],
        drawn: int,
        advance: Callable[[int, int], None],
    ) -> None:
        sampler = self._backend.rollout_ports().sampler
        teacher = self.adapter
        await sampler.publish(load_adapter(teacher) if teacher else None)
        done = reopen(path)
        waiting = (u for u in utterances if u.id not in done)
        count = len(done)
        advance(count, len(utterances))
        while part := list(islice(waiting, _PROMPTS_AT_ONCE)):
            add(path, await self._replies(sampler, part, drawn))
            count += len(part)
            advance(count, len(utterances))

    async def _replies(
        self, sampler: Sampler, part: Sequence[Utterance], drawn: int
    ) -> Iterable[Dictated]:
        config, prompts = self._config, [stated_best(u) for u in part]
        seed = seed_for(config.seed, "dictation")
        first = await sampler.sample(
            prompts, n=1, temperature=config.sft.dictation_temperature, seed=seed
        )
        said = [list(group.rollouts) for group in first]
        if drawn:
            again = await sampler.sample(
                prompts,
                n=drawn,
                temperature=config.eval.temperature,
                seed=seed_for(config.seed, "dictation", "drawn"),
            )
            for rollouts, group in zip(said, again, strict=True):
                rollouts += group.rollouts
        return [dictated(u, rollouts) for u, rollouts in zip(part, said, strict=True)]

    @property
    def adapter(self) -> Path | None:
        """The teacher's; None: the bare backbone."""
        if self._config.sft.teacher is None:
            return self._config.sft.start
        return self._run.checkpoint("teacher")
