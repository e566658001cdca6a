"""Arithmetic: the value of a fully bracketed expression such as ((12+4)%(3*20)).

A cell's token is its character's position in "0123456789+-*%()=" plus 1. The input is the expression and "=", the
label nothing but the characters of the answer, in the cells that follow; token 0, PAD, is everywhere else. Where
the right side of % has the value 0 it is written, and counts, as 1; the sign of a % b is that of b, as in Python.

An expression is a random tree: a node above the greatest depth is a number with probability 0.1, else one of the
four operators; numbers are 1 to 20. Trees that do not fit the board with their answer are drawn again. As short
ones are much likelier to fit, and few, draws repeat themselves: the published data set has many of its test
expressions in train. Here both splits consist of different ones unless `split` is published. An expression has no
symmetries.
"""

from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from numba import njit
from pydantic import Field

from trm import config, draws
from trm.files import BadInput
from trm.puzzles import Examples, Source
from trm.puzzles.drawing import Drawing, Rect, Shape, Text, answer_color
from trm.puzzles.texts import characters

CHARACTERS = "0123456789+-*%()="
PLUS, MINUS, TIMES, MODULO, OPEN, CLOSE, EQUALS = range(11, 18)
PAD, ZERO = 0, 1
SEQ_LEN = 48
GREATEST = 20  # number in an expression: then no value overflows, as 12 of them fit the board at most
LEAF = 0.1  # probability of a number above the greatest depth
MOST = 10_000_000  # expressions in a split
COLUMNS = 16  # of a drawing
SOURCES: dict[str, Source] = {}
LEAKS = ("inputs",)

_TRAIN, _TEST, _SPLIT = range(3)  # purposes of draws, part of their keys
_ROUND = 1 << 13  # trees drawn at a time
_IDLE_ROUNDS = 20  # in a row without a new expression, before giving up


class Dataset(config.Dataset):
    """Random expressions, in the published numbers."""

    puzzle: Literal["arithmetic"]
    num_aug: Literal[0] = Field(0, description="always 0: an expression has no symmetries")
    subsample_size: int = Field(100_000, ge=1, le=MOST, description="training expressions")
    test_size: int = Field(10_000, ge=1, le=MOST, description="test expressions")
    depth: int = Field(4, ge=1, le=5, description="operators around a number at most")
    split: Literal["clean", "published"] = Field(
        "clean",
        description="clean: all expressions of both splits differ; published: as drawn, which LEAKS: "
        "of the published numbers about a third of the test expressions then stand in train",
    )

    @property
    def claims_clean(self) -> bool:
        return self.split == "clean"


def vocab_size(dataset: Dataset) -> int:
    return len(CHARACTERS) + 1


def seq_len(dataset: Dataset) -> int:
    return SEQ_LEN


def raw_files(dataset: Dataset) -> list[str]:
    return []


def examples(dataset: Dataset, raw: Path) -> dict[str, Examples]:
    """Both splits, each expression a group of its own."""
    train, test = dataset.subsample_size, dataset.test_size
    if dataset.split == "published":
        tables = [_draw_table(dataset, _TRAIN, train), _draw_table(dataset, _TEST, test)]
    else:  # short expressions are found first, so the order has to be shuffled for both splits to be alike
        table = _draw_table(dataset, _TRAIN, train + test)
        tables = np.split(table[draws.permutations(train + test, dataset.seed, _SPLIT)], [train])
    return {
        name: Examples(table[:, 0], table[:, 1], np.arange(len(table)))
        for name, table in zip(("train", "test"), tables, strict=True)
    }


def _draw_table(dataset: Dataset, stream: int, count: int) -> np.ndarray:
    """The first `count` expressions of a stream that fit, different ones where the split is clean: [count, 2, 48]."""
    table = np.empty((0, 2, SEQ_LEN), np.uint8)  # inputs and labels
    drawn = idle = 0
    while len(table) < count:
        before = len(table)
        table = np.concatenate([table, _expressions(dataset, stream, drawn + np.arange(_ROUND))])
        drawn += _ROUND
        if dataset.split == "clean":
            keys = draws.hashed(*np.ascontiguousarray(table[:, 0]).view(np.uint64).T)
            table = table[np.sort(np.unique(keys, return_index=True)[1])]
        idle = idle + 1 if len(table) == before else 0
        if idle == _IDLE_ROUNDS:
            raise BadInput(
                f"dataset: found only {before} different expressions of depth {dataset.depth} or less, "
                f"expected {count}: ask for fewer or for a greater depth"
            )
    return table[:count]


def _expressions(dataset: Dataset, stream: int, index: np.ndarray) -> np.ndarray:
    """Inputs and labels [n, 2, 48] of the trees number `index` of a stream, less those that do not fit.

    A tree is a row of nodes in the order of a heap: the children of node i are 2i + 1 and 2i + 2. Every row has all
    nodes; those below a number do not count.
    """
    node = np.arange(2 ** (dataset.depth + 1) - 1)
    key = draws.hashed(dataset.seed, stream, index[:, None], node)  # [trees, nodes]
    leaf = (draws.uniform(key, 0) < LEAF) | (node >= len(node) // 2)
    operator = draws.integers(PLUS, MODULO + 1, key, 1)
    value = draws.integers(1, GREATEST + 1, key, 2)
    length = _characters(value)
    levels = [slice(2**level - 1, 2 ** (level + 1) - 1) for level in range(dataset.depth + 1)]

    for below, above in pairwise(levels[::-1]):  # values and lengths, bottom up
        right = slice(below.start + 1, below.stop, 2)
        nothing = (operator[:, above] == MODULO) & (value[:, right] == 0)
        leaf[:, right] |= nothing
        value[:, right][nothing] = length[:, right][nothing] = 1
        a, b = value[:, below].reshape(len(value), -1, 2).transpose(2, 0, 1)
        sign = operator[:, above]
        result = np.select(
            [sign == PLUS, sign == MINUS, sign == TIMES], [a + b, a - b, a * b], a % np.where(b == 0, 1, b)
        )
        long = 3 + length[:, below].reshape(len(value), -1, 2).sum(axis=2)
        value[:, above] = np.where(leaf[:, above], value[:, above], result)
        length[:, above] = np.where(leaf[:, above], length[:, above], long)

    fits = length[:, 0] + 1 + _characters(value[:, 0]) <= SEQ_LEN
    leaf, operator, value, length = leaf[fits], operator[fits], value[fits], length[fits]
    start = np.full_like(length, -1)  # cell of each node's first character; -1: the node does not count
    start[:, 0] = 0
    for above, below in pairwise(levels):  # cells, top down
        left, right = slice(below.start, below.stop, 2), slice(below.start + 1, below.stop, 2)
        inner = (start[:, above] >= 0) & ~leaf[:, above]
        start[:, left] = np.where(inner, start[:, above] + 1, -1)
        start[:, right] = np.where(inner, start[:, above] + 2 + length[:, left], -1)

    table = np.zeros((len(value), 2, SEQ_LEN), np.uint8)
    inputs, labels = table[:, 0], table[:, 1]
    row, node = np.nonzero((start >= 0) & ~leaf)
    inputs[row, start[row, node]] = OPEN
    inputs[row, start[row, 2 * node + 2] - 1] = operator[row, node]
    inputs[row, start[row, node] + length[row, node] - 1] = CLOSE
    row, node = np.nonzero((start >= 0) & leaf)
    _write(inputs, row, start[row, node], value[row, node])
    every = np.arange(len(value))
    inputs[every, length[:, 0]] = EQUALS
    _write(labels, every, length[:, 0] + 1, value[:, 0])
    return table


def _characters(values: np.ndarray) -> np.ndarray:
    """The number of characters of each integer, the sign included."""
    return np.searchsorted(10 ** np.arange(1, 19), np.abs(values), side="right") + 1 + (values < 0)


def _write(boards: np.ndarray, row: np.ndarray, start: np.ndarray, values: np.ndarray) -> None:
    """Write integers into rows of boards, each from its first cell on."""
    negative = values < 0
    boards[row[negative], start[negative]] = MINUS
    left, last = np.abs(values), start + _characters(values) - 1
    while len(row):
        boards[row, last] = ZERO + left % 10
        more = left > 9
        row, left, last = row[more], left[more] // 10, last[more] - 1


# Solving


def answers(inputs: np.ndarray) -> np.ndarray:
    """The labels of inputs [n, 48]; all 0 (nothing to predict) where there is no expression or no room."""
    values, depths, ends = _evaluate(inputs)
    labels = np.zeros((len(inputs), SEQ_LEN), np.uint8)
    row = np.flatnonzero((depths >= 0) & (ends + _characters(values) <= SEQ_LEN))
    _write(labels, row, ends[row], values[row])
    return labels


@njit(cache=True)
def _evaluate(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each input its value, depth (-1: not an expression) and the cell after "=", or where it goes wrong."""
    values, depths, ends = np.zeros((3, len(inputs)), np.int64)
    left, sign = np.zeros((2, SEQ_LEN + 1), np.int64)  # of each open bracket: what stands in it so far; 0: no sign yet
    for i in range(len(inputs)):
        depths[i] = -1
        value = depth = deepest = 0
        complete = False  # whether `value` is that of a whole operand
        for cell in range(SEQ_LEN):
            token, ends[i] = inputs[i, cell], cell
            if not complete and ZERO <= token < ZERO + 10 and 10 * value + token - ZERO <= GREATEST:
                value = 10 * value + token - ZERO
                if value == 0:  # no number is, or begins with, 0
                    break
                complete = not (cell + 1 < SEQ_LEN and ZERO <= inputs[i, cell + 1] < ZERO + 10)
            elif not complete and token == OPEN:
                depth += 1
                sign[depth] = 0
                deepest = max(deepest, depth)
            elif complete and PLUS <= token <= MODULO and depth and not sign[depth]:
                left[depth], sign[depth] = value, token
                value, complete = 0, False
            elif complete and token == CLOSE and depth and sign[depth]:
                if sign[depth] == PLUS:
                    value = left[depth] + value
                elif sign[depth] == MINUS:
                    value = left[depth] - value
                elif sign[depth] == TIMES:
                    value = left[depth] * value
                else:
                    value = left[depth] % (value or 1)
                depth -= 1
            elif complete and token == EQUALS and not depth:
                values[i], depths[i], ends[i] = value, deepest, cell + 1
                break
            else:
                break
    return values, depths, ends


def read(dataset: Dataset, text: str) -> np.ndarray:
    """The expression with all its brackets, such as ((12+4)%(3*20)), = behind it or not; spaces may stand anywhere.

    Its numbers are 1 to 20, its brackets at most `depth` deep, and its value fits the board.
    """
    expected = f"numbers 1 to {GREATEST} and brackets around each operation, as in ((12+4)%(3*20))"
    spelled, _, value = "".join(characters(text, CHARACTERS, expected)).partition("=")
    if value:
        raise BadInput(f"{value[:40]!r} stands behind =, expected nothing: the value is what is asked for")
    if len(spelled) > SEQ_LEN - 2:  # = and a digit at least
        raise BadInput(f"{len(spelled)} characters, expected at most {SEQ_LEN - 2}")
    board = np.zeros((1, SEQ_LEN), np.uint8)
    board[0, : len(spelled) + 1] = [CHARACTERS.index(character) + 1 for character in f"{spelled}="]
    _, [depth], [end] = _evaluate(board)
    if depth < 0 and end < len(spelled):
        raise BadInput(f"no expression from {spelled[end:]!r} (character {end + 1}) on, expected {expected}")
    if depth < 0:
        raise BadInput(f"{spelled!r} ends too early, expected {expected}")
    if depth > dataset.depth:
        raise BadInput(f"brackets {depth} deep, expected at most {dataset.depth} (dataset.depth)")
    if not answers(board).any():
        raise BadInput(f"no room for its value behind =, expected at most {SEQ_LEN} characters in all")
    return board


def canonical(dataset: Dataset, boards: np.ndarray) -> np.ndarray:
    """The boards themselves: no two of them are symmetric."""
    return boards


def blanks(dataset: Dataset, inputs: np.ndarray) -> np.ndarray:
    """The cells after "="."""
    return inputs == PAD


def is_valid(dataset: Dataset, inputs: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Whether each prediction gives the value of its expression: bool [n].

    It is read from the cells that the value's characters take after "=". The cells behind them are never asked for
    in training, so what a model writes there means nothing.
    """
    expected = answers(inputs)
    return expected.any(axis=1) & _agrees(predictions, expected)


def metrics(dataset: Dataset, inputs: np.ndarray, predictions: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """exact_depth_0 (a number), 1, ...: whether the answer is the label's, of the expressions of that depth."""
    _, depths, _ = _evaluate(inputs)
    exact = _agrees(predictions, labels)
    return {f"exact_depth_{depth}": np.where(depths == depth, exact, np.nan) for depth in range(dataset.depth + 1)}


def difficulty(dataset: Dataset, inputs: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """The operators around the innermost number, and those of the whole expression, each of which has its brackets."""
    return {"depth": _evaluate(inputs)[1], "operators": (inputs == OPEN).sum(axis=1)}


def _agrees(predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether each prediction has the tokens that its label asks for: bool [n]."""
    return ((predictions == labels) | (labels == PAD)).all(axis=1)


Board = np.ndarray  # [48] tokens


def places(dataset: Dataset) -> np.ndarray:
    """Column and row of each cell in the drawing: [seq_len, 2]."""
    row, column = np.divmod(np.arange(seq_len(dataset)), COLUMNS)
    return np.stack((column, row), axis=1)


def draw(dataset: Dataset, inputs: Board, prediction: Board | None, label: Board | None) -> Drawing:
    """The expression in rows of 16 characters, the answer's cells shaded, ? where the prediction is no character."""
    asked = (answers(inputs[None])[0] if label is None else label) > PAD
    shapes: list[Shape] = []
    for cell in np.flatnonzero((inputs > PAD) | asked).tolist():
        y, x = divmod(cell, COLUMNS)
        token, color = int(inputs[cell]), "given"
        if asked[cell]:
            shapes.append(Rect(x, y, 1, 1, "shade"))
            if prediction is None:
                continue
            token = int(prediction[cell])
            color = answer_color(token, None if label is None else int(label[cell]))
        text = CHARACTERS[token - 1] if 1 <= token <= len(CHARACTERS) else "?"
        shapes.append(Text(x + 0.5, y + 0.5, text, color))
    used = np.flatnonzero((inputs > PAD) | asked)
    return Drawing(COLUMNS, int(used.max(initial=0)) // COLUMNS + 1, shapes)
