"""Mazes: find a shortest path from S to G over the free cells of a square board, along rows and columns.

A cell's token is its position in "# SGo" plus 1: wall, free, start, goal, path. The input has no path cells;
the label is the input with the cells between S and G on one shortest path turned into path. Which one, where
there are several, is the search's choice: breadth first from S, neighbours in the order down, left, right and
up, first parent kept. This gives every label of the published mazes (Maze-Hard, two CSV files, 30x30). Mazes
of any size can also be generated. A prediction is valid with any shortest path, be it the label's or not.
"""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numba import njit
from pydantic import Field, model_validator

from trm import config, draws
from trm.files import BadInput, read_text
from trm.puzzles import Examples, Origin, Source
from trm.puzzles.drawing import Disk, Drawing, Rect, Shape, Text, grid_lines
from trm.puzzles.symmetry import Symmetries, dihedral, smallest_image
from trm.puzzles.texts import square

CHARACTERS = "# SGo"
WALL, FREE, START, GOAL, PATH = range(1, 6)
VOCAB_SIZE = 6
TRIES = 1_000_000  # random boards for one maze, before what it has to be is called impossible
ROUNDS = 50  # mazes drawn in place of one that is another's twin

_REPOSITORY = "https://huggingface.co/datasets/sapientinc/maze-30x30-hard-1k"
_URL = f"{_REPOSITORY}/resolve/549754de3d67eebe57b6b22c7d226b9412d55b07"
_TRAIN_SHA256 = "25f9e39b5aee16967da41ba63b2d1d75cf608c2360d8a1419d827f9859dbafa0"
_TEST_SHA256 = "5120d52088fb3f8036e62e90103808a79ba58847d8601f9451f40991b0903a62"
SOURCES = {
    "train.csv": Source(f"{_URL}/train.csv", _TRAIN_SHA256),
    "test.csv": Source(f"{_URL}/test.csv", _TEST_SHA256),
}
LEAKS = ("inputs",)


class Dataset(config.Dataset):
    """The `dataset:` section: the published mazes or, with `walls`, generated ones."""

    puzzle: Literal["maze"]
    num_aug: int = Field(0, ge=0, le=7, description="rotations and reflections of each training maze")
    size: int = Field(30, ge=4, le=64, description="side of the board")
    subsample_size: config.Count | None = Field(None, description="training mazes; null: all of the CSV")
    test_size: config.Count | None = Field(None, description="test mazes; null: all of the CSV")
    walls: tuple[config.Rate, config.Rate] | None = Field(
        None, description="generate: a random board's share of walls is uniform in this range; null: the CSV"
    )
    min_path: int | None = Field(
        None, ge=2, description="generate: cells on the path at least, with S and G; null: 2 * size"
    )

    @property
    def least_path(self) -> int:
        """`min_path`; by default a cell more than a board without walls can ask for, so there is a detour."""
        return self.min_path or 2 * self.size

    @property
    def claims_clean(self) -> bool:
        return self.walls is not None

    @model_validator(mode="after")
    def _fits(self) -> "Dataset":
        if self.walls is None and self.size != 30:
            raise ValueError(f"size {self.size} needs walls, to generate: the published mazes have size 30")
        if self.walls is None and self.min_path:
            raise ValueError(f"min_path {self.min_path} needs walls: it is for generated mazes")
        if self.walls and self.walls[0] > self.walls[1]:
            raise ValueError(f"walls {list(self.walls)}: expected the smaller share first")
        if self.walls and not (self.subsample_size and self.test_size):
            raise ValueError("walls needs subsample_size and test_size: how many mazes to generate")
        return self


def vocab_size(dataset: Dataset) -> int:
    return VOCAB_SIZE


def seq_len(dataset: Dataset) -> int:
    return dataset.size**2


def raw_files(dataset: Dataset) -> list[str]:
    return [] if dataset.walls else list(SOURCES)


def examples(dataset: Dataset, raw: Path) -> dict[str, Examples]:
    """The mazes of both splits, each one a group of its own."""
    if dataset.walls:
        return _generated(dataset)
    counts, splits = {"train": dataset.subsample_size, "test": dataset.test_size}, {}
    for split, (name, wanted) in enumerate(counts.items()):
        table = read_csv(raw / f"{name}.csv", dataset)
        if wanted and wanted > len(table):
            raise BadInput(f"{raw / name}.csv: {len(table)} mazes, expected the {wanted} of the experiment")
        rows = np.sort(draws.permutations(len(table), dataset.seed, split)[:wanted])
        splits[name] = Examples(table.inputs[rows], table.labels[rows], np.arange(len(rows)))
    return splits


def variants(dataset: Dataset, group: np.ndarray, variant: np.ndarray) -> Symmetries:
    """Variant v is element v of the dihedral group, whatever the maze."""
    return dihedral(dataset.size, VOCAB_SIZE)[variant]


def augment(dataset: Dataset, origin: Origin, inputs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    symmetries = variants(dataset, origin.group, origin.variant)
    return symmetries.apply(inputs), symmetries.apply(labels)


def canonical(dataset: Dataset, boards: np.ndarray) -> np.ndarray:
    return smallest_image(dihedral(dataset.size, VOCAB_SIZE), boards)


def blanks(dataset: Dataset, inputs: np.ndarray) -> np.ndarray:
    """The free cells: each is on the path or not."""
    return inputs == FREE


def is_valid(dataset: Dataset, inputs: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Whether only free cells became path, and the path is a shortest one from S to G."""
    judged = _judge(dataset, inputs, predictions)
    return judged["free_cells_only"] & judged["shortest"]


def metrics(dataset: Dataset, inputs: np.ndarray, predictions: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """What a valid answer needs, part by part.

    connected: the predicted path cells lead from S to G, wherever they stand, walls included.
    free_cells_only: free cells became path or stayed free, and all others stayed what they were.
    shortest: the predicted path cells are as many as the shortest path of the maze has, and all of them a path.
    """
    return _judge(dataset, inputs, predictions)


def difficulty(dataset: Dataset, inputs: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """The cells on the shortest path, S and G included."""
    return {"path_length": _solve(inputs, dataset.size)[1]}


def _judge(dataset: Dataset, inputs: np.ndarray, predictions: np.ndarray) -> dict[str, np.ndarray]:
    free, path = inputs == FREE, predictions == PATH
    kept = np.where(free, path | (predictions == FREE), predictions == inputs).all(axis=1)
    along_path = np.full_like(inputs, WALL)  # the maze of the predicted path cells alone
    along_path[path] = FREE
    ends = (inputs == START) | (inputs == GOAL)
    along_path[ends] = inputs[ends]
    length, predicted = _solve(inputs, dataset.size)[1], _solve(along_path, dataset.size)[1]
    needed = (predicted == length) & (path.sum(axis=1) == length - 2)
    return {"connected": predicted > 0, "free_cells_only": kept, "shortest": (length > 0) & needed}


def several_answers(dataset: Dataset, inputs: np.ndarray) -> np.ndarray:
    """Whether more than one path is a shortest one."""
    return _solve(inputs, dataset.size)[2]


def shortest_paths(size: int, inputs: np.ndarray) -> np.ndarray:
    """The labels of mazes [n, size * size]; all 0 (nothing to predict) where G cannot be reached."""
    return _solve(inputs, size)[0]


def draw(dataset: Dataset, inputs: np.ndarray, prediction: np.ndarray | None, label: np.ndarray | None) -> Drawing:
    """Walls as squares, S and G as disks, the predicted path as dots, cells that it misses as small ones."""
    size = dataset.size

    def disks(where: np.ndarray, radius: float, color: str) -> list[Shape]:
        cells = np.flatnonzero(where).tolist()
        return [Disk(cell % size + 0.5, cell // size + 0.5, radius, color) for cell in cells]

    walls = np.flatnonzero(inputs == WALL).tolist()
    shapes = [Rect(cell % size, cell // size, 1, 1, "wall") for cell in walls] + grid_lines(size, size)
    if prediction is not None:
        path = prediction == PATH
        wanted = path if label is None else label == PATH
        shapes += disks(path & wanted, 0.28, "answer") + disks(path & ~wanted, 0.28, "error")
        shapes += disks(wanted & ~path, 0.14, "missed")
    ends = disks(inputs == START, 0.45, "start") + disks(inputs == GOAL, 0.45, "goal")
    letters = [Text(end.x, end.y, end.fill[0].upper(), "paper", bold=True) for end in ends]
    return Drawing(size, size, shapes + ends + letters)


def read_csv(path: Path, dataset: Dataset) -> Examples:
    """The mazes of a CSV file with the columns question and answer, every one checked."""
    table = _read_table(path)
    lines = table.index.to_numpy() + 1

    def require(good: np.ndarray, problem: Callable[[int], str]) -> None:
        if not good.all():
            row = int(good.argmin())
            raise BadInput(f"{path}: line {lines[row]}: {problem(row)}")

    def tokens(column: str, allowed: str) -> np.ndarray:
        length, cells = table[column].str.len().to_numpy(), dataset.size**2
        require(length == cells, lambda row: f"{column} has {length[row]} characters, expected {cells}")
        codes = table[column].to_numpy(f"U{cells}").view(np.uint32).reshape(-1, cells)  # 4 bytes a character
        token_of = np.zeros(128, np.uint8)
        token_of[[ord(character) for character in allowed]] = np.arange(len(allowed)) + 1
        found = token_of[np.minimum(codes, 127)]
        wrong = f"{column} has {{!r}}, expected only the characters {allowed!r}"
        require(found.all(axis=1), lambda row: wrong.format(chr(codes[row, found[row].argmin()])))
        return found

    question, answer = tokens("question", CHARACTERS[:-1]), tokens("answer", CHARACTERS)
    for token, name in ((START, "S"), (GOAL, "G")):
        one = (question == token).sum(axis=1) == 1
        require(one, lambda row, name=name: f"question has no {name} or several, expected one")
    same = (answer == question) | ((question == FREE) & (answer == PATH))
    changed = "answer differs from question at character {}, expected o for a space at most"
    require(same.all(axis=1), lambda row: changed.format(same[row].argmin() + 1))
    valid = is_valid(dataset, question, answer)
    require(valid, lambda row: "the o of answer are no shortest path, expected one from S to G")
    return Examples(question, answer, np.arange(len(question)))


def read(dataset: Dataset, text: str) -> np.ndarray:
    """The maze of `size` lines: # for a wall, a space or . for a free cell, one S and one G, with a way between them.

    All rows may stand in one line, as in the CSV.
    """
    tokens = {"#": WALL, " ": FREE, ".": FREE, "S": START, "G": GOAL}
    maze = square(text, dataset.size, tokens, "#, S, G, or a space or . for a free cell", ignored="")
    for token, name in ((START, "S"), (GOAL, "G")):
        if (count := (maze == token).sum()) != 1:
            raise BadInput(f"the maze has {count} {name}, expected one")
    if not shortest_paths(dataset.size, maze).any():
        raise BadInput("the maze has no way from S to G, expected one along rows and columns of free cells")
    return maze


def _read_table(path: Path) -> pd.DataFrame:
    """The rows below the header, as strings; index: line number - 1."""
    text = io.StringIO(read_text(path))
    try:  # the header as a row like the others: then rows are lines, none with more fields than the header
        table = pd.read_csv(text, header=None, dtype=str, na_filter=False, skip_blank_lines=False)
    except pd.errors.EmptyDataError:
        raise BadInput(f"{path}: line 1: the file is empty, expected question,answer") from None
    except pd.errors.ParserError as error:
        problem = str(error).strip().split("C error: ")[-1]
        problem = re.sub(r"row (\d+)", lambda match: f"line {int(match[1]) + 1}", problem)  # pandas' row 0
        raise BadInput(f"{path}: not valid CSV: {problem}") from None
    table = table.set_axis(table.iloc[0], axis=1).iloc[1:]
    for column in ("question", "answer"):
        if (table.columns == column).sum() != 1:
            raise BadInput(f"{path}: line 1: the header has no single {column}, expected question,answer")
    table = table[(table != "").any(axis=1)]  # blank lines
    if table.empty:
        raise BadInput(f"{path}: line 2: no mazes, expected rows below the header")
    return table


def _generated(dataset: Dataset) -> dict[str, Examples]:
    """Random mazes, none a rotation or reflection of another one in either split."""
    sizes = [dataset.subsample_size, dataset.test_size]
    n = sum(sizes)
    split, index = np.repeat([0, 1], sizes), np.concatenate([np.arange(size) for size in sizes])
    inputs, forms = np.empty((2, n, dataset.size**2), np.uint8)
    twins = np.arange(n)
    for attempt in range(ROUNDS):
        keys = draws.hashed(dataset.seed, split[twins], index[twins], attempt)
        inputs[twins], found = _random_mazes(keys, dataset.size, dataset.walls, dataset.least_path)
        forms[twins] = canonical(dataset, inputs[twins])
        twins = np.setdiff1d(np.arange(n), np.unique(forms, axis=0, return_index=True)[1])
        if found and not len(twins):
            table = Examples(inputs, shortest_paths(dataset.size, inputs), index)
            return {"train": table.take(split == 0), "test": table.take(split == 1)}
        if not found:
            break
    raise BadInput(
        f"dataset: cannot find {n} mazes of size {dataset.size} with walls {list(dataset.walls)} and "
        f"{dataset.least_path} cells on the path, expected a smaller min_path, other walls or fewer mazes"
    )


@njit(cache=True)
def _random_mazes(keys: np.ndarray, size: int, share: tuple, least_path: int) -> tuple[np.ndarray, bool]:
    """For each key its first random board whose path is long enough; False: some key has none."""
    cells = size * size
    boards, scratch = np.zeros((len(keys), cells), np.uint8), np.empty((3, cells), np.int64)
    for i in range(len(keys)):
        board, state, order = boards[i], keys[i : i + 1].copy(), np.arange(cells)
        for _ in range(TRIES):
            uniform = draws.below(state, 1 << 30) / (1 << 30)
            walls = min(round((share[0] + (share[1] - share[0]) * uniform) * cells), cells - 2)
            board[:] = FREE
            for k in range(walls + 2):  # a shuffle of the cells, as far as needed: walls, then S, then G
                other = k + draws.below(state, cells - k)
                order[k], order[other] = order[other], order[k]
                board[order[k]] = WALL
            start, goal = order[walls], order[walls + 1]
            board[start], board[goal] = START, GOAL
            if _search(board, size, start, goal, scratch) >= least_path:
                break
        else:
            return boards, False
    return boards, True


@njit(cache=True)
def _solve(boards: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of mazes [n, size * size], the cells on each path, S and G included, and whether others are as short.

    All are 0 where there is no path.
    """
    labels, lengths, several = np.zeros_like(boards), np.zeros(len(boards), np.int64), np.zeros(len(boards), np.bool_)
    scratch = np.empty((3, size * size), np.int64)
    for i in range(len(boards)):
        starts, goals = np.flatnonzero(boards[i] == START), np.flatnonzero(boards[i] == GOAL)
        if len(starts) == 1 and len(goals) == 1:
            lengths[i] = _search(boards[i], size, starts[0], goals[0], scratch)
        if lengths[i]:
            labels[i] = boards[i]
            cell = goals[0]
            while cell != starts[0]:
                # of several shortest paths, some part from this one where a cell of it has more than one way back
                several[i] |= _ways_back(cell, size, scratch[1]) > 1
                cell = scratch[0, cell]
                labels[i, cell] = PATH
            labels[i, cell] = START
    return labels, lengths, several


@njit(cache=True)
def _ways_back(cell: int, size: int, length: np.ndarray) -> int:
    """Neighbours of a cell that are a step nearer to S; `length` as the search leaves it."""
    row, column = divmod(cell, size)
    ways = 0
    for down, right in ((1, 0), (0, -1), (0, 1), (-1, 0)):
        inside = 0 <= row + down < size and 0 <= column + right < size
        ways += inside and length[cell + down * size + right] == length[cell] - 1
    return ways


@njit(cache=True)
def _search(board: np.ndarray, size: int, start: int, goal: int, scratch: np.ndarray) -> int:
    """Breadth-first search: the cells on the path, or 0. scratch[0] then leads back from goal to start.

    scratch[1] has the cells on the way to each cell that was met: to all that are nearer than the goal.
    """
    parent, length, queue = scratch[0], scratch[1], scratch[2]
    length[:] = 0
    length[start], queue[0] = 1, start
    head, tail = 0, 1
    while head < tail and not length[goal]:
        cell = queue[head]
        head += 1
        row, column = divmod(cell, size)
        for down, right in ((1, 0), (0, -1), (0, 1), (-1, 0)):  # the published order
            beside = cell + down * size + right
            inside = 0 <= row + down < size and 0 <= column + right < size
            if inside and not length[beside] and (board[beside] == FREE or board[beside] == GOAL):
                parent[beside], length[beside], queue[tail] = cell, length[cell] + 1, beside
                tail += 1
    return length[goal]
