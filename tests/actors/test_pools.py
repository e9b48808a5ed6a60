"""The pool: every prompt to one worker, every answer back in its place, every wait with an end."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from actors.crew import Crew, gather
from actors.pools import GENERATE, SamplerPool, deal
from cogaudio_rl.config import ClusterConfig
from cogaudio_rl.errors import ConfigError, DataError, WaitTimeout, WorkerDied
from cogaudio_rl.types import (
    REPLY_ROUTES,
    Adapter,
    AudioRef,
    Group,
    Prefix,
    Prompt,
    Rollout,
    Route,
    StopReason,
    Utterance,
)


def make_prompt(name: str, route: Route) -> Prompt:
    audio = AudioRef(path=f"{name}.flac", sample_rate_hz=16_000, num_samples=16_000)
    utterance = Utterance(
        id=name, text_id="t", audio=audio, transcript="", emotion="sad",
        intensity="mid", speaker="s", language="en",
    )  # fmt: skip
    return Prompt(utterance=utterance, route=route)


PROMPTS = [make_prompt(f"u{i}", route) for i in range(5) for route in REPLY_ROUTES]


SLOWLY, DEADLY = 1, 2
"""Seeds that make the worker slow, or die."""


class EchoWorker:
    """Answers with the prompt's own name, the size of its share and the adapter it holds."""

    def __init__(self) -> None:
        self._version = 0
        self._abandoned: set[str] = set()

    def abandon(self, ticket: str) -> None:
        self._abandoned.add(ticket)

    def stream(
        self, prompts: Sequence[Prompt], *, n: int, temperature: float, seed: int, ticket: str
    ) -> Iterator[tuple[int, Group]]:
        for i, prompt in enumerate(prompts):
            if ticket in self._abandoned:
                return
            if seed == DEADLY:
                self.die()
            if seed == SLOWLY:
                time.sleep(0.5)
            yield i, self._group(prompt, len(prompts), n)

    def pid(self) -> int:
        return os.getpid()

    def choose(
        self, prompts: Sequence[Prompt], *, prefix: str, options: Sequence[str]
    ) -> list[str]:
        if not options:
            raise DataError("no options for 'u0'")
        return [f"{prefix}{p.id}" for p in prompts]

    def weigh(
        self, prompts: Sequence[Prompt], prefixes: Sequence[Prefix], options: Sequence[str]
    ) -> list[tuple[float, ...]]:
        return [
            (float(len(p.id)), float(len(x.text))) for p, x in zip(prompts, prefixes, strict=True)
        ]

    def publish(self, adapter: Adapter | None) -> None:
        self._version = 0 if adapter is None else adapter.version

    def die(self) -> None:
        os._exit(1)

    def _group(self, prompt: Prompt, share: int, n: int) -> Group:
        rollout = Rollout(
            token_ids=(share,),
            logprobs=(0.0,),
            text=prompt.id,
            stop=StopReason.EOS,
            policy_version=self._version,
        )
        return Group(prompt=prompt, rollouts=(rollout,) * n)


@pytest.mark.parametrize("hands", [1, 2, 3, 10, 13])
def test_every_prompt_is_dealt_once_evenly_and_each_route_evenly(hands: int) -> None:
    dealt = deal(PROMPTS, hands)
    assert sorted(i for hand in dealt for i in hand) == list(range(len(PROMPTS)))
    for counts in (
        [len(hand) for hand in dealt],
        *(
            [sum(PROMPTS[i].route is route for i in hand) for hand in dealt]
            for route in REPLY_ROUTES
        ),
    ):
        assert max(counts) - min(counts) <= 1


async def test_waiting_has_an_end_that_says_for_what() -> None:
    with pytest.raises(WaitTimeout, match=r"waited 0\.01 s for the kettle, in vain"):
        await gather([asyncio.sleep(5)], 0.01, "the kettle")


async def test_results_come_in_the_order_they_were_asked_for() -> None:
    assert await gather([asyncio.sleep(0.02, "a"), asyncio.sleep(0, "b")], 5, "both") == ["a", "b"]


@pytest.fixture(scope="module")
def spawn() -> Iterator[Any]:
    import ray

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    groups: Any = {"concurrency_groups": {GENERATE: 1}}
    remote = ray.remote(**groups)(EchoWorker)
    yield lambda: remote.options(num_cpus=0).remote()
    ray.shutdown()


@pytest.mark.ray
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("default")
async def test_pool_of_real_actors(spawn: Any) -> None:
    pool = SamplerPool(ClusterConfig(step_timeout_s=60), [spawn] * 3)
    await pool.publish(Adapter(version=4, tensors={}))
    groups = await pool.sample(PROMPTS, n=2, temperature=1.0, seed=0)
    assert [g.prompt for g in groups] == PROMPTS
    assert [g.rollouts[1].text for g in groups] == [p.id for p in PROMPTS]
    assert {g.rollouts[0].policy_version for g in groups} == {4}
    assert {g.rollouts[0].token_ids[0] for g in groups} == {3, 4}
    assert await pool.choose(PROMPTS[:1], prefix="x ", options=[" a"]) == ["x u0/explicit"]
    begun = [Prefix(text="x" * i) for i in range(len(PROMPTS))]
    weights = await pool.weigh(PROMPTS, begun, [" a", " b"])
    assert weights == [(len(p.id), len(x.text)) for p, x in zip(PROMPTS, begun, strict=True)]
    assert await pool.sample([], n=1, temperature=1.0, seed=0) == []
    assert pool.replaced == 0

    with pytest.raises(DataError) as raised:
        await pool.choose(PROMPTS, prefix="", options=[])
    assert str(raised.value) == "no options for 'u0'"

    with pytest.raises(WorkerDied, match="a worker process died during the last call"):
        await gather([spawn().die.remote()], 60, "the last call")


@pytest.mark.ray
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("default")
async def test_a_worker_killed_in_the_midst_is_replaced(
    spawn: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """SIGKILL while it answers: the rest is asked of a new worker, which holds the same policy."""
    pool = SamplerPool(ClusterConfig(step_timeout_s=60), [spawn] * 2)
    await pool.publish(Adapter(version=7, tensors={}))
    pids = [await h.pid.remote() for h in pool._crew._handles]
    seen: list[int] = []
    async for i, group in pool.stream(PROMPTS, n=1, temperature=1.0, seed=SLOWLY):
        if not seen:
            os.kill(pids[0], signal.SIGKILL)
        seen.append(i)
        assert group.prompt == PROMPTS[i]
        assert group.rollouts[0].policy_version == 7
    assert sorted(seen) == list(range(len(PROMPTS))), "every prompt once, none twice"
    assert pool.replaced == 1
    assert "a new one takes its place" in caplog.text
    assert pids[0] not in [await h.pid.remote() for h in pool._crew._handles]


@pytest.mark.ray
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("default")
async def test_a_prompt_that_kills_twice_ends_the_run(spawn: Any) -> None:
    pool = SamplerPool(ClusterConfig(step_timeout_s=60), [spawn])
    with pytest.raises(WorkerDied):
        await pool.sample(PROMPTS[:1], n=1, temperature=1.0, seed=DEADLY)


class Misbuilt(EchoWorker):
    """Its constructor refuses: a new process would refuse again."""

    def __init__(self) -> None:
        raise ConfigError("model.lora.r must be <= 512 for vLLM, got 600")


@pytest.mark.ray
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("default")
async def test_a_worker_that_cannot_be_built_is_its_own_error_and_not_a_death(spawn: Any) -> None:
    import ray

    made: list[int] = []

    def misbuilt() -> Any:
        made.append(1)
        return ray.remote(Misbuilt).options(num_cpus=0).remote()

    pool = SamplerPool(ClusterConfig(step_timeout_s=60), [misbuilt])
    with pytest.raises(ConfigError, match=r"must be <= 512"):
        await pool.sample(PROMPTS[:1], n=1, temperature=1.0, seed=0)
    assert len(made) == 1


async def test_every_way_to_die_is_a_death() -> None:
    from ray.exceptions import NodeDiedError, OutOfMemoryError

    async def killed(error: Exception) -> None:
        raise error

    for error in (OutOfMemoryError("the node ran out of memory"), NodeDiedError("lost")):
        with pytest.raises(WorkerDied, match="during the call"):
            await gather([killed(error)], 5, "the call")


async def test_a_replacement_that_is_given_up_is_not_put_in_place() -> None:
    """Cancelled while the new worker is brought up to date: the next call tries again."""
    from ray.exceptions import OutOfMemoryError

    made: list[str] = []

    def spawn_one() -> str:
        made.append(f"worker {len(made)}")
        return made[-1]

    async def never(_handle: str) -> None:
        await asyncio.sleep(60)

    async def send(handle: str) -> str:
        if handle == "worker 0":
            raise OutOfMemoryError("out of memory")
        return handle

    crew = Crew("test", [spawn_one], start_timeout_s=60, settle=never)
    call = asyncio.create_task(crew.call(0, send, timeout_s=5, what="a call"))
    await asyncio.sleep(0.05)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert made == ["worker 0", "worker 1"]
    assert crew.replaced == 0


async def test_a_replacement_on_a_node_that_is_going_too_is_replaced_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ray.exceptions import NodeDiedError

    monkeypatch.setattr("actors.crew._BETWEEN_STARTS_S", 0.0)
    made: list[str] = []

    def spawn_one() -> str:
        made.append(f"worker {len(made)}")
        return made[-1]

    async def settle(handle: str) -> None:
        if handle == "worker 1":
            raise NodeDiedError("its node has died")

    async def send(handle: str) -> str:
        if handle == "worker 0":
            raise NodeDiedError("its node has died")
        return handle

    crew = Crew("test", [spawn_one], start_timeout_s=60, settle=settle)
    assert await crew.call(0, send, timeout_s=5, what="a call") == "worker 2"
    assert crew.replaced == 1
