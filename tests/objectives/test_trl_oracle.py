"""TRL's own trainer as a live oracle for every objective: same loss, same gradient.

Last checked with TRL 1.16.0. TRL keeps its objective inside ``GRPOTrainer._compute_loss``, so the
method runs here on a stand-in that has the trainer's settings and a model that returns given
log-probabilities. Its GSPO is GRPO's loss at the level of sequences.
"""

from __future__ import annotations

import importlib
from collections import defaultdict
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from cogaudio_rl.config import OBJECTIVE_FLOATS
from cogaudio_rl.objectives import OBJECTIVES, Totals, get_objective
from cogaudio_rl.objectives.dpo import dpo_loss, dpo_weight

pytestmark = pytest.mark.filterwarnings("ignore")


LONGEST = 7
"""Largest number of new tokens; Dr. GRPO divides by it."""


def trl_loss(
    name: str, logprobs_BT: Tensor, inputs: dict[str, Tensor], floats: dict[str, float]
) -> Tensor:
    """TRL's loss with our clips, in evaluation mode: no gradient accumulation."""
    trl: Any = pytest.importorskip("trl")
    settings = trl.GRPOConfig(output_dir="unused", use_cpu=True, bf16=False, report_to="none")
    stand_in = SimpleNamespace(
        model=SimpleNamespace(training=False),
        accelerator=SimpleNamespace(
            gather=lambda x: x, reduce=lambda x, reduction: x, num_processes=1
        ),
        args=settings,
        loss_type="grpo" if name == "gspo" else name,
        epsilon_low=floats.get("clip_low", 0.0),
        # TRL's CISPO takes the cap itself, ours how far it lies above 1.
        epsilon_high=floats.get("clip_high", 0.0) + (name == "cispo"),
        max_completion_length=LONGEST,
        beta=0.0,
        importance_sampling_level="sequence" if name == "gspo" else "token",
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        use_vllm=False,
        aux_loss_enabled=False,
        _entropy_bonus_enabled=False,
        _metrics={"eval": defaultdict(list)},
        _get_per_token_logps_and_entropies=lambda *_, **__: (
            logprobs_BT,
            torch.zeros_like(logprobs_BT),
            None,
        ),
    )
    return trl.GRPOTrainer._compute_loss(stand_in, None, inputs)


@pytest.mark.parametrize("name", sorted(n for n, o in OBJECTIVES.items() if not o.pairs))
@pytest.mark.parametrize("seed", range(5))
def test_same_loss_and_gradient_as_trl(name: str, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    shape = (6, 5)
    logprobs_BT = -2 * torch.rand(shape, generator=rng)
    old_logprobs_BT = logprobs_BT + 0.5 * torch.randn(shape, generator=rng)
    advantages_B = torch.randn(shape[0], generator=rng)
    advantages_B[1] = 0.0
    lengths_B = torch.tensor([5, 3, 1, 4, 0, 2])
    mask_BT = (torch.arange(shape[1]) < lengths_B[:, None]).long()

    theirs_BT = logprobs_BT.clone().requires_grad_()
    tokens_BT = torch.zeros(shape, dtype=torch.long)
    floats = OBJECTIVE_FLOATS[name]
    their_loss = trl_loss(
        name,
        theirs_BT,
        {
            "prompt_ids": tokens_BT,
            "prompt_mask": torch.ones_like(tokens_BT),
            "completion_ids": tokens_BT,
            "completion_mask": mask_BT,
            "advantages": advantages_B,
            "old_per_token_logps": old_logprobs_BT,
            "num_items_in_batch": mask_BT.sum(),
        },
        floats,
    )
    their_loss.backward()

    ours_BT = logprobs_BT.clone().requires_grad_()
    objective = get_objective(name)
    loss_BT = objective.loss_per_token(ours_BT, old_logprobs_BT, advantages_B, mask_BT, **floats)
    totals = Totals(sequences=shape[0], tokens=int(mask_BT.sum()), longest=LONGEST)
    our_loss = objective.reduce(loss_BT, mask_BT, totals)
    our_loss.backward()

    torch.testing.assert_close(our_loss, their_loss, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(ours_BT.grad, theirs_BT.grad, rtol=1e-5, atol=1e-7)


def trl_dpo_loss(logprobs_BT: Tensor, reference_BT: Tensor, mask_BT: Tensor, beta: float) -> Tensor:
    """Its DPOTrainer's sigmoid loss; the first half of the rows was chosen. Log-probs begin at the
    second token."""
    trl: Any = pytest.importorskip("trl")
    blank = torch.zeros(len(mask_BT), 1, dtype=torch.long)
    accelerator = SimpleNamespace(
        device="cpu", gather_for_metrics=lambda x: x, gather=lambda x: x, num_processes=1
    )

    def answers(log_probs: Tensor) -> Any:
        blank_BT = torch.zeros_like(log_probs)
        return lambda **_: SimpleNamespace(
            log_probs=log_probs, entropy=blank_BT, mean_logits=blank_BT, is_top1=blank_BT.bool()
        )

    stand_in = SimpleNamespace(
        model=SimpleNamespace(training=False),
        accelerator=accelerator,
        args=SimpleNamespace(gradient_checkpointing_kwargs=None),
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=False,
        ref_model=answers(reference_BT),
        f_divergence_type="reverse_kl",
        beta=beta,
        label_smoothing=0.0,
        use_weighting=False,
        loss_types=["sigmoid"],
        loss_weights=[1.0],
        _metrics={"eval": defaultdict(list)},
        _total_train_tokens=0,
    )
    with pytest.MonkeyPatch.context() as patch:
        trainer = importlib.import_module("trl.trainer.dpo_trainer")
        patch.setattr(trainer, "disable_gradient_checkpointing", lambda *_: nullcontext())
        patch.setattr(trainer, "is_peft_model", lambda _: False)
        inputs = {
            "input_ids": torch.cat([blank, torch.zeros_like(mask_BT)], 1),
            "attention_mask": torch.cat([blank + 1, mask_BT], 1),
            "completion_mask": torch.cat([blank, mask_BT], 1),
        }
        model: Any = answers(logprobs_BT)
        return trl.DPOTrainer._compute_loss(stand_in, model, inputs, return_outputs=False)


@pytest.mark.parametrize("beta", [0.1, 0.7])
@pytest.mark.parametrize("seed", range(4))
def test_dpo_is_trl_s_loss_and_gradient(seed: int, beta: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    pairs, longest = 5, 6
    lengths_B = torch.randint(1, longest + 1, (2 * pairs,), generator=rng)
    mask_BT = (torch.arange(longest) < lengths_B[:, None]).long()
    logprobs_BT = -3 * torch.rand(mask_BT.shape, generator=rng) * mask_BT
    reference_BT = (logprobs_BT + torch.randn(mask_BT.shape, generator=rng)) * mask_BT

    theirs_BT = logprobs_BT.clone().requires_grad_()
    # What is padded is 0 in TRL's model too.
    their_loss = trl_dpo_loss(theirs_BT * mask_BT, reference_BT, mask_BT, beta)
    their_loss.backward()

    gained_B = (logprobs_BT - reference_BT).sum(1)
    margins_P = gained_B[:pairs] - gained_B[pairs:]
    torch.testing.assert_close(
        dpo_loss(margins_P, beta=beta).mean(), their_loss.detach(), rtol=0, atol=1e-6
    )
    weights_P = dpo_weight(margins_P, beta=beta)
    objective, ours_BT = get_objective("dpo"), logprobs_BT.clone().requires_grad_()
    # Each row by itself, as if all lay on different ranks.
    for row, advantage in enumerate(torch.cat([weights_P, -weights_P])):
        one = slice(row, row + 1)
        loss_BT = objective.loss_per_token(
            ours_BT[one], ours_BT[one].detach(), advantage[None], mask_BT[one], beta=beta
        )
        totals = Totals(sequences=2 * pairs, tokens=int(mask_BT.sum()), longest=LONGEST)
        objective.reduce(loss_BT, mask_BT[one], totals).backward()
    torch.testing.assert_close(ours_BT.grad, theirs_BT.grad, rtol=1e-5, atol=1e-7)
