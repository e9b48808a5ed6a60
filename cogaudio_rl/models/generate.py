"""The in-process sampler: the policy generates by itself, with no engine beside it.

It serves tests, the ``local`` backend and machines where vLLM does not run. The same seed gives the
same tokens to the last digit.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import torch
from torch import Tensor

from cogaudio_rl.config import ModelConfig
from cogaudio_rl.models.options import Options, shares
from cogaudio_rl.models.policy import Policy, Sequenced
from cogaudio_rl.ports import PROBE_TOKENS, in_order_of_place
from cogaudio_rl.seeding import seed_for
from cogaudio_rl.types import Adapter, Group, Prefix, Prompt, Rollout, Route, StopReason

_PROMPTS_AT_ONCE = 64
_ROWS_AT_ONCE = 128


class LocalSampler:
    """Implements the Sampler port around a policy of its own."""

    def __init__(self, policy: Policy, config: ModelConfig) -> None:
        self._policy = policy
        self._limits = {route: config.max_new_tokens(route) for route in Route}
        self._base = policy.adapter(0)  # as it is opened, it answers as the base does
        self._version = 0

    async def publish(self, adapter: Adapter | None) -> None:
        """Copy the adapter in; the learner's own policy may go on changing."""
        adapter = adapter or self._base
        self._policy.load_adapter(adapter)
        self._version = adapter.version

    async def sample(
        self, prompts_P: Sequence[Prompt], *, n: int, temperature: float, seed: int
    ) -> list[Group]:
        """See :class:`cogaudio_rl.ports.Sampler`."""
        return await in_order_of_place(
            self.stream(prompts_P, n=n, temperature=temperature, seed=seed)
        )

    async def stream(
        self, prompts_P: Sequence[Prompt], *, n: int, temperature: float, seed: int
    ) -> AsyncGenerator[tuple[int, Group]]:
        """See :class:`cogaudio_rl.ports.Sampler`."""
        for route in Route:
            where = [i for i, p in enumerate(prompts_P) if p.route is route]
            size = max(1, min(_PROMPTS_AT_ONCE, _ROWS_AT_ONCE // n))
            for start in range(0, len(where), size):
                part = where[start : start + size]
                groups = self._generate([prompts_P[i] for i in part], n, temperature, seed)
                for i, group in zip(part, groups, strict=True):
                    yield i, group

    async def probe(self, prompts_P: Sequence[Prompt]) -> list[Group]:
        """See :class:`cogaudio_rl.ports.Sampler`."""
        return [
            group for p in prompts_P for group in self._generate([p], 1, 0.0, 0, limit=PROBE_TOKENS)
        ]

    async def choose(
        self, prompts_P: Sequence[Prompt], *, prefix: str, options: Sequence[str]
    ) -> list[str]:
        """See :class:`cogaudio_rl.ports.Sampler`."""
        chat = self._policy.chat
        first = Options.of(chat, options).first_ids
        if first is None:
            behind = [Prefix(text=prefix)] * len(prompts_P)
            weights = await self.weigh(prompts_P, behind, options)
            return [options[max(range(len(w)), key=w.__getitem__)] for w in weights]
        chosen: list[str] = []
        for start in range(0, len(prompts_P), _PROMPTS_AT_ONCE):
            part = [
                self._policy.sequence(p, chat.encode(prefix))
                for p in prompts_P[start : start + _PROMPTS_AT_ONCE]
            ]
            with torch.no_grad(), self._policy.precision():
                logits, _cache, _mask = self._prefill(part, with_response=True)
            chosen += [options[int(i)] for i in logits[:, list(first)].argmax(-1)]
        return chosen

    async def weigh(
        self, prompts_P: Sequence[Prompt], prefixes_P: Sequence[Prefix], options: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """See :class:`cogaudio_rl.ports.Sampler`."""
        policy, names = self._policy, Options.of(self._policy.chat, options)
        behind = [policy.chat.prefix_ids(prefix) for prefix in prefixes_P]
        size = max(1, _PROMPTS_AT_ONCE // names.rows)
        found: list[tuple[float, ...]] = []
        was_training = policy.training
        policy.eval()
        for start in range(0, len(prompts_P), size):
            asked = zip(prompts_P[start : start + size], behind[start : start + size], strict=True)
            rows = [
                row
                for p, ids in asked
                for row in names.sequences(policy.sequence(p, ids), len(ids))
            ]
            batch = policy.pack(rows)
            with torch.no_grad():
                logprobs_BT, _ = policy(batch)
            found += [
                shares(names.logprobs(logprobs_BT, batch, row))
                for row in range(0, len(rows), names.rows)
            ]
        policy.train(was_training)
        return found

    def _prefill(
        self, parts: Sequence[Sequenced], *, with_response: bool = False
    ) -> tuple[Tensor, Any, Tensor]:
        """Left-pad, run the prompts, return last logits [P, V], the cache and the mask [P, S]."""
        from transformers import DynamicCache

        policy = self._policy
        rows = [s.prompt_ids + (s.response_ids if with_response else ()) for s in parts]
        width = max(len(r) for r in rows)
        ids = torch.full((len(rows), width), policy.pad_id)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, width - len(row) :] = torch.tensor(row)
            mask[i, width - len(row) :] = 1
        ids, mask = ids.to(policy.device), mask.to(policy.device)
        inner, cache = policy.inner(), DynamicCache()
        hidden = inner.model(
            inputs_embeds=policy.embed(ids, torch.cat([s.audio for s in parts])),
            attention_mask=mask,
            position_ids=policy.positions(mask),
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state[:, -1]
        return inner.lm_head(hidden).float(), cache, mask

    @torch.no_grad()
    def _generate(
        self,
        prompts: Sequence[Prompt],
        n: int,
        temperature: float,
        seed: int,
        *,
        limit: int | None = None,
    ) -> list[Group]:
        policy, limit = self._policy, limit or self._limits[prompts[0].route]
        was_training = policy.training
        policy.eval()
        generators = [
            torch.Generator().manual_seed(seed_for(seed, p.id, i))
            for p in prompts
            for i in range(n)
        ]
        with policy.precision():
            logits, cache, mask = self._prefill([policy.sequence(p, ()) for p in prompts])
            cache.batch_repeat_interleave(n)
            logits, mask = logits.repeat_interleave(n, 0), mask.repeat_interleave(n, 0)
            done = torch.zeros(len(generators), dtype=torch.bool)
            tokens: list[Tensor] = []
            logprobs: list[Tensor] = []
            for _ in range(limit):
                token = _pick(logits, temperature, generators, banned=policy.banned_ids)
                tokens.append(token.cpu())
                logprobs.append(logits.log_softmax(-1).gather(-1, token[:, None])[:, 0].cpu())
                done |= tokens[-1] == policy.eos_id
                if bool(done.all()):
                    break
                mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
                hidden = (
                    policy.inner()
                    .model(
                        input_ids=token[:, None],
                        attention_mask=mask,
                        position_ids=policy.positions(mask)[..., -1:],
                        past_key_values=cache,
                        use_cache=True,
                    )
                    .last_hidden_state[:, -1]
                )
                logits = policy.inner().lm_head(hidden).float()
        policy.train(was_training)
        rows = [
            self._rollout(t, lp)
            for t, lp in zip(
                torch.stack(tokens, 1).tolist(), torch.stack(logprobs, 1).tolist(), strict=True
            )
        ]
        return [
            Group(prompt=p, rollouts=tuple(rows[i * n : (i + 1) * n]))
            for i, p in enumerate(prompts)
        ]

    def _rollout(self, tokens: list[int], logprobs: list[float]) -> Rollout:
        ended = self._policy.eos_id in tokens
        size = tokens.index(self._policy.eos_id) + 1 if ended else len(tokens)
        return Rollout(
            token_ids=tuple(tokens[:size]),
            logprobs=tuple(logprobs[:size]),
            text=self._policy.decode(tokens[:size]),
            stop=StopReason.EOS if ended else StopReason.LENGTH,
            policy_version=self._version,
        )


def _pick(
    logits: Tensor, temperature: float, generators: list[torch.Generator], *, banned: Sequence[int]
) -> Tensor:
    """The next token [B]: argmax at temperature 0, else a draw, each row by its own generator."""
    allowed = logits.clone()
    allowed[:, list(banned)] = -torch.inf
    if temperature == 0:
        return allowed.argmax(-1)
    # Gumbel noise drawn on the CPU: one row's draws do not depend on the others or on the device.
    noise = torch.stack([torch.rand(logits.shape[-1], generator=g) for g in generators])
    gumbel = -torch.log(-torch.log(noise.clamp(1e-12, 1 - 1e-7)))
    return (allowed / temperature + gumbel.to(logits.device)).argmax(-1)
