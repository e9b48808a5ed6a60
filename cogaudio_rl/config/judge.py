"""Who judges: endpoints, ensembles, and what a judge has to pass first."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from cogaudio_rl.config.base import Positive, Strict


class EndpointConfig(Strict):
    """A model behind an address that speaks the OpenAI chat protocol."""

    base_url: str = ""
    model: str = ""
    api_key_env: str = "COGAUDIO_API_KEY"
    """Name of the environment variable that holds the key; the key itself is never in a file."""
    concurrency: Positive = 16
    requests_per_minute: Annotated[float, Field(gt=0)] | None = None
    """None: as many as ``concurrency`` lets through; so for tokens."""
    tokens_per_minute: Annotated[float, Field(gt=0)] | None = None
    """Prompts and answers together."""
    timeout_s: Annotated[float, Field(gt=0)] = 60.0
    max_attempts: Positive = 5
    usd_per_million_prompt_tokens: Annotated[float, Field(ge=0)] | None = None
    """Prices; where there is none, tokens are counted and dollars are not."""
    usd_per_million_completion_tokens: Annotated[float, Field(ge=0)] | None = None

    def usd(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """What so many tokens cost; None without any price."""
        prices = (self.usd_per_million_prompt_tokens, self.usd_per_million_completion_tokens)
        if prices == (None, None):
            return None
        return (prompt_tokens * (prices[0] or 0.0) + completion_tokens * (prices[1] or 0.0)) / 1e6


class TrialConfig(Strict):
    """What a judge must show before anything is trained on its word."""

    labels: Path
    """Replies that people have rated; see ``cogaudio-rl judge calibrate``."""
    min_kappa: Annotated[float, Field(ge=-1, le=1)] = 0.4
    """Least quadratically weighted kappa between judge and the people's median."""


class JudgeConfig(EndpointConfig):
    """Who scores the reward."""

    kind: Literal["embedded", "llm", "vllm", "ensemble", "votes"] = "embedded"
    """``llm`` asks the endpoint at ``base_url``. ``vllm`` opens the chat checkpoint in the folder
    ``model`` in the judge's own process, on ``cluster.gpus_per_judge``. ``votes`` asks nobody: it
    scores the ambiguity route by how near the policy comes to its listeners' votes."""
    api_key_env: str = "COGAUDIO_JUDGE_API_KEY"
    revision: str = ""
    """Tells deployments of one ``model`` apart; a kept verdict belongs to one model and revision."""
    cache: Path | None = None
    """Where an LLM's verdicts are kept. None: the run's folder; without a run, memory alone."""
    hears: bool = False
    """The LLM gets the recording too (OpenAI's ``input_audio``, WAV at 16 kHz)."""
    max_tokens: Positive = 400
    """Longest verdict of an LLM, its reasoning included. vllm: the reasoning's longest, in characters,
    so that every verdict comes to its score."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """vllm: numbers of weights and activations; ``auto`` takes the stored ones, 16 bits at most."""
    max_model_len: Positive = 8_192
    """vllm: tokens of a question and its answer; a question that leaves no room is unscored."""
    max_reply_chars: Positive = 2_000
    """Of a longer reply, or step of its chain, an LLM sees this much and is told so."""
    members: tuple[JudgeConfig, ...] = ()
    """ensemble: the judges that score every reply."""
    combine: Literal["mean", "median", "worst"] = "mean"
    """ensemble: what is made of their scores, term by term."""
    trial: TrialConfig | None = None
    """None: it is trusted untried."""
    quorum: Positive | None = None
    """ensemble: how many members must have scored a reply; None: all."""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> JudgeConfig:
        if self.kind == "llm" and not (self.base_url and self.model):
            raise ValueError("kind 'llm' needs base_url and model")
        if self.kind == "vllm" and not self.model:
            raise ValueError("kind 'vllm' needs model, the folder of a chat checkpoint")
        if self.hears and self.kind not in ("llm", "vllm"):
            raise ValueError(f"hears=true needs kind=llm or kind=vllm, got kind={self.kind}")
        if (self.kind == "ensemble") != bool(self.members):
            raise ValueError(
                f"kind={self.kind} with {len(self.members)} members; members belong to kind=ensemble, "
                "which needs at least one"
            )
        if any(member.kind == "votes" for member in self.members):
            raise ValueError("a member of an ensemble scores replies; kind=votes scores none")
        if any(member.kind == "ensemble" for member in self.members):
            raise ValueError("a member of an ensemble cannot be an ensemble; list its members here")
        if (engines := sum(member.kind == "vllm" for member in self.members)) > 1:
            raise ValueError(
                f"{engines} members of kind=vllm would share one process; keep one and serve the others"
            )
        if self.quorum is not None and self.quorum > len(self.members):
            raise ValueError(
                f"quorum={self.quorum} of {len(self.members)} members can never be reached"
            )
        return self

    @property
    def engine(self) -> JudgeConfig | None:
        """The one that needs a vLLM engine: this judge, or a member."""
        return next((one for one in self.voices if one.kind == "vllm"), None)

    @property
    def voices(self) -> tuple[JudgeConfig, ...]:
        """Who really judges: this judge, or the members."""
        return self.members or (self,)

    @property
    def name(self) -> str:
        """What people call it."""
        if self.kind == "ensemble":
            return f"{self.combine} of {len(self.members)}"
        return self.model if self.kind in ("llm", "vllm") else self.kind

    def kept_in(self, folder: Path) -> JudgeConfig:
        """With its verdicts in ``folder``, unless the recipe names another."""
        # Workers may run elsewhere: a relative path would be another one there.
        return self.model_copy(update={"cache": (self.cache or folder).absolute()})

    def among(self, workers: int) -> JudgeConfig:
        """What each of so many workers may ask, so that all together keep to the rates."""
        rates = {
            name: rate / workers
            for name in ("requests_per_minute", "tokens_per_minute")
            if (rate := getattr(self, name)) is not None
        }
        members = tuple(member.among(workers) for member in self.members)
        return self.model_copy(update={**rates, "members": members})
