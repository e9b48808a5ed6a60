"""One vLLM engine that samples with the adapter it was last given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from actors.describe import describe, report_in
from actors.transfer import BACKEND, Receiver
from actors.vllm_options import bans, hearing, on_cpu, on_gpu
from actors.weights import EngineWeights, LoraKernels, MergedWeights, WholeWeights
from cogaudio_rl.config import Config
from cogaudio_rl.data.audio import SAMPLE_RATE_HZ, read_audio
from cogaudio_rl.errors import InputError, RunError
from cogaudio_rl.models.architecture import Architecture, resolve_checkpoint
from cogaudio_rl.models.chat import Chat, open_processor
from cogaudio_rl.models.options import Options, shares
from cogaudio_rl.ports import PROBE_TOKENS
from cogaudio_rl.seeding import seed_for
from cogaudio_rl.types import Adapter, Group, Prefix, Prompt, Rollout, Route, StopReason

T = TypeVar("T")
Sound = npt.NDArray[np.float32]

_FIRST = -1
_HEARD_GIB = 0.5
"""A step hears each clip through both routes."""
_STOPS = {"stop": StopReason.EOS, "length": StopReason.LENGTH}


class RolloutWorker(Receiver):
    """Lives inside one process; the environment of ``rollout_env`` must be set before it starts.

    Raises CheckpointError for a backbone that cannot be opened, ConfigError for a LoRA rank that
    vLLM does not serve.
    """

    def __init__(self, config: Config) -> None:
        report_in("rollout")
        # vLLM may not be called by two threads at once, and OpenMP keeps a team of threads for every
        # thread that calls it: all of the engine's work is done by one, first come, first served.
        self._engine_thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._answers: dict[int, Any] = {}
        self._abandoned: set[str] = set()
        folder = resolve_checkpoint(config.model.path)
        self._config = config
        self._architecture = Architecture.of(folder, name=config.model.path)
        self._chat = Chat(open_processor(folder, name=config.model.path), name=config.model.path)
        self._limits = {route: config.model.max_new_tokens(route) for route in Route}
        self._llm: Any = self._do(lambda: self._open(folder))
        self._weights = self._open_weights(folder)
        self._lora: Any = None
        self._version = 0
        self._do(lambda: self._llm.llm_engine.set_weight_version("0"))

    def _do(self, work: Callable[[], T]) -> T:
        """Have the engine's thread do it, between two steps of whatever is being generated."""
        return self._engine_thread.submit(work).result()

    def _open_weights(self, folder: Path) -> EngineWeights:
        model, architecture = self._config.model, self._architecture
        if model.lora is None:
            return WholeWeights(self._llm, model, architecture, folder)
        if _changes_in_place(self._config):
            return MergedWeights(self._llm, model, architecture, folder)
        return LoraKernels(self._llm, model, architecture)

    def _open(self, folder: Path) -> Any:
        from vllm import LLM
        from vllm.config import WeightTransferConfig

        config = self._config
        return LLM(
            model=str(folder),
            dtype=config.model.dtype,
            seed=config.seed,
            max_model_len=config.cluster.max_model_len,
            max_num_seqs=config.cluster.max_num_seqs,
            # "vllm" keeps the checkpoint's own sampling defaults and extra end tokens out.
            generation_config="vllm",
            # The learner trains on log-probs before bans and temperature.
            logprobs_mode="raw_logprobs",
            scheduling_policy="priority",  # a canary need not queue behind a batch of rollouts
            **(hearing(_HEARD_GIB, config.cluster.max_clips) if self._architecture.hears else {}),
            **({} if _changes_in_place(config) else LoraKernels.options(config.model)),
            **(
                {"weight_transfer_config": WeightTransferConfig(BACKEND)}
                if _receives(config)
                else {}
            ),
            **_device_options(config),
        )

    # -- generation -----------------------------------------------------------------------------

    def sample(
        self, prompts: Sequence[Prompt], *, n: int, temperature: float, seed: int
    ) -> list[Group]:
        """All groups of :meth:`stream`, in the prompts' order."""
        found = dict(self.stream(prompts, n=n, temperature=temperature, seed=seed))
        return [found[i] for i in range(len(prompts))]

    def stream(
        self,
        prompts: Sequence[Prompt],
        *,
        n: int,
        temperature: float,
        seed: int,
        ticket: str = "",
    ) -> Iterator[tuple[int, Group]]:
        """``n`` rollouts for each prompt, as (place, group), each as soon as it is whole.

        :meth:`abandon` with its ``ticket`` ends it. Temperature 0 is greedy and needs n == 1. Token
        ids end with the end token where the model said it. Log-probs are the model's own at
        temperature 1. A prompt's draws depend on ``seed`` and its id, not on its neighbours.
        Raises DataError for audio that cannot be read, InputError for a clip that leaves no room to
        answer, RunError when vLLM expands a clip to another number of tokens than the learner does.
        """
        limits = [self._limits[prompt.route] for prompt in prompts]
        yield from self._groups(
            prompts, limits, n=n, temperature=temperature, seed=seed, ticket=ticket
        )

    def abandon(self, ticket: str) -> None:
        """Nobody listens to this stream any more: its requests are dropped at the next step."""
        self._abandoned.add(ticket)

    def probe(self, prompts: Sequence[Prompt]) -> list[Group]:
        """The first few greedy tokens for each prompt; for the canary."""
        limits = [PROBE_TOKENS] * len(prompts)
        found = dict(self._groups(prompts, limits, n=1, temperature=0.0, seed=0, priority=_FIRST))
        return [found[i] for i in range(len(prompts))]

    def _groups(
        self,
        prompts: Sequence[Prompt],
        limits: Sequence[int],
        *,
        n: int,
        temperature: float,
        seed: int,
        ticket: str = "",
        priority: int = 0,
    ) -> Iterator[tuple[int, Group]]:
        from vllm import SamplingParams

        banned = bans(self._chat)
        params = [
            SamplingParams(
                n=n,
                temperature=temperature,
                seed=seed_for(seed, prompt.id),
                max_tokens=limit,
                logprobs=0,
                logit_bias=banned,
                detokenize=False,
            )
            for prompt, limit in zip(prompts, limits, strict=True)
        ]
        nothing_said = [()] * len(prompts)
        for i, answer in self._generate(prompts, nothing_said, params, ticket, priority):
            rollouts = tuple(self._rollout(output) for output in answer.outputs)
            yield i, Group(prompt=prompts[i], rollouts=rollouts)

    def choose(
        self, prompts: Sequence[Prompt], *, prefix: str, options: Sequence[str]
    ) -> list[str]:
        """See :class:`cogaudio_rl.ports.Sampler`. Options carry their leading space."""
        from vllm import SamplingParams

        first = Options.of(self._chat, options).first_ids
        if first is None:
            weights = self.weigh(prompts, [Prefix(text=prefix)] * len(prompts), options)
            return [options[max(range(len(w)), key=w.__getitem__)] for w in weights]
        params = SamplingParams(
            temperature=0.0, max_tokens=1, allowed_token_ids=list(first), detokenize=False
        )
        behind = [self._chat.encode(prefix)] * len(prompts)
        answers = dict(self._generate(prompts, behind, [params] * len(prompts)))
        said = (answers[i].outputs[0].token_ids[0] for i in range(len(prompts)))
        return [options[first.index(token)] for token in said]

    def weigh(
        self, prompts: Sequence[Prompt], prefixes: Sequence[Prefix], options: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """See :class:`cogaudio_rl.ports.Sampler`.

        A request for each prompt, and for each way in which a longer name can go on: it tells what the
        names' next tokens are worth.
        """
        from vllm import SamplingParams

        names = Options.of(self._chat, options)
        # What may stand before a name's next token, and the tokens that may be next.
        nexts: dict[tuple[int, ...], list[int]] = {}
        for ids in names.ids_K:
            for size, token in enumerate(ids):
                after = nexts.setdefault(ids[:size], [])
                if token not in after:
                    after.append(token)
        params = [
            SamplingParams(temperature=0.0, max_tokens=1, logprob_token_ids=ids, detokenize=False)
            for ids in nexts.values()
        ]
        said = [self._chat.prefix_ids(prefix) for prefix in prefixes]
        answers = dict(
            self._generate(
                [prompt for prompt in prompts for _ in nexts],
                [(*ids, *begun) for ids in said for begun in nexts],
                params * len(prompts),
            )
        )
        found: list[tuple[float, ...]] = []
        for i in range(len(prompts)):
            told = (answers[i * len(nexts) + j].outputs[0].logprobs[0] for j in range(len(nexts)))
            worth = dict(zip(nexts, told, strict=True))
            totals = [
                sum(worth[ids[:size]][token].logprob for size, token in enumerate(ids))
                for ids in names.ids_K
            ]
            found.append(shares(torch.tensor(totals)))
        return found

    def _generate(
        self,
        prompts: Sequence[Prompt],
        prefixes: Sequence[tuple[int, ...]],
        params: Sequence[Any],
        ticket: str = "",
        priority: int = 0,
    ) -> Iterator[tuple[int, Any]]:
        """(place, vLLM's answer) as they end. Both routes of an utterance share one reading."""
        heard = self._sounds(prompts)
        lengths = [
            self._prompt_length(p, sounds) + len(prefix_ids)
            for p, sounds, prefix_ids in zip(prompts, heard, prefixes, strict=True)
        ]
        for prompt, sounds, length, asked in zip(prompts, heard, lengths, params, strict=True):
            self._check_clips(prompt, len(sounds))
            self._check_room(prompt, length + asked.max_tokens)
        requests = [
            {
                # Ids, not text: a tokenizer might merge the prompt's end with the prefix.
                "prompt_token_ids": [*self._chat.ids(prompt), *prefix_ids],
                **(
                    {"multi_modal_data": {"audio": [(sound, SAMPLE_RATE_HZ) for sound in sounds]}}
                    if sounds
                    else {}
                ),
            }
            for prompt, sounds, prefix_ids in zip(prompts, heard, prefixes, strict=True)
        ]
        ids = self._do(
            lambda: self._llm.enqueue(
                requests,
                list(params),
                use_tqdm=False,
                lora_request=self._lora,
                priority=priority,
            )
        )
        place = {_number(request_id): i for i, request_id in enumerate(ids)}
        try:
            while place and ticket not in self._abandoned:
                self._do(self._step)
                for number in [n for n in place if n in self._answers]:
                    i, answer = place.pop(number), self._answers.pop(number)
                    self._check_length(prompts[i], len(answer.prompt_token_ids), lengths[i])
                    yield i, answer
        finally:
            # Whoever stops listening, by an error or by leaving, leaves no request behind.
            if place:
                left = list(place)
                self._do(lambda: self._llm.llm_engine.abort_request([str(n) for n in left]))
                for number in left:
                    self._answers.pop(number, None)
            self._abandoned.discard(ticket)

    def _step(self) -> None:
        """One token for everything under way, whoever asked for it."""
        if self._wait_while_receiving():
            return
        for answer in self._llm.llm_engine.step():
            if answer.finished:
                self._answers[_number(answer.request_id)] = answer

    def _check_length(self, prompt: Prompt, expanded: int, expected: int) -> None:
        if expanded != expected:
            raise RunError(
                f"vLLM expanded prompt {prompt.id!r} to {expanded} tokens, the learner to "
                f"{expected}; their log-probs would not be comparable"
            )

    def _sounds(self, prompts: Sequence[Prompt]) -> list[list[Sound]]:
        """The clips each prompt has in it, every file read once."""
        paths = [[u.clip.path for u in self._chat.clips(prompt)] for prompt in prompts]
        clips = {path: read_audio(path)[0] for path in {path for some in paths for path in some}}
        return [[clips[path] for path in some] for some in paths]

    def _prompt_length(self, prompt: Prompt, sounds: Sequence[Sound]) -> int:
        """Tokens of the prompt as the learner expands it."""
        heard = (self._chat.num_audio_tokens(len(sound)) for sound in sounds)
        return self._chat.length(prompt, *heard)

    def _check_clips(self, prompt: Prompt, clips: int) -> None:
        room = self._config.cluster.max_clips
        if clips > room:
            raise InputError(
                f"prompt {prompt.id!r} holds {clips} clips, more than cluster.max_clips={room}; raise "
                "it or leave out earlier turns"
            )

    def _check_room(self, prompt: Prompt, needed: int) -> None:
        """vLLM would cut the answer short without a word."""
        room = self._config.cluster.max_model_len
        if needed > room:
            raise InputError(
                f"prompt {prompt.id!r} and its answer may take {needed} tokens, more than "
                f"cluster.max_model_len={room}; raise it or shorten the clip"
            )

    def _rollout(self, output: Any) -> Rollout:
        ids = tuple(output.token_ids)
        begun, *later = output.weight_versions or (None,)
        return Rollout(
            token_ids=ids,
            logprobs=tuple(step[i].logprob for i, step in zip(ids, output.logprobs, strict=True)),
            text=self._chat.decode(ids),
            stop=_STOPS.get(output.finish_reason, StopReason.ABORTED),
            policy_version=int(begun.version) if begun else self._version,
            later_versions=tuple((int(span.version), span.start) for span in later),
        )

    # -- the adapter ----------------------------------------------------------------------------

    def publish(self, adapter: Adapter | None) -> None:
        """Sample with this adapter from now on; None is the bare base, version 0.

        What is being generated goes on under it, from its next token. Raises PublishError when the
        engine has no place for all of it; it then answers with the old one.
        """
        self._do(lambda: self._publish(adapter))

    def _publish(self, adapter: Adapter | None) -> None:
        self._lora = self._weights.put(adapter)
        self._answers_with(0 if adapter is None else adapter.version)

    def _answers_with(self, version: int) -> None:
        engine, self._version = self._llm.llm_engine, version
        engine.set_weight_version(str(self._version))
        # What is under way keeps its blocks and its clips; the ears are frozen, so that what they
        # made is never stale.
        if not engine.has_unfinished_requests():
            self._llm.reset_prefix_cache()
            engine.reset_encoder_cache()

    # -- about itself ---------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """Versions, git revision, process id and resident memory (GiB) of this worker."""
        return describe("rollout", ("torch", "vllm")) | {"policy_version": self._version}


def _device_options(config: Config) -> dict[str, Any]:
    cluster = config.cluster
    if cluster.gpus_per_rollout == 0:
        return on_cpu(max_num_seqs=cluster.max_num_seqs, max_model_len=cluster.max_model_len)
    return {
        **on_gpu(
            tensor_parallel=cluster.tensor_parallel, memory_share=cluster.gpu_memory_utilization
        ),
        # A step that is still on its way when a policy is published would carry the wrong version.
        "async_scheduling": False,
        # Then nothing in a block's key would tell one policy from another.
        "enable_prefix_caching": not _changes_in_place(config),
    }


def _changes_in_place(config: Config) -> bool:
    """Whether a publish changes the engine's own weights, and not a LoRA beside them."""
    cluster = config.cluster
    if config.model.lora is None:
        return True
    if cluster.merge_adapter is None:
        return cluster.gpus_per_rollout == 0
    return cluster.merge_adapter


def _receives(config: Config) -> bool:
    """Whether new weights come from the learners' GPUs, and not through the object store."""
    return config.model.lora is None and config.cluster.gpus_per_rollout > 0


def _number(request_id: str) -> int:
    """vLLM's count of a request, which its own id has with a random end."""
    return int(request_id.partition("-")[0])
