"""Random numbers without a generator state: every draw is a function of its keys.

A draw keyed by (seed, group, variant) or by (seed, step, row) is the same whoever makes it, in whatever order and on
however many ranks; nothing has to be saved to resume. The mixing function is SplitMix64 (Steele, Lea and Flood,
OOPSLA 2014), applied once per key.
"""

import numpy as np
from numba import njit

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def hashed(*keys: int | np.ndarray) -> np.ndarray:
    """64 random bits for each element of the broadcast `keys` (integers or integer arrays), as uint64."""
    state = np.zeros(1, np.uint64)
    for key in keys:
        state = _mix(state * _GOLDEN + np.asarray(key).astype(np.uint64) + _GOLDEN)
    return state


def uniform(*keys: int | np.ndarray) -> np.ndarray:
    """A float64 in [0, 1) for each element of the broadcast `keys`."""
    return (hashed(*keys) >> np.uint64(11)) * 2.0**-53


def integers(low: int, high: int, *keys: int | np.ndarray) -> np.ndarray:
    """An int64 in low..high-1 for each element of the broadcast `keys`."""
    return low + (uniform(*keys) * (high - low)).astype(np.int64)


def permutations(n: int, *keys: int | np.ndarray) -> np.ndarray:
    """A permutation of 0..n-1 along a new last axis, for each element of the broadcast `keys`."""
    keys = tuple(np.asarray(key)[..., None] for key in keys)
    return np.argsort(hashed(*keys, np.arange(n)), axis=-1, kind="stable")


@njit(cache=True)
def below(state: np.ndarray, n: int) -> int:
    """The next integer in 0..n-1 of the SplitMix64 sequence in `state` [1]: for searches, compiled."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    x = state[0]
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.int64((x >> np.uint64(33)) * np.uint64(n) >> np.uint64(31))
