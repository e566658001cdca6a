"""The variants of ARC's tasks, as published: which are drawn, what they are called, and their codes.

A variant is one of the 8 rotations and reflections and a permutation of the colours 1..9. The published builder draws
them from NumPy's legacy generator; with its seed, subsets and order of tasks the names here are its names.
"""

from math import factorial

import numpy as np
from numba import njit

from trm import draws
from trm.files import BadInput
from trm.puzzles.arc_boards import CELLS, hashes_by_color
from trm.puzzles.arc_tasks import shown

TRIES = 5  # draws for each variant that is wanted, at most
SHIFTED = 8 * factorial(9)  # added to a variant's code

_TRANSFORMS = {f"t{transform}": transform for transform in range(8)}  # by their part of a name

_CELL, _COLOUR = 1, 2  # purposes of draws, part of their keys


def distinct_variants(boards: np.ndarray, num_aug: int, random: np.random.RandomState) -> np.ndarray:
    """Codes of a task and of up to `num_aug` more of its variants, no two with the same set of pairs: int64 [k].

    The published builder takes the variants one by one until it has enough or has spent its draws. Here a round
    draws as many as are missing at the least, so that none is drawn that it would not have drawn.
    """
    by_color = hashes_by_color(boards, draws.hashed(_CELL, np.arange(2 * CELLS)).reshape(2, CELLS))
    codes, hashes, left = np.zeros(1, np.int64), _variant_hashes(by_color, np.zeros(1, np.int64)), TRIES * num_aug
    while (count := min(num_aug + 1 - len(codes), left)) > 0:
        left -= count
        codes = np.append(codes, legacy_codes(random, count))
        hashes = np.append(hashes, _variant_hashes(by_color, codes[len(hashes) :]))
        first = np.sort(np.unique(hashes, return_index=True)[1])
        codes, hashes = codes[first], hashes[first]
    return codes


def _variant_hashes(by_color: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """64 bits that are equal, but for chance, just where variants hold the same pairs in any order: uint64 [n].

    A pair's hash is a sum over the colours, of the hash of where the colour stands times one of what it becomes. So
    permuting colours permutes factors, and no grid has to be made. by_color: [pairs, 8, 10].
    """
    transform, permutation = decode(codes)
    factors = draws.hashed(_COLOUR, np.arange(10))[permutation]  # [n, 10]
    return draws.hashed(np.einsum("pnc,nc->pn", by_color[:, transform], factors)).sum(axis=0)


def legacy_codes(random: np.random.RandomState, count: int) -> np.ndarray:
    """Codes of `count` draws of randint(0, 8) and permutation([1, ..., 9]): int64 [count].

    Emulates these calls on the generator's raw words, which is far faster; `random` is left as they would leave it.
    """
    state = random.get_state(legacy=False)
    size, used = 0, -1
    while used < 0:  # 11 words a draw on average; 16 have never been too few
        random.set_state(state)
        size += 16 * count + 64
        transform, permutation = np.empty(count, np.int64), np.tile(np.arange(10), (count, 1))
        used = _read_words(_words(random, size), transform, permutation)
    random.set_state(state)
    _words(random, used)
    return encode(transform, permutation)


def _words(random: np.random.RandomState, size: int) -> np.ndarray:
    return random.randint(0, 1 << 32, size, dtype=np.uint32)


@njit(cache=True)
def _read_words(words: np.ndarray, transform: np.ndarray, permutation: np.ndarray) -> int:
    """Draw from random words as NumPy does; the number of words used, -1 where they do not suffice."""
    used = 0
    for i in range(len(transform)):
        if used == len(words):
            return -1
        transform[i] = words[used] & 7
        used += 1
        for k in range(8, 0, -1):  # shuffle from the end: the colour of position k + 1 with one of those up to it
            mask = 15 if k == 8 else 7 if k > 3 else 3 if k > 1 else 1
            while True:
                if used == len(words):
                    return -1
                other = words[used] & mask
                used += 1
                if other <= k:
                    break
            permutation[i, k + 1], permutation[i, other + 1] = permutation[i, other + 1], permutation[i, k + 1]
    return used


_LATER = np.triu(np.ones((9, 9), np.bool_), 1)  # [i, j]: j comes after i
_PLACE_VALUES = np.array([factorial(k) for k in range(8, -1, -1)])


def encode(transform: np.ndarray, permutation: np.ndarray) -> np.ndarray:
    """Codes [n] of transforms [n] and of permutations [n, 10] of the colours that keep 0; their pairs unshifted."""
    colors = permutation[:, 1:]
    smaller_later = ((colors[:, :, None] > colors[:, None, :]) & _LATER).sum(axis=2)
    return transform + 8 * (smaller_later @ _PLACE_VALUES)


def decode(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Transforms [n] and permutations [n, 10] of codes [n], shifted or not."""
    rank, transform = np.divmod(codes % SHIFTED, 8)
    return transform, _permutations(rank)


@njit(cache=True)
def _permutations(ranks: np.ndarray) -> np.ndarray:
    """The permutations [n, 10] that stand at these ranks of the lexicographic order; 0 stays 0."""
    permutations = np.zeros((len(ranks), 10), np.uint8)
    for i in range(len(ranks)):
        rest = ranks[i]
        permutation = permutations[i, 1:]
        for k in range(9):
            permutation[k] = k + 1
        for k in range(9):  # the chosen one of those not yet placed moves before the others
            chosen, rest = k + rest // _PLACE_VALUES[k], rest % _PLACE_VALUES[k]
            color = permutation[chosen]
            for j in range(chosen, k, -1):
                permutation[j] = permutation[j - 1]
            permutation[k] = color
    return permutations


def names_of(task: str, codes: np.ndarray) -> list[str]:
    """The published names of a task's variants; the first one is the task itself."""
    transform, permutation = decode(codes[1:])
    colors = (permutation + np.uint8(ord("0"))).view("S10").ravel().astype("U10").tolist()
    variants = zip(transform.tolist(), colors, strict=True)
    return [task, *(f"{task}|||t{t}|||{digits}" for t, digits in variants)]


def parse_names(names: list[str]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The tasks [n], transforms [n] and permutations [n, 10] of puzzles' published names. Raises BadInput."""
    parts = [(name if "|||" in name else f"{name}|||t0|||0123456789").split("|||") for name in names]
    for name, part in zip(names, parts, strict=True):
        if len(part) != 3 or part[1] not in _TRANSFORMS or "".join(sorted(part[2])) != "0123456789":
            raise BadInput(f"puzzle {shown(name)}: expected TASK or TASK|||t0..7|||the ten digits in some order")
    transform = [_TRANSFORMS[part[1]] for part in parts]
    digits = np.frombuffer("".join(part[2] for part in parts).encode(), np.uint8).reshape(-1, 10)
    return [part[0] for part in parts], np.array(transform, np.int64), digits - np.uint8(ord("0"))
