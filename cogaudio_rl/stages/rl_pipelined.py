"""Stage III, pipelined: coming steps are rolled out and judged while this one trains.

    step        k            k+1          k+2
    sampler     ▓▓▓▓         ▓▓▓▓         ▓▓▓▓
    judge         ░░░░░░       ░░░░░░       ░░░░░░
    learner             ████         ████         ████

When step k begins, the batches of steps k … k + max_staleness may be under way: the policy that rolls
out step k + s has seen step k - 1, so a sample is at most ``max_staleness`` updates old when it
trains. With 0 this is :func:`cogaudio_rl.stages.rl.run_rl`, update for update.
"""

from __future__ import annotations

import asyncio
from collections import deque

from cogaudio_rl.config import RlConfig
from cogaudio_rl.data.stream import UtteranceStream
from cogaudio_rl.ports import Ports
from cogaudio_rl.stages.rl import Batch, RlHooks, collect, learn, open_loop
from cogaudio_rl.stages.routes import RouteMix
from cogaudio_rl.types import Prompt


async def run_rl_pipelined(
    ports: Ports,
    stream: UtteranceStream,
    mix: RouteMix,
    canaries: tuple[Prompt, ...],
    config: RlConfig,
    *,
    seed: int,
    hooks: RlHooks,
    start: int = 1,
) -> None:
    """Train from step ``start`` through ``config.steps``, rolling out ahead.

    A checkpoint remembers where the stream stood behind *its* step, not how far rollouts had come:
    a resumed run asks again for what was under way, and no prompt is lost or trained twice.
    Raises what :func:`cogaudio_rl.stages.rl.run_rl` raises.
    """
    published = await open_loop(
        ports, stream, canaries, config, seed=seed, hooks=hooks, start=start
    )
    under_way: deque[asyncio.Task[Batch]] = deque()
    ahead = start
    try:
        for step in range(start, config.steps + 1):
            while ahead <= min(config.steps, step + config.max_staleness):
                prompts_P = mix.prompts(stream.next(config.utterances_per_step), ahead)
                under_way.append(
                    asyncio.create_task(
                        collect(ports, ahead, prompts_P, stream.state(), config, seed)
                    )
                )
                ahead += 1
            batch = await under_way.popleft()
            published = await learn(ports, batch, published, canaries, config, mix, hooks)
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
