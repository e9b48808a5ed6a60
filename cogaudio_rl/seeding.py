"""Randomness by name. There is no global generator anywhere in the project."""

from __future__ import annotations

import hashlib

import numpy as np


def seed_for(seed: int, *keys: object) -> int:
    """A 63-bit seed that depends on ``seed`` and every key, the same in every process."""
    text = "\x1f".join([str(seed), *map(str, keys)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def rng_for(seed: int, *keys: object) -> np.random.Generator:
    """A generator for one purpose: ``rng_for(seed, "stream", epoch)``."""
    return np.random.default_rng(seed_for(seed, *keys))
