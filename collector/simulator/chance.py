"""Chance that can be asked again: numbers that depend on a name, a purpose and a position, and on
nothing else.

A hash of the position takes the place of a generator with a state, so that any slice of a series
costs only its own rows, and the same bar has the same values whatever was asked before, on every
machine and version.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
OCTAVES = 12  # the slowest wave of `walk` takes 2 ** 11 days


@lru_cache(maxsize=4096)
def key(name: str, purpose: str) -> int:
    """A 64-bit key for one use of one name."""
    return int.from_bytes(hashlib.blake2b(f"{name}/{purpose}".encode(), digest_size=8).digest())


def share(name: str, purpose: str) -> float:
    """One number in [0, 1)."""
    return key(name, purpose) / (MASK + 1)


def uniform(name: str, purpose: str, at: Ints) -> Floats:
    """A number in [0, 1) for each position in ``at`` (not negative)."""
    return _mixed(at.astype(np.uint64), key(name, purpose))


def walk(name: str, purpose: str, at: Ints) -> Floats:
    """Value noise for each position in ``at``: like a random walk over days and months, but bounded
    over decades.

    Waves of 1, 2, 4 … days are added, each √2 higher than the one before, as a random walk has
    them. The step from one day to the next is of the order of 1; the sum stays within ±160.
    """
    shifts = np.arange(OCTAVES, dtype=np.int64)[:, None]
    cells = at[None, :] >> shifts
    part = (at[None, :] - (cells << shifts)) / (1 << shifts)
    # Octaves share one key: their cells are told apart by the top bits.
    codes = (cells + (shifts << 40)).astype(np.uint64)
    seed = key(name, purpose)
    left, right = _mixed(codes, seed), _mixed(codes + np.uint64(1), seed)
    waves = (2.0 * (left + (right - left) * part) - 1.0) * np.sqrt(1 << shifts)
    total = np.zeros(len(at))
    for wave in waves:  # one by one: `sum` adds in another order for one row than for many
        total += wave
    return total


def _mixed(codes: NDArray[np.uint64], seed: int) -> Floats:
    """SplitMix64 (Steele, Lea, Flood 2014) of each code, as a number in [0, 1)."""
    state = codes * np.uint64(GOLDEN) + np.uint64(seed)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53
