"""Where the cells of a puzzle stand on its drawings, and frames around wrong ones, for print without colours."""

import math

import numpy as np

from trm import puzzles
from trm.config import Dataset
from trm.puzzles.drawing import Drawing, Line, Shape

INSET, WIDTH = 0.07, 0.07  # of a frame, in cells


def places(dataset: Dataset) -> np.ndarray:
    """Column and row of each cell on a drawing: [seq_len, 2], nan for a cell without a place."""
    puzzle = puzzles.module(dataset.puzzle)
    if hasattr(puzzle, "places"):
        return puzzle.places(dataset)
    cells = np.arange(puzzle.seq_len(dataset))
    side = math.isqrt(len(cells))
    return np.stack((cells % side, cells // side), axis=1)


def framed(drawing: Drawing, corners: np.ndarray) -> Drawing:
    """The drawing with a frame around the cells at `corners` [n, 2] of it, as far as they lie on its paper."""
    inside = (corners >= 0).all(axis=1) & (corners + 1 <= (drawing.width, drawing.height)).all(axis=1)
    frames = [line for x, y in corners[inside].tolist() for line in _frame(x, y)]
    return Drawing(drawing.width, drawing.height, [*drawing.shapes, *frames])


def _frame(x: float, y: float) -> list[Shape]:
    left, right, top, low = x + INSET, x + 1 - INSET, y + INSET, y + 1 - INSET
    sides = (left, top, right, top), (right, top, right, low), (right, low, left, low), (left, low, left, top)
    return [Line(*side, "error", WIDTH) for side in sides]
