"""TRL's own trainer as a live oracle for SAPO and GRPO: same loss, same gradient.

Last checked with TRL 1.16.0. TRL keeps its objective inside ``GRPOTrainer._compute_loss``, so the
method runs here on a stand-in that has the trainer's settings and a model that returns given
log-probabilities. Skipped where TRL is not installed.
"""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from cogaudio_rl.objectives import get_objective
from cogaudio_rl.objectives.reduce import sequence_mean

pytestmark = pytest.mark.filterwarnings("ignore")


def trl_loss(loss_type: str, logprobs_BT: Tensor, inputs: dict[str, Tensor]) -> Tensor:
    """TRL's loss at its default settings, in evaluation mode: no gradient accumulation."""
    trl: Any = pytest.importorskip("trl")
    settings = trl.GRPOConfig(output_dir="unused", use_cpu=True, bf16=False, report_to="none")
    stand_in = SimpleNamespace(
        model=SimpleNamespace(training=False),
        accelerator=SimpleNamespace(gather=lambda x: x, reduce=lambda x, reduction: x),
        args=settings,
        loss_type=loss_type,
        epsilon_low=settings.epsilon,
        epsilon_high=settings.epsilon,
        beta=0.0,
        importance_sampling_level="token",
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


@pytest.mark.parametrize("loss_type", ["sapo", "grpo"])
@pytest.mark.parametrize("seed", range(5))
def test_same_loss_and_gradient_as_trl(loss_type: str, seed: int) -> None:
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
    their_loss = trl_loss(
        loss_type,
        theirs_BT,
        {
            "prompt_ids": tokens_BT,
            "prompt_mask": torch.ones_like(tokens_BT),
            "completion_ids": tokens_BT,
            "completion_mask": mask_BT,
            "advantages": advantages_B,
            "old_per_token_logps": old_logprobs_BT,
        },
    )
    their_loss.backward()

    ours_BT = logprobs_BT.clone().requires_grad_()
    objective = get_objective(loss_type)
    loss_BT = objective.loss_per_token(ours_BT, old_logprobs_BT, advantages_B, mask_BT)
    our_loss = sequence_mean(loss_BT, mask_BT)
    our_loss.backward()

    torch.testing.assert_close(our_loss, their_loss, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(ours_BT.grad, theirs_BT.grad, rtol=1e-5, atol=1e-7)
