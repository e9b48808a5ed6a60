from __future__ import annotations

import hmac
import logging
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cogaudio_rl.errors import ConfigError
from cogaudio_rl.serve.keys import KEYS_VARIABLE, Keys, is_loopback, require_keys

ONE, TWO = "correct-horse-battery-1", "correct-horse-battery-2"


def keys(text: str) -> Keys:
    return Keys.of({KEYS_VARIABLE: text})


def test_each_key_opens_and_nothing_else_does() -> None:
    both = keys(f"{ONE}, {TWO}")
    assert len(both) == 2
    for key in (ONE, TWO):
        assert both.admit(f"Bearer {key}")
        assert both.admit(f"bearer  {key} ")
    for header in (
        None, "", ONE, f"Basic {ONE}", f"Bearer{ONE}", "Bearer", "Bearer ", f"Bearer {ONE[:-1]}",
        f"Bearer {ONE}x", f"Bearer {ONE},{TWO}", f"Bearer {ONE} {TWO}", "Bearer \udcff\udcfe",
        f"Bearer {ONE.upper()}", "Bearer " + "x" * 10_000, f"Bearer {ONE}\x00", "Bearer None",
    ):  # fmt: skip
        assert not both.admit(header), header


@given(st.text(max_size=100))
def test_no_other_text_opens(text: str) -> None:
    assert not keys(ONE).admit(f"Bearer {text}") or text.strip() == ONE


def test_without_keys_everything_opens() -> None:
    for environment in ({}, {KEYS_VARIABLE: ""}, {KEYS_VARIABLE: "  "}):
        none = Keys.of(environment)
        assert not none
        assert none.admit(None)


@pytest.mark.parametrize(
    ("text", "place"),
    [("short", 1), (f"{ONE},", 2), (f",{ONE}", 1), (f"{ONE},{TWO[:15]}", 2), ("ä" * 20, 1),
     ("two words of a key", 1), ("\t" * 20, None)],
)  # fmt: skip
def test_a_key_that_is_none_is_named_by_its_place_alone(text: str, place: int | None) -> None:
    if place is None:
        assert not keys(text)
        return
    with pytest.raises(ConfigError, match=f"{KEYS_VARIABLE}: key {place} of") as caught:
        keys(text)
    for key in text.split(","):
        assert not key.strip() or key.strip() not in str(caught.value)


def test_every_known_key_is_compared_whichever_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    known = keys(",".join(f"{ONE}-{number}" for number in range(5)))
    lengths: list[tuple[int, int]] = []
    compare = hmac.compare_digest

    def counted(left: bytes, right: bytes) -> bool:
        lengths.append((len(left), len(right)))
        return compare(left, right)

    monkeypatch.setattr(hmac, "compare_digest", counted)
    for key in (f"{ONE}-0", f"{ONE}-4", "", "x" * 500):
        lengths.clear()
        known.admit(f"Bearer {key}")
        # Digests, so that neither a key's length nor its first letters are compared.
        assert lengths == [(32, 32)] * 5


def test_nothing_shows_a_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    both = keys(f"{ONE},{TWO}")
    both.admit(f"Bearer {ONE}")
    shown = f"{both!r} {both} {vars(both)} {caplog.text}"
    for key in (ONE, TWO):
        assert key not in shown
        assert key.encode() not in pickle.dumps(both)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost", "LOCALHOST"]
)
def test_loopback_needs_no_keys(host: str) -> None:
    assert is_loopback(host)
    require_keys(host, Keys())


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "", "10.0.0.1", "192.168.1.5", "example.org", "localhost.example.org",
     "127.0.0.1.example.org", "127.1", "2130706433", "0x7f.1", "::ffff:10.0.0.1"],
)  # fmt: skip
def test_everything_else_does(host: str) -> None:
    with pytest.raises(ConfigError, match=KEYS_VARIABLE):
        require_keys(host, Keys())
    require_keys(host, keys(ONE))
