"""The training order: a pure function of (seed, interval, step).

As published: each epoch permutes the groups; from each group one puzzle is drawn; from it examples are drawn without
replacement until the puzzle, its cap (`max_examples_per_puzzle`) or the batch is full. The epochs of an interval
(`eval_interval` epochs) are concatenated and packed into batches of exactly `global_batch_size`; a last partial batch
is dropped. What a step holds depends on all draws before it in the interval, so an interval is planned once and step
k is read from the plan.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from trm import draws
from trm.data.mixture import Mixture
from trm.data.split import Split

STREAM = 1  # keeps these draws apart from those of other uses of the same seed


@dataclass(frozen=True)
class Plan:
    """The batches of one interval."""

    puzzles: np.ndarray  # [draws] the puzzle drawn from each group in turn, over the epochs of the interval
    first: np.ndarray  # [steps + 1] the draw that each step begins with
    split: Split | Mixture
    batch_size: int
    cap: int | None  # examples of a puzzle that a visit takes at most
    keys: tuple[int, int]  # (seed, interval)

    def __len__(self) -> int:
        return len(self.first) - 1

    def rows(self, step: int) -> np.ndarray:
        """The examples of step 0..len-1: [batch_size]."""
        puzzles = self.puzzles[self.first[step] : self.first[step + 1]]
        starts = self.split.puzzle_indices[puzzles]
        sizes = self.split.puzzle_indices[puzzles + 1] - starts
        place = np.repeat(np.arange(len(puzzles)), sizes)  # which of these puzzles each of their examples belongs to
        offset = np.arange(len(place)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        # examples in random order within their puzzle; the last puzzle gives only what the batch still takes
        order = np.lexsort((draws.hashed(*self.keys, STREAM, step, np.arange(len(place))), place))
        rows = (np.repeat(starts, sizes) + offset)[order]
        return (rows if self.cap is None else rows[offset < self.cap])[: self.batch_size]


def plan_interval(
    split: Split | Mixture, batch_size: int, epochs: int, seed: int, interval: int, cap: int | None = None
) -> Plan:
    """Plan the `epochs` epochs of an interval (counted from 0); a visit takes `cap` examples of its puzzle at most."""
    rng = np.random.Generator(np.random.Philox(key=[seed, interval]))
    group_indices = np.asarray(split.group_indices, np.int64)
    groups = np.tile(np.arange(len(group_indices) - 1), (epochs, 1))
    groups = rng.permuted(groups, axis=1, out=groups).ravel()
    low, high = group_indices[groups], group_indices[groups + 1]
    puzzles = (low + (rng.random(len(groups)) * (high - low)).astype(np.int64)).astype(np.int32)
    first = _pack(capped_sizes(split, cap), puzzles, batch_size)
    return Plan(puzzles, first, split, batch_size, cap, (seed, interval))


def capped_sizes(split: Split | Mixture, cap: int | None) -> np.ndarray:
    """How many examples a visit takes of each puzzle: [num_puzzles]."""
    sizes = np.diff(split.puzzle_indices).astype(np.int64)
    return sizes if cap is None else np.minimum(sizes, cap)


@njit(cache=True)
def _pack(sizes: np.ndarray, puzzles: np.ndarray, batch_size: int) -> np.ndarray:
    """The draw that begins each full batch, and the end of the last one."""
    first = np.zeros(len(puzzles) + 1, np.int64)
    steps, filled = 0, 0
    for i in range(len(puzzles)):
        filled += sizes[puzzles[i]]
        if filled >= batch_size:  # a puzzle that does not fit whole is cut, its rest is dropped
            steps += 1
            first[steps] = i + 1
            filled = 0
    return first[: steps + 1].copy()


def total_steps(split: Split | Mixture, batch_size: int, epochs: int, cap: int | None = None) -> int:
    """Optimiser steps of a training as published; packing may end a little earlier."""
    metadata = split.metadata
    mean = metadata.mean_puzzle_examples if cap is None else capped_sizes(split, cap).mean()
    return int(epochs * metadata.total_groups * mean / batch_size)
