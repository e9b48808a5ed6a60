"""Stage III in its folder on fakes: canaries before the first step, a second opinion beside some."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import rich.console
from chat_server import Endpoint, Reply
from judging import llm, verdict
from rl_world import GOOD, UTTERANCES, CoinSampler, CountingLearner, TasteJudge

from cogaudio_rl.config import Config, JudgeConfig, TrialConfig
from cogaudio_rl.console import Console
from cogaudio_rl.errors import RunError
from cogaudio_rl.eval.labels import read_labels
from cogaudio_rl.metrics import MetricsLog, read_metrics
from cogaudio_rl.ports import Judge, Ports
from cogaudio_rl.rewards.canaries import KINDS, RunCanaries
from cogaudio_rl.rewards.judge import make_judge
from cogaudio_rl.run_folder import CANARIES, RunFolder
from cogaudio_rl.stages import stage3
from cogaudio_rl.stages.local import LocalBackend
from cogaudio_rl.stages.stage3 import Stage3
from cogaudio_rl.types import Group, Sample, Score, Unscored, Update

Scores = list[list[Score | Unscored]]


class Learner(CountingLearner):
    """Ready from the start; falls over after so many updates."""

    def __init__(self, *, falls_after: int = 10**9) -> None:
        super().__init__()
        self.left = falls_after

    async def begin(self, folder: Path) -> None:
        """It knows what it needs."""

    async def update(self, samples: Sequence[Sample]) -> Update:
        self.left -= 1
        if self.left < 0:
            raise RunError("pulled the plug")
        return await super().update(samples)


class Generous(TasteJudge):
    """Finds even the good replies better than they are: at 1, where another sees 1/3."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def score(self, groups_P: Sequence[Group]) -> Scores:
        self.asked += len(groups_P)
        return await super().score(groups_P)


class Sober:
    """A held-out judge that gives the good reply a third of what the other does."""

    def __init__(self) -> None:
        self.closed = False

    async def score(self, groups_P: Sequence[Group]) -> Scores:
        return [[_third(r.text == GOOD) for r in g.rollouts] for g in groups_P]

    async def spent(self) -> dict[str, float]:
        return {"judge/requests": 2.0}

    async def close(self) -> None:
        self.closed = True


def _third(good: bool) -> Score:
    return Score(reward=good / 3, terms={"empathy": good / 3})


class FakeBackend(LocalBackend):
    """Gives fakes for ports."""

    def __init__(self, judge: Judge, learner: Learner) -> None:
        self._ports = Ports(sampler=CoinSampler(), judge=judge, learner=learner)

    def ports(self) -> Ports:
        return self._ports


def config(tmp_path: Path, **rl: object) -> Config:
    return Config.model_validate(
        {
            "out_dir": tmp_path,
            "rl": {
                "steps": 6,
                "utterances_per_step": 3,
                "group_size": 4,
                "save_every": 3,
                "held_out_every": 2,
                **rl,
            },
        }
    )


def train(
    config: Config, judge: Judge, learner: Learner | None = None
) -> tuple[list[dict[str, float]], str]:
    """Train, or go on; what was logged in stage III but for times, and what was said."""
    said = io.StringIO()
    run = RunFolder.open(config, resume=True, overwrite=False)
    terminal = rich.console.Console(file=said, width=500)
    with MetricsLog(run.path) as metrics:
        backend = FakeBackend(judge, learner or Learner())
        Stage3(config, run, backend, metrics, Console(terminal)).train(UTTERANCES, None)
    lines = [
        {k: v for k, v in line.items() if not k.startswith("time/")}
        for line in read_metrics(run.path)
    ]
    return lines, said.getvalue()


SECOND = {"held_out_judge": {"kind": "llm", "base_url": "http://127.0.0.1:9/v1", "model": "m"}}


@pytest.fixture
def sober(monkeypatch: pytest.MonkeyPatch) -> Sober:
    judge = Sober()
    monkeypatch.setattr(stage3, "make_judge", lambda config, weights: judge)
    return judge


def test_canaries_are_put_before_the_judge_once(tmp_path: Path) -> None:
    judge = Generous()
    _, said = train(config(tmp_path), judge)
    found = RunCanaries.read(tmp_path / CANARIES)
    assert found is not None
    assert (found.judge, set(found.kinds)) == ("embedded", set(KINDS))
    assert found.kinds["template"].n == len(UTTERANCES), "fewer families than are asked for"
    assert found.kinds["template"].max == 1.0
    assert said.count("canaries: the judge (embedded) gave none of") == 1


def test_a_resumed_run_asks_no_canary_again_unless_its_judge_is_another(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="pulled the plug"):
        train(config(tmp_path), Generous(), Learner(falls_after=4))
    written = (tmp_path / CANARIES).read_bytes()
    _, said = train(config(tmp_path), Generous())
    assert "canaries" not in said
    assert (tmp_path / CANARIES).read_bytes() == written
    stale = json.loads(written) | {"digest": "another"}
    (tmp_path / CANARIES).write_text(json.dumps(stale), "utf-8")
    _, said = train(config(tmp_path), Generous())
    assert "canaries" in said
    assert (tmp_path / CANARIES).read_bytes() == written


def test_a_judge_that_likes_a_canary_is_a_warning_and_no_stop(tmp_path: Path) -> None:
    class Flattered(TasteJudge):
        async def score(self, groups_P: Sequence[Group]) -> Scores:
            found = await super().score(groups_P)
            for p, group in enumerate(groups_P):
                for g, rollout in enumerate(group.rollouts):
                    if "always here to help" in rollout.text:
                        found[p][g] = Score(reward=0.3, terms={"empathy": 1.0})
            return found

    lines, said = train(config(tmp_path), Flattered())
    assert len(lines) == 6
    assert "! canaries: the judge (embedded) gave one 4 of 4" in said
    assert "template" in said


def test_a_generous_judge_is_found_out_by_another(tmp_path: Path, sober: Sober) -> None:
    """Half of what is said at first is good: 1 to the one, 1/3 to the other, and both give the rest 0.

    The loop samples direct replies first; the explicit ones do not parse.
    """
    lines, said = train(config(tmp_path, **SECOND), Generous())
    gaps = {line["step"]: line["alarm/held_out_gap"] for line in lines if "held_out/scored" in line}
    assert set(gaps) == {2, 4, 6}
    for line in lines:
        if line["step"] in gaps:
            assert gaps[line["step"]] == pytest.approx(line["reward/direct/mean"] * 2 / 3)
            assert line["held_out/requests"] == 2.0
            assert line["judge/requests"] == 1.0, "its cost is not the reward's"
    assert said.count("the reward's judge sees more than a held-out one") == 1
    assert sober.closed


@pytest.mark.parametrize("staleness", [0, 2])
def test_stopping_and_resuming_equals_never_having_stopped(
    staleness: int, tmp_path: Path, sober: Sober
) -> None:
    settings = {**SECOND, "max_staleness": staleness}
    whole, _ = train(config(tmp_path / "whole", **settings), Generous())
    with pytest.raises(RunError, match="pulled the plug"):
        train(config(tmp_path / "parts", **settings), Generous(), Learner(falls_after=4))
    resumed, _ = train(config(tmp_path / "parts", **settings), Generous())
    if staleness == 0:  # ahead of time what is rolled out depends on how far rollouts had come
        assert resumed == whole
    assert [line["step"] for line in resumed] == [line["step"] for line in whole]
    assert [s["step"] for s in resumed if "held_out/scored" in s] == [2, 4, 6]


def test_training_is_the_same_with_and_without_a_second_opinion(
    tmp_path: Path, sober: Sober
) -> None:
    alone, _ = train(config(tmp_path / "alone"), Generous())
    watched, _ = train(config(tmp_path / "watched", **SECOND), Generous())
    own = [{k: v for k, v in line.items() if "held_out" not in k} for line in watched]
    assert own == alone


def test_a_held_out_judge_that_is_not_there_is_a_note(tmp_path: Path) -> None:
    """A real endpoint judge, and nobody at its address."""
    settings = {"held_out_judge": SECOND["held_out_judge"] | {"max_attempts": 1, "timeout_s": 2.0}}
    lines, said = train(config(tmp_path, **settings, held_out_every=6), Generous())
    assert len(lines) == 6
    assert "step 6: no second opinion: judge: no connection" in said


def test_the_recipes_own_judge_cannot_be_held_out() -> None:
    with pytest.raises(ValueError, match="are both embedded"):
        Config.model_validate({"rl": {"held_out_judge": JudgeConfig()}})


def test_a_judge_behind_an_endpoint_stands_trial_and_trains_in_one_process(tmp_path: Path) -> None:
    """Its connections outlive the trial and the canaries."""
    labels = Path(__file__).parents[1] / "golden" / "judge_labels.jsonl"
    median = {(item.words, item.reply): item.median for item in read_labels(labels)}
    endpoint = Endpoint()

    def script(number: int) -> Reply:
        material = json.loads(endpoint.requests[number]["messages"][1]["content"])
        words, reply = material["user_words"], material["assistant_reply"]
        return verdict(round(median.get((words, reply), 1 + 3 * ("stay with you" in reply))))

    endpoint.script = script
    whole = config(tmp_path)
    judge = llm(endpoint.url, trial=TrialConfig(labels=labels, min_kappa=0.9))
    whole = whole.model_copy(update={"judge": judge})
    asked = make_judge(judge, whole.rl.reward)

    class Last(Learner):
        async def save(self, folder: Path) -> None:
            await super().save(folder)
            if folder.name == "stage3":
                await asked.close()

    try:
        lines, said = train(whole, asked, Last())
    finally:
        endpoint.close()
    assert len(lines) == 6
    assert "the judge, held against people's ratings" in said
    assert "canaries: the judge (judge) gave none of" in said
