"""The searches behind skyscrapers.py, compiled: random Latin squares, their clues, and counting solutions.

Boards are framed: clues around the heights, 0 where nothing stands. A row or a column is a line: one of the N! orders
of the heights, held as a bit mask with a bit for each (place, height). Numba crashes when it loads a recursive
function from its cache, so the search keeps its own stack.
"""

from functools import lru_cache
from itertools import permutations

import numpy as np
from numba import njit

from trm import draws

APART = 2  # times N^2: squares from one that is used to the next; after N^2 a chain has forgotten its start (measured)


@lru_cache
def lines_of(size: int) -> tuple[np.ndarray, np.ndarray]:
    """The lines that two clues allow, as masks with bit place * size + height - 1.

    Those that show a from the near end and b from the far one (0: any) are masks[first[k] : first[k + 1]] with
    k = a * (size + 1) + b.
    """
    orders = np.array(list(permutations(range(size))))  # [N!, size]
    masks = (1 << np.arange(size) * size + orders).sum(axis=1)
    near, far = (_visible(orders[:, ::step]) for step in (1, -1))
    clues = np.arange(size + 1)
    allowed = [masks[((a == 0) | (near == a)) & ((b == 0) | (far == b))] for a in clues for b in clues]
    return np.concatenate(allowed), np.cumsum([0, *map(len, allowed)])


def clues_of(heights: np.ndarray) -> np.ndarray:
    """Buildings seen from above, below, left and right of squares [n, size, size]: [4, n, size]."""
    columns = heights.swapaxes(1, 2)
    return np.stack([_visible(lines) for lines in (columns, columns[..., ::-1], heights, heights[..., ::-1])])


def _visible(lines: np.ndarray) -> np.ndarray:
    """How many buildings of lines [..., size] tower above all before them: [...]."""
    tallest = np.maximum.accumulate(lines, axis=-1)
    return 1 + (np.diff(tallest, axis=-1) > 0).sum(axis=-1)


@njit(cache=True)
def random_boards(keys, given, size, masks, first):
    """For each key a board with `given` heights and one solution, and its solution: [n, 2, side, side].

    Each key has a Jacobson-Matthews chain of squares, whose limit is uniform over all Latin squares. The board is its
    first square that has one solution, by its clues and the heights given at random places. One will come: of the
    squares of size 7, one in 500 needs no height at all.
    """
    boards = np.zeros((len(keys), 2, size + 2, size + 2), np.uint8)
    for i in range(len(keys)):
        board, solution = boards[i]
        random = keys[i : i + 1].copy()
        cube, order = _cyclic(size), np.arange(size * size)
        while True:
            _mix(cube, APART * size**2, random)
            _frame(cube, solution)
            board[:] = solution
            board[1:-1, 1:-1] = 0
            for k in range(given[i]):  # a shuffle of the places, as far as needed
                other = k + draws.below(random, size * size - k)
                order[k], order[other] = order[other], order[k]
                row, column = 1 + order[k] // size, 1 + order[k] % size
                board[row, column] = solution[row, column]
            if _count(board, 2, masks, first) == 1:
                break
    return boards


@njit(cache=True)
def _cyclic(size):
    """The square with (row + column) mod size as a cube: 1 where [row, column, height] stands."""
    cube = np.zeros((size, size, size), np.int8)
    for row in range(size):
        for column in range(size):
            cube[row, column, (row + column) % size] = 1
    return cube


@njit(cache=True)
def _mix(cube, squares, random):
    """Jacobson-Matthews moves, until so many Latin squares have been met (a number of moves would favour some).

    Every line of the cube sums to 1. A move adds 1 to a 0 (to the -1, if there is one) and mends the three lines
    through it, at the cost of a new -1 or none.
    """
    size = len(cube)
    proper = True
    a = b = c = 0
    while squares:
        if proper:
            while True:
                a, b, c = draws.below(random, size), draws.below(random, size), draws.below(random, size)
                if not cube[a, b, c]:
                    break
        # a 1 in each line through the cell: the only one, or one of two beside a -1
        x = _one(cube[:, b, c], random)
        y = _one(cube[a, :, c], random)
        z = _one(cube[a, b, :], random)
        for i, j, k in ((a, b, c), (a, y, z), (x, b, z), (x, y, c)):
            cube[i, j, k] += 1
        for i, j, k in ((x, b, c), (a, y, c), (a, b, z), (x, y, z)):
            cube[i, j, k] -= 1
        a, b, c = x, y, z
        proper = cube[a, b, c] >= 0
        squares -= proper


@njit(cache=True)
def _one(line, random):
    """The place of a 1 in the line, any of them with the same chance."""
    chosen, count = 0, 0
    for place in range(len(line)):
        if line[place] == 1:
            count += 1
            if count == 1 or draws.below(random, count) == 0:
                chosen = place
    return chosen


@njit(cache=True)
def _frame(cube, board):
    """Write the cube's square with its clues into a framed board [side, side]."""
    size = len(cube)
    for row in range(size):
        for column in range(size):
            for height in range(size):
                if cube[row, column, height]:
                    board[1 + row, 1 + column] = 1 + height
    for place in range(1, size + 1):
        board[0, place], board[-1, place] = _seen(board[1:-1, place]), _seen(board[-2:0:-1, place])
        board[place, 0], board[place, -1] = _seen(board[place, 1:-1]), _seen(board[place, -2:0:-1])


@njit(cache=True)
def _seen(line):
    count = tallest = 0
    for height in line:
        if height > tallest:
            tallest = height
            count += 1
    return count


@njit(cache=True)
def count_solutions(boards, limit, masks, first):
    """Number of solutions of framed boards [n, side, side], counted up to `limit`."""
    counts = np.empty(len(boards), np.int64)
    for i in range(len(boards)):
        counts[i] = _count(boards[i], limit, masks, first)
    return counts


@njit(cache=True)
def _count(board, limit, masks, first):
    """Count the solutions of a framed board, up to `limit`.

    Candidates are cut down line by line. What is left open is split into two cases: a candidate of the cell with the
    fewest is taken, and, later, ruled out.
    """
    size = len(board) - 2
    every = (1 << size) - 1
    if board.max() > size:
        return 0
    # the open cases, the candidates of each cell as bits; each fixes a cell more than the one below it
    cases = np.empty((size * size + 1, size, size), np.int64)
    for row in range(size):
        for column in range(size):
            height = board[1 + row, 1 + column]
            cases[0, row, column] = 1 << (height - 1) if height else every
    found, level = 0, 1
    while level and found < limit:
        cells = cases[level - 1]
        if not _cut(cells, board, masks, first):
            level -= 1
            continue
        fewest, ask_row, ask_column = size + 1, 0, 0
        for row in range(size):
            for column in range(size):
                bits, count = cells[row, column], 0
                while bits:
                    bits &= bits - 1
                    count += 1
                if 1 < count < fewest:
                    fewest, ask_row, ask_column = count, row, column
        if fewest > size:
            found += 1
            level -= 1
            continue
        cases[level] = cells
        bit = cells[ask_row, ask_column] & -cells[ask_row, ask_column]
        cells[ask_row, ask_column] ^= bit
        cases[level, ask_row, ask_column] = bit
        level += 1
    return found


@njit(cache=True)
def _cut(cells, board, masks, first):
    """Cut the candidates down to those that stand in an allowed line of their row and of their column; any left?"""
    size = len(cells)
    every = (1 << size) - 1
    idle = k = 0  # lines in a row that changed nothing
    while idle < 2 * size:
        place = k % size
        if k % (2 * size) < size:
            line, near, far = cells[place], board[1 + place, 0], board[1 + place, -1]
        else:
            line, near, far = cells[:, place], board[0, 1 + place], board[-1, 1 + place]
        k += 1
        before = after = 0
        for i in range(size):
            before |= line[i] << i * size
        clues = near * (size + 1) + far
        for mask in masks[first[clues] : first[clues + 1]]:
            if mask & ~before == 0:
                after |= mask
        if after == 0:
            return False
        idle = idle + 1 if after == before else 1
        for i in range(size):
            line[i] = after >> i * size & every
    return True
