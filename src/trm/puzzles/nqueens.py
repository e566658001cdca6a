"""N queens: complete a board of N x N cells so that no two of N queens share a row, column or diagonal.

Token 0 is PAD (never on a board), 1 an empty cell, 2 a queen. The label is a whole solution, the input the
same board with some queens hidden, of which there are two kinds. A `unique` board has one completion, and an
unknown cell (token 3) wherever it shows no queen: marking only the hidden queens' cells would give them away.
A `many` board may have more completions, the label being one; its cells without a shown queen are all empty.

Every solution takes part, with several masks (choices of hidden queens), each a group of its own; the test
split has one mask a solution. Groups of one solution would end up on both sides of a validation split, so there
is none. The symmetries are the 8 rotations and reflections of the square.
"""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numba import njit
from pydantic import Field, model_validator

from trm import config, draws
from trm.files import BadInput
from trm.puzzles import Examples, Origin, Source
from trm.puzzles.drawing import Drawing, Rect, Shape, Text, grid_lines
from trm.puzzles.symmetry import Symmetries, as_items, dihedral, smallest_image
from trm.puzzles.texts import square

EMPTY, QUEEN, UNKNOWN = 1, 2, 3
SOURCES: dict[str, Source] = {}
LEAKS = ("inputs", "labels")  # a test board's solution seen in train gives the board away
TRIES = 10  # masks drawn for one with a unique completion

_SPLIT, _SHARE, _MASK = 1, 2, 3  # purposes of draws, part of their keys
_UNLIMITED = 1 << 62


class Dataset(config.Dataset):
    """All solutions of a size, with `masks` inputs each."""

    puzzle: Literal["nqueens"]
    num_aug: int = Field(0, ge=0, le=7, description="rotations and reflections of each training board")
    size: int = Field(ge=4, le=14, description="queens, and cells in a row")
    variant: Literal["unique", "many"] = Field("unique", description="completions that a board has")
    masks: config.Count | None = Field(
        None, description="training boards of a solution; null: as published, 3 (unique) or 5 (many)"
    )
    hidden: tuple[config.Probability, config.Probability] | None = Field(
        None,
        description="share of queens hidden, uniform in this range; null: 0.2..0.7 (unique), 0.2..1 (many)",
    )
    split: Literal["orbit", "published"] = Field(
        "orbit",
        description="orbit: all rotations and reflections of a solution on one side; published: by solution, "
        "which LEAKS: practically every test solution then stands in train as a rotation or reflection",
    )
    test_share: Annotated[float, Field(gt=0, lt=1)] = Field(0.1, description="of the solutions or their orbits")

    @property
    def masks_per_solution(self) -> int:
        return self.masks or {"unique": 3, "many": 5}[self.variant]

    @property
    def hidden_range(self) -> tuple[float, float]:
        return self.hidden or {"unique": (0.2, 0.7), "many": (0.2, 1.0)}[self.variant]

    @property
    def claims_clean(self) -> bool:
        return self.split == "orbit"

    @model_validator(mode="after")
    def _fits(self) -> "Dataset":
        if self.split == "orbit" and self.size in (4, 6):
            raise ValueError(f"size {self.size} has but one solution up to symmetry: expected split published")
        if self.hidden and self.hidden[0] > self.hidden[1]:
            raise ValueError(f"hidden {list(self.hidden)}: expected the smaller share first")
        if self.validation:
            raise ValueError(
                f"validation {self.validation}: expected 0, since each mask is a group of its own and others of "
                "its solution would stay in train"
            )
        return self


def vocab_size(dataset: Dataset) -> int:
    return 4 if dataset.variant == "unique" else 3


def seq_len(dataset: Dataset) -> int:
    return dataset.size**2


def raw_files(dataset: Dataset) -> list[str]:
    return []


def examples(dataset: Dataset, raw: Path) -> dict[str, Examples]:
    """Both splits, disjoint up to symmetry unless `split` is published."""
    queens = solutions(dataset.size)
    in_test = _test_solutions(dataset, queens)
    train = _masked(dataset, queens, np.flatnonzero(~in_test), dataset.masks_per_solution)
    test = _masked(dataset, queens, np.flatnonzero(in_test), 1)
    if dataset.split == "orbit":  # different solutions may show the same queens, turned or mirrored
        forms = as_items(canonical(dataset, test.inputs))
        test = test.take(np.sort(np.unique(forms, return_index=True)[1]))
        images = np.concatenate([test.inputs[:, cells] for cells in dihedral(dataset.size, 4).cells])
        train = train.take(~np.isin(_packed(train.inputs), _packed(images)))
    splits = {"train": train, "test": test}
    for name, table in splits.items():
        if not len(table):
            raise BadInput(
                f"dataset: size {dataset.size}, {dataset.variant}, hidden {list(dataset.hidden_range)} "
                f"leaves no {name} board, expected fewer hidden queens, more masks or another size"
            )
        splits[name] = Examples(table.inputs, table.labels, np.arange(len(table)))
    return splits


def variants(dataset: Dataset, group: np.ndarray, variant: np.ndarray) -> Symmetries:
    """Variant v is element v of the dihedral group, whatever the board."""
    return dihedral(dataset.size, vocab_size(dataset))[variant]


def augment(dataset: Dataset, origin: Origin, inputs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    symmetries = variants(dataset, origin.group, origin.variant)
    return symmetries.apply(inputs), symmetries.apply(labels)


def canonical(dataset: Dataset, boards: np.ndarray) -> np.ndarray:
    return smallest_image(dihedral(dataset.size, 4), boards)


def blanks(dataset: Dataset, inputs: np.ndarray) -> np.ndarray:
    """The cells that show no queen: each may get one."""
    return inputs == (UNKNOWN if dataset.variant == "unique" else EMPTY)


def is_valid(dataset: Dataset, inputs: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Whether the shown queens are kept and there are N queens in all, none of which attacks another."""
    kept = (predictions == QUEEN) | (inputs != QUEEN)
    return kept.all(axis=1) & _are_solutions(dataset.size, predictions)


def several_answers(dataset: Dataset, inputs: np.ndarray) -> np.ndarray:
    """Whether the shown queens have more than one completion, of either kind of board."""
    shown = (inputs == QUEEN).reshape(-1, dataset.size, dataset.size)
    possible = (shown.sum(axis=2) <= 1).all(axis=1)
    return possible & (_count_completions(shown @ (1 << np.arange(dataset.size)), 2) > 1)


def metrics(dataset: Dataset, inputs: np.ndarray, predictions: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """valid_hints_ignored (the published figure): N queens, none attacking another, the shown ones there or not."""
    return {"valid_hints_ignored": _are_solutions(dataset.size, predictions)}


def difficulty(dataset: Dataset, inputs: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """The queens that are hidden."""
    return {"hidden_queens": dataset.size - (inputs == QUEEN).sum(axis=1)}


def _are_solutions(size: int, boards: np.ndarray) -> np.ndarray:
    """Whether boards [n, cells] hold N queens, none of which attacks another, and empty cells: bool [n]."""
    queens = boards == QUEEN
    known = queens | (boards == EMPTY)
    on_line = queens.astype(np.float32) @ _lines(size)  # [n, lines] queens; floats for a fast product
    straight, diagonal = np.split(on_line, [2 * size], axis=1)
    return known.all(axis=1) & (straight == 1).all(axis=1) & (diagonal <= 1).all(axis=1)


def draw(dataset: Dataset, inputs: np.ndarray, prediction: np.ndarray | None, label: np.ndarray | None) -> Drawing:
    """A chequered board with the shown queens, the predicted ones, and those it lacks as small ones."""
    size = dataset.size

    def queens(where: np.ndarray, color: str, height: float) -> list[Shape]:
        cells = np.flatnonzero(where).tolist()
        return [Text(cell % size + 0.5, cell // size + 0.5, "♛", color, height) for cell in cells]

    row, column = np.divmod(np.arange(size**2), size)
    dark = np.flatnonzero((row + column) % 2).tolist()
    shapes: list[Shape] = [Rect(cell % size, cell // size, 1, 1, "shade") for cell in dark]
    shapes += grid_lines(size, size)
    shown = inputs == QUEEN
    shapes += queens(shown, "given", 0.8)
    if prediction is not None:
        predicted = (prediction == QUEEN) & ~shown
        wanted = predicted if label is None else (label == QUEEN) & ~shown
        shapes += queens(predicted & wanted, "answer", 0.8) + queens(predicted & ~wanted, "error", 0.8)
        shapes += queens(wanted & ~predicted, "missed", 0.5)
    return Drawing(size, size, shapes)


def read(dataset: Dataset, text: str) -> np.ndarray:
    """The board of `size` lines: Q for a queen, . for a cell that shows none; it must have a completion.

    Of a `unique` board it must be the only one. Spaces and drawn lines of | - + may stand between the cells, and all
    rows may stand in one line.
    """
    size, unique = dataset.size, dataset.variant == "unique"
    board = square(text, size, {"Q": QUEEN, ".": UNKNOWN if unique else EMPTY}, "Q, or . for a cell without a queen")
    queens = (board == QUEEN)[0]
    shared = np.flatnonzero(queens @ _lines(size) > 1)
    if len(shared):
        first, second, *_ = np.flatnonzero(queens * _lines(size)[:, shared[0]]).tolist()
        places = " and ".join(f"row {cell // size + 1}, column {cell % size + 1}" for cell in (first, second))
        raise BadInput(f"the queens in {places} attack each other, expected none to")
    count = _count_completions(queens.reshape(1, size, size) @ (1 << np.arange(size)), 2)[0]
    if count == 0 or (unique and count > 1):
        found = "no solution" if count == 0 else "several solutions"
        raise BadInput(f"the board has {found}, expected one" + (" (dataset.variant unique)" if count else ""))
    return board


def solutions(size: int) -> np.ndarray:
    """All solutions [n, size], as 1 << column of each row's queen."""
    nothing = np.zeros(size, np.int64)
    found = np.empty((_complete(nothing, _UNLIMITED, np.empty((0, size), np.int64)), size), np.int64)
    _complete(nothing, _UNLIMITED, found)
    return found


def _test_solutions(dataset: Dataset, queens: np.ndarray) -> np.ndarray:
    """Bool [n]: the solutions whose boards are the test split."""
    unit = np.arange(len(queens))
    if dataset.split == "orbit":
        forms = as_items(canonical(dataset, _boards(queens)))
        unit = np.unique(forms, return_inverse=True)[1]  # the number of the solution's orbit
    units = unit.max() + 1
    count = min(max(round(dataset.test_share * units), 1), units - 1)
    return np.isin(unit, draws.permutations(units, dataset.seed, _SPLIT)[:count])


def _masked(dataset: Dataset, queens: np.ndarray, chosen: np.ndarray, masks: int) -> Examples:
    """Boards of the chosen solutions, `masks` of each, less those without a unique one in `TRIES` draws."""
    solution, mask = np.repeat(chosen, masks), np.tile(np.arange(masks), len(chosen))
    shown = queens[solution]  # [n, size]
    unique = dataset.variant == "unique"
    low, high = dataset.hidden_range
    pending = np.arange(len(solution))
    for attempt in range(TRIES):
        key = draws.hashed(dataset.seed, solution[pending], mask[pending], attempt)
        share = low + (high - low) * draws.uniform(_SHARE, key)
        hidden = np.maximum(np.rint(share * dataset.size), 1)
        hide = draws.permutations(dataset.size, _MASK, key) < hidden[:, None]
        shown[pending] = np.where(hide, 0, queens[solution[pending]])
        pending = pending[_count_completions(shown[pending], 2) > 1] if unique else pending[:0]
        if not len(pending):
            break
    kept = np.setdiff1d(np.arange(len(solution)), pending)
    return Examples(_boards(shown[kept], UNKNOWN if unique else EMPTY), _boards(queens[solution[kept]]), kept)


@njit(cache=True)
def _boards(queens: np.ndarray, rest: int = EMPTY) -> np.ndarray:
    """Boards [n, size * size] from queens [n, size] (1 << column, 0 for none); other cells are `rest`."""
    n, size = queens.shape
    boards = np.full((n, size * size), rest, np.uint8)
    for i in range(n):
        for row in range(size):
            for column in range(size):
                if queens[i, row] >> column & 1:
                    boards[i, row * size + column] = QUEEN
    return boards


def _packed(boards: np.ndarray) -> np.ndarray:
    """Where the queens of boards [n, cells] stand, as n items that compare fast."""
    return as_items(np.packbits(boards == QUEEN, axis=1))


@lru_cache
def _lines(size: int) -> np.ndarray:
    """[cells, lines]: 1 where a cell lies on a line. Rows and columns come first, then the diagonals."""
    row, column = np.divmod(np.arange(size**2), size)
    diagonals = 2 * size - 1
    lines = [(row, size), (column, size), (row + column, diagonals), (row - column + size - 1, diagonals)]
    return np.concatenate([np.eye(count, dtype=np.float32)[line] for line, count in lines], axis=1)


@njit(cache=True)
def _count_completions(shown: np.ndarray, limit: int) -> np.ndarray:
    """Of each of the boards [n, size], the number of solutions that agree with it, counted up to `limit`."""
    counts = np.empty(len(shown), np.int64)
    nowhere = np.empty((0, shown.shape[1]), np.int64)
    for i in range(len(shown)):
        counts[i] = _complete(shown[i], limit, nowhere)
    return counts


@njit(cache=True)
def _complete(shown: np.ndarray, limit: int, found: np.ndarray) -> int:
    """Count the solutions that agree with `shown` [size], up to `limit`; `found` gets the first ones.

    Backtracking from row to row over sets of columns as bits. `taken`, `left` and `right` hold the columns
    that queens above attack in a row, straight down or along a diagonal; `free` those still to be tried.
    """
    size = len(shown)
    every = (1 << size) - 1
    queen = np.zeros(size, np.int64)
    taken, left, right = np.zeros(size, np.int64), np.zeros(size, np.int64), np.zeros(size, np.int64)
    free = np.full(size, shown[0] or every)
    count = row = 0
    while row >= 0 and count < limit:
        queen[row] = free[row] & -free[row]  # the lowest bit
        free[row] ^= queen[row]
        if not queen[row]:
            row -= 1
        elif row == size - 1:
            if count < len(found):
                found[count] = queen
            count += 1
        else:
            taken[row + 1] = taken[row] | queen[row]
            left[row + 1] = (left[row] | queen[row]) >> 1
            right[row + 1] = (right[row] | queen[row]) << 1
            row += 1
            free[row] = (shown[row] or every) & ~(taken[row] | left[row] | right[row])
    return count
