"""Stage III: reward, objective, schedule, alarms."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cogaudio_rl.config.base import Positive, Rate, Share, Strict
from cogaudio_rl.config.judge import JudgeConfig
from cogaudio_rl.types import REPLY_ROUTES, Route


class RewardConfig(Strict):
    """λ of R_F1 and R_F2 (paper; the values are from one secondary source)."""

    format: Share = 0.1
    emotion: Share = 0.3
    intent: Share = 0.1
    psychology: Share = 0.1
    strategy: Share = 0.1
    response: Share = 0.3


class VotesRewardConfig(Strict):
    """λ of the reward for how votes are shared (``judge.kind=votes``). arXiv 2603.08230 has both terms
    and gives no weights."""

    format: Share = 0.2
    match: Share = 0.8
    """Of 1 − JS between the votes and the emotion's probabilities behind the rollout's own chain."""


OBJECTIVE_FLOATS: dict[str, dict[str, float]] = {
    "sapo": {"tau_pos": 1.0, "tau_neg": 1.05},  # arXiv 2511.20347
    "grpo": {"clip_low": 0.2, "clip_high": 0.2},  # arXiv 2402.03300
    "dr_grpo": {"clip_low": 0.2, "clip_high": 0.2},  # arXiv 2503.20783
    "gspo": {"clip_low": 3e-4, "clip_high": 4e-4},  # arXiv 2507.18071
    "dapo": {"clip_low": 0.2, "clip_high": 0.28},  # arXiv 2503.14476
    "cispo": {"clip_high": 4.0},  # arXiv 2506.13585 names none; open implementations use 4
    "dpo": {"beta": 0.1},  # arXiv 2305.18290
}
"""What each objective can be given, at its paper's values."""


class ObjectiveConfig(Strict):
    """The policy objective; a value that is not given is its paper's."""

    name: Literal["sapo", "grpo", "dr_grpo", "gspo", "dapo", "cispo", "dpo"] = "sapo"
    """``dpo`` makes a pair of each group, what was written and the rollout farthest from the votes."""
    tau_pos: Annotated[float, Field(gt=0)] | None = None
    tau_neg: Annotated[float, Field(gt=0)] | None = None
    clip_low: Share | None = None
    clip_high: Annotated[float, Field(ge=0)] | None = None
    beta: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _takes_what_is_given(self) -> ObjectiveConfig:
        known = OBJECTIVE_FLOATS[self.name]
        for name in ("tau_pos", "tau_neg", "clip_low", "clip_high", "beta"):
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
    """Share of samples in the top quarter of the reward for empathy, or for how votes are shared."""
    max_zero_spread: Share = 0.5


class RouteScale(Strict):
    """What each route's advantages are multiplied by."""

    explicit: Annotated[float, Field(ge=0)] = 1.0
    direct: Annotated[float, Field(ge=0)] = 1.0
    ambiguity: Annotated[float, Field(ge=0)] = 1.0


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
    route_mix: Literal["both", "alternate", "adaptive", "explicit", "direct", "ambiguity"] = "both"
    """``both``: each utterance through both routes; ``alternate``: half the utterances through each;
    ``adaptive``: more prompts for the route whose reward lags; or one route alone, for ablations.
    ``ambiguity``: no reply at all, but the chain about how listeners' votes are shared."""
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
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """After the warm-up: the same rate throughout, or falling to nothing at the last step."""
    epochs_per_batch: Positive = 2
    """Passes over each rollout batch. With one update r = 1 and SAPO's gate would be a name only."""
    minibatches: Positive = 1
    micro_batch_tokens: Positive = 4096
    """Tokens of one forward pass, padding included; as many sequences as fit."""
    gradient_clip: Annotated[float, Field(gt=0)] = 1.0
    objective: ObjectiveConfig = ObjectiveConfig()
    reward: RewardConfig = RewardConfig()
    votes_reward: VotesRewardConfig = VotesRewardConfig()
    reference_in_group: bool = False
    """What was written for an utterance competes with its group's rollouts, as one more of them
    (GRPO_z, arXiv 2603.08230)."""
    min_divergence: Share = 0.1
    """dpo: a rollout nearer to the votes than this, in JS, is not rejected."""
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

    @property
    def routes(self) -> tuple[Route, ...]:
        """The routes this run is about; both of the replies also where one is asked alone."""
        return (Route.AMBIGUITY,) if self.route_mix == "ambiguity" else REPLY_ROUTES

    @property
    def start(self) -> Literal["stage2", "votes"]:
        """The SFT stage that RL goes on from."""
        return "votes" if self.route_mix == "ambiguity" else "stage2"

    @property
    def asks_for_references(self) -> bool:
        """Whether what was written stands beside the rollouts of a group."""
        return self.reference_in_group or self.objective.name == "dpo"

    @property
    def keeps_start(self) -> bool:
        """Whether learners keep the policy that RL began with."""
        return self.kl_coefficient > 0 or self.objective.name == "dpo"

    @model_validator(mode="after")
    def _pairs_are_of_votes(self) -> RlConfig:
        if self.objective.name == "dpo" and self.route_mix != "ambiguity":
            raise ValueError(
                f"objective dpo needs route_mix=ambiguity, got {self.route_mix}: what it rejects is "
                "far from listeners' votes"
            )
        if self.asks_for_references and self.refill_rounds:
            raise ValueError(
                f"refill_rounds={self.refill_rounds} with what was written in each group: before "
                "that has come nobody knows which groups can teach; set refill_rounds=0"
            )
        return self

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
