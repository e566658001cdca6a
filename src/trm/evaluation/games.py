"""Games played to their end: the state after each predicted move is the next input.

A puzzle that is played move by move says where its test games start, what a prediction makes of a state, and how far
a state is from its goal; see `starts`, `advance` and `shortest` of trm/puzzles/hanoi.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from trm.config import Dataset

PATIENCE = 2  # times the moves of a shortest solution, before a game is given up


@dataclass(frozen=True)
class Games:
    """How g games ended."""

    solved: np.ndarray  # [g] bool
    legal: np.ndarray  # [g] bool: no illegal move ended it
    moves: np.ndarray  # [g] legal moves made
    shortest: np.ndarray  # [g] moves of a shortest solution


def play(puzzle: ModuleType, dataset: Dataset, predict: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Games:
    """Play every test game until it is solved, a move is illegal, or patience ends.

    `predict` makes predictions of inputs, both [b, seq_len] tokens, of the games of some numbers [b].
    """
    states = puzzle.starts(dataset)
    shortest = puzzle.shortest(dataset, states)
    moves, legal, left = np.zeros_like(shortest), np.ones(len(states), bool), shortest.copy()
    while len(playing := np.flatnonzero(legal & (left > 0) & (moves < PATIENCE * shortest))):
        said = predict(states[playing], playing)
        states[playing], legal[playing] = puzzle.advance(dataset, states[playing], said)
        moves[playing] += legal[playing]
        left[playing] = puzzle.shortest(dataset, states[playing])
    return Games(left == 0, legal, moves, shortest)
