"""TRL's side: one GRPOTrainer that makes steps when it is told to, over stdin and stdout.

    python trl_arm.py WORLD THREADS

Each line in is ``{"steps": n, "judge_s": s}``; each line out is what those steps took. Before the
first, it writes ``parity.pt``: one batch of its own rollouts with its loss and gradient.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import datasets
import torch
import trl
from peft import LoraConfig, get_peft_model_state_dict
from transformers import TrainerCallback
from world import (
    COMPLETION_TOKENS,
    GROUP_SIZE,
    INNER_UPDATES,
    LEARNING_RATE,
    LORA,
    TAU_NEG,
    TAU_POS,
    UTTERANCES_PER_STEP,
    chat_messages,
    lottery,
    make_utterances,
)

from cogaudio_rl.models.policy import LORA_TARGETS
from cogaudio_rl.types import REPLY_ROUTES


def main(world: Path, threads: int) -> None:
    torch.set_num_threads(threads)
    judge = Judge()
    trainer = trl.GRPOTrainer(
        model=str(world / "backbone"),
        args=settings(world),
        reward_funcs=judge.score,  # pyright: ignore[reportArgumentType] - its annotation forgets async
        train_dataset=datasets.Dataset.from_list(
            [
                {"prompt": chat_messages(u, route), "id": f"{u.id}/{route}"}
                for u in make_utterances(64)
                for route in REPLY_ROUTES
            ]
        ),
        peft_config=LoraConfig(
            r=LORA["r"], lora_alpha=LORA["alpha"], lora_dropout=0.0, target_modules=LORA_TARGETS
        ),
        callbacks=[Told(judge)],
    )
    write_parity(trainer, world)
    say({"ready": True, "trl": trl.__version__})
    trainer.train()


def settings(world: Path) -> trl.GRPOConfig:
    """Ours, in TRL's words."""
    return trl.GRPOConfig(
        output_dir=str(world / "trl"),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        per_device_train_batch_size=2 * UTTERANCES_PER_STEP * GROUP_SIZE,
        num_generations=GROUP_SIZE,
        max_completion_length=COMPLETION_TOKENS,
        num_iterations=INNER_UPDATES,
        loss_type="sapo",
        sapo_temperature_pos=TAU_POS,
        sapo_temperature_neg=TAU_NEG,
        beta=0.0,
        temperature=1.0,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        adam_beta2=0.95,
        max_grad_norm=1.0,
        max_steps=1_000_000,
        shuffle_dataset=False,
        save_strategy="no",
        logging_steps=1_000_000,
        report_to="none",
        disable_tqdm=True,
        model_init_kwargs={"dtype": "float32"},
        seed=0,
    )


class Judge:
    """The reward of both sides, which takes a stated time."""

    def __init__(self) -> None:
        self.seconds = 0.0

    async def score(self, completion_ids: list[list[int]], **_: Any) -> list[float]:
        if self.seconds:
            await asyncio.sleep(self.seconds)
        return [lottery(ids) for ids in completion_ids]


class Told(TrainerCallback):
    """Makes the trainer wait for a line, run that many steps, and say how long they took."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._left = 0
        self._done: list[float] = []
        self._started = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        if self._left == 0:
            line = sys.stdin.readline()
            if not line.strip():
                os._exit(0)
            order = json.loads(line)
            self._left = order["steps"] * INNER_UPDATES
            self._judge.seconds = order["judge_s"]
            self._done, self._started = [], time.perf_counter()
        return control

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        self._left -= 1
        if self._left % INNER_UPDATES == 0:
            self._done.append(time.perf_counter() - self._started)
        if self._left == 0:
            say({"wall": self._done})
        return control


def write_parity(trainer: Any, world: Path) -> None:
    """Its own rollouts of the first batch, its loss on them and its gradient, before any step.

    The LoRA's B is drawn anew first: where it is zero, half of the gradient is.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    kept = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and "lora_B" in name:
                parameter.normal_(0.0, 0.02, generator=generator)
    model.train()
    trainer.current_gradient_accumulation_steps = 1  # else set by the first training step
    raw = next(iter(trainer.get_train_dataloader()))
    inputs = trainer._generate_and_score_completions(raw)
    # The ratio at a first update is 1 and the gate does nothing: move the old log-probs away.
    true = inputs.get("old_per_token_logps")
    if true is None:
        with torch.no_grad():
            true, *_ = logprobs(trainer, model, inputs)
    noise = 0.3 * torch.randn(true.shape, generator=generator)
    found: dict[str, Any] = {
        "adapter": {k: v.detach().clone() for k, v in get_peft_model_state_dict(model).items()},
        "prompts": [row["id"] for row in raw],
        "prompt_ids": inputs["prompt_ids"], "prompt_mask": inputs["prompt_mask"],
        "completion_ids": inputs["completion_ids"], "completion_mask": inputs["completion_mask"],
        "advantages": inputs["advantages"],
    }  # fmt: skip
    for case, old in (("on_policy", true), ("off_policy", true + noise)):
        model.zero_grad()
        loss = trainer._compute_loss(model, inputs | {"old_per_token_logps": old})
        loss.backward()
        gradient = {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}
        found[case] = {"old": old, "loss": float(loss.detach()), "gradient": gradient}
    model.zero_grad()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in kept:
                parameter.copy_(kept[name])
    torch.save(found, world / "parity.pt")


def logprobs(trainer: Any, model: Any, inputs: dict[str, Any]) -> Any:
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
    mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
    return trainer._get_per_token_logps_and_entropies(
        model, ids, mask, inputs["completion_ids"].shape[1]
    )


def say(message: dict[str, Any]) -> None:
    print("@" + json.dumps(message), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
