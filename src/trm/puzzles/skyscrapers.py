"""Skyscrapers: a Latin square of heights, told by how many buildings can be seen from outside each row and column.

A board of N x N heights has a frame of clues around it: (N + 2)^2 cells, read row by row. A clue counts the buildings
that tower above all before them along its line. A token is a height or a clue, 1 to N; 0 (PAD) stands in the corners
and wherever a height is asked for. The input has every clue and some of the heights, and one solution; the label is
the whole framed board, so the model is asked to repeat the clues, as published, and nothing is asked of the corners.
Whether an answer is valid rests on its heights alone.

Squares are drawn uniformly from all Latin squares, as near as a Jacobson-Matthews chain comes to that, and kept if
the board has one solution: squares whose clues tell much are therefore more frequent than others, the more so the
fewer heights are given. The symmetries are the 8 rotations and reflections; the clues move with their lines.
"""

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from trm import config, draws
from trm.files import BadInput
from trm.puzzles import Examples, Origin, Source
from trm.puzzles.drawing import Drawing, Line, Rect, Shape, Text, answer_color
from trm.puzzles.skyscrapers_search import clues_of, count_solutions, lines_of, random_boards
from trm.puzzles.symmetry import Symmetries, dihedral, smallest_image
from trm.puzzles.texts import square

SOURCES: dict[str, Source] = {}
LEAKS = ("inputs", "labels")  # a test board's heights seen in train give the board away
IDLE = 5000  # boards drawn in a row whose squares are all twins of others, before giving up


class Dataset(config.Dataset):
    """Generated boards with one solution each."""

    puzzle: Literal["skyscrapers"]
    num_aug: int = Field(0, ge=0, le=7, description="rotations and reflections of each training board")
    size: int = Field(6, ge=4, le=7, description="heights, and buildings in a row")
    subsample_size: config.Count = Field(2000, description="training boards")
    test_size: config.Count = Field(200, description="test boards")
    given: tuple[config.Probability, config.Probability] = Field(
        (0.0, 0.3), description="share of the heights given, uniform in this range for each board"
    )

    @model_validator(mode="after")
    def _fits(self) -> "Dataset":
        if self.given[0] > self.given[1]:
            raise ValueError(f"given {list(self.given)}: expected the smaller share first")
        return self


def vocab_size(dataset: Dataset) -> int:
    return dataset.size + 1


def seq_len(dataset: Dataset) -> int:
    return (dataset.size + 2) ** 2


def raw_files(dataset: Dataset) -> list[str]:
    return []


def examples(dataset: Dataset, raw: Path) -> dict[str, Examples]:
    """Random boards, the square of none a rotation or reflection of another one's in either split."""
    sizes = [dataset.subsample_size, dataset.test_size]
    n = sum(sizes)
    split, index = np.repeat([0, 1], sizes), np.concatenate([np.arange(size) for size in sizes])
    inputs, labels, forms = np.empty((3, n, seq_len(dataset)), np.uint8)
    twins = np.arange(n)
    attempt = idle = 0
    while idle < IDLE:
        key = draws.hashed(dataset.seed, split[twins], index[twins], attempt)
        inputs[twins], labels[twins] = _draw_boards(dataset, key)
        forms[twins] = canonical(dataset, labels[twins])
        first = np.unique(forms, axis=0, return_index=True)[1]
        idle = 0 if n - len(first) < len(twins) else idle + len(twins)
        attempt += 1
        twins = np.setdiff1d(np.arange(n), first)
        if not len(twins):
            table = Examples(inputs, labels, index)
            return {"train": table.take(split == 0), "test": table.take(split == 1)}
    raise BadInput(
        f"dataset: found only {len(first)} boards of size {dataset.size} with different squares up to symmetry, "
        f"expected {n}: ask for fewer or for a larger size"
    )


def _draw_boards(dataset: Dataset, key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each key [n] a board and its solution: two arrays [n, seq_len]."""
    low, high = dataset.given
    share = low + (high - low) * draws.uniform(key, 0)
    given = np.rint(share * dataset.size**2).astype(np.int64)
    boards = random_boards(draws.hashed(key, 1), given, dataset.size, *lines_of(dataset.size))
    boards = boards.reshape(len(key), 2, -1)
    return boards[:, 0], boards[:, 1]


def variants(dataset: Dataset, group: np.ndarray, variant: np.ndarray) -> Symmetries:
    """Variant v is element v of the dihedral group, whatever the board."""
    return dihedral(dataset.size + 2, vocab_size(dataset))[variant]


def augment(dataset: Dataset, origin: Origin, inputs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    symmetries = variants(dataset, origin.group, origin.variant)
    return symmetries.apply(inputs), symmetries.apply(labels)


def canonical(dataset: Dataset, boards: np.ndarray) -> np.ndarray:
    return smallest_image(dihedral(dataset.size + 2, vocab_size(dataset)), boards)


def blanks(dataset: Dataset, inputs: np.ndarray) -> np.ndarray:
    """The heights that are not given."""
    inside = np.zeros((dataset.size + 2, dataset.size + 2), bool)
    inside[1:-1, 1:-1] = True
    return (inputs == 0) & inside.ravel()


def is_valid(dataset: Dataset, inputs: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Whether the heights are a Latin square that keeps the given ones and agrees with the clues of the input.

    What the prediction holds in the frame does not count; a clue that the input lacks (0) asks for nothing.
    """
    asked, heights = _framed(inputs), _framed(predictions)[:, 1:-1, 1:-1]
    given = asked[:, 1:-1, 1:-1]
    edges = (asked[:, 0, 1:-1], asked[:, -1, 1:-1], asked[:, 1:-1, 0], asked[:, 1:-1, -1])
    clues = np.stack(edges)  # [4, n, size], as clues_of has them
    kept = ((given == 0) | (given == heights)).all(axis=(1, 2))
    seen = ((clues == 0) | (clues == clues_of(heights))).all(axis=(0, 2))
    every = np.arange(1, dataset.size + 1)
    across = (np.sort(heights, axis=2) == every).all(axis=(1, 2))
    down = (np.sort(heights, axis=1) == every[:, None]).all(axis=(1, 2))
    return kept & seen & across & down


def difficulty(dataset: Dataset, inputs: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """The heights that are not given; of the clues every one is."""
    return {"blanks": blanks(dataset, inputs).sum(axis=1)}


def several_answers(dataset: Dataset, inputs: np.ndarray) -> np.ndarray:
    return solutions(dataset, inputs) > 1


def solutions(dataset: Dataset, inputs: np.ndarray, limit: int = 2) -> np.ndarray:
    """Number of solutions of boards [n, seq_len], counted up to `limit`; clues may be missing: [n]."""
    boards = _framed(np.ascontiguousarray(inputs, np.uint8))
    return count_solutions(boards, limit, *lines_of(dataset.size))


def read(dataset: Dataset, text: str) -> np.ndarray:
    """The board as it is drawn, `size` + 2 rows: the heights, their clues around them, . in the corners.

    A . or 0 also stands for a height that is asked for, or for a clue that nobody gives (the datasets have all clues).
    Spaces and drawn lines of | - + may stand between the cells, and all rows may stand in one line. One solution.
    """
    size = dataset.size
    tokens = {".": 0, **{str(number): number for number in range(size + 1)}}
    board = square(text, size + 2, tokens, f"a number 1 to {size}, or . for none")
    corner = int(_framed(board)[0, :: size + 1, :: size + 1].max())
    if corner:
        raise BadInput(f"{corner} stands in a corner, expected . there: clues frame {size} rows of {size} heights")
    count = solutions(dataset, board)[0]
    if count != 1:
        raise BadInput(f"the board has {'several solutions' if count else 'no solution'}, expected one")
    return board


def _framed(boards: np.ndarray) -> np.ndarray:
    side = round(boards.shape[1] ** 0.5)
    return boards.reshape(-1, side, side)


def draw(dataset: Dataset, inputs: np.ndarray, prediction: np.ndarray | None, label: np.ndarray | None) -> Drawing:
    """Clues around the grid, given heights bold on a shade, answers in their colour, ? where there is no height."""
    size = dataset.size
    asked = blanks(dataset, inputs)
    shades: list[Shape] = []
    texts: list[Shape] = []
    for cell, token in enumerate(inputs.tolist()):
        y, x = divmod(cell, size + 2)
        if asked[cell] and prediction is not None:
            answer = int(prediction[cell])
            color = answer_color(answer, None if label is None else int(label[cell]))
            texts.append(Text(x + 0.5, y + 0.5, str(answer) if 0 < answer <= size else "?", color))
        elif token and (x in (0, size + 1) or y in (0, size + 1)):
            texts.append(Text(x + 0.5, y + 0.5, str(token), "frame", 0.45))
        elif token:
            shades.append(Rect(x, y, 1, 1, "shade"))
            texts.append(Text(x + 0.5, y + 0.5, str(token), "given", bold=True))
    edges = range(1, size + 2)
    across = [Line(1, y, size + 1, y, "grid") for y in edges]
    down = [Line(x, 1, x, size + 1, "grid") for x in edges]
    return Drawing(size + 2, size + 2, [*shades, *across, *down, *texts])
