"""A whole recipe: its sections and what has to hold between them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from cogaudio_rl.config.base import Strict
from cogaudio_rl.config.cluster import ClusterConfig
from cogaudio_rl.config.data import DataConfig
from cogaudio_rl.config.evaluation import EvalConfig
from cogaudio_rl.config.judge import JudgeConfig
from cogaudio_rl.config.model import ModelConfig
from cogaudio_rl.config.rl import RlConfig
from cogaudio_rl.config.serve import ServeConfig
from cogaudio_rl.config.sft import SftConfig


class Config(Strict):
    """A whole run."""

    name: str = "run"
    out_dir: Path = Path("runs/run")
    seed: Annotated[int, Field(ge=0)] = 0
    seeds: tuple[int, ...] = ()
    """The ablation repeats the run for each of these; empty means ``seed`` alone."""
    models: tuple[Literal["base", "A", "B", "C", "CE", "KL", "T", "I1", "I2", "D"], ...] = (
        "base",
        "B",
        "C",
        "D",
    )
    """Which models the evaluation compares. A is direct SFT only; CE and KL are SFT on how votes are
    shared, by the chain's text alone and with their divergence; T, I1 and I2 are IEAT's teacher and its
    two stages; D is what RL makes of its start."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    sft: SftConfig = SftConfig()
    rl: RlConfig = RlConfig()
    judge: JudgeConfig = JudgeConfig()
    eval: EvalConfig = EvalConfig()
    cluster: ClusterConfig = ClusterConfig()
    serve: ServeConfig = ServeConfig()

    @property
    def is_about_votes(self) -> bool:
        """Whether it trains no replies, but how listeners' votes are shared."""
        return self.rl.route_mix == "ambiguity"

    @property
    def is_about_attribution(self) -> bool:
        """Whether replies are held against a teacher's, and heard."""
        return bool({"I1", "I2"} & set(self.models))

    @property
    def takes_thoughts(self) -> bool:
        """Whether somebody learns from what a listener would think."""
        return bool({"T", "I1", "I2"} & set(self.models))

    @model_validator(mode="after")
    def _models_are_of_one_kind(self) -> Config:
        of_replies, of_votes = {"A", "B", "C", "T", "I1", "I2"}, {"CE", "KL"}
        wrong = sorted((of_replies if self.is_about_votes else of_votes) & set(self.models))
        if wrong:
            raise ValueError(
                f"models: {', '.join(wrong)} cannot be made where "
                f"rl.route_mix={self.rl.route_mix}; A, B, C, T, I1 and I2 write replies, CE and KL "
                "tell how votes are shared"
            )
        if "T" in self.models and self.sft.teacher is None:
            raise ValueError("models: T is not trained where sft.teacher=null; leave it out")
        return self

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
    def _votes_are_judged_on_their_route(self) -> Config:
        mix, kind = self.rl.route_mix, self.judge.kind
        if (mix == "ambiguity") != (kind == "votes"):
            raise ValueError(
                f"rl.route_mix={mix} and judge.kind={kind} do not go together: judge.kind=votes and "
                "rl.route_mix=ambiguity need each other"
            )
        others = {"rl.held_out_judge": self.rl.held_out_judge, "eval.judge": self.eval.judge}
        for name, judge in others.items():
            if judge is not None and judge.kind == "votes":
                raise ValueError(f"{name}.kind=votes scores no reply; it is for rewards alone")
        if mix == "ambiguity" and self.rl.held_out_judge is not None:
            raise ValueError(
                "rl.held_out_judge scores replies, and rl.route_mix=ambiguity has none"
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
