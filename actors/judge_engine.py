"""A vLLM engine that is asked for verdicts, as an endpoint would be."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from actors.vllm_options import on_gpu
from cogaudio_rl.config import ClusterConfig, JudgeConfig
from cogaudio_rl.endpoint import MalformedAnswerError, NoAnswer
from cogaudio_rl.errors import CheckpointError, ConfigError, RunError
from cogaudio_rl.rewards.judge_checkpoint import check_judge_checkpoint
from cogaudio_rl.usage import Usage

T = TypeVar("T")
Message = Mapping[str, Any]


class EngineAsker:
    """Implements :class:`cogaudio_rl.rewards.llm.Asker` with weights of its own.

    One thread does all of the engine's work. Whoever asks while it generates joins at its next token,
    so that all that is asked at a time is one batch. The environment of ``judge_env`` must be set
    before the process starts.
    """

    def __init__(self, config: JudgeConfig, cluster: ClusterConfig) -> None:
        """Raises ConfigError where there is no vLLM, CheckpointError for a model it cannot serve."""
        check_judge_checkpoint(config)
        if importlib.util.find_spec("vllm") is None:
            raise ConfigError(
                "judge.kind=vllm needs vLLM, which is not installed; "
                "pip install 'cogaudio-rl[cpu]' or 'cogaudio-rl[gpu]'"
            )
        self._config, self._usage = config, Usage()
        # vLLM may not be called by two threads at once, and OpenMP keeps a team of threads for every
        # thread that calls it.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="judge-engine")
        self._waiting: dict[str, Future[Any]] = {}
        self._steps = False
        try:
            self._llm: Any = self._thread.submit(_open, config, cluster).result()
        except Exception as error:  # vLLM has a kind of error for each thing it does not like
            raise CheckpointError(
                f"vLLM cannot serve judge.model {config.model!r}: {_one_line(error)}"
            ) from error
        self._marks = _marks_of(self._llm.get_tokenizer())

    def metrics(self) -> dict[str, float]:
        """Questions and tokens since it was opened, and dollars where the recipe knows a price."""
        return self._usage.metrics(self._config)

    async def ask(
        self,
        messages: Sequence[Message],
        *,
        response_format: Mapping[str, Any],
        read: Callable[[str], T],
        temperature: float = 0.0,
        max_tokens: int = 400,
    ) -> T:
        """What ``read`` makes of the answer, which the schema holds to its form.

        Its texts are held to ``max_tokens`` characters. Raises NoAnswer with the reason: a question
        that leaves no room in ``judge.max_model_len``, or an answer that ``read`` cannot take. It is
        not asked twice: the engine would say the same again.
        """
        schema = held_to(response_format["json_schema"]["schema"], max_tokens)
        asked = [defused(message, self._marks) for message in messages]
        begun = self._thread.submit(self._begin, asked, schema, temperature)
        output = await asyncio.wrap_future(await asyncio.wrap_future(begun))
        said = output.outputs[0]
        self._usage.add(
            {
                "prompt_tokens": len(output.prompt_token_ids),
                "completion_tokens": len(said.token_ids),
            }
        )
        if said.finish_reason != "stop":
            raise NoAnswer(
                f"its answer was cut short ({said.finish_reason}) at {len(said.token_ids)} tokens; "
                f"judge.max_model_len={self._config.max_model_len}"
            )
        try:
            return read(strict_json(said.text))
        except MalformedAnswerError as error:
            raise NoAnswer(f"malformed answer ({error})") from error

    async def close(self) -> None:
        """Stop the engine; whoever still waits is told so."""
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
        self._fail(RunError("the judge's engine was closed"))

    # -- on the engine's thread -----------------------------------------------------------------

    def _begin(
        self, messages: list[dict[str, Any]], schema: dict[str, Any], temperature: float
    ) -> Future[Any]:
        """Put a question behind those under way; the future is of vLLM's answer."""
        from vllm import SamplingParams
        from vllm.exceptions import VLLMClientError
        from vllm.sampling_params import StructuredOutputsParams

        params = SamplingParams(
            temperature=temperature,
            max_tokens=None,  # as many as there is room for: the schema has an end
            structured_outputs=StructuredOutputsParams(json=schema),
        )
        self._usage.requests += 1
        try:
            [request_id] = self._llm.enqueue_chat(
                [messages],
                params,
                use_tqdm=False,
                # A template that knows of no thinking does not look at it.
                chat_template_kwargs={"enable_thinking": False},
            )
        except (VLLMClientError, ValueError) as error:
            raise NoAnswer(_one_line(error)) from error
        answer: Future[Any] = Future()
        answer.set_running_or_notify_cancel()  # nobody can cancel what the engine will answer
        self._waiting[_number(request_id)] = answer
        if not self._steps:
            self._steps = True
            self._thread.submit(self._step)
        return answer

    def _step(self) -> None:
        """One token for everything under way; then again, behind what was asked meanwhile."""
        try:
            for output in self._llm.llm_engine.step():
                if output.finished:
                    self._waiting.pop(_number(output.request_id)).set_result(output)
        except Exception as error:  # whatever it was, who waits must not wait for ever
            self._fail(RunError(f"the judge's engine failed: {_one_line(error)}"))
        self._steps = bool(self._waiting)
        if self._steps:
            self._thread.submit(self._step)

    def _fail(self, error: RunError) -> None:
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            answer.set_exception(error)


def held_to(schema: Mapping[str, Any], max_chars: int) -> dict[str, Any]:
    """A JSON schema whose texts have an end.

    Without one a model may write its reasoning until there is no room for the score behind it.
    """
    properties = {
        name: {**form, "maxLength": max_chars} if form.get("type") == "string" else form
        for name, form in schema["properties"].items()
    }
    return {**schema, "properties": properties}


def strict_json(text: str) -> str:
    """The same object as JSON allows it: in a text of limited length xgrammar lets tabs and other
    control characters stand in it."""
    try:
        return json.dumps(json.loads(text, strict=False))
    except ValueError:
        return text  # Whoever reads it says what is wrong.


def defused(message: Message, marks: Sequence[str]) -> dict[str, Any]:
    """The message with a space in each of the tokenizer's own marks.

    A chat template marks where a turn ends with text, and a tokenizer reads it wherever it stands: a
    reply could end the judge's question and answer it too.
    """
    content = message["content"]
    if isinstance(content, str):
        return {**message, "content": _broken(content, marks)}
    parts = [
        {**part, "text": _broken(part["text"], marks)} if "text" in part else part
        for part in content
    ]
    return {**message, "content": parts}


def _broken(text: str, marks: Sequence[str]) -> str:
    for mark in marks:
        text = text.replace(mark, f"{mark[0]} {mark[1:]}")
    return text


def _marks_of(tokenizer: Any) -> list[str]:
    """Texts that it reads as one token of its own, the longest first."""
    return sorted((m for m in tokenizer.get_added_vocab() if len(m) > 1), key=len, reverse=True)


def _open(config: JudgeConfig, cluster: ClusterConfig) -> Any:
    from vllm import LLM

    return LLM(
        model=config.model,
        runner="generate",
        dtype=config.dtype,
        max_model_len=config.max_model_len,
        max_num_seqs=config.concurrency,
        # "vllm" keeps the checkpoint's own sampling defaults out.
        generation_config="vllm",
        limit_mm_per_prompt={"audio": int(config.hears), "image": 0, "video": 0},
        # White space between two fields would have no end either.
        structured_outputs_config={"backend": "xgrammar", "disable_any_whitespace": True},
        **_device_options(cluster),
    )


def _device_options(cluster: ClusterConfig) -> dict[str, Any]:
    gpus = cluster.gpus_per_judge
    if gpus == 0:
        return {"enforce_eager": True, "skip_mm_profiling": True}
    return on_gpu(
        tensor_parallel=max(1, int(gpus)),
        memory_share=cluster.gpu_memory_utilization * min(1.0, gpus),
    )


def _number(request_id: str) -> str:
    """vLLM's count of a request, which its own id has with a random end."""
    return request_id.partition("-")[0]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
