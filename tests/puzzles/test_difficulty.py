"""How hard an example is, by each puzzle's own measures."""

from pathlib import Path

import chess
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trm import config, puzzles
from trm.puzzles import Origin, arithmetic, hanoi, maze, nqueens, skyscrapers, sudoku
from trm.puzzles import chess as chess_puzzle

SUDOKU = {
    size: sudoku.Dataset(puzzle="sudoku", size=size, blanks=(4, 8), subsample_size=2, test_size=2) for size in (4, 6)
}
PUBLISHED = sudoku.Dataset(puzzle="sudoku")
# boards of the published list rated 25 and 0
HARD = "98.7..6..75....4....3.5..9.8...9..7....4....2......9.13..1......7..8..3......2..6"
EASY = ".....4.7.3.28..4....6.1...2.2.......64....8.5..8..5.4.2.....1....5..7...9...387.."

MEASURED = {
    "sudoku": {"size": 6, "blanks": [14, 24], "subsample_size": 12, "test_size": 4},
    "maze": {"size": 8, "walls": [0.2, 0.4], "subsample_size": 12, "test_size": 4},
    "nqueens": {"size": 7},
    "skyscrapers": {"size": 5, "subsample_size": 12, "test_size": 4},
    "arithmetic": {"subsample_size": 12, "test_size": 4},
    "hanoi": {"train_disks": [2, 3], "test_disks": [4, 4]},
}


def tokens(text):
    return np.array([[0 if cell == "." else int(cell) for cell in text]], np.uint8) + 1


# ---- sudoku: guesses, by a plain solver that fills sets


def options_of(board, size, cell):
    """The digits that no house of the cell has yet."""
    high, wide = {4: (2, 2), 6: (2, 3), 9: (3, 3)}[size]
    row, column = divmod(cell, size)
    seen = {
        board[r * size + c]
        for r in range(size)
        for c in range(size)
        if r == row or c == column or (r // high == row // high and c // wide == column // wide)
    }
    return set(range(1, size + 1)) - seen


def houses(size):
    high, wide = {4: (2, 2), 6: (2, 3), 9: (3, 3)}[size]
    cells = [divmod(cell, size) for cell in range(size * size)]
    keys = (lambda r, c: ("row", r), lambda r, c: ("column", c), lambda r, c: ("box", r // high, c // wide))
    for key in keys:
        by_house = {}
        for row, column in cells:
            by_house.setdefault(key(row, column), []).append(row * size + column)
        yield from by_house.values()


def forced(board, size):
    """One forced digit (cell, digit), None where there is none, False where the board is impossible."""
    blank = [cell for cell, digit in enumerate(board) if digit == 0]
    options = {cell: options_of(board, size, cell) for cell in blank}
    single = None
    for cell, left in options.items():
        if not left:
            return False
        if len(left) == 1:
            single = cell, min(left)
    for house in houses(size):
        for digit in set(range(1, size + 1)) - {board[cell] for cell in house}:
            places = [cell for cell in house if cell in options and digit in options[cell]]
            if not places:
                return False
            if len(places) == 1:
                single = places[0], digit
    return single


def search(board, size, found):
    """The guesses that it takes to find two solutions, or all of them; `found` collects them."""
    board = list(board)
    while single := forced(board, size):
        board[single[0]] = single[1]
    if single is False:
        return 0
    blank = [cell for cell, digit in enumerate(board) if digit == 0]
    if not blank:
        found.append(board)
        return 0
    cell = min(blank, key=lambda cell: (len(options_of(board, size, cell)), cell))
    guesses = 0
    for digit in sorted(options_of(board, size, cell)):
        if len(found) < 2:
            board[cell] = digit
            guesses += 1 + search(board, size, found)
    return guesses


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([4, 6]), st.integers(0, 2**30), st.floats(0.3, 0.95))
def test_guesses_are_those_of_a_plain_solver(size, seed, share):
    """Boards with any number of solutions, from none to many."""
    rng = np.random.default_rng(seed)
    board = sudoku.examples(SUDOKU[size], None)["train"].labels[:1].copy()
    board[0, rng.random(size * size) < share] = 1
    if seed % 3 == 0:
        board[0, rng.integers(size * size)] = rng.integers(2, size + 2)
    digits = (board[0] - 1).tolist()
    measured = sudoku.difficulty(SUDOKU[size], board, board)
    assert measured["blanks"].tolist() == [digits.count(0)]
    clash = any(
        digit and digit not in options_of([*digits[:cell], 0, *digits[cell + 1 :]], size, cell)
        for cell, digit in enumerate(digits)
    )
    assert measured["guesses"].tolist() == [0 if clash else search(digits, size, [])]


def test_guesses_tell_a_hard_board_from_one_that_singles_solve():
    boards = np.concatenate([tokens(HARD), tokens(EASY)])
    guesses = sudoku.difficulty(PUBLISHED, boards, boards)["guesses"]
    found = []
    assert guesses[0] == search((boards[0] - 1).tolist(), 9, found) > 20
    assert len(found) == 1
    assert guesses[1] == 0


# ---- the others


def test_a_path_is_as_long_as_its_label():
    dataset = maze.Dataset(puzzle="maze", size=9, walls=(0.2, 0.4), subsample_size=50, test_size=1)
    table = maze.examples(dataset, Path("unused"))["train"]
    length = maze.difficulty(dataset, table.inputs, table.labels)["path_length"]
    assert (length == np.isin(table.labels, (maze.START, maze.GOAL, maze.PATH)).sum(axis=1)).all()
    assert len(set(length.tolist())) > 3


@pytest.mark.parametrize("variant", ["unique", "many"])
def test_hidden_queens_are_those_that_the_label_has_more(variant):
    dataset = nqueens.Dataset(puzzle="nqueens", size=7, variant=variant)
    table = nqueens.examples(dataset, Path("unused"))["train"]
    hidden = (table.labels == nqueens.QUEEN).sum(axis=1) - (table.inputs == nqueens.QUEEN).sum(axis=1)
    assert (nqueens.difficulty(dataset, table.inputs, table.labels)["hidden_queens"] == hidden).all()
    assert len(set(hidden.tolist())) > 2


@pytest.mark.parametrize(
    ("expression", "depth", "operators"),
    [("7=", 0, 0), ("(1+2)=", 1, 1), ("((1+2)*(3%4))=", 2, 3), ("(1-(2-(3-4)))=", 3, 3)],
)
def test_an_expression_has_its_depth_and_operators(expression, depth, operators):
    board = np.zeros((1, arithmetic.SEQ_LEN), np.uint8)
    board[0, : len(expression)] = [arithmetic.CHARACTERS.index(character) + 1 for character in expression]
    measured = arithmetic.difficulty(arithmetic.Dataset(puzzle="arithmetic"), board, board)
    assert {name: values.tolist() for name, values in measured.items()} == {"depth": [depth], "operators": [operators]}


def test_blanks_of_skyscrapers_are_the_heights_that_only_the_label_has():
    dataset = skyscrapers.Dataset(puzzle="skyscrapers", size=5, subsample_size=40, test_size=1)
    table = skyscrapers.examples(dataset, None)["train"]
    blanks = skyscrapers.difficulty(dataset, table.inputs, table.labels)["blanks"]
    assert (blanks == (table.inputs != table.labels).sum(axis=1)).all()
    assert len(set(blanks.tolist())) > 2


def test_moves_left_count_down_to_1_in_every_game():
    dataset = hanoi.Dataset(puzzle="hanoi", train_disks=(2, 4), test_disks=(5, 5))
    table = hanoi.examples(dataset, None)["train"]
    measured = hanoi.difficulty(dataset, table.inputs, table.labels)
    for group in range(table.group.max() + 1):
        own = table.group == group
        disks = measured["disks"][own][0]
        assert (measured["disks"][own] == disks).all()
        assert measured["moves_left"][own].tolist() == list(range(2**disks - 1, 0, -1))


@given(st.integers(0, 120), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_pieces_are_counted_as_chess_does(plies, random):
    board = chess.Board()
    for _ in range(plies):
        if board.is_game_over():
            break
        board.push(random.choice(list(board.legal_moves)))
    inputs = chess_puzzle.to_tokens([chess_puzzle.spell(board, clocks=True)])
    measured = chess_puzzle.difficulty(chess_puzzle.Dataset(puzzle="chess"), inputs, inputs)
    assert measured["pieces"].tolist() == [len(board.piece_map())]


# ---- all of them


@pytest.mark.parametrize("name", MEASURED)
def test_measures_are_whole_numbers_one_a_row(name):
    dataset = config.check({"name": "x", "dataset": {"puzzle": name, **MEASURED[name]}}, "x").dataset
    puzzle = puzzles.module(name)
    table = puzzle.examples(dataset, None)["test"]
    for measure, values in puzzle.difficulty(dataset, table.inputs, table.labels).items():
        assert np.issubdtype(values.dtype, np.integer), measure
        assert values.shape == (len(table),)
        assert (values >= 0).all()
    assert all(len(v) == 0 for v in puzzle.difficulty(dataset, table.inputs[:0], table.labels[:0]).values())


@pytest.mark.parametrize("name", ["sudoku", "maze", "nqueens", "skyscrapers"])
def test_a_symmetry_makes_no_example_harder(name):
    """But for guesses, which depend on where the search begins."""
    dataset = config.check({"name": "x", "dataset": {"puzzle": name, **MEASURED[name]}}, "x").dataset
    puzzle = puzzles.module(name)
    table = puzzle.examples(dataset, None)["test"]
    n = len(table)
    variant = 1 + np.arange(n) % 7
    moved = puzzle.augment(
        dataset, Origin(np.arange(n), variant, np.zeros(n, int), np.ones(n, int)), table.inputs, table.labels
    )
    before, after = puzzle.difficulty(dataset, table.inputs, table.labels), puzzle.difficulty(dataset, *moved)
    for measure in before.keys() - {"guesses"}:
        assert (before[measure] == after[measure]).all(), measure
