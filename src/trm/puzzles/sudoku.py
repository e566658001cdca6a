"""Sudoku: fill the blanks so that every row, column and box holds each digit once.

A board of 4x4, 6x6 or 9x9 cells is read row by row. Token 0 is PAD (never on a board), 1 a blank, digit d is
d + 1. Boxes have 2 x 2, 2 x 3 (rows x columns) and 3 x 3 cells; a row of boxes is a band, a column of boxes a
stack. Boards come from the published Sudoku-Extreme CSV (9x9) or are generated, always with one solution.

The symmetries relabel the digits, permute the bands, the rows of a band, the stacks and the columns of a
stack, and transpose the board where boxes are square.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import permutations, product
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from trm import config, draws
from trm.config import Count
from trm.files import BadInput
from trm.puzzles import Examples, Origin, Source
from trm.puzzles.drawing import Drawing, Line, Rect, Shape, Text, answer_color, grid_lines
from trm.puzzles.sudoku_search import BLANK, BOXES, count_guesses, count_solutions, dig, houses_of, smallest_images
from trm.puzzles.symmetry import Symmetries
from trm.puzzles.texts import square

_FOLDER = "https://huggingface.co/datasets/sapientinc/sudoku-extreme/resolve/58942f96baeb572ca3127e2a9e9c70f330783d6b"
_SHA256 = {
    "train.csv": "64b46674db0148e0d73a16346dadeb2b1c00824d3fca3f85b2ae7037f6b4b38e",
    "test.csv": "a2fd52aea23d331d5b4ee723c856236e838a9fb9a70e66f4e0e0cf26c338c6a8",
}
SOURCES = {name: Source(f"{_FOLDER}/{name}", sha256) for name, sha256 in _SHA256.items()}
LEAKS = ("inputs",)

_SAMPLE, _BOARD, _VARIANT = 1, 2, 3  # purposes of draws, part of their keys


class Dataset(config.Dataset):
    """Published boards, or generated ones where `blanks` is set."""

    puzzle: Literal["sudoku"]
    size: Literal[4, 6, 9] = Field(9, description="digits, and cells in a row")
    subsample_size: Count | None = Field(1000, description="training boards; null: the whole file")
    test_size: Count | None = Field(None, description="test boards; null: the whole file")
    blanks: tuple[int, int] | None = Field(
        None, description="generate boards with this many blanks, both ends included; null: the published CSV"
    )
    min_difficulty: int | None = Field(
        None, ge=0, description="published boards of both splits with this rating at least; null: all, rated or not"
    )

    @property
    def claims_clean(self) -> bool:
        return self.blanks is not None

    @model_validator(mode="after")
    def _complete(self) -> "Dataset":
        if self.blanks is None:
            if self.size != 9:
                raise ValueError(f"size {self.size} has no published boards: set blanks to generate them")
            return self
        if self.min_difficulty is not None:
            raise ValueError(f"min_difficulty {self.min_difficulty}: only published boards are rated, blanks is set")
        low, high = self.blanks
        most = self.size**2 - 1
        if not 1 <= low <= high <= most:
            raise ValueError(f"blanks {low}, {high}: expected a range [low, high] within 1..{most}")
        for key in ("subsample_size", "test_size"):
            if getattr(self, key) is None:
                raise ValueError(f"{key} is null: generating boards needs a number")
        return self


def vocab_size(dataset: Dataset) -> int:
    """PAD, blank and the digits."""
    return dataset.size + 2


def seq_len(dataset: Dataset) -> int:
    """Cells of a board."""
    return dataset.size**2


def raw_files(dataset: Dataset) -> list[str]:
    """The published CSV, or nothing where boards are generated."""
    return list(SOURCES) if dataset.blanks is None else []


def examples(dataset: Dataset, raw: Path) -> dict[str, Examples]:
    """Both splits; each board is a group of its own."""
    if dataset.blanks is not None:
        return _generate(dataset)
    wanted, test_size = dataset.subsample_size, dataset.test_size

    def sample(rows: int) -> np.ndarray:
        if wanted is None or rows <= wanted:
            return np.arange(rows)
        return np.sort(draws.permutations(rows, dataset.seed, _SAMPLE)[:wanted])

    def evenly(rows: int) -> np.ndarray:
        count = min(rows, test_size or rows)
        return np.arange(count) * rows // count

    least = dataset.min_difficulty
    return {"train": _read(raw / "train.csv", sample, least), "test": _read(raw / "test.csv", evenly, least)}


def read(dataset: Dataset, text: str) -> np.ndarray:
    """The board of `size` rows of digits, with . or 0 for a blank; it must have one solution.

    Spaces and drawn lines of | - + may stand between the cells, and all rows may stand in one line.
    """
    size = dataset.size
    tokens = {".": BLANK, "0": BLANK, **{str(digit): digit + 1 for digit in range(1, size + 1)}}
    board = square(text, size, tokens, f"a digit 1 to {size}, or . for a blank")
    given = np.flatnonzero(board[0] > BLANK)
    in_house = houses_of(size)[given].astype(np.int64) * (size + 1) + board[0, given, None] - BLANK  # [givens, 3]
    times = np.bincount(in_house.ravel(), minlength=1)  # of each digit in each house
    if times.max() > 1:
        house, digit = divmod(int(times.argmax()), size + 1)
        where = f"{('row', 'column', 'box')[house // size]} {house % size + 1}"
        raise BadInput(f"the digit {digit} stands twice in {where}, expected once")
    count = solutions(dataset, board)[0][0]
    if count != 1:
        raise BadInput(f"the board has {'several solutions' if count else 'no solution'}, expected one")
    return board


def _table(inputs: np.ndarray, labels: np.ndarray) -> Examples:
    return Examples(inputs, labels, np.arange(len(inputs)))


# Reading the CSV: blocks of whole lines, so that the memory does not grow with the file

_BLOCK = 8 << 20  # bytes
_LONGEST = 1 << 16  # bytes of a line; a longer one is cut, and then found to be malformed
_QUESTION, _ANSWER = np.zeros((2, 256), np.uint8)  # character -> token, 0 where it must not stand
_QUESTION[[*b".0123456789"]] = [BLANK, *range(1, 11)]
_ANSWER[[*b"123456789"]] = range(2, 11)
_SHOWN = np.array([repr(chr(byte)) for byte in range(256)])


def _read(path: Path, choose: Callable[[int], np.ndarray], min_difficulty: int | None) -> Examples:
    """The rows (ascending) that `choose` picks, given how many are hard enough. Every row is checked."""
    rows = np.arange(_count_rows(path))
    if min_difficulty is not None:
        rows = rows[np.concatenate([ratings for *_, ratings in _blocks(path, True)]) >= min_difficulty]
        if not len(rows):
            raise BadInput(f"{path}: no row has the rating {min_difficulty} or more that dataset.min_difficulty asks")
    chosen = rows[choose(len(rows))]
    inputs, labels = np.empty((2, len(chosen), 81), np.uint8)
    first = 0  # row number of the block's first
    for questions, answers, _ in _blocks(path, False):
        here = slice(*np.searchsorted(chosen, [first, first + len(questions)]))
        inputs[here] = questions[chosen[here] - first]
        labels[here] = answers[chosen[here] - first]
        first += len(questions)
    return _table(inputs, labels)


def _count_rows(path: Path) -> int:
    lines, last = 0, b"\n"
    try:
        with open(path, "rb") as file:
            while block := file.read(_BLOCK):
                lines += block.count(b"\n")
                last = block[-1:]
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None
    lines += last != b"\n"
    if lines < 2:
        raise BadInput(f"{path}: line {lines + 1}: the file ends, expected a header and at least one row")
    return lines - 1


def _blocks(path: Path, rated: bool) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Questions and answers as tokens [n, 81] and, if `rated`, ratings [n], one block of lines after the other."""
    with open(path, "rb") as file:
        header = _text(path, 1, file.readline(_LONGEST)).removeprefix("\ufeff").strip().split(",")
        for name in ("question", "answer", "rating")[: 2 + rated]:
            if name not in header:
                names = ",".join(header)[:80]
                raise BadInput(f"{path}: line 1: the columns are {names!r}, expected one named {name!r}")
        line = 2
        while block := file.read(_BLOCK):
            block += file.readline(_LONGEST)
            if not block.endswith(b"\n"):
                block += b"\n"
            _text(path, line, block)
            questions, answers, ratings = _parse(path, line, block, header, rated)
            yield questions, answers, ratings
            line += len(questions)


def _text(path: Path, line: int, block: bytes) -> str:
    try:
        return block.decode()
    except UnicodeDecodeError as error:
        line += block.count(b"\n", 0, error.start)
        raise BadInput(f"{path}: line {line}: {block[error.start]:#x} is not UTF-8, expected text") from None


def _parse(
    path: Path, line: int, block: bytes, header: list[str], rated: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens of a block of lines that starts with number `line`. Quotes mean nothing: no field needs any."""

    def check(wrong: np.ndarray, message: str, *details: np.ndarray) -> None:
        if wrong.any():
            row = int(wrong.argmax())
            message = message.format(*(each[row].item() for each in details))
            raise BadInput(f"{path}: line {line + row}: {message}")

    text = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(text == ord("\n"))  # [n]
    commas = np.flatnonzero(text == ord(","))
    fields = np.diff(np.searchsorted(commas, ends), prepend=0) + 1
    check(fields != len(header), f"has {{}} fields, expected {len(header)} as in line 1", fields)
    starts = np.append(0, ends[:-1] + 1)
    ends = ends - (text[ends - 1] == ord("\r"))
    # field f of a row lies between its edges f and f + 1
    edges = np.column_stack([starts - 1, commas.reshape(len(ends), -1), ends])

    def field(name: str) -> tuple[np.ndarray, np.ndarray]:
        """Where the field starts, and its length."""
        before, after = edges[:, header.index(name)], edges[:, header.index(name) + 1]
        return before + 1, after - before - 1

    def column(name: str, tokens: np.ndarray, expected: str) -> np.ndarray:
        start, length = field(name)
        check(length != 81, f"{name} is {{}} bytes long, expected 81, one for each cell", length)
        characters = np.lib.stride_tricks.sliding_window_view(text, 81)[start]
        board = tokens[characters]
        cell = (board == 0).argmax(axis=1)
        shown = _SHOWN[characters[np.arange(len(cell)), cell]]
        check((board == 0).any(axis=1), f"{name} has {{}} in cell {{}}, expected {expected}", shown, cell + 1)
        return board

    def numbers(name: str) -> np.ndarray:
        start, length = field(name)
        check((length < 1) | (length > 9), f"{name} is {{}} bytes long, expected 1 to 9 digits", length)
        value = np.zeros(len(start), np.int64)
        for place in range(length.max()):
            character = np.where(place < length, text[start + np.minimum(place, length - 1)], ord("0"))
            wrong = (character < ord("0")) | (character > ord("9"))
            check(wrong, f"{name} has {{}}, expected a whole number", _SHOWN[character])
            value = np.where(place < length, value * 10 + character - ord("0"), value)
        return value

    questions = column("question", _QUESTION, "a digit, or . for a blank")
    answers = column("answer", _ANSWER, "a digit 1 to 9")
    changed = (questions > BLANK) & (questions != answers)
    cell = changed.argmax(axis=1)
    check(changed.any(axis=1), "answer contradicts the given in cell {}, expected it kept", cell + 1)
    wrong = ~_obeys_rules(answers, 9)
    check(wrong, "answer breaks the rules, expected each digit once in every row, column and box")
    return questions, answers, numbers("rating") if rated else np.zeros(len(ends), np.int64)


# Generating boards

_ROUND = 256, 8192  # boards drawn at a time, at least and at most
_IDLE_ROUNDS = 10  # in a row without a new board, before giving up


def _generate(dataset: Dataset) -> dict[str, Examples]:
    """Random boards with one solution, no two of them symmetric to each other."""
    boards = np.empty((0, 2, seq_len(dataset)), np.uint8)  # inputs and labels
    keys = np.empty((0, seq_len(dataset)), np.uint8)
    for split, wanted in enumerate((dataset.subsample_size, dataset.test_size)):
        goal = len(boards) + wanted
        drawn = idle = 0
        while len(boards) < goal:
            index = drawn + np.arange(np.clip(goal - len(boards), *_ROUND))
            drawn += len(index)
            new = _draw_boards(dataset, split, index)
            boards, before = np.concatenate([boards, new]), len(boards)
            keys = np.concatenate([keys, canonical(dataset, new[:, 0])])
            first = np.sort(np.unique(keys, axis=0, return_index=True)[1])[:goal]
            boards, keys = boards[first], keys[first]
            idle = idle + 1 if len(boards) == before else 0
            if idle == _IDLE_ROUNDS:
                low, high = dataset.blanks
                raise BadInput(
                    f"dataset: found only {len(boards)} boards of size {dataset.size} with {low} to {high} "
                    f"blanks, no two of them symmetric, expected {goal}: ask for fewer or for other blanks"
                )
    train, test = np.split(boards, [dataset.subsample_size])
    return {"train": _table(train[:, 0], train[:, 1]), "test": _table(test[:, 0], test[:, 1])}


def _draw_boards(dataset: Dataset, split: int, index: np.ndarray) -> np.ndarray:
    """Boards number `index` of a split's stream with their solutions, less those that got too few blanks."""
    low, high = dataset.blanks
    key = draws.hashed(dataset.seed, _BOARD, split, index)
    target = draws.integers(low, high + 1, key, 0)
    boards = dig(draws.hashed(key, 1), target, houses_of(dataset.size))
    return boards[(boards[:, 0] == BLANK).sum(axis=1) >= low]


# Solving


def solutions(dataset: Dataset, inputs: np.ndarray, limit: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Number of solutions [n], counting up to `limit`, and the first one [n, seq_len], else 0."""
    return count_solutions(np.ascontiguousarray(inputs, np.uint8), houses_of(dataset.size), limit)


def blanks(dataset: Dataset, inputs: np.ndarray) -> np.ndarray:
    """The cells to fill: bool [n, seq_len]."""
    return inputs == BLANK


def is_valid(dataset: Dataset, inputs: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Whether each prediction keeps the givens and has every digit in every row, column and box: bool [n]."""
    kept = ((inputs == BLANK) | (inputs == predictions)).all(axis=1)
    return kept & _obeys_rules(predictions, dataset.size)


def metrics(dataset: Dataset, inputs: np.ndarray, predictions: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """valid_givens_ignored: every digit in every row, column and box, the givens kept or not."""
    return {"valid_givens_ignored": _obeys_rules(predictions, dataset.size)}


def difficulty(dataset: Dataset, inputs: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """The blanks, and the guesses it takes to find the solution and see that there is no other.

    The guesses are those of a search that knows naked and hidden singles, and asks a cell with the fewest digits left.
    The published ratings are of this kind too, by another solver that stops at the first solution; a dataset has not
    kept them.
    """
    boards = np.ascontiguousarray(inputs, np.uint8)
    return {"blanks": (inputs == BLANK).sum(axis=1), "guesses": count_guesses(boards, houses_of(dataset.size))}


def several_answers(dataset: Dataset, inputs: np.ndarray) -> np.ndarray:
    return solutions(dataset, inputs)[0] > 1


def _obeys_rules(boards: np.ndarray, size: int) -> np.ndarray:
    """Whether every house holds every digit; any integers will do for tokens."""
    high, wide = BOXES[size]
    bit = np.append([0, 0], 1 << np.arange(size)).astype(np.uint16)  # of each token
    bits = bit[np.where((boards > BLANK) & (boards < size + 2), boards, 0)]
    rows = bits.reshape(-1, size, size)
    boxes = bits.reshape(-1, wide, high, high, wide)  # board, band, row, stack, column
    full = (1 << size) - 1
    either = np.bitwise_or.reduce
    return (
        (either(rows, axis=2) == full).all(axis=1)
        & (either(rows, axis=1) == full).all(axis=1)
        & (either(boxes, axis=(2, 4)) == full).all(axis=(1, 2))
    )


# Symmetries


def variants(dataset: Dataset, group: np.ndarray, variant: np.ndarray) -> Symmetries:
    """Random symmetries, each a function of (seed, group, variant); variant 0 is the identity."""
    size = dataset.size
    high, wide = BOXES[size]
    key = draws.hashed(dataset.seed, _VARIANT, group, variant)
    moved = np.asarray(variant) > 0

    def arrangement(blocks: int, width: int, purpose: int) -> np.ndarray:
        table = _arrangements(blocks, width)
        return table[draws.integers(0, len(table), key, purpose) * moved]  # number 0 changes nothing

    rows, columns = arrangement(wide, high, 0), arrangement(high, wide, 1)
    transposed = (draws.uniform(key, 2) < 0.5) & moved & (high == wide)
    # steps in the cells of the source for a step down and a step right
    down, right = np.where(transposed, [[1], [size]], [[size], [1]]).astype(np.uint8)
    cells = (rows * down[:, None])[:, :, None] + (columns * right[:, None])[:, None, :]
    tokens = np.tile(np.arange(size + 2, dtype=np.uint8), (len(key), 1))
    tokens[moved, 2:] = 2 + draws.permutations(size, key[moved], 3)
    return Symmetries(cells.reshape(len(key), -1), tokens)


@lru_cache
def _arrangements(blocks: int, width: int) -> np.ndarray:
    """[k, blocks * width]: every order of lines that keeps blocks together, the first being 0, 1, 2, ..."""
    lines = np.arange(blocks * width, dtype=np.uint8).reshape(blocks, width)
    inside = [list(order) for order in permutations(range(width))]
    orders = product(permutations(range(blocks)), product(inside, repeat=blocks))
    return np.array([np.concatenate([lines[b, o] for b, o in zip(*order, strict=True)]) for order in orders])


def augment(dataset: Dataset, origin: Origin, inputs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    symmetries = variants(dataset, origin.group, origin.variant)
    return symmetries.apply(inputs), symmetries.apply(labels)


def canonical(dataset: Dataset, boards: np.ndarray) -> np.ndarray:
    """The lexicographically smallest board that the symmetries can make of each: [n, seq_len]."""
    high, wide = BOXES[dataset.size]
    boards = np.ascontiguousarray(boards, np.uint8)
    return smallest_images(boards, _arrangements(high, wide), high, high == wide)


Board = np.ndarray  # [seq_len] tokens


def draw(dataset: Dataset, inputs: Board, prediction: Board | None, label: Board | None) -> Drawing:
    """One board: givens bold on a shade, answers in their colour, ? where the prediction holds no digit."""
    size = dataset.size
    high, wide = BOXES[size]
    shades: list[Shape] = []
    texts: list[Shape] = []
    for cell, given in enumerate(inputs.tolist()):
        y, x = divmod(cell, size)
        if given > BLANK:
            shades.append(Rect(x, y, 1, 1, "shade"))
            texts.append(Text(x + 0.5, y + 0.5, str(given - 1), "given", bold=True))
        elif prediction is not None:
            token = int(prediction[cell])
            digit = str(token - 1) if BLANK < token < size + 2 else "?"
            color = answer_color(token, None if label is None else int(label[cell]))
            texts.append(Text(x + 0.5, y + 0.5, digit, color))
    across = [Line(0, y, size, y, "frame", 0.08) for y in range(0, size + 1, high)]
    down = [Line(x, 0, x, size, "frame", 0.08) for x in range(0, size + 1, wide)]
    return Drawing(size, size, [*shades, *grid_lines(size, size), *across, *down, *texts])
