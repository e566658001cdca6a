"""Puzzles read from text: the tokens of the dataset's own builder, or one line that says what is wrong."""

import csv
import json
import random
from types import ModuleType

import chess as rules
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trm import puzzles
from trm.config import Dataset
from trm.files import BadInput
from trm.puzzles import arc, arc_boards, arithmetic, chess, hanoi, maze, nqueens, skyscrapers, sudoku

FEW = {"subsample_size": 12, "test_size": 1}
SUDOKU = {size: sudoku.Dataset(puzzle="sudoku", size=size, blanks=(size, 2 * size), **FEW) for size in (4, 6, 9)}
MAZE = maze.Dataset(puzzle="maze", size=7, walls=(0.3, 0.5), min_path=8, **FEW)
QUEENS = {kind: nqueens.Dataset(puzzle="nqueens", size=7, variant=kind, num_aug=0) for kind in ("unique", "many")}
TOWERS = skyscrapers.Dataset(puzzle="skyscrapers", size=4, given=(0.1, 0.4), **FEW)
HANOI = {
    kind: hanoi.Dataset(puzzle="hanoi", encoding=kind, train_disks=(2, 3), test_disks=(5, 6))
    for kind in ("action", "state")
}
ARITHMETIC = arithmetic.Dataset(puzzle="arithmetic", subsample_size=50, test_size=1)
CHESS = chess.Dataset(puzzle="chess", file="rows.csv", subsample_size=None)
ARC = arc.Dataset(puzzle="arc", num_aug=0, augmentation="stored", subsets=["few"], test_sets=["few"])


def rows(board: np.ndarray, characters: str, separator: str = "\n") -> str:
    """A square board with one of `characters` for each token, row by row."""
    side = round(len(board) ** 0.5)
    return separator.join("".join(characters[token] for token in row) for row in board.reshape(side, side))


def hanoi_text(board: np.ndarray) -> str:
    *pegs, target = (str(token) for token in board if token)
    return f"{''.join(pegs)}>{target}"


def expression(board: np.ndarray) -> str:
    return "".join(arithmetic.CHARACTERS[token - 1] for token in board if token)


GENERATED = {
    **{f"sudoku {size}": (dataset, lambda board: rows(board, " .123456789")) for size, dataset in SUDOKU.items()},
    "maze": (MAZE, lambda board: rows(board, "?# SG")),
    "nqueens unique": (QUEENS["unique"], lambda board: rows(board, "??Q.")),
    "nqueens many": (QUEENS["many"], lambda board: rows(board, "?.Q")),
    "skyscrapers": (TOWERS, lambda board: rows(board, ".1234")),
    **{f"hanoi {kind}": (dataset, hanoi_text) for kind, dataset in HANOI.items()},
    "arithmetic": (ARITHMETIC, expression),
}
DATASETS: dict[str, Dataset] = {
    **{name: dataset for name, (dataset, _) in GENERATED.items()},
    "chess": CHESS,
    "arc": ARC,
}


def module(dataset: Dataset) -> ModuleType:
    return puzzles.module(dataset.puzzle)


def read(dataset: Dataset, text: str) -> np.ndarray:
    return module(dataset).read(dataset, text)


def problem(dataset: Dataset, text: str) -> str:
    """What is said of a text that cannot be read."""
    with pytest.raises(BadInput) as caught:
        read(dataset, text)
    return str(caught.value)


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype


# Round trips


@pytest.mark.parametrize("name", GENERATED)
def test_a_generated_board_written_out_is_read_as_its_own_tokens(name):
    dataset, write = GENERATED[name]
    inputs = module(dataset).examples(dataset, None)["train"].inputs
    for board in inputs[np.unique(np.arange(50) * len(inputs) // 50)]:
        assert_same(read(dataset, write(board)), board[None])


def test_a_fen_is_read_as_the_builder_reads_it_with_clocks_or_without(tmp_path):
    rng, fens = random.Random(0), set()
    board = rules.Board()
    for _ in range(60):
        fens |= {board.fen(), " ".join(board.fen().split()[:4])}
        board.push(rng.choice(list(board.legal_moves)))
    fens = sorted(fens)
    with open(tmp_path / "rows.csv", "w", newline="") as file:
        table = [(fen, next(iter(rules.Board(fen).legal_moves)).uci()) for fen in fens]
        csv.writer(file).writerows([("FEN", "Best_Move"), *table])
    dataset = CHESS.model_copy(update={"split": "published"})  # every row
    built = np.concatenate([table.inputs for table in chess.examples(dataset, tmp_path).values()])
    found = np.concatenate([read(dataset, fen) for fen in fens])
    assert found.dtype == built.dtype
    assert {*map(bytes, found)} == {*map(bytes, built)}
    for tokens in found:
        assert_same(read(CHESS, f"  {chess.to_fen(tokens)}\n"), tokens[None])


def arc_task(seed: int, tests: int) -> dict:
    random = np.random.default_rng(seed)

    def pair() -> dict:
        return {side: random.integers(0, 10, random.integers(1, 8, 2)).tolist() for side in ("input", "output")}

    return {"train": [pair(), pair()], "test": [pair() for _ in range(tests)]}


def test_an_arc_task_is_read_as_the_boards_of_its_test_inputs(tmp_path):
    (tmp_path / "few").mkdir()
    task = arc_task(0, 3)
    (tmp_path / "few" / "one.json").write_text(json.dumps(task))
    built = arc.examples(ARC, tmp_path)["test"].inputs
    assert_same(read(ARC, json.dumps(task, indent=1)), built)
    without = {**task, "test": [{"input": pair["input"]} for pair in task["test"]]}  # as it is asked
    assert_same(read(ARC, json.dumps(without)), built)


# Other ways to write the same


SUDOKU_6 = """\
+-------+-------+
| . . 6 | 5 3 . |
| 5 . 2 | . . . |
|-------+-------|
| 3 4 1 | . 6 . |
| 2 6 5 | 3 . 4 |
+-------+-------+
| . 2 . | 6 5 3 |
| . 5 . | 4 2 . |
+-------+-------+
"""


def test_a_sudoku_may_have_lines_drawn_between_its_cells_and_0_for_a_blank():
    plain = "..653.5.2...341.6.2653.4.2.653.5.42."
    expected = read(SUDOKU[6], plain)
    assert_same(read(SUDOKU[6], SUDOKU_6), expected)
    assert_same(read(SUDOKU[6], SUDOKU_6.replace("\n", "\r\n").replace(".", "0")), expected)


@pytest.mark.parametrize("name", ["sudoku 6", "maze", "nqueens unique", "skyscrapers"])
def test_all_rows_may_stand_in_one_line(name):
    dataset, write = GENERATED[name]
    board = module(dataset).examples(dataset, None)["test"].inputs[0]
    assert_same(read(dataset, write(board).replace("\n", "")), board[None])


def test_a_free_cell_of_a_maze_may_be_a_dot():
    board = maze.examples(MAZE, None)["test"].inputs[0]
    assert_same(read(MAZE, f"\n{rows(board, '?#.SG')}\n\n"), board[None])


def test_spaces_mean_nothing_in_a_state_of_hanoi_or_an_expression():
    assert_same(read(HANOI["action"], " 1 1 3 -> 2".replace("-", "")), read(HANOI["action"], "113>2"))
    assert_same(read(ARITHMETIC, "( ( 12 + 4 ) %\n3 ) ="), read(ARITHMETIC, "((12+4)%3)"))


def test_a_board_of_skyscrapers_may_lack_clues():
    board = skyscrapers.examples(TOWERS, None)["test"].inputs[0]
    label = skyscrapers.examples(TOWERS, None)["test"].labels[0].reshape(6, 6).copy()
    label[0], label[2, 2] = 0, 0  # no clues above, one height asked for
    assert_same(read(TOWERS, rows(label.ravel(), ".1234")), label.reshape(1, -1).astype(board.dtype))


def test_a_castling_right_of_chess960_is_kept():
    fen = "1rk2r1r/1p3p1p/8/8/8/8/1P3P1P/1RK2R1R b FQfq -"
    assert chess.to_fen(read(CHESS, fen)[0]) == fen


# What cannot be read


MAZE_ROWS = ["S......", "######.", ".......", ".......", ".......", ".......", "......G"]
TOWERS_ROWS = ["......", "......", "......", "......", "......", "......"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("sudoku 9", "." * 80, "80 cells, expected 81: 9 rows of 9"),
        ("sudoku 9", "", "0 cells, expected 81"),
        ("sudoku 9", "123456789\n" * 8, "8 rows, expected 9 of 9 cells each, or all of them in one line"),
        ("sudoku 4", "1...\n..2\n....\n.....", "row 2 has 3 cells, expected 4"),
        ("sudoku 4", "1...\n..5.\n....\n....", "line 2, character 3: '5', expected a digit 1 to 4, or . for a blank"),
        ("sudoku 4", "1...\n..٣.\n....\n....", "line 2, character 3: '٣'"),
        ("sudoku 9", "1........" * 9, "the digit 1 stands twice in column 1, expected once"),
        ("sudoku 9", "1......1." + "." * 72, "the digit 1 stands twice in row 1, expected once"),
        ("sudoku 6", "1.....\n.1...." + "\n......" * 4, "the digit 1 stands twice in box 1, expected once"),
        ("sudoku 4", "123.\n...4\n....\n....", "the board has no solution, expected one"),
        ("sudoku 4", "1234\n....\n....\n....", "the board has several solutions, expected one"),
        ("maze", "\n".join(MAZE_ROWS[:6]), "6 rows, expected 7 of 7 cells each"),
        ("maze", "\n".join([*MAZE_ROWS[:6], "     G"]), "row 7 has 6 cells, expected 7"),
        ("maze", "\n".join([*MAZE_ROWS[:6], "...o..G"]), "line 7, character 4: 'o', expected #, S, G, or a space"),
        ("maze", "\n".join([*MAZE_ROWS[:6], "......."]), "the maze has 0 G, expected one"),
        ("maze", "\n".join([*MAZE_ROWS[:6], "S.....G"]), "the maze has 2 S, expected one"),
        ("maze", "\n".join([MAZE_ROWS[0], "#######", *MAZE_ROWS[2:]]), "the maze has no way from S to G"),
        ("nqueens unique", "Q......\n" * 6, "6 rows, expected 7"),
        ("nqueens unique", "q" + "." * 48, "line 1, character 1: 'q', expected Q, or . for a cell without a queen"),
        ("nqueens many", "Q.....Q" + "." * 42, "the queens in row 1, column 1 and row 1, column 7 attack each other"),
        ("nqueens many", "....Q.." + "." * 7 + "..Q...." + "." * 28, "row 1, column 5 and row 3, column 3 attack"),
        (
            "nqueens unique",
            "Q......" + "." * 42,
            "the board has several solutions, expected one (dataset.variant unique)",
        ),
        ("nqueens many", "Q......\n...Q...\n.Q.....\n" + ".......\n" * 4, "the board has no solution, expected one"),
        ("skyscrapers", "\n".join(TOWERS_ROWS[:5]), "5 rows, expected 6"),
        ("skyscrapers", "\n".join(["...5..", *TOWERS_ROWS[1:]]), "line 1, character 4: '5', expected a number 1 to 4"),
        ("skyscrapers", "\n".join([*TOWERS_ROWS[:5], ".....3"]), "3 stands in a corner, expected . there"),
        ("skyscrapers", "\n".join(["......", ".22...", *TOWERS_ROWS[2:]]), "the board has no solution, expected one"),
        ("skyscrapers", "\n".join(TOWERS_ROWS), "the board has several solutions, expected one"),
        ("hanoi action", "1141>2", "line 1, character 3: '4', expected a peg 1 to 3, or > before the target peg"),
        ("hanoi action", "1112", "'1112' is no state, expected PEGS>TARGET such as 1132>3"),
        ("hanoi action", "111>", "'111>' is no state"),
        ("hanoi action", "111>23", "'111>23' is no state"),
        ("hanoi state", "111>2>3", "'111>2>3' is no state"),
        ("hanoi action", "1>2", "1 disks, expected 2 to 6"),
        ("hanoi state", "1111111>2", "7 disks, expected 2 to 6"),
        ("hanoi state", "222>2", "all disks are on peg 2 already, expected one elsewhere at least"),
        (
            "arithmetic",
            "(3*x)",
            "line 1, character 4: 'x', expected numbers 1 to 20 and brackets around each operation",
        ),
        ("arithmetic", "3+4", "no expression from '+4' (character 2) on"),
        ("arithmetic", "(3+21)", "no expression from '1)' (character 5) on"),
        ("arithmetic", "(3+0)", "no expression from '0)' (character 4) on"),
        ("arithmetic", "((3+4)", "'((3+4)' ends too early"),
        ("arithmetic", "", "'' ends too early"),
        ("arithmetic", "(3+4)=7", "'7' stands behind =, expected nothing"),
        ("arithmetic", "(((((1+2)+3)+4)+5)+6)", "brackets 5 deep, expected at most 4 (dataset.depth)"),
        ("arithmetic", "(" * 24 + "1" * 24, "48 characters, expected at most 46"),
        ("arithmetic", "(((20*20)*(20*20))*((20*20)*((20*20)*20)))", "no room for its value behind ="),
        ("chess", "", "'' is no FEN, expected board, turn, castling and en passant"),
        ("chess", "8/8/8/8/8/8/8/8 w - -", "is no legal position (no white king), expected one of a game"),
        ("chess", "k7/8/8/8/8/8/8/K8 w - -", "is no FEN"),
        ("chess", "rnb1kbnr/pppp1ppp/8/4p3/6Pq/5P2/PPPPP2P/RNBQKBNR w KQkq -", "no legal move (checkmate)"),
        ("chess", "7k/5Q2/6K1/8/8/8/8/8 b - -", "no legal move (stalemate)"),
        ("arc", "[]", "task: a list of 0, expected a JSON object"),
        ("arc", "{", "task: line 1: not valid JSON"),
        ("arc", '{"train": []}', "task: has no test, expected an object with train and test"),
        (
            "arc",
            '{"train": [{"input": [[0]], "output": [[1]]}], "test": [{"input": [[0, 10]]}]}',
            "task, test pair 1, input, row 1: the cell 10, expected a colour from 0 to 9",
        ),
    ],
)
def test_what_is_wrong_with_a_text_is_said_in_one_line(name, text, words):
    message = problem(DATASETS[name], text)
    assert words in message
    assert "\n" not in message


def test_the_arithmetic_board_holds_values_up_to_its_last_cell():
    """46 characters leave a cell for the value, which has one digit or two."""
    room = "((((1+1)+(1+1))+((1+1)+(1+1)))-((1+1)+(1+1)))"  # 45 characters, value 4
    assert len(room) == 45
    assert arithmetic.answers(read(ARITHMETIC, room))[0, 46] == arithmetic.ZERO + 4
    longer = room.replace("-", "+").replace("((((1+1)", "((((1+12)")  # value 23, in 46
    assert "no room for its value" in problem(ARITHMETIC, longer)


@given(name=st.sampled_from(sorted(DATASETS)), data=st.data())
def test_any_text_is_read_as_boards_of_the_dataset_or_refused_in_one_line(name, data):
    dataset = DATASETS[name]
    alphabet = st.sampled_from('0123456789.#SGQ>()+*%= \n\r\t|/-wbkKqQ[]{}":,é\x00\u2028٣')
    text = data.draw(st.text(alphabet) | st.text(), label="text")
    if data.draw(st.booleans(), label="near a puzzle"):
        whole = WRITTEN[name]
        place = data.draw(st.integers(0, len(whole)))
        text = whole[:place] + text[:2] + whole[place + data.draw(st.integers(0, 2)) :]
    try:
        boards, message = read(dataset, text), None
    except BadInput as error:
        boards, message = None, str(error)
    if message is not None:
        assert len(message.splitlines()) == 1
    else:
        assert boards.ndim == 2
        assert boards.shape[1] == module(dataset).seq_len(dataset)
        assert boards.max() < module(dataset).vocab_size(dataset)


EXAMPLE = {name: module(dataset).examples(dataset, None)["test"].inputs[0] for name, (dataset, _) in GENERATED.items()}

WRITTEN = {
    **{name: write(EXAMPLE[name]) for name, (_, write) in GENERATED.items()},
    "chess": rules.STARTING_FEN,
    "arc": json.dumps(arc_task(2, 2)),
}


@given(st.data())
def test_a_sudoku_is_read_only_while_its_givens_leave_one_solution(data):
    dataset = SUDOKU[6]
    board = EXAMPLE["sudoku 6"].copy()
    hidden = data.draw(st.lists(st.integers(0, 35), max_size=20))
    board[hidden] = 1
    text = rows(board, " .123456")
    if sudoku.solutions(dataset, board[None])[0][0] == 1:
        assert_same(read(dataset, text), board[None])
    else:
        assert "several solutions" in problem(dataset, text)


def test_grids_of_any_size_are_read_at_the_top_left():
    task = arc_task(1, 1)
    grid = np.full((30, 30), 3)
    task["test"] = [{"input": grid.tolist()}]
    expected = arc_boards.boards([(grid.astype(np.uint8), grid.astype(np.uint8))])[:, 0]
    assert_same(read(ARC, json.dumps(task)), expected)
