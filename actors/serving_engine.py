"""vLLM's asynchronous engine as the server's Engine: one backbone, several adapters."""

from __future__ import annotations

import itertools
import logging
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from scipy.special import softmax
from tokenizers.decoders import DecodeStream

from actors import cores
from actors.adapters import Adapters
from actors.vllm_options import bans, hearing, on_cpu, on_gpu
from actors.weights import LoraKernels, served_rank
from cogaudio_rl.config import Config
from cogaudio_rl.data.audio import SAMPLE_RATE_HZ
from cogaudio_rl.eips import EMOTION_PREFIX
from cogaudio_rl.errors import ConfigError, InputError, RunError
from cogaudio_rl.models.architecture import Architecture, resolve_checkpoint
from cogaudio_rl.models.chat import Chat, open_processor
from cogaudio_rl.serve.engine import BASE, Ask, Emotion, Piece
from cogaudio_rl.serve.errors import ApiError
from cogaudio_rl.types import LIME_EMOTIONS, Prompt, Route, StopReason, Utterance

_log = logging.getLogger(__name__)

_HEARD_GIB = 0.03
"""Comparing models, a client sends the same clip a few times; else hardly any comes twice."""
_STOPS = {"stop": StopReason.EOS, "length": StopReason.LENGTH}


class ServingEngine:
    """Implements :class:`cogaudio_rl.serve.engine.Engine`.

    Opened and used on one event loop; vLLM's own process does the computing. The environment of
    ``engine_env`` must be set before this process starts. Raises CheckpointError for a backbone that
    cannot be opened, ConfigError for one that is trained without LoRA.
    """

    def __init__(self, config: Config) -> None:
        if config.model.lora is None:
            raise ConfigError("serving needs model.lora: adapters are served beside their backbone")
        folder = resolve_checkpoint(config.model.path)
        name = config.model.path
        self._config = config
        self._architecture = Architecture.of(folder, name=name)
        self._chat = Chat(open_processor(folder, name=name), name=name)
        self._limits = {
            Route.EXPLICIT: config.model.max_new_tokens_explicit,
            Route.DIRECT: config.model.max_new_tokens_direct,
        }
        self._bans = bans(self._chat)
        self._label_at = self._chat.encode(EMOTION_PREFIX)
        self._labels = _labels(self._chat)
        self._requests = itertools.count()
        self._llm: Any = self._open(folder)
        cores.settle()
        self._adapters = Adapters(
            self._llm,
            folder,
            max_rank=served_rank(config.model.lora.r),
            room=config.serve.max_adapters,
        )

    def _open(self, folder: Path) -> Any:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        return AsyncLLM.from_engine_args(
            AsyncEngineArgs(model=str(folder), **engine_options(self._config, self._architecture))
        )

    @property
    def adapters(self) -> Mapping[str, int]:
        """See :class:`cogaudio_rl.serve.engine.Engine`."""
        return self._adapters.created

    @property
    def max_seconds(self) -> float:
        """See :class:`cogaudio_rl.serve.engine.Engine`."""
        if not self._chat.hears:
            return 0.0
        return self._chat.processor.feature_extractor.n_samples / SAMPLE_RATE_HZ

    async def renew(self, folders: Mapping[str, Path]) -> bool:
        """See :meth:`actors.adapters.Adapters.renew`."""
        return await self._adapters.renew(folders)

    def check(self) -> None:
        """See :class:`cogaudio_rl.serve.engine.Engine`."""
        if self._llm.errored:
            raise RunError("the vLLM engine has ended")

    def close(self) -> None:
        """End vLLM's process."""
        self._llm.shutdown()
        self._adapters.close()

    async def generate(self, ask: Ask) -> AsyncGenerator[Piece]:
        """See :class:`cogaudio_rl.serve.engine.Engine`."""
        if ask.adapter != BASE and ask.adapter not in self._adapters.created:
            raise ApiError(404, f"{ask.adapter!r} is not served any more", code="model_not_found")
        prompt, params = self._request(ask)
        reader = _Reader(self._chat, self._label_at, self._labels)
        used = nullcontext() if ask.adapter == BASE else self._adapters.use(ask.adapter)
        with used as lora, _in_our_words():
            answers = self._llm.generate(
                prompt, params, str(next(self._requests)), lora_request=lora
            )
            async with aclosing(answers):
                async for answer in answers:
                    yield reader.read(answer)

    def _request(self, ask: Ask) -> tuple[dict[str, Any], Any]:
        """vLLM's prompt and its sampling parameters."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        prompt: dict[str, Any]
        if ask.sound is None:
            ids = self._chat.ids(Prompt(utterance=_words(ask.text), route=ask.route))
            prompt, length = {"prompt_token_ids": list(ids)}, len(ids)
        else:
            ids = self._chat.prompt_ids(ask.route, question=ask.text)
            length = len(ids) - 1 + self._chat.num_audio_tokens(len(ask.sound))
            prompt = {
                "prompt_token_ids": list(ids),
                "multi_modal_data": {"audio": (ask.sound, SAMPLE_RATE_HZ)},
            }
        wanted = {"logprob_token_ids": list(self._labels), "flat_logprobs": True}
        return prompt, SamplingParams(
            temperature=ask.temperature,
            top_p=ask.top_p,
            seed=ask.seed,
            max_tokens=self._room(ask, length),
            logit_bias=self._bans,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
            **(wanted if ask.route is Route.EXPLICIT and self._labels else {}),
        )

    def _room(self, ask: Ask, length: int) -> int:
        """How many tokens the answer may take."""
        room = self._config.serve.max_model_len - length
        asked = ask.max_tokens or min(self._limits[ask.route], room)
        if room < 1 or asked > room:
            raise ApiError(
                400,
                f"the prompt takes {length} tokens and its answer may take {max(asked, 1)}; the "
                f"model has room for {self._config.serve.max_model_len}; send a shorter clip or "
                "text, or ask for fewer tokens",
                code="context_length_exceeded",
                param="max_tokens" if room >= 1 else "messages",
            )
        return asked


def engine_options(config: Config, architecture: Architecture) -> dict[str, Any]:
    """What the engine is opened with, but for its model."""
    serve = config.serve
    device = (
        on_gpu(
            tensor_parallel=serve.gpus_per_replica,
            memory_share=config.cluster.gpu_memory_utilization,
        )
        if serve.gpus_per_replica
        else on_cpu(max_num_seqs=serve.max_ongoing_requests, max_model_len=serve.max_model_len)
    )
    return {
        "dtype": config.model.dtype,
        "seed": config.seed,
        "max_model_len": serve.max_model_len,
        "max_num_seqs": serve.max_ongoing_requests,
        # "vllm" keeps the checkpoint's own sampling defaults and extra end tokens out.
        "generation_config": "vllm",
        # Before bans and temperature: how sure the model is does not depend on how it is asked.
        "logprobs_mode": "raw_logprobs",
        "enable_log_requests": False,
        "disable_log_stats": True,
        **(hearing(_HEARD_GIB) if architecture.hears else {}),
        **LoraKernels.options(config.model, adapters=serve.max_adapters),
        # A reload holds the new ones beside the old.
        "max_cpu_loras": 2 * serve.max_adapters,
        **device,
    }


class _Reader:
    """Makes pieces of what vLLM gives for one request."""

    def __init__(self, chat: Chat, label_at: tuple[int, ...], labels: Mapping[int, str]) -> None:
        self._tokenizer = chat.tokenizer.backend_tokenizer
        self._silent = {chat.eos_id, chat.pad_id}
        self._decode = DecodeStream(skip_special_tokens=False)
        self._label_at, self._labels = label_at, labels
        self._ids: list[int] = []

    def read(self, answer: Any) -> Piece:
        """The next output, with what it adds to those before."""
        output = answer.outputs[0]
        before = len(self._ids)
        self._ids += output.token_ids
        said = (
            self._decode.step(self._tokenizer, token)
            for token in output.token_ids
            if token not in self._silent
        )
        return Piece(
            text="".join(text for text in said if text),
            num_tokens=len(output.token_ids),
            prompt_tokens=len(answer.prompt_token_ids),
            emotion=self._emotion(before, output.logprobs),
            stop=_STOPS.get(output.finish_reason, StopReason.ABORTED) if answer.finished else None,
        )

    def _emotion(self, before: int, logprobs: Any) -> Emotion | None:
        """With the output that holds the label's token."""
        at = len(self._label_at)
        if not logprobs or not before <= at < len(self._ids):
            return None
        label = self._labels.get(self._ids[at])
        if label is None or tuple(self._ids[:at]) != self._label_at:
            return None
        there = logprobs[at - before]
        shares = softmax([there[token].logprob for token in self._labels]).tolist()
        return Emotion(
            label=label, probabilities=dict(zip(self._labels.values(), shares, strict=True))
        )


def _labels(chat: Chat) -> dict[int, str]:
    """First token → emotion; none where two begin alike."""
    try:
        found = chat.by_first_token([f" {emotion}" for emotion in LIME_EMOTIONS])
    except InputError as error:
        _log.warning("no emotion probabilities: %s", error)
        return {}
    return {token: option.strip() for token, option in found.items()}


def _words(text: str) -> Utterance:
    """Somebody's words, without a voice."""
    return Utterance(
        id="",
        text_id="",
        audio=None,
        transcript=text,
        emotion="",
        intensity="",
        speaker="",
        language="",
    )


@contextmanager
def _in_our_words() -> Iterator[None]:
    """Raise what the client is to hear of vLLM's errors."""
    from vllm.exceptions import VLLMClientError
    from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

    try:
        yield
    except VLLMClientError as error:
        said = " ".join(str(error).split())[:300]
        raise ApiError(400, said, code="invalid_value") from error
    except (EngineDeadError, EngineGenerateError) as error:
        cause = error.__cause__ or error
        raise RunError(f"vLLM failed: {type(cause).__name__}: {cause}") from error
