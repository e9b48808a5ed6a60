"""How probable names are at one place: against one forward pass for each, worked out by hand."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest
import torch
from tiny_world import make_checkpoint, make_config, make_policy, make_utterances

from cogaudio_rl.errors import InputError
from cogaudio_rl.models.generate import LocalSampler
from cogaudio_rl.models.options import Options
from cogaudio_rl.models.policy import Policy
from cogaudio_rl.types import Prefix, Prompt, Route, Utterance

NAMES = (" happy", " sad morning", " sad evening", " fear", " quite unheard-of")
"""Of one token and of several; two share their first."""


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    folder = make_checkpoint(tmp_path_factory.mktemp("checkpoint"))
    return make_policy(make_config(folder)).eval()


@pytest.fixture(scope="module")
def utterances(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    return make_utterances(tmp_path_factory.mktemp("sounds"), 3)


@torch.no_grad()
def by_hand(policy: Policy, prompt: Prompt, begun: tuple[int, ...], names: tuple[str, ...]):
    """exp of the summed log-probs of each name's tokens, divided by their sum."""
    worth: list[float] = []
    for name in names:
        ids = policy.chat.encode(name)
        row = policy.sequence(prompt, (*begun, *ids))
        logprobs_BT, _ = policy(policy.pack([row]))
        worth.append(math.exp(float(logprobs_BT[0, len(begun) :].double().sum())))
    return [one / sum(worth) for one in worth]


def test_a_name_of_several_tokens_counts_with_their_product(
    policy: Policy, utterances: list[Utterance]
) -> None:
    assert {len(policy.chat.encode(name)) > 1 for name in NAMES} == {True, False}
    sampler = LocalSampler(policy, make_config(Path(policy.name)).model)
    prompts = [Prompt(utterance=u, route=Route.AMBIGUITY) for u in utterances]
    prefixes = [Prefix(text=text) for text in ("", "<thought>\nWords: none", "I am")]
    found = asyncio.run(sampler.weigh(prompts, prefixes, NAMES))
    for prompt, prefix, shares in zip(prompts, prefixes, found, strict=True):
        assert sum(shares) == pytest.approx(1.0, abs=1e-12)
        expected = by_hand(policy, prompt, policy.chat.encode(prefix.text), NAMES)
        assert shares == pytest.approx(expected, rel=2e-4)


def test_names_that_share_their_first_token_are_told_apart(
    policy: Policy, utterances: list[Utterance]
) -> None:
    names = (" sad morning", " sad evening", " happy")
    assert Options.of(policy.chat, names).first_ids is None
    sampler = LocalSampler(policy, make_config(Path(policy.name)).model)
    prompts = [Prompt(utterance=u, route=Route.AMBIGUITY) for u in utterances]
    found = asyncio.run(sampler.weigh(prompts, [Prefix(text="")] * 3, names))
    chosen = asyncio.run(sampler.choose(prompts, prefix="", options=names))
    for prompt, shares, choice in zip(prompts, found, chosen, strict=True):
        assert shares == pytest.approx(by_hand(policy, prompt, (), names), rel=2e-4)
        assert choice == names[shares.index(max(shares))]


def test_a_choice_among_names_of_one_token_is_the_most_probable(
    policy: Policy, utterances: list[Utterance]
) -> None:
    short = (" happy", " sad", " fear")
    assert all(len(policy.chat.encode(name)) == 1 for name in short)
    sampler = LocalSampler(policy, make_config(Path(policy.name)).model)
    prompts = [Prompt(utterance=u, route=Route.EXPLICIT) for u in utterances]
    weights = asyncio.run(sampler.weigh(prompts, [Prefix(text="So")] * 3, short))
    chosen = asyncio.run(sampler.choose(prompts, prefix="So", options=short))
    assert chosen == [short[w.index(max(w))] for w in weights]


def test_what_else_might_have_stood_there_changes_nothing_beside_it(
    policy: Policy, utterances: list[Utterance]
) -> None:
    """Alternatives and extra rows leave a response's own log-probs as they are."""
    prompt = Prompt(utterance=utterances[0], route=Route.AMBIGUITY)
    ids = policy.response_ids("I am here.")
    plain = policy.sequence(prompt, ids)
    options = Options.of(policy.chat, (" happy", " sad morning"))
    with torch.no_grad():
        alone, _ = policy(policy.pack([plain]))
        batch = policy.pack(options.sequences(plain, 2))
        both, _ = policy(batch)
    torch.testing.assert_close(both[0, : len(ids)], alone[0])
    assert batch.alternatives_from == len(ids)
    assert both.shape == (2, len(ids) + 1)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((" sad", " sad morning"), "' sad morning' begins with the tokens of ' sad'"),
        ((" sad", " sad"), "begins with the tokens of"),
        ((" sad", ""), "names of at least one letter"),
        ((), "names of at least one letter"),
    ],
)
def test_names_that_cannot_be_told_apart_are_refused(
    policy: Policy, names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Options.of(policy.chat, names)


def test_a_prefix_keeps_the_tokens_that_were_said(policy: Policy) -> None:
    chat = policy.chat
    letters = tuple(i for c in "I am sad" for i in chat.encode(c))
    said = (*letters, *chat.encode(" and gone"), policy.eos_id)
    assert letters != chat.encode("I am sad")
    assert chat.prefix_ids(Prefix(text="I am sad", token_ids=said)) == letters
    assert chat.prefix_ids(Prefix(text="I am sad")) == chat.encode("I am sad")
    # What was not said, or ends within a token, is encoded.
    assert chat.prefix_ids(Prefix(text="Other", token_ids=said)) == chat.encode("Other")
    assert chat.prefix_ids(Prefix(text="", token_ids=said)) == ()
