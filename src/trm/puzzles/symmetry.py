"""Symmetries of boards: a permutation of the cells and a map of the tokens, whole batches at a time."""

from dataclasses import dataclass

import numpy as np
from numba import njit


@dataclass(frozen=True)
class Symmetries:
    """n symmetries of boards with L cells and V tokens: out[i, c] = tokens[i, board[i, cells[i, c]]]."""

    cells: np.ndarray  # [n, L] the cell whose content comes to stand at c
    tokens: np.ndarray  # [n, V] the token that each token becomes

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, rows: np.ndarray) -> "Symmetries":
        return Symmetries(self.cells[rows], self.tokens[rows])

    def apply(self, boards: np.ndarray) -> np.ndarray:
        """Element i on board i: [n, L] -> [n, L]."""
        moved = np.take_along_axis(boards, self.cells, axis=1)
        return np.take_along_axis(self.tokens, moved, axis=1)

    def compose(self, first: "Symmetries") -> "Symmetries":
        """The symmetries that do `first`, then these."""
        return Symmetries(
            np.take_along_axis(first.cells, self.cells, axis=1),
            np.take_along_axis(self.tokens, first.tokens, axis=1),
        )

    def inverse(self) -> "Symmetries":
        return Symmetries(np.argsort(self.cells, axis=1), np.argsort(self.tokens, axis=1))


def dihedral(side: int, vocab_size: int) -> Symmetries:
    """The 8 symmetries of a square board, in the published order.

    0 identity, 1..3 rotation by k quarter turns counterclockwise, 4 left-right flip, 5 up-down flip, 6 transpose,
    7 left-right flip of the quarter turn (SPEC of the ARC builder).
    """
    board = np.arange(side * side).reshape(side, side)
    quarter = np.rot90(board)
    transforms = [
        board,
        quarter,
        np.rot90(board, 2),
        np.rot90(board, 3),
        np.fliplr(board),
        np.flipud(board),
        board.T,
        np.fliplr(quarter),
    ]
    cells = np.stack([transform.ravel() for transform in transforms])
    return Symmetries(cells, np.tile(np.arange(vocab_size, dtype=np.uint8), (8, 1)))


def smallest_image(group: Symmetries, boards: np.ndarray) -> np.ndarray:
    """The lexicographically smallest image of each board [n, L] under a small group: a canonical form."""
    if boards.min(initial=0) < 0 or boards.max(initial=0) >= group.tokens.shape[1]:
        raise ValueError(f"tokens {boards.min()}..{boards.max()}, expected 0..{group.tokens.shape[1] - 1}")
    return _smallest(group.cells, group.tokens, np.ascontiguousarray(boards))


@njit(cache=True)
def _smallest(cells: np.ndarray, tokens: np.ndarray, boards: np.ndarray) -> np.ndarray:
    images = np.empty_like(boards)
    for i in range(len(boards)):
        board, best = boards[i], 0
        for g in range(1, len(cells)):
            for c in range(len(board)):
                token, lowest = tokens[g, board[cells[g, c]]], tokens[best, board[cells[best, c]]]
                if token != lowest:
                    if token < lowest:
                        best = g
                    break
        for c in range(len(board)):
            images[i, c] = tokens[best, board[cells[best, c]]]
    return images


def as_items(boards: np.ndarray) -> np.ndarray:
    """Boards [n, L] as n opaque items, which compare and sort as wholes: [n]."""
    boards = np.ascontiguousarray(boards)
    return boards.view(np.dtype((np.void, boards.dtype.itemsize * boards.shape[1]))).ravel()
