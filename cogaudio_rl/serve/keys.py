"""Who may ask: bearer keys from the environment, known here by their digests alone."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping

from cogaudio_rl.errors import ConfigError

KEYS_VARIABLE = "COGAUDIO_API_KEYS"
MIN_KEY_CHARACTERS = 16
MAX_HEADER_CHARACTERS = 1_024


class Keys:
    """The keys that open the server. Nothing that prints, logs or pickles it can show one."""

    def __init__(self, digests: frozenset[bytes] = frozenset()) -> None:
        self._digests = digests

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Keys:
        """From COGAUDIO_API_KEYS, comma-separated; unset or empty means that there are none.

        Raises ConfigError naming a key by its place, never by its text.
        """
        given = environment.get(KEYS_VARIABLE, "")
        if not given.strip():
            return cls()
        keys = [key.strip() for key in given.split(",")]
        for place, key in enumerate(keys, start=1):
            if len(key) < MIN_KEY_CHARACTERS or not key.isascii() or " " in key:
                raise ConfigError(
                    f"{KEYS_VARIABLE}: key {place} of {len(keys)} has {len(key)} characters; a key "
                    f"is {MIN_KEY_CHARACTERS} or more ASCII characters without space or comma "
                    "(make one: openssl rand -hex 32)"
                )
        return cls(frozenset(_digest(key) for key in keys))

    def __bool__(self) -> bool:
        return bool(self._digests)

    def __len__(self) -> int:
        return len(self._digests)

    def __repr__(self) -> str:
        return f"Keys({len(self)})"

    def admit(self, authorization: str | None) -> bool:
        """Whether an `Authorization` header carries one of the keys; anything does if there are none.

        Takes the same time for every wrong key: digests are compared, and all of them each time.
        """
        if not self._digests:
            return True
        scheme, _, key = (authorization or "")[:MAX_HEADER_CHARACTERS].partition(" ")
        given = _digest(key.strip())
        found = [hmac.compare_digest(given, known) for known in self._digests]
        return any(found) and scheme.lower() == "bearer"

    def secret(self, purpose: str) -> bytes:
        """What to seal with: the same wherever the keys are the same."""
        return hashlib.sha256(b"\0".join((purpose.encode(), *sorted(self._digests)))).digest()


def require_keys(host: str, keys: Keys) -> None:
    """Raises ConfigError where a server without keys would listen to more than its own machine."""
    if not keys and not is_loopback(host):
        raise ConfigError(
            f"serving on {host!r} needs keys: set {KEYS_VARIABLE}, or bind to 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address. A name that must be looked up is not."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
