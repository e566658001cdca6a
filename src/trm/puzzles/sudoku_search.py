"""The searches behind sudoku.py, compiled: solving, making boards with one solution, and the smallest symmetric image.

Boards are tokens as in sudoku.py. Sets of digits are bit masks; rows, columns and boxes are all houses. Numba crashes
when it loads a recursive function from its cache, so the searches keep their own stacks.
"""

from functools import lru_cache

import numpy as np
from numba import njit

BLANK = 1
BOXES = {4: (2, 2), 6: (2, 3), 9: (3, 3)}  # size -> rows and columns of a box

_BITS = np.array([mask.bit_count() for mask in range(1 << 9)])  # set in a mask


@lru_cache
def houses_of(size: int) -> np.ndarray:
    """[cells, 3]: the row, column and box that hold a cell, numbered through."""
    high, wide = BOXES[size]
    row, column = np.divmod(np.arange(size * size), size)
    box = row // high * high + column // wide  # a band has size / wide = high boxes
    return np.column_stack([row, size + column, 2 * size + box]).astype(np.uint8)


@njit(cache=True)
def count_solutions(boards, houses, limit):
    counts, first = np.zeros(len(boards), np.int64), np.zeros_like(boards)
    unused = np.zeros(1, np.uint64)
    for i in range(len(boards)):
        counts[i], _ = _count(boards[i], houses, limit, unused, first[i])
    return counts, first


@njit(cache=True)
def count_guesses(boards, houses):
    """Digits that the search tries where none is forced, until it knows every solution of a board or a second one."""
    guesses, first = np.zeros(len(boards), np.int64), np.zeros(len(houses), np.uint8)
    unused = np.zeros(1, np.uint64)
    for i in range(len(boards)):
        _, guesses[i] = _count(boards[i], houses, 2, unused, first)
    return guesses


@njit(cache=True)
def _count(board, houses, limit, random, first):
    """Count solutions up to `limit`, write the first; and count the digits tried where none was forced.

    They come in random order if `random` is not 0.
    """
    size = houses.max() // 3 + 1
    filled = np.zeros(len(board), np.int64)  # digit of each cell
    free = np.full(3 * size, (1 << size) - 1)  # digits that each house lacks
    for cell in range(len(board)):
        if board[cell] != BLANK:
            if not BLANK < board[cell] < size + 2:
                return 0, 0
            digit = 1 << (board[cell] - 2)
            if not _candidates(cell, free, houses) & digit:
                return 0, 0  # givens collide
            _toggle(cell, digit, filled, free, houses)

    trail = np.empty(len(board), np.int64)  # cells filled since, in order
    # of each guess: its cell, the digits not tried yet, and the length of the trail before it
    guess, options, mark = np.empty((3, len(board)), np.int64)
    found = guesses = end = level = 0
    while True:
        fewest, ask, end = _fill_forced(filled, free, houses, trail, end)
        if fewest > len(board):
            found += 1
            if found == 1:
                for cell in range(len(board)):
                    first[cell] = _BITS[filled[cell] - 1] + 2
            if found == limit:
                return found, guesses
        elif fewest > 0:
            guess[level], options[level], mark[level] = ask, _candidates(ask, free, houses), end
            level += 1
        while level and not options[level - 1]:
            level -= 1
        if level == 0:
            return found, guesses
        while end > mark[level - 1]:
            end -= 1
            _toggle(trail[end], filled[trail[end]], filled, free, houses)
        digit = options[level - 1]
        if random[0]:
            for _ in range(_below(_BITS[digit], random)):
                digit &= digit - 1
        digit &= -digit
        options[level - 1] ^= digit
        guesses += 1
        _toggle(guess[level - 1], digit, filled, free, houses)
        trail[end] = guess[level - 1]
        end += 1


@njit(cache=True)
def _fill_forced(filled, free, houses, trail, end):
    """Fill cells with one candidate and digits with one place in a house, again and again; note the cells.

    Return the fewest candidates of a blank (0: dead end; more than there are cells: no blank), its cell, the
    new end of the trail.
    """
    seen = np.empty((2, len(free)), np.int64)
    while True:
        fewest, ask, previous = len(filled) + 1, 0, end
        for cell in range(len(filled)):
            if not filled[cell]:
                options = _candidates(cell, free, houses)
                count = _BITS[options]
                if count < fewest:
                    fewest, ask = count, cell
                if count == 0:
                    return fewest, ask, end
                if count == 1:
                    _toggle(cell, options, filled, free, houses)
                    trail[end] = cell
                    end += 1
        if end > previous:
            continue

        seen[:] = 0  # digits with a place, and with another one, in each house
        for cell in range(len(filled)):
            if not filled[cell]:
                options = _candidates(cell, free, houses)
                for k in range(3):
                    house = houses[cell, k]
                    seen[1, house] |= seen[0, house] & options
                    seen[0, house] |= options
        for house in range(len(free)):
            if free[house] & ~seen[0, house]:
                return 0, 0, end
        for cell in range(len(filled)):
            if not filled[cell]:
                more = seen[1, houses[cell, 0]] & seen[1, houses[cell, 1]] & seen[1, houses[cell, 2]]
                only = _candidates(cell, free, houses) & ~more
                if only:
                    _toggle(cell, only & -only, filled, free, houses)
                    trail[end] = cell
                    end += 1
        if end == previous:
            return fewest, ask, end


@njit(cache=True)
def _candidates(cell, free, houses):
    return free[houses[cell, 0]] & free[houses[cell, 1]] & free[houses[cell, 2]]


@njit(cache=True)
def _toggle(cell, digit, filled, free, houses):
    """Put a digit into a cell, or take it out again."""
    filled[cell] ^= digit
    for k in range(3):
        free[houses[cell, k]] ^= digit


@njit(cache=True)
def dig(seeds, target, houses):
    """For each seed a board and its solution: a random grid, blanked in random order up to the target."""
    cells = len(houses)
    boards = np.full((len(seeds), 2, cells), BLANK, np.uint8)
    scratch = np.empty(cells, np.uint8)
    random, unused = np.zeros((2, 1), np.uint64)
    for i in range(len(seeds)):
        board, solution = boards[i]
        random[0] = seeds[i] | np.uint64(1)  # xorshift never leaves 0
        _count(board, houses, 1, random, solution)
        board[:] = solution
        order = np.arange(cells)
        blank = 0
        for left in range(cells, 0, -1):
            if blank == target[i]:
                break
            pick = _below(left, random)
            cell = order[pick]
            order[pick] = order[left - 1]
            board[cell] = BLANK
            if _count(board, houses, 2, unused, scratch)[0] == 1:
                blank += 1
            else:
                board[cell] = solution[cell]
    return boards


@njit(cache=True)
def _below(n, random):
    """The next integer in 0..n-1 of the generator with state `random` [1] (xorshift64*)."""
    x = random[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    random[0] = x
    return np.int64((x * np.uint64(0x2545F4914F6CDD1D)) >> np.uint64(33)) % n


@njit(cache=True)
def smallest_images(boards, column_orders, band, square):
    best = np.full_like(boards, 255)
    size = column_orders.shape[1]
    for i in range(len(boards)):
        grid, lowest = boards[i].reshape((size, size)), best[i].reshape((size, size))
        _lower(lowest, grid, column_orders, band)
        if square:
            _lower(lowest, grid.T.copy(), column_orders, band)
    return best


@njit(cache=True)
def _lower(best, grid, column_orders, band):
    """Lower `best` [size, size] to the smallest image of `grid` by orders of its rows and columns and labels.

    For each order of the columns, rows are chosen from the top, depth first. The smallest labels number the
    digits by first appearance, so a row's image is known when it is chosen; what exceeds `best` is dropped.
    """
    size = len(grid)
    chosen = np.zeros(size, np.int64)  # the row of the grid that is tried as row r
    labels = np.zeros(size, np.int64)  # before row r: the label of each token in 4 bits, 0 for none yet
    last = np.zeros(size, np.int64)  # before row r: the highest label
    labels[0], last[0] = BLANK << 4 * BLANK, BLANK
    for columns in column_orders:
        r = taken = 0  # taken: the rows of the grid above row r, as bits
        chosen[0] = -1
        while True:
            chosen[r] += 1
            row = chosen[r]
            if row == size:
                if r == 0:
                    break
                r -= 1
                taken ^= 1 << chosen[r]
                continue
            # above a band's first row whole bands are taken, so there any row that is left will do
            if taken >> row & 1 or (r % band and row // band != chosen[r - 1] // band):
                continue
            new_labels, new_last = labels[r], last[r]
            smaller = larger = False
            for c in range(size):
                token = np.int64(grid[row, columns[c]])
                label = new_labels >> 4 * token & 15
                if label == 0:
                    new_last += 1
                    label = new_last
                    new_labels |= label << 4 * token
                if not smaller:
                    larger = label > best[r, c]
                    if larger:
                        break
                    smaller = label < best[r, c]
                best[r, c] = label
            if smaller:
                best[r + 1 :] = 255
            if not larger and r + 1 < size:
                taken |= 1 << row
                r += 1
                chosen[r], labels[r], last[r] = -1, new_labels, new_last
