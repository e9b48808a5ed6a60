"""Recipes: frozen pydantic models, a YAML file, dotted overrides, and one resolved config on disk.

A misspelt key, a wrong type or a value out of range is a ConfigError that names it.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cogaudio_rl.errors import ConfigError

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Rate = Annotated[float, Field(gt=0.0, le=1.0)]


M = TypeVar("M", bound=BaseModel)


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MixturePart(Strict):
    """A corpus that SFT streams."""

    path: Path
    """A manifest (``.jsonl``), or a folder of shards."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Its share of what is seen, relative to the others'."""


class DataConfig(Strict):
    """Where the utterances come from."""

    kind: Literal["lime_mini", "manifest", "emodb"] = "lime_mini"
    root: Path | None = None
    """Folder of the corpus; lime_mini makes its own inside the run folder when there is none."""
    mixture: tuple[MixturePart, ...] = ()
    """manifest: what SFT streams in the place of ``train.jsonl`` in ``root``."""
    apart_by: Literal["text", "speaker"] = "text"
    """manifest: what no test utterance may share with one that is trained on. Corpora of a few
    sentences by many actors are held apart by speaker."""
    test_root: Path | None = None
    """Another folder to test on (other speakers); without it, speakers of ``root`` are held out."""
    train_utterances: Positive = 4_900
    """lime_mini: English utterances to train on."""
    rl_utterances: Positive = 1_400
    """lime_mini: further English utterances, of train texts in train voices, that RL alone sees.
    manifest: how many RL draws from what SFT trains on, where ``root`` has no ``rl.jsonl``."""
    test_families: Positive = 50
    """lime_mini: lexical families in the test split, each in all seven emotions."""
    chinese_utterances: Annotated[int, Field(ge=0)] = 210
    """lime_mini: Chinese utterances, made and checked though the small model trains on English."""
    depth_mix: tuple[float, float, float] = (0.40, 0.35, 0.25)
    """Share of coarse, superficial and deep replies among annotations."""
    held_out_speakers: tuple[str, ...] = ()
    """emodb: speakers to test on when there is no test_root."""

    @model_validator(mode="after")
    def _mixture_is_of_manifests(self) -> DataConfig:
        if self.mixture and self.kind != "manifest":
            raise ValueError(f"mixture needs kind=manifest, got kind={self.kind}")
        return self


class LoraConfig(Strict):
    """LoRA on the language model (paper: r=8, α=32)."""

    r: Positive = 8
    alpha: Positive = 32
    dropout: Share = 0.0


class ModelConfig(Strict):
    """The backbone."""

    path: str = "builtin:tiny-omni"
    """A folder with a Qwen2.5-Omni checkpoint, or the small base that ships with the package."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    lora: LoraConfig | None = LoraConfig()
    """None trains the language model's own weights, all of them; what trains is kept in float32 either
    way. The audio encoder stays frozen."""
    gradient_checkpointing: bool = False
    """Learners keep each block's input only and compute the rest again in the backward pass: less
    memory, about a third more time."""
    max_new_tokens_explicit: Positive = 96
    max_new_tokens_direct: Positive = 48


class SftStageConfig(Strict):
    """One SFT stage (paper: lr 1e-5, batch 512, 3 epochs on the 7B)."""

    epochs: Annotated[float, Field(gt=0)] = 3.0
    batch_size: Positive = 512
    learning_rate: Rate = 1e-5
    warmup_share: Share = 0.03
    explicit_share: Share = 1.0
    """Share of prompt A: 1.0 in stage I, 0.5 in stage II, 0.0 in the direct-only ablation."""
    emotion_token_weight: Annotated[float, Field(ge=1.0)] = 1.0
    """Loss weight of the emotion label; above 1 helps small models find the one token that matters."""


class SftConfig(Strict):
    start: Path | None = None
    """Adapter that stage I and ablation A begin with; None: a fresh one. A small corpus learns the most
    from a model that was taught on a large one."""
    stage1: SftStageConfig = SftStageConfig()
    stage2: SftStageConfig = SftStageConfig(explicit_share=0.5)
    direct: SftStageConfig = SftStageConfig(explicit_share=0.0)
    """Ablation A: direct replies only."""
    micro_batch_tokens: Positive = 4096
    """Tokens of one forward pass, padding included; as many sequences as fit."""
    gradient_clip: Annotated[float, Field(gt=0)] = 1.0


class RewardConfig(Strict):
    """λ of R_F1 and R_F2 (paper; the values are from one secondary source)."""

    format: Share = 0.1
    emotion: Share = 0.3
    intent: Share = 0.1
    psychology: Share = 0.1
    strategy: Share = 0.1
    response: Share = 0.3


OBJECTIVE_FLOATS: dict[str, dict[str, float]] = {
    "sapo": {"tau_pos": 1.0, "tau_neg": 1.05},  # arXiv 2511.20347
    "grpo": {"clip_low": 0.2, "clip_high": 0.2},  # arXiv 2402.03300
    "dr_grpo": {"clip_low": 0.2, "clip_high": 0.2},  # arXiv 2503.20783
    "gspo": {"clip_low": 3e-4, "clip_high": 4e-4},  # arXiv 2507.18071
    "dapo": {"clip_low": 0.2, "clip_high": 0.28},  # arXiv 2503.14476
    "cispo": {"clip_high": 4.0},  # arXiv 2506.13585 names none; open implementations use 4
}
"""What each objective can be given, at its paper's values."""


class ObjectiveConfig(Strict):
    """The policy objective; a value that is not given is its paper's."""

    name: Literal["sapo", "grpo", "dr_grpo", "gspo", "dapo", "cispo"] = "sapo"
    tau_pos: Annotated[float, Field(gt=0)] | None = None
    tau_neg: Annotated[float, Field(gt=0)] | None = None
    clip_low: Share | None = None
    clip_high: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _takes_what_is_given(self) -> ObjectiveConfig:
        known = OBJECTIVE_FLOATS[self.name]
        for name in ("tau_pos", "tau_neg", "clip_low", "clip_high"):
            if name not in known and getattr(self, name) is not None:
                takes = " and ".join(known)
                raise ValueError(f"{self.name} has no {name}; it takes {takes}")
        return self

    @property
    def floats(self) -> dict[str, float]:
        """What its loss function is called with."""
        given = {name: getattr(self, name) for name in OBJECTIVE_FLOATS[self.name]}
        paper = OBJECTIVE_FLOATS[self.name]
        return {name: paper[name] if value is None else value for name, value in given.items()}


class ReadinessConfig(Strict):
    """What a policy must show at temperature 1 before RL can help it."""

    prompts: Positive = 32
    min_parse_share: Share = 0.9
    min_best_share: Share = 0.15
    """Share of samples in the top quarter of the reward for empathy."""
    max_zero_spread: Share = 0.5


class RouteScale(Strict):
    """What each route's advantages are multiplied by."""

    explicit: Annotated[float, Field(ge=0)] = 1.0
    direct: Annotated[float, Field(ge=0)] = 1.0


class AlarmConfig(Strict):
    """Which of the log's ``alarm/`` figures are said aloud, once each; None: not this one."""

    max_length_correlation: Share | None = 0.85
    """Of reward and length, within a route, whichever its sign. Deep replies are longer than others by
    nature: 0.1 to 0.8 in a sound quickstart."""
    min_distinct_2: Share | None = 0.02
    """Share of distinct word pairs among a step's replies."""
    max_self_similarity: Share | None = 0.8
    """Of replies to the same words said in different emotions."""
    max_held_out_gap: Share | None = 0.25
    """How much more empathy the reward's judge sees than a held-out one, on [0, 1]."""


class RlConfig(Strict):
    """Stage III, DR-SAPO (paper: 1,500 steps, lr 1e-6, batch 64)."""

    steps: Positive = 1_500
    utterances_per_step: Positive = 64
    group_size: Annotated[int, Field(ge=2)] = 8
    route_mix: Literal["both", "alternate", "adaptive", "explicit", "direct"] = "both"
    """``both``: each utterance through both routes; ``alternate``: half the utterances through each;
    ``adaptive``: more prompts for the route whose reward lags; or one route alone, for ablations."""
    route_scale: RouteScale = RouteScale()
    old_logprobs: Literal["sampler", "learner"] = "sampler"
    """What the ratio is taken to. ``sampler``: the log-probs that came with the rollout, so that r
    holds staleness and the engines' gap at once. ``learner``: the learner's own at the start of the
    update; the gap is then corrected by a truncated importance weight, apart from r."""
    importance_cap: Annotated[float, Field(ge=1)] = 2.0
    """Where that weight is truncated."""
    kl_coefficient: Annotated[float, Field(ge=0)] = 0.0
    """Weight of a KL to the policy RL began with: GRPO's k3 term on the rollouts' tokens."""
    learning_rate: Rate = 1e-6
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    schedule: Literal["constant", "linear"] = "constant"
    """After the warm-up: the same rate throughout, or falling to nothing at the last step."""
    epochs_per_batch: Positive = 2
    """Passes over each rollout batch. With one update r = 1 and SAPO's gate would be a name only."""
    minibatches: Positive = 1
    micro_batch_tokens: Positive = 4096
    """Tokens of one forward pass, padding included; as many sequences as fit."""
    gradient_clip: Annotated[float, Field(gt=0)] = 1.0
    objective: ObjectiveConfig = ObjectiveConfig()
    reward: RewardConfig = RewardConfig()
    readiness: ReadinessConfig = ReadinessConfig()
    max_staleness: Annotated[int, Field(ge=0)] = 0
    """How many updates a rollout may be behind the policy it trains. 0: one thing after another;
    above, coming steps are rolled out and judged while this one trains."""
    max_restarts: Annotated[int, Field(ge=0)] = 3
    """How often the run goes on from its last checkpoint after a worker died."""
    zero_spread_tolerance: Annotated[float, Field(ge=0)] = 1e-6
    """A group whose rewards differ by no more than this teaches nothing and is dropped."""
    refill_rounds: Annotated[int, Field(ge=0)] = 0
    """How often a step asks further utterances in the place of groups that teach nothing (DAPO's
    dynamic sampling, arXiv 2503.14476). 0: such groups are dropped and the batch is smaller."""
    canary_tolerance: Annotated[float, Field(gt=0)] = 1e-3
    """Largest |log-prob of sampler − log-prob of learner| after a publish."""
    max_unscored_share: Share = 0.2
    """Stop when the judge leaves more than this share of a step unscored."""
    alarms: AlarmConfig = AlarmConfig()
    held_out_judge: JudgeConfig | None = None
    """A second judge, asked from the driver about some rollouts of some steps. Nothing is trained on
    its word: it shows when the policy has learnt to please its own judge and nobody else."""
    held_out_every: Positive = 10
    """Steps from one such look to the next."""
    save_every: Positive = 50
    keep_checkpoints: Positive = 2
    log_rollouts_every: Positive = 10

    @model_validator(mode="after")
    def _several_updates(self) -> RlConfig:
        if self.objective.name == "sapo" and self.epochs_per_batch * self.minibatches < 2:
            raise ValueError("epochs_per_batch * minibatches must be >= 2 for sapo, got 1")
        if self.refill_rounds and self.max_staleness:
            raise ValueError(
                f"refill_rounds={self.refill_rounds} needs max_staleness=0: ahead of time nobody "
                "knows which utterances later steps will be given"
            )
        return self

    @model_validator(mode="after")
    def _held_out_judge_is_asked_from_the_driver(self) -> RlConfig:
        judge = self.held_out_judge
        if judge is None:
            return self
        if judge.engine is not None:
            raise ValueError(
                f"held_out_judge.kind=vllm (model {judge.engine.model!r}) has no process to live in: "
                "the driver asks it; serve the model and take kind=llm"
            )
        if judge.trial is not None:
            raise ValueError("held_out_judge.trial is never stood: nothing is trained on its word")
        return self


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

    kind: Literal["embedded", "llm", "vllm", "ensemble"] = "embedded"
    """``llm`` asks the endpoint at ``base_url``. ``vllm`` opens the chat checkpoint in the folder
    ``model`` in the judge's own process, on ``cluster.gpus_per_judge``."""
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


class CorpusConfig(Strict):
    """A published corpus on disk that models are tested on."""

    root: Path | None = None
    """Its folder; None: there is none, and the suite is not run."""
    held_out_speakers: tuple[str, ...] = ()
    """Who is tested on, by name; empty: the last of each language's speakers."""
    options: dict[str, Any] = {}
    """What its reader takes beside its folder, as in ``data prepare``."""


class SuitesConfig(Strict):
    """Where the test sets lie that ``cogaudio-rl eval --suite`` can be asked for."""

    lime: CorpusConfig = CorpusConfig()
    """A folder of manifests or LIME-440K; without one, LIME-mini's test split is made."""
    esd: CorpusConfig = CorpusConfig()
    emodb: CorpusConfig = CorpusConfig()
    crema_d: CorpusConfig = CorpusConfig()
    humdial: CorpusConfig = CorpusConfig()


OWN_MODELS: tuple[str, ...] = ("base", "A", "B", "C", "D")
"""Names that the report gives to this project's own models."""


class BaselineConfig(EndpointConfig):
    """A model of somebody else's that the evaluation asks what it asks our own."""

    name: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """What the report calls it; also the name of a file."""
    hears: bool = True
    """Gets the recording (OpenAI's ``input_audio``, WAV at 16 kHz); False: the words instead."""
    max_tokens: Positive = 400
    """Longest answer, its reasoning included."""

    @model_validator(mode="after")
    def _can_be_asked_and_named(self) -> BaselineConfig:
        if not (self.base_url and self.model):
            raise ValueError(f"baseline {self.name!r} needs base_url and model")
        # In any case: two names that differ in case alone are one file on some file systems.
        if self.name.lower() in {name.lower() for name in OWN_MODELS}:
            own = ", ".join(OWN_MODELS)
            raise ValueError(
                f"baseline {self.name!r} has the name of a model of ours ({own}); give it another"
            )
        return self


class EvalConfig(Strict):
    """What the final evaluation measures."""

    max_utterances: Positive = 350
    temperature: Annotated[float, Field(gt=0)] = 1.0
    bootstrap_samples: Positive = 2_000
    silence_seconds: Annotated[float, Field(gt=0)] = 2.0
    """Silence has one fixed length: its duration would otherwise leak the pace of speech."""
    timed_utterances: Annotated[int, Field(ge=0)] = 6
    """Asked one at a time on both routes, for the time that a user waits."""
    swap_families: Annotated[int, Field(ge=0)] = 40
    """Lexical families whose replies are scored for each other's emotions too."""
    suites: SuitesConfig = SuitesConfig()
    judge: JudgeConfig | None = None
    """Who scores empathy in the test; None: the test scorer that comes with the package (English)."""
    baselines: tuple[BaselineConfig, ...] = ()
    """Models behind endpoints that stand beside our own in the report."""

    @model_validator(mode="after")
    def _names_once(self) -> EvalConfig:
        names = [baseline.name.lower() for baseline in self.baselines]
        twice = [b.name for b in self.baselines if names.count(b.name.lower()) > 1]
        if twice:
            raise ValueError(f"two baselines are named {twice[0]!r}; give each a name of its own")
        if self.judge is not None and any(voice.kind == "vllm" for voice in self.judge.voices):
            raise ValueError(
                "judge: kind=vllm scores rewards only; serve the model and take kind=llm"
            )
        return self


class ClusterConfig(Strict):
    """Who runs where."""

    backend: Literal["ray", "local"] = "ray"
    """``local`` runs the same loops in one process, without Ray, vLLM or DeepSpeed."""
    address: str | None = None
    """A running Ray cluster; none starts one on this machine."""
    rollout_workers: Positive = 1
    judge_workers: Positive = 1
    learner_workers: Positive = 2
    cpus_per_rollout: Annotated[float, Field(gt=0)] = 1.0
    cpus_per_judge: Annotated[float, Field(gt=0)] = 0.25
    cpus_per_learner: Annotated[float, Field(gt=0)] = 0.5
    gpus_per_rollout: Annotated[float, Field(ge=0)] = 0.0
    gpus_per_learner: Annotated[float, Field(ge=0)] = 0.0
    gpus_per_judge: Annotated[float, Field(ge=0)] = 0.0
    """For ``judge.kind=vllm``; above 1 a whole number, over which its engine is split."""
    tensor_parallel: Positive = 1
    merge_adapter: bool | None = None
    """Fold each published adapter into vLLM's weights instead of running its LoRA kernels beside them.
    None: where there is no GPU, for those kernels are slow there. A bfloat16 backbone rounds small
    changes away when they are folded in; its canary says so. Without LoRA there is nothing to merge."""
    zero_stage: Annotated[int, Field(ge=0, le=3)] = 2
    threads_per_learner: Positive = 1
    threads_per_rollout: Positive = 2
    threads_per_judge: Positive = 1
    max_num_seqs: Positive = 64
    max_model_len: Positive = 512
    gpu_memory_utilization: Share = 0.85
    nodes: Positive = 1
    gpus_per_node: Annotated[int, Field(ge=0)] = 0
    gpu_memory_gib: Annotated[float, Field(ge=0)] = 0.0
    start_timeout_s: Annotated[float, Field(gt=0)] = 180.0
    step_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """Longest wait for any one answer; with ``rl.max_staleness`` it includes standing in line behind
    the rollouts that are under way."""


class Config(Strict):
    """A whole run."""

    name: str = "run"
    out_dir: Path = Path("runs/run")
    seed: Annotated[int, Field(ge=0)] = 0
    seeds: tuple[int, ...] = ()
    """The ablation repeats the run for each of these; empty means ``seed`` alone."""
    models: tuple[Literal["base", "A", "B", "C", "D"], ...] = ("base", "B", "C", "D")
    """Which models the evaluation compares; A is direct SFT only."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    sft: SftConfig = SftConfig()
    rl: RlConfig = RlConfig()
    judge: JudgeConfig = JudgeConfig()
    eval: EvalConfig = EvalConfig()
    cluster: ClusterConfig = ClusterConfig()

    @model_validator(mode="after")
    def _judge_has_its_place(self) -> Config:
        engine, cluster = self.judge.engine, self.cluster
        if engine is not None and cluster.backend == "local":
            raise ValueError(
                f"judge.kind=vllm (model {engine.model!r}) needs cluster.backend=ray, got local"
            )
        if engine is None and cluster.gpus_per_judge > 0:
            raise ValueError(
                f"cluster.gpus_per_judge={cluster.gpus_per_judge:g} needs judge.kind=vllm, "
                f"got judge.kind={self.judge.kind}"
            )
        return self

    @model_validator(mode="after")
    def _other_judges_are_others(self) -> Config:
        """Who rewards may neither hold itself out nor score the test."""
        others = {"rl.held_out_judge": self.rl.held_out_judge, "eval.judge": self.eval.judge}
        for name, judge in others.items():
            for other in () if judge is None else judge.voices:
                for own in self.judge.voices:
                    if _who(own) == _who(other):
                        where = f" at {own.base_url}" if own.kind == "llm" else ""
                        raise ValueError(
                            f"{name} and the reward's judge are both {own.name}{where}: what it says "
                            "would prove nothing; name another model"
                        )
        return self


def _who(judge: JudgeConfig) -> tuple[str, str, str]:
    """Equal for judges that would say the same."""
    asked = judge.base_url.rstrip("/") if judge.kind == "llm" else ""
    return judge.kind, asked, "" if judge.kind == "embedded" else judge.model


def recipe_names(kind: str = "") -> list[str]:
    """The recipes that ship with the package."""
    folder = resources.files("cogaudio_rl.recipes").joinpath(kind)
    return sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith(".yaml"))


def load_config(recipe: str, overrides: Sequence[str] = ()) -> Config:
    """A shipped recipe or a YAML file, with ``a.b=value`` overrides applied.

    Raises ConfigError naming the recipe, key or value that is wrong.
    """
    return parse(Config, read_recipe(recipe, overrides))


def read_recipe(recipe: str, overrides: Sequence[str] = (), *, kind: str = "") -> dict[str, Any]:
    """A recipe as a mapping; ``kind`` names the folder of shipped recipes of another kind of job."""
    return override(_read_recipe(recipe, kind), overrides)


def override(raw: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Set ``key.path=value`` in ``raw``, and return it."""
    for item in overrides:
        key, equals, value = item.partition("=")
        if not equals:
            raise ConfigError(f"override {item!r} is not of the form key.path=value")
        _assign(raw, key, yaml.safe_load(value))
    return raw


def parse_config(raw: dict[str, Any]) -> Config:
    """As :func:`parse`, for a whole run."""
    return parse(Config, raw)


def parse(model: type[M], raw: dict[str, Any]) -> M:
    """Validate a mapping; ConfigError names the first thing wrong and, for a typo, the likely key."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(_first_problem(error, model)) from None


def dump_config(config: Config) -> str:
    """The resolved config as YAML; ``load_config`` of it gives the same config."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read_recipe(recipe: str, kind: str) -> dict[str, Any]:
    if recipe in recipe_names(kind):
        folder = resources.files("cogaudio_rl.recipes").joinpath(kind)
        text = folder.joinpath(f"{recipe}.yaml").read_text("utf-8")
    elif Path(recipe).is_file():
        text = Path(recipe).read_text("utf-8")
    else:
        known = ", ".join(recipe_names(kind))
        raise ConfigError(f"recipe {recipe!r} is neither a file nor one of: {known}")
    try:
        raw = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(
            f"recipe {recipe!r} is not valid YAML: {str(error).splitlines()[0]}"
        ) from None
    if not isinstance(raw, dict):
        raise ConfigError(f"recipe {recipe!r} must hold a mapping, got {type(raw).__name__}")
    base = raw.pop("base", None)
    return _merge(_read_recipe(base, kind), raw) if base else raw


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = _merge(old, value)
        else:
            merged[key] = value
    return merged


def _assign(raw: dict[str, Any], dotted: str, value: Any) -> None:
    *path, last = dotted.split(".")
    node = raw
    for part in path:
        child = node.setdefault(part, {})
        if not isinstance(child, dict):
            raise ConfigError(f"override {dotted!r}: {part!r} is not a section")
        node = child
    node[last] = value


def _first_problem(error: ValidationError, model: type[BaseModel]) -> str:
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"]) or "recipe"
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(
            str(problem["loc"][-1]), _siblings(problem["loc"], model), n=1
        )
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"unknown key {where!r}{hint}"
    message = problem["msg"].removeprefix("Value error, ")
    # What is wrong with a whole section says itself which of its values it means.
    got = "" if isinstance(problem["input"], dict) else f" (got {problem['input']!r})"
    return f"{where}: {message}{got}" if problem["loc"] else message


def _siblings(loc: tuple[int | str, ...], model: type[BaseModel]) -> list[str]:
    for part in loc[:-1]:
        annotation = model.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)
