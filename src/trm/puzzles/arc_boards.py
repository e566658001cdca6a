"""ARC's grids on their canvas: transformed, recoloured, shifted and read, whole batches at a time.

A grid of 1 to 30 rows and columns stands on a canvas of 30x30 cells: token 0 is PAD, 1 (EOS) marks the row below
and the column right of the grid, where they fit and save their corner; a colour 0..9 is the token colour + 2.
"""

from itertools import chain

import numpy as np
from numba import njit

from trm import draws
from trm.puzzles.arc_tasks import SIDE, Pair

EOS, BLACK = 1, 2  # tokens; the colours follow from BLACK on
VOCAB_SIZE = 12
CELLS = SIDE * SIDE

# Of each transform: whether it transposes; then turns the rows round, and the columns. 0 is the identity, 1..3 are
# quarter turns counterclockwise, 4 left-right flip, 5 up-down flip, 6 transpose, 7 left-right flip of a quarter turn.
_TRANSPOSED = np.array([0, 1, 0, 1, 0, 0, 1, 1], np.bool_)
_ROWS_TURNED = np.array([0, 1, 1, 0, 0, 1, 0, 1], np.bool_)
_COLUMNS_TURNED = np.array([0, 0, 1, 1, 1, 0, 0, 1], np.bool_)
_INVERSE = np.array([0, 3, 2, 1, 4, 5, 6, 7])

_OF_CELL = draws.hashed(np.arange(CELLS)[:, None], np.arange(10))  # random bits for each cell and colour


def boards(pairs: list[Pair]) -> np.ndarray:
    """Grids at the top left of their canvas, with the marks: uint8 [pairs, 2, cells], inputs and outputs."""
    canvases = np.zeros((2 * len(pairs), SIDE, SIDE), np.uint8)
    for board, grid in zip(canvases, chain.from_iterable(pairs), strict=True):
        rows, columns = grid.shape
        board[:rows, :columns] = grid + BLACK
        board[rows : rows + 1, :columns] = EOS  # empty slices at the edge of the canvas
        board[:rows, columns : columns + 1] = EOS
    return canvases.reshape(-1, 2, CELLS)


@njit(cache=True)
def apply(
    inputs: np.ndarray, labels: np.ndarray, transform: np.ndarray, permutation: np.ndarray, shift: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Variants of pairs [n, cells]; `shift` [n, 2] is the share of the free rows and columns to leave out."""
    new_inputs, new_labels = np.zeros_like(inputs), np.zeros_like(labels)
    for i in range(len(inputs)):
        walks = _walk(transform[i], *_size(inputs[i])), _walk(transform[i], *_size(labels[i]))
        top = int(shift[i, 0] * (SIDE + 1 - max(walks[0][0], walks[1][0])))
        left = int(shift[i, 1] * (SIDE + 1 - max(walks[0][1], walks[1][1])))
        _write(inputs[i], walks[0], permutation[i], top, left, new_inputs[i])
        _write(labels[i], walks[1], permutation[i], top, left, new_labels[i])
    return new_inputs, new_labels


@njit(cache=True)
def _write(board: np.ndarray, walk: tuple, permutation: np.ndarray, top: int, left: int, out: np.ndarray) -> None:
    """Write the grid of `board`, walked over and recoloured, on the empty canvas `out` at (top, left), with marks."""
    rows, columns, start, down, right = walk
    for row in range(rows):
        cell = (top + row) * SIDE + left
        for column in range(columns):
            color = board[start + row * down + column * right] - BLACK
            out[cell + column] = permutation[color] + BLACK
        if left + columns < SIDE:
            out[cell + columns] = EOS
    if top + rows < SIDE:
        below = (top + rows) * SIDE + left
        out[below : below + columns] = EOS


@njit(cache=True)
def _size(board: np.ndarray) -> tuple[int, int]:
    """Rows and columns of the grid at the top left of a canvas [cells]."""
    rows = columns = 0
    while rows < SIDE and board[rows * SIDE] >= BLACK:
        rows += 1
    while columns < SIDE and board[columns] >= BLACK:
        columns += 1
    return rows, columns


@njit(cache=True)
def _walk(transform: int, height: int, width: int) -> tuple[int, int, int, int, int]:
    """How to read a grid at the top left of a canvas in the order in which its transform has the cells.

    Rows and columns of the transform; the cell to start from; the steps for its next row and its next column.
    """
    if _TRANSPOSED[transform]:
        rows, columns, down, right = width, height, 1, SIDE
    else:
        rows, columns, down, right = height, width, SIDE, 1
    start = 0
    if _ROWS_TURNED[transform]:
        start, down = start + (rows - 1) * down, -down
    if _COLUMNS_TURNED[transform]:
        start, right = start + (columns - 1) * right, -right
    return rows, columns, start, down, right


def undo(boards: np.ndarray, transform: np.ndarray, permutation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The grids of which variants made those on `boards` [n, cells], read as `crop` does, and their sizes [n, 2].

    A grid is its colours row after row, at the front of its row of a uint8 array [n, cells].
    """
    boards = tokens(boards)
    sizes = rectangles(boards, np.zeros((len(boards), 2), np.int64))
    return _undo(boards, sizes, transform, permutation)


@njit(cache=True)
def _undo(
    boards: np.ndarray, sizes: np.ndarray, transform: np.ndarray, permutation: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    grids, turned = np.zeros_like(boards), np.empty_like(sizes)
    for i in range(len(boards)):
        rows, columns, start, down, right = _walk(_INVERSE[transform[i]], sizes[i, 0], sizes[i, 1])
        turned[i] = rows, columns
        color_of = np.empty(VOCAB_SIZE, np.uint8)
        for color in range(10):
            color_of[permutation[i, color] + BLACK] = color
        for row in range(rows):
            for column in range(columns):
                grids[i, row * columns + column] = color_of[boards[i, start + row * down + column * right]]
    return grids, turned


def hashes(grids: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """64 bits for each grid as `undo` returns them, equal, but for chance, just where grids are: uint64 [n]."""
    return draws.hashed(*sizes.T) + _sums(grids, sizes[:, 0] * sizes[:, 1], _OF_CELL)


@njit(cache=True)
def _sums(grids: np.ndarray, cells: np.ndarray, of_cell: np.ndarray) -> np.ndarray:
    """Of each grid, the sum of `of_cell` [cells, 10] over its first cells."""
    sums = np.zeros(len(grids), np.uint64)
    for i in range(len(grids)):
        for cell in range(cells[i]):
            sums[i] += of_cell[cell, grids[i, cell]]
    return sums


@njit(cache=True)
def hashes_by_color(boards: np.ndarray, of_cell: np.ndarray) -> np.ndarray:
    """Of pairs [p, 2, cells], transformed: the sum of `of_cell` [2, cells] where a colour stands: [p, 8, 10]."""
    hashes = np.zeros((len(boards), 8, 10), np.uint64)
    for p in range(len(boards)):
        for side in range(2):
            height, width = _size(boards[p, side])
            for transform in range(8):
                rows, columns, start, down, right = _walk(transform, height, width)
                for row in range(rows):
                    for column in range(columns):
                        color = boards[p, side, start + row * down + column * right] - BLACK
                        hashes[p, transform, color] += of_cell[side, row * SIDE + column]
    return hashes


@njit(cache=True)
def smallest(boards: np.ndarray) -> np.ndarray:
    """The smallest of the boards [n, cells] that each one's grid can be turned, recoloured and moved to, less marks.

    For each of the 8 transforms the smallest recolouring names the colours in the order in which they first appear.
    """
    best = np.zeros_like(boards)
    image = np.empty(CELLS, np.uint8)
    for i in range(len(boards)):
        top, left, height, width = _box(boards[i])
        for transform in range(8):
            rows, columns, start, down, right = _walk(transform, height, width)
            start += top * SIDE + left
            renamed = np.zeros(256, np.uint8)
            renamed[BLACK] = BLACK
            fresh = BLACK + 1
            image[:] = 0
            for row in range(rows):
                for column in range(columns):
                    token = boards[i, start + row * down + column * right]
                    if token > BLACK and renamed[token] == 0:
                        renamed[token] = fresh
                        fresh += 1
                    image[row * SIDE + column] = renamed[token]
            cell = 0
            while cell < CELLS - 1 and image[cell] == best[i, cell]:
                cell += 1
            if transform == 0 or image[cell] < best[i, cell]:
                best[i] = image
    return best


@njit(cache=True)
def _box(board: np.ndarray) -> tuple[int, int, int, int]:
    """The top, left, height and width of the smallest rectangle that holds all colours of a canvas [cells]."""
    top, left, bottom, end = SIDE, SIDE, 0, 0
    for cell in range(CELLS):
        if board[cell] >= BLACK:
            row, column = cell // SIDE, cell % SIDE
            top, left = min(top, row), min(left, column)
            bottom, end = max(bottom, row + 1), max(end, column + 1)
    return (top, left, bottom - top, end - left) if bottom else (0, 0, 0, 0)


def crop(boards: np.ndarray) -> np.ndarray:
    """Rows and columns [n, 2] of the largest rectangle at the top left of each board that holds only colours.

    Among equally large ones that with the fewest rows, as published; 0, 0 where there is none.
    """
    return rectangles(tokens(boards), np.zeros((len(boards), 2), np.int64))


def tokens(boards: np.ndarray) -> np.ndarray:
    """Any integers as tokens: PAD for what is none."""
    return np.where((boards >= 0) & (boards < VOCAB_SIZE), boards, 0).astype(np.uint8)


@njit(cache=True)
def rectangles(boards: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """As `crop`, with the top left corners [n, 2] given."""
    sizes = np.zeros((len(boards), 2), np.int64)
    for i in range(len(boards)):
        top, left = corners[i]
        columns = SIDE - left
        for row in range(top, SIDE):
            length = 0
            while length < columns and boards[i, row * SIDE + left + length] >= BLACK:
                length += 1
            columns = length
            if (row - top + 1) * columns > sizes[i, 0] * sizes[i, 1]:
                sizes[i] = row - top + 1, columns
    return sizes


@njit(cache=True)
def corners(boards: np.ndarray) -> np.ndarray:
    """Top row and left column [n, 2] of the grid on each canvas."""
    found = np.empty((len(boards), 2), np.int64)
    for i in range(len(boards)):
        found[i] = _box(boards[i])[:2]
    return found


@njit(cache=True)
def marked(boards: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Whether a rectangle of colours stands at the corner, EOS in the row below and the column right: bool [n]."""
    found = np.zeros(len(boards), np.bool_)
    sizes = rectangles(boards, corners)
    for i in range(len(boards)):
        canvas = boards[i].reshape(SIDE, SIDE)
        (top, left), (rows, columns) = corners[i], sizes[i]
        below = canvas[top + rows : top + rows + 1, left : left + columns]  # empty at the edge of the canvas
        beside = canvas[top : top + rows, left + columns : left + columns + 1]
        found[i] = rows > 0 and (below == EOS).all() and (beside == EOS).all()
    return found
